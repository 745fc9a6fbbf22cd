"""The first step of a drain: lock due tombstones, ask who names their objects, count an attempt for those that nobody names."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Dialect, Double, Engine, Select, delete, false, func, literal, select, update

from filerow._orm.ownership import Ref
from filerow._orm.references import referenced
from filerow.outbox._clock import now
from filerow.outbox._table import Tombstone

if TYPE_CHECKING:
    from filerow.outbox._outbox import Outbox

__all__ = ("Claim", "Due", "claimed", "locked", "read_committed", "skips_locked", "take_write_lock")

logger = logging.getLogger("filerow")

_READ_COMMITTED = frozenset({"postgresql", "mysql", "mariadb"})


@dataclass(frozen=True, slots=True)
class Claim:
    """Tombstones of dead objects that are ours for the length of the lease; their ``attempts`` include this one."""

    tombstones: list[Tombstone]
    taken_back: int


class Due:
    """Which tombstones are due, at one moment of the database's clock."""

    def __init__(self, outbox: Outbox, moment: float, without: set[str]) -> None:
        self._table = outbox.table
        self._moment = moment
        self._dropped = moment - outbox.retention.total_seconds()
        self._without = without

    def new(self, size: int) -> Select[Any]:
        """Return the tombstones that nobody has tried, the oldest first."""
        columns = self._table.c
        # NULL is all that next_attempt can be here; named, it makes this the order of the index
        return self._select(size).where(columns.next_attempt.is_(None)).order_by(columns.next_attempt, columns.dropped_at)

    def again(self, size: int) -> Select[Any]:
        """Return the tombstones that are to be tried again, the most overdue first."""
        columns = self._table.c
        return self._select(size).where(columns.next_attempt <= self._moment).order_by(columns.next_attempt)

    def _select(self, size: int) -> Select[Any]:
        columns = self._table.c
        wanted: list[ColumnElement[Any]] = [columns[name] for name in Tombstone.__slots__]
        due = select(*wanted).where(columns.dead == 0, columns.dropped_at <= self._dropped).limit(size)
        return due.where(columns.backend.not_in(sorted(self._without))) if self._without else due


def read_committed(engine: Engine) -> Engine:
    """Return the engine in the isolation that sees what others have committed by the time of each statement."""
    if engine.dialect.name in _READ_COMMITTED:
        return engine.execution_options(isolation_level="READ COMMITTED")
    return engine


def take_write_lock(outbox: Outbox, connection: Connection) -> None:
    """Take SQLite's one write lock, by an UPDATE that matches nothing; nothing elsewhere."""
    if connection.dialect.name == "sqlite":
        connection.execute(update(outbox.table).values(attempts=outbox.table.c.attempts).where(false()))


def skips_locked(dialect: Dialect) -> bool:
    """Say whether the database has ``FOR UPDATE SKIP LOCKED``."""
    version = getattr(dialect, "server_version_info", None) or ()
    if dialect.name == "postgresql":
        return version >= (9, 5)
    if getattr(dialect, "is_mariadb", False):
        return version >= (10, 6)
    return dialect.name == "mysql" and version >= (8, 0, 1)


def locked(outbox: Outbox, connection: Connection, due: Due, size: int) -> list[Tombstone]:
    """Return due tombstones that nobody else has; half of a batch at most are tried again while there are new ones."""
    take_write_lock(outbox, connection)
    if connection.dialect.name == "postgresql":
        # What is looked for has an index, which a table that was empty when it was last analyzed would not use.
        connection.exec_driver_sql("SET LOCAL enable_seqscan TO off")
    skip = skips_locked(connection.dialect)

    def read(statement: Select[Any]) -> list[Tombstone]:
        rows = connection.execute(statement.with_for_update(skip_locked=True) if skip else statement)
        return [Tombstone(*row) for row in rows]

    found = read(due.again((size + 1) // 2))
    if len(found) < size:
        found += read(due.new(size - len(found)))
    return found


def claimed(outbox: Outbox, connection: Connection, found: Sequence[Tombstone]) -> Claim:
    """Count an attempt for each tombstone, and take back those of objects that a row names.

    From the commit on nobody can give such an object to a row again: the triggers refuse it.
    """
    ours = _marked(outbox, connection, found)
    if not ours:
        return Claim([], 0)
    live = referenced(connection, outbox.metadata, [Ref(one.backend, one.path) for one in ours])
    newest = _newest(outbox, connection, ours)
    kept: list[Tombstone] = []
    forgotten: list[int] = []
    taken_back = 0
    for one in ours:
        ref = Ref(one.backend, one.path)
        if ref in live:
            taken_back += 1
            if one.attempts > 1:
                logger.warning("%s names an object again whose deletion had begun; is it there? filerow check tells", ref)
        elif not (one.attempts == 1 and one.id < newest[ref]):
            kept.append(one)
            continue
        forgotten.append(one.id)  # it lives, or was dropped once more: the newest tombstone says from when on to keep it
    if forgotten:
        connection.execute(delete(outbox.table).where(outbox.table.c.id.in_(forgotten)))
    return Claim(kept, taken_back)


def _marked(outbox: Outbox, connection: Connection, found: Sequence[Tombstone]) -> list[Tombstone]:
    table = outbox.table
    lease = now(connection.dialect.name) + literal(outbox.lease.total_seconds(), Double)
    change = update(table).values(attempts=table.c.attempts + 1, next_attempt=lease)
    if connection.dialect.name == "sqlite" or skips_locked(connection.dialect):
        if found:
            connection.execute(change.where(table.c.id.in_([one.id for one in found])))
        won = list(found)
    else:  # without locks the one who counts first has won
        won = [
            one
            for one in found
            if connection.execute(change.where(table.c.id == one.id, table.c.attempts == one.attempts)).rowcount == 1
        ]
    return [Tombstone(one.id, one.backend, one.path, one.attempts + 1, one.dropped_at) for one in won]


def _newest(outbox: Outbox, connection: Connection, ours: Sequence[Tombstone]) -> dict[Ref, int]:
    """Return the number of each object's newest tombstone, due or not."""
    columns = outbox.table.c
    same = select(columns.backend, columns.path, func.max(columns.id)).group_by(columns.backend, columns.path)
    rows = connection.execute(same.where(columns.path.in_(sorted({one.path for one in ours}))))
    return {Ref(backend, path): newest for backend, path, newest in rows}
