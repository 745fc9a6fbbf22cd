"""Migrate: moves a column's files to another backend, without downtime.

Batch by batch: copy the files and check the size and SHA-256 of each on the way; then rewrite the documents of unchanged rows in
one short transaction; then release the old objects. A file can be read at every moment, since its document always names a
complete object. If the process is killed, the next run does the rest, and a sweep finds copies that no row names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, MetaData, or_

from filerow._document import Facts, to_document
from filerow._execution.batch import raise_if, run_all
from filerow._orm.ownership import Ref
from filerow._orm.references import FileColumn, column_named
from filerow._paths import generate_path
from filerow._registry import storages
from filerow.backends._paths import check_path
from filerow.backends._stored_with import check_kept
from filerow.backends.base import StorageBackend
from filerow.exceptions import BackendNotFoundError, DocumentError, InvalidPathError
from filerow.maintenance._awaited import awaited
from filerow.maintenance._batches import Batches
from filerow.maintenance._legacy import members_of, read_document
from filerow.maintenance._migrate.moving import Moving
from filerow.maintenance._migrate.one_bucket import OneBucket, one_bucket
from filerow.maintenance._report import Finding, Progress
from filerow.maintenance._rewrite import Rewrite, RewriteOutcome, compare_and_set, discard, forget, present, undone_with
from filerow.maintenance._rows import Row, row_name
from filerow.outbox import outbox_of
from filerow.outbox._census import Also, Census
from filerow.outbox._places import Places


def migrate(
    metadata: MetaData,
    engine: Engine,
    column: str,
    *,
    to: str | None = None,
    batch: int = 100,
    concurrency: int = 16,
    dry_run: bool = False,
    resume: str | None = None,
    also: Also = (),
) -> Iterator[Progress]:
    """Move a column's files from other backends into one, while the application runs.

    Args:
        metadata: The models' ``MetaData``.
        engine: Where the rows are.
        column: ``table.column``.
        to: Key of the backend to move to. Default: the column's own, where the application already stores new files.
        batch: Rows whose files are copied, and which are rewritten, at a time.
        concurrency: Files copied at a time.
        dry_run: Only count the files, and the bytes by their documents.
        resume: The cursor of an earlier run's progress: skip the rows before it.
        also: Others that may name the old objects: other models of the same database, engines of the same models, or pairs.
            Objects that they name are kept; their own rows move when they are migrated.

    Returns:
        Progress after each batch: ``done`` rows, ``changed`` files, ``transferred`` bytes. A file that is missing or differs from
        its row is a finding, and its row is left unchanged.

    Raises:
        LookupError: There is no such column, or no such backend.
        ValueError: The table has no primary key, or ``resume`` is not a cursor of this column.
        MaintenanceRefusedError: The database may hide rows.
        UnsupportedOperationError: The backend does not support the column's ``stored_with``.
        StorageError: A store failed. The copies of that batch are deleted; the last progress has the cursor to continue from.
    """
    file_column = column_named(metadata, column)
    target = storages.resolve(file_column.type.backend if to is None else to)
    if file_column.type.stored_with is not None:
        check_kept(target, file_column.type.stored_with, file_column.name)
    work = _Migration(Census(metadata, engine, also), engine, file_column, target, concurrency, dry_run=dry_run)
    return work.run(batch, resume, _elsewhere(file_column, target))


migrate_async: Final = awaited(migrate)


def _elsewhere(column: FileColumn, target: StorageBackend) -> ColumnElement[bool] | None:
    """Return the condition that a row's file is not in the target; not for lists."""
    backend = column.json["backend"].as_string()
    return None if column.type.multiple else or_(backend != target.key, backend.is_(None))


@dataclass(slots=True)
class _Plan:
    """One row whose files are to move.

    Attributes:
        row: The row as it was read.
        documents: Its documents after the move; those of files that stay are unchanged.
        moves: The files that move, by index in the list.
        flaws: What prevents some of its files from moving.
    """

    row: Row
    documents: list[Any]
    moves: dict[int, Moving] = field(default_factory=dict)
    flaws: list[Finding] = field(default_factory=list)


class _Migration(Batches):
    """One run."""

    def __init__(
        self, census: Census, engine: Engine, column: FileColumn, target: StorageBackend, concurrency: int, *, dry_run: bool
    ) -> None:
        super().__init__(census, engine, column, "migrate", "copy its files")
        self._target = target
        self._concurrency = concurrency
        self._dry_run = dry_run
        self._buckets: dict[str, OneBucket | None] = {}
        self._places = Places(census, "sweep")
        self._outbox = outbox_of(census.databases[0][0])
        self._own: set[str] = set()

    def _round(self, found: Sequence[Row]) -> list[Row]:
        plans = [plan for plan in map(self._planned, found) if plan.moves or plan.flaws]
        if not self._dry_run:
            return self._move(plans)
        self._count(plans)
        return []

    def _planned(self, row: Row) -> _Plan:
        documents = members_of(row.value)
        plan = _Plan(row, list(documents))
        for place, document in enumerate(documents):
            try:
                facts = read_document(document).facts
            except DocumentError as error:
                plan.flaws.append(self._flaw(row, "unreadable", str(error)))
                continue
            try:
                origin = storages.get_backend(facts.backend)
            except BackendNotFoundError as error:
                plan.flaws.append(self._flaw(row, "unknown-backend", str(error), facts))
                continue
            if origin is not self._target:
                self._see_to(origin)
                path, generated = self._path(facts)
                bucket = self._bucket(origin)
                plan.moves[place] = Moving(
                    facts,
                    origin,
                    self._target,
                    path,
                    generated=generated,
                    bucket=bucket,
                    stored_with=self._column.type.stored_with,
                    variants=self._column.type.variants,
                )
        return plan

    def _see_to(self, origin: StorageBackend) -> None:
        """Check once that a place is this database's if objects are deleted at once.

        Raises:
            MaintenanceRefusedError: Another database has deleted in it.
        """
        is_guarded = self._outbox is not None or not storages.may_delete(origin.key)
        if not is_guarded and origin.key not in self._own:
            refusal = self._places.look(origin.key)
            if refusal is not None:
                raise refusal
            self._own.add(origin.key)

    def _bucket(self, origin: StorageBackend) -> OneBucket | None:
        """Return the bucket that a backend shares with the target; cached."""
        if origin.key not in self._buckets:
            self._buckets[origin.key] = one_bucket(origin, self._target)
        return self._buckets[origin.key]

    def _path(self, facts: Facts) -> tuple[str, bool]:
        """Return where to put a file, and True if the path was generated."""
        if self._column.type.path is not None:
            try:
                return check_path(facts.path, self._target.key, "put"), False
            except InvalidPathError:  # another library's path, which not every store accepts
                pass
        name, shards = self._column.column.name, self._column.type.shards
        return generate_path(self._column.table.name, name, facts.filename, shards=shards), True

    def _count(self, plans: Sequence[_Plan]) -> None:
        for plan in plans:
            self._findings += plan.flaws
            self._would_change += len(plan.moves)
            self._bytes += sum(move.source.size or 0 for move in plan.moves.values())

    def _move(self, plans: Sequence[_Plan]) -> list[Row]:
        """Copy, rewrite and release; return rows that changed meanwhile."""
        moves = [move for plan in plans for move in plan.moves.values()]
        outcome = RewriteOutcome()
        rewrites: dict[tuple[Any, ...], Rewrite] = {}
        try:
            with undone_with(lambda: self._undo(plans, outcome)):
                raise_if(run_all(moves, self._concurrency).error)
                rewrites = {plan.row.key: self._rewrite(plan) for plan in plans}
                compare_and_set(self._engine, self._column, [one for one in rewrites.values() if one.new != one.old], outcome)
        finally:
            self._bytes += sum(move.transferred for move in moves)
            written = _keys(outcome.written)
            self._changed += sum(
                move.facts is not None for plan in plans if plan.row.key in written for move in plan.moves.values()
            )
        self._undo(plans, outcome)
        forget(self._census, self._column, outcome.written)
        return self._again(plans, rewrites, outcome)

    def _rewrite(self, plan: _Plan) -> Rewrite:
        for place, move in plan.moves.items():
            if move.facts is not None:
                plan.documents[place] = to_document(move.facts)
        is_list = isinstance(plan.row.value, list)  # may differ from what the column says
        return Rewrite(plan.row.key, plan.row.value, plan.documents if is_list else plan.documents[0])

    def _undo(self, plans: Sequence[_Plan], outcome: RewriteOutcome) -> None:
        """Delete copies that no row got, unless a COMMIT's outcome is unknown."""
        kept = _keys(outcome.written) | _keys(outcome.doubtful)
        copies = {
            Ref(self._target.key, move.path)
            for plan in plans
            for move in plan.moves.values()
            if move.made and (move.facts is None or plan.row.key not in kept)
        }
        discard(self._census, copies, self._column.type.variants)

    def _again(self, plans: Sequence[_Plan], rewrites: dict[tuple[Any, ...], Rewrite], outcome: RewriteOutcome) -> list[Row]:
        """Return rows that changed, in their new state; report the others' flaws."""
        written = _keys(outcome.written)
        doubted = [rewrites[plan.row.key] for plan in plans if _flaws(plan) and plan.row.key not in written]
        found = present(self._engine, self._column, [*outcome.lost, *doubted])
        now = {key: value for key, (value, _) in found.items()}
        again = {one.key: Row(one.key, now[one.key]) for one in outcome.lost if now.get(one.key) is not None}
        for plan in plans:
            key = plan.row.key
            if not _flaws(plan) or key in again:
                continue
            if key in written or now.get(key) == plan.row.value:
                self._findings += [self._finding(plan, flaw) for flaw in _flaws(plan)]
            elif now.get(key) is not None:
                again[key] = Row(key, now[key])
        return list(again.values())

    # -- findings ------------------------------------------------------------------------------------------------------

    def _finding(self, plan: _Plan, flaw: Finding | Moving) -> Finding:
        if isinstance(flaw, Finding):
            return flaw
        code, message = flaw.flaw or ("", "")
        return self._flaw(plan.row, code, message, flaw.source)

    def _flaw(self, row: Row, code: str, message: str, facts: Facts | None = None) -> Finding:
        where = row_name(self._column, row.key)
        backend, path = ("", "") if facts is None else (facts.backend, facts.path)
        return Finding(code, message, "error", where, backend, path, "the row is left unchanged")


def _flaws(plan: _Plan) -> list[Finding | Moving]:
    return [*plan.flaws, *(move for move in plan.moves.values() if move.flaw is not None)]


def _keys(rewrites: Sequence[Rewrite]) -> set[tuple[Any, ...]]:
    return {one.key for one in rewrites}
