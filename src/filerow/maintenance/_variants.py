"""Variants of a column's files: makes those that are missing, removes old ones.

Only rows say which variants there may be, so this goes through them. Whatever it makes, a first use would make in the same way;
so it may run beside the application, be killed, and run again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, MetaData

from filerow._document import Facts, facts_from
from filerow._execution.batch import StepsJob, call, raise_if, run_all
from filerow._execution.steps import Call, Steps
from filerow._file.variant import is_decoded
from filerow._media_types import OCTET_STREAM
from filerow._orm.ownership import Ref
from filerow._orm.references import FileColumn, column_named, documents_with
from filerow._orm.visibility import filtered, unfiltered
from filerow._paths import is_generated
from filerow._recipes import Recipe, Variants, variant_id, variant_path
from filerow._registry import storages
from filerow.backends._stored_with import StoredWith
from filerow.backends.base import StorageBackend
from filerow.exceptions import (
    BackendNotFoundError,
    DocumentError,
    ObjectHiddenError,
    ObjectNotFoundError,
    StorageError,
    VariantBusyError,
    VariantError,
    WorkerError,
)
from filerow.maintenance._awaited import awaited
from filerow.maintenance._derived import StoredVariant, VariantListing
from filerow.maintenance._legacy import members_of
from filerow.maintenance._report import Finding, Progress
from filerow.maintenance._rewrite import Rewrite, RewriteOutcome, compare_and_set
from filerow.maintenance._rows import Row, count, row_name, rows
from filerow.outbox._census import Census
from filerow.outbox._places import Places

_PATIENCE = 6
"""How often a variant is tried for which no worker is free."""


def variants(
    metadata: MetaData,
    engine: Engine,
    column: str,
    names: Sequence[str] = (),
    *,
    prune: bool = False,
    older_than: timedelta = timedelta(days=30),
    dry_run: bool = False,
    batch: int = 100,
    concurrency: int = 16,
    resume: str | None = None,
) -> Iterator[Progress]:
    """Make a column's variants that are not stored yet, or remove old ones.

    Args:
        metadata: The models' ``MetaData``.
        engine: Where the rows are.
        column: ``table.column``, with ``variants=``.
        names: Only these of its variants.
        prune: Make nothing, and remove the variants of recipes that the column does not declare, and notes of variants that
            could not be made.
        older_than: With ``prune``: only what was stored this long ago. Nobody can see when a variant was last used.
        dry_run: Count what would be made or removed, and change nothing.
        batch: Rows read at a time.
        concurrency: Requests at a time. As many variants are made at a time as this process has workers.
        resume: The cursor of an earlier run's progress: skip the rows before it.

    Returns:
        Progress after each batch: ``done`` rows, ``changed`` variants, ``transferred`` bytes of new ones. Findings: ``missing``
        (an original), ``not-made``, ``not-deleted``, ``unreadable``, ``unknown-backend``, ``changed-meanwhile``, ``rows-hidden``,
        ``unreadable-documents`` (what such a document names keeps its variants), ``guest``.

    Raises:
        LookupError: There is no such column.
        ValueError: The column declares no such variants, the table has no primary key, or an option is invalid.
        WorkerError: No worker can be started here.
        MaintenanceRefusedError: With ``prune``: the database may hide rows, or another one deletes in this place.
        StorageError: A store failed; the last progress has the cursor to continue from.
    """
    found = column_named(metadata, column)
    if batch < 1 or concurrency < 1 or older_than < timedelta(0):
        raise ValueError(
            f"batch and concurrency must be 1 or more, older_than 0 or more, not {batch}, {concurrency}, {older_than}"
        )
    work: _Work
    if prune:
        if names:
            raise ValueError("prune (--prune) looks at all variants of a column; leave out their names")
        work = _Pruning(found, engine, concurrency, time.time() - older_than.total_seconds(), dry_run=dry_run)
    else:
        work = _Making(found, engine, concurrency, _chosen(found, names), dry_run=dry_run)
    return work.run(batch, resume)


variants_async: Final = awaited(variants)


def _chosen(column: FileColumn, names: Sequence[str]) -> Variants:
    declared: Variants = column.type.variants
    known = [name for name, _ in declared]
    if not known:
        raise ValueError(f"{column.name} declares no variants: StoredObject(variants={{...}}) names them")
    for name in names:
        if name not in known:
            raise ValueError(f"{column.name} has no variant {name!r}; it declares {', '.join(known)}")
    return tuple((name, recipe) for name, recipe in declared if not names or name in names)


class _Original(NamedTuple):
    """A stored file of a row.

    Attributes:
        row: The row.
        place: The document's index in it.
        facts: What the document says.
        backend: Where it is.
    """

    row: Row
    place: int
    facts: Facts
    backend: StorageBackend


class _Work:
    """One run over the rows of a column."""

    def __init__(self, column: FileColumn, engine: Engine, concurrency: int, *, dry_run: bool) -> None:
        self.column = column
        self.engine = engine
        self.concurrency = concurrency
        self.dry_run = dry_run
        self.changed = 0
        self.would_change = 0
        self.transferred = 0
        self.findings: list[Finding] = []
        self._reported: set[str] = set()

    def run(self, batch: int, resume: str | None) -> Iterator[Progress]:
        """Work through the rows, and yield the progress after each batch."""
        self.begin()
        done, total = 0, None if resume is not None else count(self.engine, self.column)
        cursor = resume
        for page in rows(self.engine, self.column, batch=batch, resume=resume):
            try:
                self.page([one for row in page.rows for one in self._originals(row)])
            except Exception as error:
                message = f"{self.column.name}: a batch failed: {error}"
                advice = "run it again once that works; it continues from here"
                self.findings.append(Finding("stopped", message, "error", self.column.name, advice=advice))
                yield self._progress(done, total, cursor)
                raise
            done += len(page.rows)
            cursor = page.cursor
            yield self._progress(done, total, cursor)
        if self.findings or not done:
            yield self._progress(done, total, cursor)

    def begin(self) -> None:
        """Look at the table before the first batch."""
        raise NotImplementedError

    def page(self, originals: Sequence[_Original]) -> None:
        """Do the work for some files."""
        raise NotImplementedError

    def _progress(self, done: int, total: int | None, cursor: str | None) -> Progress:
        findings, self.findings = tuple(self.findings), []
        figures = (done, total, self.transferred, self.changed, self.would_change)
        return Progress(self.column.name, *figures, findings=findings, cursor=cursor)

    def _originals(self, row: Row) -> Iterator[_Original]:
        for place, document in enumerate(members_of(row.value)):
            try:
                facts = facts_from(document)
                yield _Original(row, place, facts, storages.get_backend(facts.backend))
            except DocumentError as error:
                self.findings.append(Finding("unreadable", str(error), where=row_name(self.column, row.key)))
            except BackendNotFoundError as error:
                self.once(Finding("unknown-backend", str(error), where=self.column.name))

    def find(self, original: _Original, code: str, error: Exception, *, warns: bool = False) -> None:
        """Report something about a file."""
        where = row_name(self.column, original.row.key)
        place = (original.facts.backend, original.facts.path)
        self.findings.append(Finding(code, str(error), "warning" if warns else "error", where, *place))

    def once(self, finding: Finding) -> None:
        """Report something that is the same for many rows."""
        if finding.message not in self._reported:
            self._reported.add(finding.message)
            self.findings.append(finding)


# -- making ----------------------------------------------------------------------------------------------------------------


class _Making(_Work):
    """Makes what is missing."""

    def __init__(self, column: FileColumn, engine: Engine, concurrency: int, recipes: Variants, *, dry_run: bool) -> None:
        super().__init__(column, engine, concurrency, dry_run=dry_run)
        self._recipes = recipes

    def begin(self) -> None:
        """Report that rows may be hidden."""
        with self.engine.connect() as connection:
            if filtered(connection, [self.column.table]):
                message = "row level security shows this user only some rows of the table, or could: the others are passed over"
                self.findings.append(Finding("rows-hidden", message, "warning", self.column.table.fullname))

    def page(self, originals: Sequence[_Original]) -> None:
        """See :class:`_Work`."""
        from filerow.variants._workers import default_workers  # of an extra

        looks = [look for one in originals if _is_decodable(one.facts.content_type) for look in self._looks(one)]
        raise_if(run_all(looks, self.concurrency).error)
        lacking = [_Make(look, self.column.type.stored_with) for look in looks if not look.is_there]
        if self.dry_run:
            self.would_change += len(lacking)
            return
        error = run_all(lacking, default_workers().workers).error
        for one in lacking:
            self.changed += one.size is not None
            self.transferred += one.size or 0
            if one.error is not None:
                is_gone = isinstance(one.error, ObjectNotFoundError)
                self.find(one.look.original, "missing" if is_gone else "not-made", one.error, warns=not is_gone)
        raise_if(error)

    def _looks(self, original: _Original) -> Iterator[_Question]:
        for _, recipe in self._recipes:
            try:
                yield _Question(original, recipe, variant_path(original.facts, recipe))
            except VariantError as error:
                self.find(original, "not-made", error, warns=True)
                return


def _is_decodable(content_type: str) -> bool:
    """Return False for files of which no recipe makes anything, such as a PDF."""
    return content_type == OCTET_STREAM or is_decoded(content_type)


class _Question(StepsJob):
    """Looks whether a variant is stored.

    Attributes:
        original: What it is made of.
        recipe: What to make.
        path: Where it belongs.
        is_there: It is.
    """

    def __init__(self, original: _Original, recipe: Recipe, path: str) -> None:
        self.original = original
        self.recipe = recipe
        self.path = path
        self.is_there = False

    def _steps(self) -> Steps[None]:
        self.is_there = yield from _is_stored(self.original.backend, self.path)


def _is_stored(backend: StorageBackend, path: str) -> Steps[bool]:
    """Return True if an object is there; credentials that may not list see no other."""
    try:
        found: bool = yield Call(backend.exists, backend.exists_async, (path,))
    except ObjectHiddenError:
        return False
    return found


class _Make(StepsJob):
    """Makes and stores a variant.

    Args:
        look: The look that did not find it.
        stored_with: What to store it with besides.

    Attributes:
        look: The look that did not find it.
        size: How many bytes it has, once it is stored.
        error: Why it cannot be made, if that is the fault of its original.
    """

    def __init__(self, look: _Question, stored_with: StoredWith | None) -> None:
        self.look = look
        self._stored_with = stored_with
        self.size: int | None = None
        self.error: Exception | None = None

    def _steps(self) -> Steps[None]:
        from filerow.variants._stored import Wanted, content_of  # as above

        original = self.look.original
        wanted = Wanted.of(original.facts, self.look.recipe, self._stored_with)
        for left in reversed(range(_PATIENCE)):
            try:
                content: bytes = yield from content_of(original.backend, wanted)
            except WorkerError:  # it would be the same for every file
                raise
            except VariantBusyError as error:
                self.error = error if not left else None
            except (ObjectNotFoundError, VariantError) as error:
                self.error = error
                break
            else:
                yield from self._expect_stored()
                self.size = len(content)
                break

    def _expect_stored(self) -> Steps[None]:
        """Look for what was made: whoever asks for a variant gets it, stored or not.

        Raises:
            StorageError: It is not there.
        """
        backend, path = self.look.original.backend, self.look.path
        if not (yield from _is_stored(backend, path)):
            msg = "a variant was made and is not stored; the log says why"
            raise StorageError(msg, operation="put", backend=backend.key, path=path)


# -- removing --------------------------------------------------------------------------------------------------------------


class _Pruning(_Work):
    """Removes what no declared recipe makes any more.

    A document that lists such a variant is rewritten first, so that no URL leads to it.
    """

    def __init__(self, column: FileColumn, engine: Engine, concurrency: int, before: float, *, dry_run: bool) -> None:
        super().__init__(column, engine, concurrency, dry_run=dry_run)
        self._before = before
        self._census = Census(column.table.metadata, engine, ())
        self._places = Places(self._census, "sweep")
        self._ours: dict[str, bool] = {}

    def begin(self) -> None:
        """Check that all rows can be seen, since one of them may list what goes.

        Raises:
            MaintenanceRefusedError: Some may not.
        """
        self._census.check_shows_all()

    def page(self, originals: Sequence[_Original]) -> None:
        """See :class:`_Work`."""
        ours = [one for one in originals if self._may_delete(one.backend.key)]
        listings = [VariantListing(one.backend, one.facts.path) for one in ours]
        raise_if(run_all(listings, self.concurrency).error)
        pairs = zip(ours, listings, strict=True)
        old = [(one, found) for one, listing in pairs if (found := self._old(one.facts, listing.found))]
        if self.dry_run:
            self.would_change += sum(len(found) for _, found in old)
            return
        lost = self._unlist(old)
        kept = self._kept_by_rows(old)
        for original, found in old:
            if original.row.key not in lost:
                self._delete(original, [one for one in found if not kept.keeps(original.facts, one)])

    def _may_delete(self, key: str) -> bool:
        """Return True if this database deletes in a backend.

        Raises:
            MaintenanceRefusedError: Another one does.
        """
        if key not in self._ours:
            self._ours[key] = storages.may_delete(key)
            refusal = self._places.look(key) if self._ours[key] else None
            if refusal is not None:
                raise refusal
        if not self._ours[key]:
            message = "it is registered with deletes=False, so nothing of it is deleted"
            self.once(Finding("guest", message, "info", backend=key))
        return self._ours[key]

    def _old(self, facts: Facts, stored: Sequence[StoredVariant]) -> list[StoredVariant]:
        try:
            declared = {variant_id(facts, recipe) for _, recipe in self.column.type.variants}
        except VariantError:  # nothing is known of its content, so nobody can say which of them are declared
            return []
        found = [one for one in stored if one.is_note or one.id not in declared]
        return [one for one in found if one.info.last_modified is not None and one.info.last_modified <= self._before]

    def _unlist(self, old: Sequence[tuple[_Original, Sequence[StoredVariant]]]) -> set[tuple[Any, ...]]:
        """Take variants out of documents; return the keys of rows that changed meanwhile."""
        gone: dict[tuple[Any, ...], dict[int, set[str]]] = {}
        values: dict[tuple[Any, ...], Any] = {}
        for original, found in old:
            listed = set(original.facts.variants).intersection(one.id for one in found)
            if listed:
                gone.setdefault(original.row.key, {})[original.place] = listed
                values[original.row.key] = original.row.value
        outcome = RewriteOutcome()
        rewrites = [Rewrite(key, values[key], _without(values[key], gone[key])) for key in gone]
        compare_and_set(self.engine, self.column, rewrites, outcome)
        for one in outcome.lost:
            where = row_name(self.column, one.key)
            message = f"{where} was changed meanwhile; its old variants stay"
            self.findings.append(Finding("changed-meanwhile", message, "info", where, advice="run it again"))
        return {one.key for one in outcome.lost}

    def _kept_by_rows(self, old: Sequence[tuple[_Original, Sequence[StoredVariant]]]) -> _Kept:
        """Return what any document lists, or the column that it is in declares."""
        kept, metadata = _Kept(set(), set()), self.column.table.metadata
        with self.engine.connect() as connection, unfiltered(connection):
            for column, path, document in documents_with(connection, metadata, {one.facts.path for one, _ in old}):
                try:
                    kept.add(facts_from(document), column.type.variants)
                except DocumentError:
                    kept.doubtful.add(path)
                    message = "this release cannot read a document that names this object, so its variants stay"
                    advice = "upgrade Filerow, or have filerow check name the rows and repair them"
                    self.findings.append(Finding("unreadable-documents", message, "error", column.name, path=path, advice=advice))
        return kept

    def _delete(self, original: _Original, found: Sequence[StoredVariant]) -> None:
        backend = original.backend
        failed = call(backend.delete, backend.delete_async, [one.info.path for one in found])
        self.changed += len(found) - len(failed)
        for path, error in failed.items():
            where = row_name(self.column, original.row.key)
            self.findings.append(Finding("not-deleted", str(error), "error", where, backend.key, path))


class _Kept(NamedTuple):
    """The variants that rows keep.

    Attributes:
        known: Objects with the ids of variants that stay.
        doubtful: The paths of objects whose variants all stay, since a document cannot be read.
    """

    known: set[tuple[Ref, str]]
    doubtful: set[str]

    def add(self, facts: Facts, declared: Variants) -> None:
        """Keep what a document lists, and its column declares."""
        try:
            self.known.update((_object(facts), variant_id(facts, recipe)) for _, recipe in declared)
        except VariantError:  # nothing is known of its content, so nobody can say which of them are declared
            self.doubtful.add(facts.path)
        if not storages.is_registered(facts.backend):  # it may be any
            self.doubtful.add(facts.path)
        self.known.update((_object(facts), one) for one in facts.variants)

    def keeps(self, original: Facts, one: StoredVariant) -> bool:
        """Return True if a variant of an object stays."""
        return original.path in self.doubtful or not (one.is_note or (_object(original), one.id) not in self.known)


def _object(facts: Facts) -> Ref:
    """Return what stands for a file's object, whatever its backend is called.

    A generated path is enough. A chosen one may exist in several backends.
    """
    return Ref("" if is_generated(facts.path) else facts.backend, facts.path)


def _without(value: Any, gone: dict[int, set[str]]) -> Any:
    """Return a column's JSON without some ids in its documents."""
    members = [_unlisted(one, gone.get(place, set())) for place, one in enumerate(members_of(value))]
    return members if isinstance(value, list) else members[0]


def _unlisted(document: Any, gone: set[str]) -> Any:
    if not gone:
        return document
    left = [one for one in document["variants"] if one not in gone]
    kept = {name: value for name, value in document.items() if name != "variants"}
    return {**kept, "variants": left} if left else kept
