"""Adopt: converts columns written by other libraries; objects stay in place.

Batch by batch: look up the objects, copy an object for each row after the first that names it, then rewrite the documents of
unchanged rows in one short transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from sqlalchemy import JSON, ColumnElement, Engine, MetaData, String, Table, TypeDecorator, or_, type_coerce

from filerow._execution.batch import call, raise_if, run_all
from filerow._orm.column import StoredObject
from filerow._orm.references import FileColumn, column_named, documents_with
from filerow._orm.visibility import unfiltered
from filerow._registry import storages
from filerow.backends.base import StorageBackend
from filerow.exceptions import ObjectNotFoundError, StorageError
from filerow.maintenance._adopt.planning import AdoptionPlan, Entry, Planner, Source
from filerow.maintenance._awaited import awaited
from filerow.maintenance._batches import Batches
from filerow.maintenance._listing import holds_files
from filerow.maintenance._report import Progress
from filerow.maintenance._rewrite import Rewrite, RewriteOutcome, compare_and_set, discard, present, undone_with
from filerow.maintenance._rows import Row, position
from filerow.outbox._census import Census

Missing = Literal["report", "null"]


def adopt(  # noqa: PLR0913 - options of a command
    metadata: MetaData,
    engine: Engine,
    column: str | Sequence[str],
    *,
    source: str | Sequence[str] | None = None,
    backend: str | None = None,
    strip: Sequence[str] = (),
    suffix: str = "",
    read: bool = True,
    missing: Missing = "report",
    dry_run: bool = False,
    batch: int = 100,
    concurrency: int = 16,
    resume: str | None = None,
) -> Iterator[Progress]:
    """Turn what other libraries wrote into our documents; objects stay in place.

    Args:
        metadata: The models' ``MetaData``, in which the column is a ``StoredObject``.
        engine: Where the rows are.
        column: ``table.column``, or several. Its own documents are rewritten: Advanced Alchemy's, sqlalchemy-file's,
            filedepot's, and ours if they lack a size or checksum.
        source: ``table.column`` of another column of the same table, with strings or with documents of these libraries; rows
            whose file is NULL then get one from there. It stays as it is, so that its library goes on reading it. For several
            columns, one for each.
        backend: Key of the backend with the objects. Default: the one that a document names, or for ``source`` the column's.
        strip: A prefix of strings that is not part of paths, such as ``uploads/`` or ``https://cdn.example/media/``; with
            ``=key`` appended, the rest is a path in that backend. Any other URL is a finding, and is never fetched.
        suffix: What the other library's store appends to the names in its documents: ``/file`` for filedepot's local depots.
        read: Read each object for its checksum and type; ``False`` uses only what the store knows of it.
        missing: What to do with a row whose object is missing: ``report`` leaves it unchanged, ``null`` removes the file.
        dry_run: Change nothing and read no object. Rows that share an object are found only within a batch.
        batch: Rows looked up, and rewritten, at a time.
        concurrency: Objects looked up at a time.
        resume: The cursor of an earlier run's progress: skip the columns and rows before it.

    Returns:
        Progress after each batch: ``done`` and ``changed`` rows, ``transferred`` bytes.

    Raises:
        LookupError: There is no such column, or no such backend.
        ValueError: A table has no primary key, ``source`` is in another table or missing for a column, the column of a
            ``source`` holds lists, ``strip`` was given without ``source``, or ``resume`` is not a cursor of these columns.
        MaintenanceRefusedError: The database may hide rows.
        StorageError: A store failed. The copies of that batch are deleted; the last progress has the cursor to continue from.
    """
    if missing not in {"report", "null"}:
        raise ValueError(f"missing must be 'report' or 'null', not {missing!r}")
    where = None if backend is None else storages.get_backend(backend)
    planners = [
        Planner(one, _source(one, its, strip, suffix, where), where, read=read and not dry_run, suffix=suffix)
        for one, its in _pairs(metadata, column, source)
    ]
    if resume is not None and len(planners) > 1:
        planners = planners[position([planner.column for planner in planners], resume) :]
    works = [_Adoption(metadata, engine, planner, missing, concurrency, dry_run=dry_run) for planner in planners]
    return _run(works, batch, resume, needs_checksum=read)


adopt_async: Final = awaited(adopt)


def _pairs(
    metadata: MetaData, column: str | Sequence[str], source: str | Sequence[str] | None
) -> list[tuple[FileColumn, str | None]]:
    """Return each column with its source."""
    columns = [column_named(metadata, name) for name in ([column] if isinstance(column, str) else column)]
    sources = [source] if source is None or isinstance(source, str) else list(source)
    if not columns or (sources not in ([], [None]) and len(sources) != len(columns)):
        raise ValueError(f"adopt takes one source (--source) for each column or none, not {len(sources)} for {len(columns)}")
    return list(zip(columns, sources if len(sources) == len(columns) else [None] * len(columns), strict=True))


def _run(works: Sequence[_Adoption], batch: int, resume: str | None, *, needs_checksum: bool) -> Iterator[Progress]:
    """Adopt one column after the other; a cursor is of the first."""
    for number, work in enumerate(works):
        condition = _unadopted(work.planner, needs_checksum=needs_checksum)
        yield from work.run(batch, None if number else resume, condition, work.text)


def _source(
    column: FileColumn, source: str | None, strip: Sequence[str], suffix: str, backend: StorageBackend | None
) -> Source | None:
    if source is None:
        if strip:
            raise ValueError("strip (--strip) is for strings; name their column with source= (--source)")
        return None
    table: Table = column.table
    found = next((one for one in table.columns if f"{table.fullname}.{one.name}" == source and one is not column.column), None)
    if found is None:
        names = ", ".join(f"{table.fullname}.{one.name}" for one in table.columns if one is not column.column)
        raise ValueError(f"source (--source) must be another column of the same table ({names}), not {source!r}")
    raw = found.type
    while isinstance(raw, TypeDecorator):
        raw = raw.impl_instance
    made = Source(type_coerce(found, raw), strip, (backend or storages.resolve(column.type.backend)).key, suffix)
    if not isinstance(raw, String | JSON) or isinstance(found.type, StoredObject):
        raise ValueError(  # noqa: TRY004 - the argument is a name
            f"source (--source) must be a column of strings or of JSON documents, but {source!r} is {found.type!r}"
        )
    if column.type.multiple:
        raise ValueError(
            f"source (--source) is for a column of one file, but {column.name!r} holds lists; adopt lists where they are"
        )
    return made


def _unadopted(planner: Planner, *, needs_checksum: bool) -> ColumnElement[bool] | None:
    """Return the condition that a row is not adopted yet; not for lists."""
    column = planner.column
    if planner.source is not None:
        source = planner.source.column
        return column.column.is_(None) & (source != "") if isinstance(source.type, String) else column.column.is_(None)
    if column.type.multiple:
        return None
    keys = ("v", "size", "checksum") if needs_checksum else ("v", "size")
    return or_(*(column.json[key].as_string().is_(None) for key in keys))


class _Adoption(Batches):
    """One run."""

    def __init__(
        self, metadata: MetaData, engine: Engine, planner: Planner, missing: Missing, concurrency: int, *, dry_run: bool
    ) -> None:
        super().__init__(Census(metadata, engine), engine, planner.column, "adopt", "look up its files")
        self.text = None if planner.source is None else planner.source.column
        self._metadata = metadata
        self.planner = planner
        self._missing = missing
        self._concurrency = concurrency
        self._dry_run = dry_run
        self._full: set[str] = set()

    def _round(self, found: Sequence[Row]) -> list[Row]:
        return self._adopt([plan for plan in map(self.planner.planned, found) if plan is not None])

    def _adopt(self, plans: Sequence[AdoptionPlan]) -> list[Row]:
        """Look up, copy shared objects, rewrite; return rows that changed meanwhile."""
        entries = [entry for plan in plans for entry in plan.entries]
        outcome = RewriteOutcome()
        wanted: list[Rewrite] = []
        try:
            with undone_with(lambda: self._undo(plans, outcome)):
                raise_if(run_all([entry.look for entry in entries], self._concurrency).error)
                self._part(entries)
                if not self._dry_run:
                    raise_if(run_all([entry.copy for entry in entries if entry.copy is not None], self._concurrency).error)
                removable = self._removable(entries)
                wanted = [one for plan in plans if (one := plan.rewrite(removable)) is not None]
                if self._dry_run:
                    outcome.written += wanted
                    self._would_change += len(wanted)
                else:
                    compare_and_set(self._engine, self._column, wanted, outcome, self.text)
        finally:
            self._bytes += sum(entry.look.transferred for entry in entries)
            self._changed += 0 if self._dry_run else len(outcome.written)
        self._undo(plans, outcome)
        return self._left(plans, outcome, removable)

    def _part(self, entries: Sequence[Entry]) -> None:
        """Copy the object for each file after the first that names it, under any key."""
        found = [entry for entry in entries if entry.legacy and entry.look.facts is not None]
        taken: dict[str, set[str]] = {}
        with self._engine.connect() as connection, unfiltered(connection):
            for _, path, document in documents_with(connection, self._metadata, {entry.look.known.path for entry in found}):
                if not isinstance(document, dict) or document.get("v") is not None:  # others are adopted in their turn
                    taken.setdefault(path, set()).add(_key_in(document))
        for entry in found:
            path, key = entry.look.known.path, entry.look.known.backend
            keys = taken.setdefault(path, set())
            if any(_is_one_object(path, key, other) for other in keys):
                entry.share(self.planner.column)
            keys.add(key)

    def _removable(self, entries: Sequence[Entry]) -> set[str]:
        """Return backends, not empty, whose missing objects may be removed from rows.

        If a bucket was renamed or a disk is not mounted, all objects look missing.
        """
        if self._missing == "report":
            return set()
        for entry in entries:
            key = entry.look.known.backend
            if entry.is_missing and key not in self._full:
                backend = storages.get_backend(key)
                self._full |= {key} if holds_files(backend) else set()
        return self._full

    def _undo(self, plans: Sequence[AdoptionPlan], outcome: RewriteOutcome) -> None:
        kept = {one.key for one in (*outcome.written, *outcome.doubtful)}
        made = {ref for plan in plans if plan.row.key not in kept for entry in plan.entries for ref in entry.made}
        discard(self._census, made)

    def _left(self, plans: Sequence[AdoptionPlan], outcome: RewriteOutcome, removable: set[str]) -> list[Row]:
        """Return the rows to retry; record the findings of the others."""
        again: dict[tuple[Any, ...], Row] = {}
        for key, (value, text) in present(self._engine, self._column, outcome.lost, self.text).items():
            if self.text is None:
                again[key] = Row(key, value)
            elif value is None and text:
                again[key] = Row(key, text)
        lost = {one.key for one in outcome.lost}
        for plan in plans:
            if plan.row.key not in lost:
                self._findings += plan.findings(removable, dry_run=self._dry_run)
        return [row for row in again.values() if row.value is not None]


def _key_in(document: Any) -> str:
    """Return the backend's key in a document; empty if this release cannot read it."""
    key = document.get("backend") if isinstance(document, dict) else None
    return key if isinstance(key, str) else ""


def _is_one_object(path: str, *keys: str) -> bool:
    """Return True if a path is the same object under two keys, or if that is unknown.

    Two that share one would lose it with either of their rows; a copy too many costs space.
    """
    if keys[0] == keys[1] or not all(map(storages.is_registered, keys)):
        return True
    backends = [storages.get_backend(key) for key in keys]
    try:
        one, other = (call(backend.head, backend.head_async, path) for backend in backends)
    except ObjectNotFoundError:
        return False
    except StorageError:
        return True
    return one[1:5] == other[1:5]
