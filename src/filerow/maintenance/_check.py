"""Check: every row against its object.

A row that changes while its object is looked up proves nothing, so a problem counts only if the row is still the same
afterwards. Only what is certain is repaired: a row whose object is missing, after asking twice, in a store that has others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Engine, MetaData

from filerow._content import Meter, is_sha256
from filerow._document import Facts, facts_from
from filerow._execution.batch import StepsJob, raise_if, run_all
from filerow._execution.steps import Call, Steps
from filerow._file.reader import read_through
from filerow._orm.references import FileColumn, column_named, documents_in, file_columns
from filerow._orm.visibility import filtered
from filerow._recipes import variant_id
from filerow._registry import storages
from filerow.backends._types import ObjectInfo
from filerow.backends.base import StorageBackend
from filerow.exceptions import BackendNotFoundError, DocumentError, ObjectNotFoundError, StorageError, VariantError
from filerow.maintenance._awaited import awaited
from filerow.maintenance._derived import variants_at
from filerow.maintenance._legacy import members_of
from filerow.maintenance._listing import holds_files
from filerow.maintenance._report import Finding, Progress
from filerow.maintenance._rewrite import Rewrite, RewriteOutcome, compare_and_set, present
from filerow.maintenance._rows import Row, count, position, row_name, rows
from filerow.outbox._census import Also, Census

_SUSPICIOUS = 20
"""This many missing or unreadable objects are nothing unusual, however few there are in all."""

_LEAST = 100
"""Minimum batch size before anything is repaired: enough to distinguish a missing file from a missing bucket."""

_DEEP = 100
"""Maximum batch size when every object is read, so that progress comes often enough."""


class _CheckOptions(NamedTuple):
    """The options of :func:`check`."""

    deep: bool
    repairs: bool
    concurrency: int
    batch: int
    allow_many: bool
    variants: bool


def check(
    metadata: MetaData,
    engine: Engine,
    *,
    columns: Sequence[str] = (),
    deep: bool = False,
    repair: Literal["report", "null"] = "report",
    concurrency: int = 16,
    batch: int = 500,
    resume: str | None = None,
    allow_many: bool = False,
    also: Also = (),
    variants: bool = False,
) -> Iterator[Progress]:
    """Compare every row with its object: is it there, with this size and content?

    Args:
        metadata: The models.
        engine: Their database.
        columns: Only these (``table.column``).
        deep: Read every object whose row has a checksum, and compare it.
        repair: ``null`` sets the column to NULL if the object is missing, or removes the member of a list, and changes
            nothing else in the row; ``report`` changes nothing.
        concurrency: Objects looked up at a time.
        batch: Rows read at a time.
        resume: The cursor of an earlier progress.
        allow_many: Repair even if more than half of the objects are missing.
        also: Further rows to check: other models of the same database, engines of the same models in other databases or schemas,
            or pairs of both.
        variants: Look also for the variants that rows list, those made before their commit: one LIST request for each such file.

    Returns:
        The progress after each batch, by column; the columns of ``also`` have ``(2)`` and so on appended. Findings: ``missing``,
        ``size``, ``etag``, ``checksum``, ``unreadable`` (cannot be decided; never repaired), ``too-many-missing`` (more than
        half: nothing was repaired from there on), ``variant-missing``, ``rows-hidden`` (policies show this user only some rows).

    Raises:
        LookupError: There is no such column.
        ValueError: An option is invalid.
    """
    if repair not in {"report", "null"}:
        raise ValueError(f"repair must be 'report' or 'null', not {repair!r}")
    number, cursor = _place(resume)
    databases = Census(metadata, engine, also).databases
    chosen = [_columns(models, columns) for models, _ in databases]
    missing = [name for name in columns if not any(name == one.name for some in chosen for one in some)]
    for name in missing:
        column_named(metadata, name)  # raises
    options = _CheckOptions(deep, repair == "null", concurrency, batch, allow_many, variants)
    runs = [_Check(place, options, at) for at, (_, place) in enumerate(databases, 1)]
    if cursor is not None:
        chosen[number - 1] = chosen[number - 1][position(chosen[number - 1], cursor) :]
    return _run(runs, chosen, number, cursor)


def _columns(metadata: MetaData, names: Sequence[str]) -> list[FileColumn]:
    return [column for column in file_columns(metadata) if not names or column.name in names]


def _run(runs: Sequence[_Check], columns: Sequence[Sequence[FileColumn]], number: int, cursor: str | None) -> Iterator[Progress]:
    """Check one database after the other, starting from a cursor's."""
    for at in range(number - 1, len(runs)):
        yield from runs[at].run(columns[at], cursor if at == number - 1 else None)
        if runs[at].stopped:
            return


def _place(resume: str | None) -> tuple[int, str | None]:
    """Return the number of a cursor's database, and the cursor in it."""
    number, found, cursor = (resume or "").partition(":")
    return (int(number), cursor) if found and number.isdecimal() else (1, resume)


check_async: Final = awaited(check)


@dataclass(slots=True)
class _Asked:
    """One document of one row.

    Attributes:
        row: The row.
        place: The document's index in it.
        look: The look at its object.
        verdict: What is wrong, once the look has ended; ``None`` if nothing is.
    """

    row: Row
    place: int
    look: _Look
    verdict: Finding | None = None

    def has(self, code: str) -> bool:
        """Return True if this is wrong with the object."""
        return self.verdict is not None and self.verdict.code == code


@dataclass(slots=True)
class _Tally:
    done: int = 0
    transferred: int = 0
    changed: int = 0
    findings: list[Finding] = field(default_factory=list)


def _hidden(column: FileColumn) -> Finding:
    message = "row level security shows this user only some rows of the table, or could: the others are not checked"
    advice = "run it as a role with BYPASSRLS, or as the table's owner without FORCE ROW LEVEL SECURITY"
    return Finding("rows-hidden", message, "warning", column.table.fullname, advice=advice)


class _Check:
    def __init__(self, engine: Engine, options: _CheckOptions, number: int) -> None:
        self._engine = engine
        self._number = number
        self._options = options
        if options.concurrency < 1 or options.batch < 1:
            raise ValueError(f"concurrency and batch must be 1 or more, not {options.concurrency} and {options.batch}")
        batch = min(options.batch, _DEEP) if options.deep else options.batch
        self._batch = max(batch, _LEAST) if options.repairs else batch
        self._looked = 0
        self._missing = 0
        self._reported: set[str] = set()
        self._reachable: dict[str, StorageError | None] = {}
        self.stopped = False

    def run(self, columns: Sequence[FileColumn], cursor: str | None) -> Iterator[Progress]:
        for column in columns:
            step = column.name if self._number == 1 else f"{column.name} ({self._number})"
            if not column.table.primary_key.columns:
                message = "the table has no primary key, so its rows cannot be distinguished"
                yield Progress(step, findings=(Finding("unreadable", message, where=column.name),))
                continue
            with self._engine.connect() as connection:
                if filtered(connection, [column.table]):
                    yield Progress(step, findings=(_hidden(column),))
            yield from self._column(column, step, cursor)
            if self.stopped:
                return
            cursor = None

    def _column(self, column: FileColumn, step: str, cursor: str | None) -> Iterator[Progress]:
        total = count(self._engine, column) if cursor is None else None
        tally = _Tally()
        for batch in rows(self._engine, column, batch=self._batch, resume=cursor):
            self._one(column, batch.rows, tally)
            if not self.stopped:
                tally.done += len(batch.rows)
                cursor = batch.cursor
            place = cursor if cursor is None or self._number == 1 else f"{self._number}:{cursor}"
            findings = tuple(tally.findings)
            yield Progress(step, tally.done, total, tally.transferred, tally.changed, findings=findings, cursor=place)
            if self.stopped:
                return

    # -- one batch -----------------------------------------------------------------------------------------------------

    def _one(self, column: FileColumn, batch: Sequence[Row], tally: _Tally) -> None:
        tally.findings = []
        asked = [one for row in batch for one in self._ask(column, row, tally)]
        raise_if(run_all([one.look for one in asked], self._options.concurrency).error)
        tally.transferred += sum(one.look.transferred for one in asked)
        for one in asked:
            one.verdict = _verdict_of(one.look)
        seen = self._still(column, [one for one in asked if one.verdict is not None])
        lost = [one for one in seen if one.has("missing")]
        self._looked += len(asked)
        self._missing += len(lost)
        if self._is_down(column, asked, seen, tally):
            return
        fixed: set[int] = set()
        if lost and self._trusted(column, tally) and self._options.repairs:
            fixed = self._set_null(column, lost, tally)
        tally.changed += len(fixed)
        tally.findings += [self._finding(column, one, fixed=id(one) in fixed) for one in seen]

    def _ask(self, column: FileColumn, row: Row, tally: _Tally) -> Iterator[_Asked]:
        for member in members_of(row.value):
            if not isinstance(member, dict):
                message = f"a file document must be a JSON object, not {member!r:.80}"
                tally.findings.append(Finding("unreadable", message, where=row_name(column, row.key)))
        for place, document in enumerate(documents_in(row.value)):
            try:
                facts = facts_from(document)
                ids = _listed_ids(facts, column) if self._options.variants else frozenset()
                yield _Asked(row, place, _Look(facts, storages.get_backend(facts.backend), deep=self._options.deep, ids=ids))
            except DocumentError as error:
                tally.findings.append(Finding("unreadable", str(error), where=row_name(column, row.key)))
            except BackendNotFoundError as error:
                if str(error) not in self._reported:  # once, not for each of a million rows
                    self._reported.add(str(error))
                    tally.findings.append(Finding("unreadable", str(error), where=row_name(column, row.key)))

    def _still(self, column: FileColumn, suspects: Sequence[_Asked]) -> list[_Asked]:
        """Return those whose rows have not changed since they were read."""
        wanted = {one.row.key: Rewrite(one.row.key, one.row.value, None) for one in suspects}
        now = present(self._engine, column, list(wanted.values()))
        return [one for one in suspects if now.get(one.row.key, (None, None))[0] == one.row.value]

    def _is_down(self, column: FileColumn, asked: Sequence[_Asked], seen: Sequence[_Asked], tally: _Tally) -> bool:
        """Stop if a whole batch is unreadable: a store that is down is one finding."""
        failed = [one for one in seen if one.has("unreadable")]
        if len(failed) <= _SUSPICIOUS or len(failed) < len(asked):
            return False
        self.stopped = True
        tally.findings.append(self._finding(column, failed[0], fixed=False))
        return True

    # -- repairing -----------------------------------------------------------------------------------------------------

    def _trusted(self, column: FileColumn, tally: _Tally) -> bool:
        """Return True if a missing object is missing; a wrong bucket looks the same."""
        if self._missing <= _SUSPICIOUS or self._missing * 2 <= self._looked or self._options.allow_many:
            return True
        if "many" not in self._reported:
            self._reported.add("many")
            message = (
                f"{self._missing:,} of {self._looked:,} objects are missing; the backend may have the wrong bucket or prefix"
            )
            advice = "look into the store; if they really are gone, set allow_many=True (--allow-many)"
            tally.findings.append(Finding("too-many-missing", message, where=column.name, advice=advice))
        self.stopped = self._options.repairs
        return False

    def _set_null(self, column: FileColumn, lost: Sequence[_Asked], tally: _Tally) -> set[int]:
        """Remove missing files from their rows; return the ids of those removed."""
        certain = [one for one in lost if self._can_be_listed(one.look.backend) and column_takes_null(column)]
        again = [_Look(one.look.facts, one.look.backend, deep=False) for one in certain]
        raise_if(run_all(again, self._options.concurrency).error)
        by_row: dict[tuple[Any, ...], list[_Asked]] = {}
        for one, look in zip(certain, again, strict=True):
            if look.info is None and look.error is None:
                by_row.setdefault(one.row.key, []).append(one)
        outcome = RewriteOutcome()
        compare_and_set(self._engine, column, [_without(column, found) for found in by_row.values()], outcome)
        if outcome.lost:
            tally.findings.append(
                Finding("changed-meanwhile", "rows changed while they were repaired; check again", "info", column.name)
            )
        return {id(one) for rewrite in outcome.written for one in by_row[rewrite.key]}

    def _can_be_listed(self, backend: StorageBackend) -> bool:
        """Check once that the bucket exists, by a listing, and is the rows' bucket.

        Another bucket, or another prefix, is usually empty; what is in memory cannot be mistaken.
        """
        if backend.key not in self._reachable:
            try:
                is_empty = not holds_files(backend) and backend.protocol != "memory"
                why = f"backend {backend.key!r} is empty, so it may not be the place where the rows' files are"
                self._reachable[backend.key] = StorageError(why) if is_empty else None
            except StorageError as error:
                self._reachable[backend.key] = error
        return self._reachable[backend.key] is None

    def _finding(self, column: FileColumn, one: _Asked, *, fixed: bool) -> Finding:
        facts, verdict = one.look.facts, one.verdict
        assert verdict is not None  # noqa: S101 - only these are reported
        advice = verdict.advice
        if self._options.repairs and one.has("missing") and not fixed:
            advice = "the column does not allow NULL" if not column_takes_null(column) else "not repaired: it is not certain"
        where = row_name(column, one.row.key)
        return replace(verdict, where=where, backend=facts.backend, path=facts.path, advice=advice, fixed=fixed)


def column_takes_null(column: FileColumn) -> bool:
    """Return True if a file can be removed from its row; from lists it always can."""
    return column.type.multiple or bool(column.column.nullable)


def _without(column: FileColumn, lost: Sequence[_Asked]) -> Rewrite:
    row = lost[0].row
    gone = {one.place for one in lost}
    left = [document for place, document in enumerate(documents_in(row.value)) if place not in gone]
    return Rewrite(row.key, row.value, left if column.type.multiple else None)


# -- one look at one object, compared with the document that names it -----------------------------------------------------


class _Look(StepsJob):
    """Looks up one object, and reads it for its checksum; keeps errors.

    Args:
        facts: The row's facts.
        backend: The object's backend.
        deep: Read the object if the row has a checksum.
        ids: Variants that must be stored.

    Attributes:
        info: The store's facts; ``None`` if there is no such object or the store did not answer.
        error: Why the store did not answer; ``None`` for a missing object.
        checksum: Of the bytes, if they were read.
        transferred: Bytes read.
        lacks: Those of the variants that are not stored.
    """

    def __init__(self, facts: Facts, backend: StorageBackend, *, deep: bool, ids: frozenset[str] = frozenset()) -> None:
        self.facts = facts
        self.backend = backend
        self.info: ObjectInfo | None = None
        self.error: StorageError | None = None
        self.checksum: str | None = None
        self.lacks: frozenset[str] = frozenset()
        self._ids = ids
        self._meter = Meter() if deep and is_sha256((facts.checksum or "").lower()) else None

    @property
    def transferred(self) -> int:
        """The number of bytes read so far."""
        return 0 if self._meter is None else self._meter.size

    @property
    def quick(self) -> bool:
        """True for a local directory: a look is quicker than starting a thread."""
        return self.backend._quick and self._meter is None and not self._ids

    def stop(self) -> None:
        """Stop reading at the next chunk."""
        if self._meter is not None:
            self._meter.stop()

    def _steps(self) -> Steps[None]:
        try:
            info: ObjectInfo = yield Call(self.backend.head, self.backend.head_async, (self.facts.path,))
            if self._meter is not None:
                yield read_through(self.backend, self.facts.path, self._meter.feed)
                self.checksum = self._meter.checksum
            if self._ids:
                found = yield from variants_at(self.backend, self.facts.path)
                self.lacks = self._ids.difference(one.id for one in found if not one.is_note)
            self.info = info
        except ObjectNotFoundError:
            pass
        except StorageError as error:
            self.error = error


def _verdict_of(look: _Look) -> Finding | None:
    """Compare the row's facts with the store's; return ``None`` if they agree."""
    facts, info = look.facts, look.info
    if look.error is not None:
        return Finding("unreadable", f"the store did not answer: {look.error}")
    if info is None:
        return Finding("missing", "there is no object at the path that the row names")
    size = look.transferred if look.checksum is not None else info.size
    if None not in {facts.size, size} and facts.size != size:
        return Finding("size", f"the object has {size:,} bytes, and the row says {facts.size:,}")
    if look.checksum is not None and look.checksum != (facts.checksum or "").lower():
        return Finding("checksum", f"the object's bytes have {look.checksum}, and the row says {facts.checksum}")
    if None not in {facts.etag, info.etag} and facts.etag != info.etag:
        if look.checksum is not None:
            return Finding("etag", f"the object has etag {info.etag}, and the row says {facts.etag}; its bytes are right", "info")
        message = f"the object has etag {info.etag}, and the row says {facts.etag}: it was restored, copied or overwritten"
        return Finding("etag", message, "warning")
    if look.lacks:
        count = len(look.lacks)
        message = f"{count} variant{'s' if count > 1 else ''} that the row lists cannot be found, so its signed URL leads nowhere"
        return Finding("variant-missing", message, "warning", advice="filerow variants makes it again")
    return None


def _listed_ids(facts: Facts, column: FileColumn) -> frozenset[str]:
    """Return the declared variants that a document lists."""
    if not facts.variants or not column.type.variants:
        return frozenset()
    try:
        return frozenset(variant_id(facts, recipe) for _, recipe in column.type.variants).intersection(facts.variants)
    except VariantError:
        return frozenset()
