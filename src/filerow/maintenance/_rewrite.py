"""Compare-and-set: rewrites documents only in rows that have not changed.

Copying takes time, and no lock is held meanwhile. So rows are locked and compared afterwards, a batch in one short transaction;
any change made until then wins. What is left over, old objects or useless copies, is deleted if no row names it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, select

from filerow._execution.batch import raise_if
from filerow._file.transfer import delete_all
from filerow._orm.fields import Buried
from filerow._orm.locks import BATCH, any_of, locking
from filerow._orm.ownership import Ref
from filerow._orm.references import FileColumn, decoded, documents_in, refs_in
from filerow._recipes import Variants
from filerow._registry import storages
from filerow.exceptions import DocumentError
from filerow.maintenance._rows import write
from filerow.outbox import Outbox, outbox_of
from filerow.outbox._census import Census
from filerow.outbox._drain import skips_locked
from filerow.outbox._isolation import read_committed
from filerow.outbox._table import bury, plain_table, take_back, take_write_lock
from filerow.outbox._triggers.install import has_triggers


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A row to get other documents.

    Attributes:
        key: The values of its primary key.
        old: The JSON that was read from its column.
        new: The JSON to write, ``None`` for NULL.
        text: The value of the other column that the document is made from, if any.
        kept: Objects that the old documents name, and the new ones under another backend's key: they are not released.
    """

    key: tuple[Any, ...]
    old: Any
    new: Any
    text: Any = None
    kept: frozenset[Ref] = frozenset()


@dataclass(slots=True)
class RewriteOutcome:
    """The result of a batch; valid at any moment, also after an error.

    Attributes:
        written: Committed.
        lost: Changed by somebody else, or gone: not written.
        doubtful: A COMMIT that was sent; if it raises, its outcome is unknown.
    """

    written: list[Rewrite] = field(default_factory=list)
    lost: list[Rewrite] = field(default_factory=list)
    doubtful: list[Rewrite] = field(default_factory=list)


class Rows:
    """Locks and reads the rows of one column by their keys.

    Args:
        column: The column.
        source: Another column of the same table to compare as well.
    """

    def __init__(self, column: FileColumn, source: ColumnElement[Any] | None = None) -> None:
        self.column = column
        self._keys = list(column.table.primary_key.columns)
        self._read: list[ColumnElement[Any]] = [*self._keys, column.json, *([] if source is None else [source])]

    def found(
        self, connection: Connection, wanted: Sequence[Rewrite], *, lock: bool = True, skip: bool = False
    ) -> dict[tuple[Any, ...], tuple[Any, Any]]:
        """Return JSON and text of existing rows, locked, or without locked ones."""
        if lock:
            take_write_lock(connection, plain_table(self.column), self.column.column.name)
        width = len(self._keys)
        found = {}
        for start in range(0, len(wanted), BATCH):
            statement = select(*self._read).where(any_of(self._keys, [one.key for one in wanted[start : start + BATCH]]))
            if lock:
                statement = locking(statement, connection.dialect, key_share=True, skip_locked=skip)
            for row in connection.execute(statement):
                value = tuple(row[width:])
                found[tuple(row[:width])] = (decoded(value[0]), value[1] if len(value) > 1 else None)
        return found


def compare_and_set(
    engine: Engine,
    column: FileColumn,
    rewrites: Sequence[Rewrite],
    outcome: RewriteOutcome,
    source: ColumnElement[Any] | None = None,
) -> None:
    """Rewrite the rows that have not changed; nothing else in them changes.

    Rows locked by others are skipped at first, and then waited for one by one: waiting without holding a lock cannot cause a
    deadlock, so no transaction of the application fails because of this.

    Args:
        engine: Where the rows are.
        column: The file column.
        rewrites: What to write.
        outcome: Receives the result, transaction by transaction.
        source: The other column that :attr:`Rewrite.text` is of.
    """
    rows = Rows(column, source)
    skips = skips_locked(engine.dialect)
    alone = list(rewrites)
    if len(rewrites) > 1 and (skips or engine.dialect.name == "sqlite"):
        alone = _transaction(engine, rows, rewrites, outcome, skip=skips)
    for one in alone:
        _transaction(engine, rows, [one], outcome)


def _transaction(
    engine: Engine, rows: Rows, rewrites: Sequence[Rewrite], outcome: RewriteOutcome, *, skip: bool = False
) -> list[Rewrite]:
    """Compare and set in one transaction; return rows that are gone or locked."""
    writes = _writes_tombstones(engine, rows.column)
    written: list[Rewrite] = []
    lost: list[Rewrite] = []
    passed: list[Rewrite] = []
    with read_committed(engine) as connection, connection.begin():
        found = rows.found(connection, rewrites, skip=skip)
        for one in rewrites:
            if one.key not in found:
                (passed if skip else lost).append(one)
            elif found[one.key] == (one.old, one.text):
                write(connection, rows.column, one.key, one.new)
                written.append(one)
            else:
                lost.append(one)
        if writes is not None:
            bury(connection, writes.table, [buried for one in written for buried in _buried(rows.column, one)])
        _take_back(connection, rows.column, written)
        outcome.doubtful = written
    outcome.doubtful = []
    outcome.written += written
    outcome.lost += lost
    if writes is not None and written:
        writes.wake()
    return passed


def present(
    engine: Engine, column: FileColumn, rewrites: Sequence[Rewrite], source: ColumnElement[Any] | None = None
) -> dict[tuple[Any, ...], tuple[Any, Any]]:
    """Read JSON and text of the rows as they are now, without a lock."""
    if not rewrites:
        return {}
    with engine.connect() as connection:
        return Rows(column, source).found(connection, rewrites, lock=False)


def forget(census: Census, column: FileColumn, written: Iterable[Rewrite]) -> None:
    """Delete old objects of rewritten rows; an outbox has their tombstones."""
    if column.type.lifecycle and outbox_of(column.table.metadata) is None:
        released = {ref for one in written for ref in _released(one)}
        discard(census, {ref for ref in released if storages.may_delete(ref.backend)}, column.type.variants)


def discard(census: Census, refs: Iterable[Ref], variants: Variants = ()) -> None:
    """Delete objects that no row names, then their variants; failures are logged."""
    unwanted = set(refs)
    if unwanted:
        unwanted -= census.named(unwanted).kept
        raise_if(delete_all(dict.fromkeys(sorted(unwanted), variants)))


def named_in(value: Any) -> set[Ref]:
    """Return the objects that the readable ones of a value's documents name."""
    found: set[Ref] = set()
    for document in documents_in(value):
        try:
            found.update(refs_in(document))
        except DocumentError:
            continue
    return found


@contextmanager
def undone_with(undo: Callable[[], object]) -> Generator[None]:
    """Delete the copies of a batch that fails; note a failure of that."""
    try:
        yield
    except BaseException as error:
        try:
            undo()
        except Exception as failed:  # noqa: BLE001 - the first error is the one to report
            error.add_note(f"copies could not be deleted, a sweep finds them: {failed}")
        raise


def _released(one: Rewrite) -> set[Ref]:
    return named_in(one.old) - named_in(one.new) - one.kept


def _take_back(connection: Connection, column: FileColumn, written: Sequence[Rewrite]) -> None:
    """Remove tombstones of objects that only have another name now."""
    outbox = outbox_of(column.table.metadata)
    kept = sorted({ref for one in written for ref in one.kept})
    if outbox is not None and kept:
        take_back(connection, outbox.table, kept)


def _writes_tombstones(engine: Engine, column: FileColumn) -> Outbox | None:
    """Return the outbox if no trigger records what the table's rows release."""
    outbox = outbox_of(column.table.metadata) if column.type.lifecycle else None
    return None if outbox is None or has_triggers(engine.dialect, column.table) else outbox


def _buried(column: FileColumn, one: Rewrite) -> list[Buried]:
    names = [key.name for key in column.table.primary_key.columns]
    key = dict(zip(names, one.key, strict=True))
    return [Buried(ref, column.table.fullname, column.column.name, key) for ref in sorted(_released(one))]
