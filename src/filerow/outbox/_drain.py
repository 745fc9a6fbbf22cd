"""Draining: deletes the objects of due tombstones, unless a row still names them.

A batch has three steps, and holds a connection only in the first and the last::

    lease    one short transaction: lock due tombstones, ask every file column, remove those of live objects, count an attempt
    delete   one bulk delete per backend; then the variants, with one listing for each object (see ``_erase``)
    settle   one short transaction: forget what is gone, postpone what failed

A drain leaves a lease in ``next_attempt``. If its process dies, the next drain after that takes over. Deleting a missing object
is not a failure, so a drain may be killed at any time.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import timedelta
from operator import add
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Double,
    Engine,
    Integer,
    Select,
    Text,
    bindparam,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from filerow._document import facts_from, public_view
from filerow._execution.batch import raise_if
from filerow._log import cause_of, extras, logger, named, objects
from filerow._orm.ownership import Ref
from filerow.exceptions import DocumentError, StorageError
from filerow.hooks import Event, deliver, subscriptions
from filerow.outbox._census import Also, Census
from filerow.outbox._erase import Erased, erase
from filerow.outbox._isolation import read_committed
from filerow.outbox._places import Gate, Note, Places
from filerow.outbox._settings import OutboxSettings
from filerow.outbox._table import Tombstone, among, now, now_of, take_write_lock, write_state
from filerow.outbox._used_claims import forget_claims

MOST = 10_000
"""Maximum size of a batch: some databases take 32,767 parameters in one statement."""

RUN = "drainer"
"""The name under which the outbox's state records when it was drained."""

_MOST_OF_AN_ERROR = 2_000


@dataclass(frozen=True, slots=True)
class Drained:
    """The result of a drain.

    Attributes:
        deleted: Objects that are gone now.
        taken_back: Tombstones of objects that a row still names, or names again; their bytes stay.
        failed: Objects that could not be deleted and will be tried again.
        dead: Objects that could not be deleted and were given up, until :meth:`Outbox.revive`.
        kept: Objects that may belong to a row whose document this release cannot read; they will be tried again.
    """

    deleted: int = 0
    taken_back: int = 0
    failed: int = 0
    dead: int = 0
    kept: int = 0

    def __add__(self, other: Drained) -> Drained:
        return Drained(*map(add, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class Failure:
    """One object that could not be deleted.

    Attributes:
        ref: The object.
        error: The reason.
        dead: True if it was given up.
    """

    ref: Ref
    error: str
    dead: bool


class Doubts(NamedTuple):
    """What this release does not understand in rows.

    Attributes:
        unreadable: How many documents cannot be read, by column.
        strange: Keys of unregistered backends that rows name, each with a path.
    """

    unreadable: Mapping[str, int] = MappingProxyType({})
    strange: Mapping[str, str] = MappingProxyType({})


_NO_DOUBTS = Doubts()


@dataclass(frozen=True, slots=True)
class DrainedBatch:
    """One settled batch.

    Attributes:
        drained: What was done.
        failures: What could not be done.
        doubts: What could not be understood.
        notes: Messages about places.
    """

    drained: Drained = Drained()
    failures: tuple[Failure, ...] = ()
    doubts: Doubts = _NO_DOUBTS
    notes: tuple[Note, ...] = ()


def batches(
    settings: OutboxSettings, engine: Engine, *, batch: int, limit: int | None, also: Also = (), take_over: bool = False
) -> Iterator[DrainedBatch]:
    """Drain what is due now, each tombstone once, and yield after every batch.

    Raises:
        MaintenanceRefusedError: Something is due, and rows may be hidden; or, after all else is done, a place was last swept by
            another database.
    """
    census = Census(settings.metadata, engine, also)
    with read_committed(engine) as connection:
        moment = now_of(connection)
    left = limit
    gate = Gate(census, Places(census, "drain", take_over=take_over))
    while left is None or left > 0:
        size = batch if left is None else min(batch, left)
        with read_committed(engine) as connection, connection.begin():
            found = locked(settings, connection, Due(settings, moment, gate.closed), size)
            keys = {one.backend: None for one in found}
            ready = not keys or gate.is_ready(keys)
            lease = leased(settings, connection, found, census) if ready else Lease([], 0)
        if not ready:  # ask catalogue and store before locks are held and attempts counted
            notes = gate.ask(keys)
            if notes:
                yield DrainedBatch(notes=notes)
            continue
        if not found:
            break
        outcome = erase(lease.tombstones, gate.broken, settings.metadata)
        failures = _settle(settings, engine, outcome)
        raise_if(deliver(outcome.events) if outcome.events else None)
        yield _settled(lease, outcome, failures)
        gate.closed |= outcome.refusing  # do not retry anything on a store that is down before the next drain
        left = None if left is None else left - len(found)
    if gate.refusal is not None:
        raise gate.refusal


def _settled(lease: Lease, outcome: Erased, failures: Sequence[Failure]) -> DrainedBatch:
    if outcome.interruption is not None:
        raise outcome.interruption
    dead = sum(failure.dead for failure in failures)
    drained = Drained(len(outcome.gone), lease.taken_back, len(failures) - dead, dead, lease.kept)
    return DrainedBatch(drained, tuple(failures), lease.doubts)


def drain_steps(
    settings: OutboxSettings, engine: Engine, *, batch: int, limit: int | None = None, also: Also = (), take_over: bool = False
) -> Iterator[Drained]:
    """Drain batch by batch, and yield the result so far after each.

    Raises:
        ValueError: ``batch`` is out of range.
    """
    if not 1 <= batch <= MOST:
        raise ValueError(f"a batch must have 1 to {MOST:,} tombstones, not {batch}")
    return _totals(batches(settings, engine, batch=batch, limit=limit, also=also, take_over=take_over))


def _totals(steps: Iterable[DrainedBatch]) -> Iterator[Drained]:
    total = Drained()
    for step in steps:
        total += step.drained
        log_failures(step.failures)
        log_doubts(step.doubts)
        _log_notes(step.notes)
        if not step.notes:
            yield total


def note_run(settings: OutboxSettings, engine: Engine, facts: dict[str, Any]) -> None:
    """Record a drain in the outbox's state, for ``filerow doctor``; never raises."""
    try:
        with engine.begin() as connection:
            forget_claims(connection, settings.state)
            write_state(connection, settings.state, RUN, {"host": socket.gethostname(), "pid": os.getpid(), **facts})
    except SQLAlchemyError:
        logger.debug("could not record that the outbox was drained", exc_info=True)


# -- settle ----------------------------------------------------------------------------------------------------------------


def delay_after(attempts: int, backoff: timedelta, most: timedelta) -> float:
    """Return the seconds to wait after failed attempts: doubled, with 25 % jitter."""
    seconds = min(backoff.total_seconds() * 2.0 ** min(attempts - 1, 60), most.total_seconds())
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - so that a million do not come back at once


def _settle(settings: OutboxSettings, engine: Engine, outcome: Erased) -> list[Failure]:
    failures = [
        Failure(Ref(one.backend, one.path), error, one.attempts >= settings.max_attempts) for one, error in outcome.failed
    ]
    if not (outcome.gone or outcome.failed or outcome.left):
        return failures
    table = settings.table
    with read_committed(engine) as connection, connection.begin():
        take_write_lock(connection, settings.table, "attempts")
        if subscriptions:
            outcome.events = list(_events(settings, connection, outcome))
        if outcome.gone:
            connection.execute(delete(table).where(_these(settings, connection, outcome.gone)))
        if outcome.left:  # release these now, before the lease ends
            mine = _these(settings, connection, outcome.left)
            connection.execute(update(table).where(mine).values(next_attempt=now(connection.dialect.name)))
        if failures:
            _put_off(settings, connection, outcome.failed)
    return failures


def _events(settings: OutboxSettings, connection: Connection, outcome: Erased) -> Iterator[Event]:
    """Yield what is to be reported, with the rows that the objects have lost."""
    errors = {one.id: error for one, error in outcome.failed}
    tried = [*outcome.gone, *(one for one, _ in outcome.failed)]
    if not tried:
        return
    columns = settings.table.c
    wanted = select(columns.id, columns.column_name, columns.row_key, columns.document)
    known = {row[0]: row[1:] for row in connection.execute(wanted.where(_these(settings, connection, tried)))}
    for one in tried:
        column, key, document = known.get(one.id, (None, None, None))
        error = errors.get(one.id)
        yield Event(
            kind="deleted" if error is None else "failed",
            backend=one.backend,
            path=one.path,
            table=one.table_name,
            column=column,
            row=_row(settings, one.table_name, key),
            file=_view(document),
            operation=None if error is None else "delete",
            error=None if error is None else StorageError(error, operation="delete", backend=one.backend, path=one.path),
        )


def _row(settings: OutboxSettings, table: str | None, key: Any) -> tuple[Any, ...] | None:
    """Return the primary key of a lost row, in its table's order.

    MySQL keeps the members of a JSON object in an order of its own.
    """
    if not isinstance(key, dict):
        return None
    known = settings.metadata.tables.get(table or "")
    names = list(key) if known is None else [column.name for column in known.primary_key]
    return tuple(key[name] for name in names) if key.keys() >= set(names) else tuple(key.values())


def _view(document: Any) -> dict[str, Any] | None:
    """Return what clients may see of a file, without metadata.

    Only its column knows which of that is for them.
    """
    try:
        return public_view(facts_from(document), ()) if document else None
    except DocumentError:
        return None


def log_failures(failures: Iterable[Failure]) -> None:
    """Log what could not be deleted: one message per backend and cause."""
    alike: dict[tuple[str, str, bool], list[str]] = {}
    for failure in failures:
        cause = cause_of(failure.error, failure.ref.path)
        alike.setdefault((failure.ref.backend, cause, failure.dead), []).append(failure.ref.path)
    for (key, error, dead), paths in alike.items():
        what = (objects(len(paths)), key, named(paths), error)
        fields = extras("drain", key, objects=len(paths), error=error)
        if dead:
            logger.error(
                "gave up deleting %s of backend %r: %s: %s; fix the cause, then call outbox.revive(connection) to try again",
                *what,
                extra=fields,
            )
        else:
            logger.warning("%s of backend %r could not be deleted: %s: %s; will be tried again later", *what, extra=fields)


def log_doubts(doubts: Doubts) -> None:
    """Log what this release does not understand in rows."""
    if doubts.unreadable:
        columns = ", ".join(f"{name} ({count:,})" for name, count in sorted(doubts.unreadable.items()))
        logger.error(
            "rows have documents that this release cannot read, so the files of their tables are kept: %s; upgrade, or run "
            "filerow check to find the rows",
            columns,
            extra=extras("drain"),
        )
    for key, path in sorted(doubts.strange.items()):
        message = "rows name objects of backend %r, which is not registered, for example %r: they are kept"
        logger.error(message, key, path, extra=extras("drain", key))


_said: set[tuple[str, str]] = set()


def _log_notes(notes: Iterable[Note]) -> None:
    """Log messages about places; that a server is another one, once in this process."""
    for note in notes:
        fields = extras("drain", note.backend)
        if note.code == "first-run":
            logger.info("backend %r: %s; the next drain deletes", note.backend, note.message, extra=fields)
        elif (note.backend, note.who) not in _said:
            _said.add((note.backend, note.who))
            logger.warning("%s", note.message, extra=fields)


def _put_off(settings: OutboxSettings, connection: Connection, failed: Sequence[tuple[Tombstone, str]]) -> None:
    """Record when to try again, unless another drain has taken over."""
    table = settings.table
    later = now(connection.dialect.name) + bindparam("delay", type_=Double)
    change = update(table).where(table.c.id == bindparam("tombstone"), table.c.attempts == bindparam("seen"))
    connection.execute(
        change.values(next_attempt=later, last_error=bindparam("error", type_=Text), dead=bindparam("given_up", type_=Integer)),
        [
            {
                "tombstone": one.id,
                "seen": one.attempts,
                "delay": delay_after(one.attempts, settings.backoff, settings.max_backoff),
                "error": error[:_MOST_OF_AN_ERROR],
                "given_up": int(one.attempts >= settings.max_attempts),
            }
            for one, error in failed
        ],
    )


# -- the first step: lock due tombstones, ask who names their objects, count an attempt for the others --------------------


@dataclass(frozen=True, slots=True)
class Lease:
    """Tombstones of dead objects, leased to us; their ``attempts`` include this one."""

    tombstones: list[Tombstone]
    taken_back: int
    kept: int = 0
    doubts: Doubts = _NO_DOUBTS


class Due:
    """Which tombstones are due at one moment of the database's clock."""

    def __init__(self, settings: OutboxSettings, moment: float, without: set[str]) -> None:
        self._table = settings.table
        self._moment = moment
        self._dropped = moment - settings.retention.total_seconds()
        self._without = without

    def new(self, size: int) -> Select[Any]:
        """Return the tombstones that were never tried, the oldest first."""
        columns = self._table.c
        # next_attempt is always NULL here; naming it makes this the order of the index
        return self._select(size).where(columns.next_attempt.is_(None)).order_by(columns.next_attempt, columns.dropped_at)

    def again(self, size: int) -> Select[Any]:
        """Return the tombstones to try again, the most overdue first."""
        columns = self._table.c
        return self._select(size).where(columns.next_attempt <= self._moment).order_by(columns.next_attempt)

    def _select(self, size: int) -> Select[Any]:
        columns = self._table.c
        wanted: list[ColumnElement[Any]] = [columns[name] for name in Tombstone._fields]
        due = select(*wanted).where(columns.dead == 0, columns.dropped_at <= self._dropped).limit(size)
        return due.where(columns.backend.not_in(sorted(self._without))) if self._without else due


def skips_locked(dialect: Dialect) -> bool:
    """Return True if the database has ``FOR UPDATE SKIP LOCKED``."""
    version = getattr(dialect, "server_version_info", None) or ()
    if dialect.name == "postgresql":
        return version >= (9, 5)
    if getattr(dialect, "is_mariadb", False):
        return version >= (10, 6)
    return dialect.name == "mysql" and version >= (8, 0, 1)


def locked(settings: OutboxSettings, connection: Connection, due: Due, size: int) -> list[Tombstone]:
    """Return due tombstones, locked; at most half are retries if there are new ones."""
    take_write_lock(connection, settings.table, "attempts")
    if connection.dialect.name == "postgresql":
        # The index fits, but would not be used for a table that was empty when last analyzed.
        connection.exec_driver_sql("SET LOCAL enable_seqscan TO off")
    skip = skips_locked(connection.dialect)

    def read(statement: Select[Any]) -> list[Tombstone]:
        rows = connection.execute(statement.with_for_update(skip_locked=True) if skip else statement)
        return [Tombstone(*row) for row in rows]

    found = read(due.again((size + 1) // 2))
    if len(found) < size:
        found += read(due.new(size - len(found)))
    return found


def leased(settings: OutboxSettings, connection: Connection, found: Sequence[Tombstone], census: Census) -> Lease:
    """Count an attempt for each tombstone; remove those of objects with a row.

    After the commit no row can get such an object again: the triggers refuse it.
    """
    ours = [(one, Ref(one.backend, one.path)) for one in _marked(settings, connection, found)]
    if not ours:
        return Lease([], 0)
    named_by_rows = census.named([ref for _, ref in ours], connection)
    unreadable = named_by_rows.unreadable_tables
    doubted = {ref for one, ref in ours if (one.table_name or "").rpartition(".")[2] in unreadable} if unreadable else set()
    doubted = named_by_rows.doubtful | (doubted - named_by_rows.refs)  # the table may have been renamed since
    unsure = [one for one, ref in ours if ref in doubted] if doubted else []
    _leave(settings, connection, unsure)
    newest = _newest(settings, connection, [ref for _, ref in ours])
    kept: list[Tombstone] = []
    forgotten: list[Tombstone] = []
    doubtful: list[str] = []
    taken_back = 0
    for one, ref in ours:
        if ref in doubted:
            continue
        if ref in named_by_rows.refs:
            taken_back += 1
            if one.attempts > 1:
                doubtful.append(f"{ref.backend}:{ref.path}")
        elif not (one.attempts == 1 and one.id < newest[ref]):
            kept.append(one)
            continue
        forgotten.append(one)  # alive, or dropped again: then the newest tombstone counts
    if doubtful:
        message = "rows name objects again whose deletion had begun: %s; filerow check finds missing ones"
        logger.warning(message, named(doubtful), extra=extras("drain", objects=len(doubtful)))
    if forgotten:
        connection.execute(delete(settings.table).where(_these(settings, connection, forgotten)))
    return Lease(kept, taken_back, len(unsure), Doubts(named_by_rows.unreadable_columns, named_by_rows.strange))


def _these(settings: OutboxSettings, connection: Connection, ones: Sequence[Tombstone]) -> ColumnElement[bool]:
    return among(settings.table.c.id, [one.id for one in ones], connection.dialect.name)


def _leave(settings: OutboxSettings, connection: Connection, unsure: Sequence[Tombstone]) -> None:
    """Release tombstones of objects that may have a row; a later drain tries them."""
    table = settings.table
    later = now(connection.dialect.name) + literal(settings.lease.total_seconds(), Double)
    change = update(table).values(attempts=table.c.attempts - 1, next_attempt=later)
    if unsure:
        connection.execute(change.where(_these(settings, connection, unsure)))


def _marked(settings: OutboxSettings, connection: Connection, found: Sequence[Tombstone]) -> list[Tombstone]:
    table = settings.table
    lease = now(connection.dialect.name) + literal(settings.lease.total_seconds(), Double)
    change = update(table).values(attempts=table.c.attempts + 1, next_attempt=lease)
    if connection.dialect.name == "sqlite" or skips_locked(connection.dialect):
        if found:
            connection.execute(change.where(_these(settings, connection, found)))
        won = list(found)
    else:  # without locks the first to count wins
        won = [
            one
            for one in found
            if connection.execute(change.where(table.c.id == one.id, table.c.attempts == one.attempts)).rowcount == 1
        ]
    return [one._replace(attempts=one.attempts + 1) for one in won]


def _newest(settings: OutboxSettings, connection: Connection, refs: Iterable[Ref]) -> dict[Ref, int]:
    """Return the id of each object's newest tombstone, due or not."""
    columns = settings.table.c
    same = select(columns.backend, columns.path, func.max(columns.id)).group_by(columns.backend, columns.path)
    theirs = among(columns.path, sorted({ref.path for ref in refs}), connection.dialect.name)
    rows = connection.execute(same.where(theirs))
    return {Ref(backend, path): newest for backend, path, newest in rows}
