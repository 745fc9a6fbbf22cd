"""Draining: the objects of due tombstones are deleted, unless a row names them still.

A batch has three steps, and holds a connection in the first and the last only::

    lease    one short transaction: lock due tombstones, ask every file column, take back the live ones, count an attempt
    delete   one bulk delete per backend
    settle   one short transaction: forget what is gone, put off what failed

Whoever takes tombstones leaves a lease in ``next_attempt``. A process that dies leaves them to the next drain after that, and
to delete a missing object is not a failure, so a drain may be killed anywhere.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

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
    false,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from filerow._execution.batch import run_all
from filerow._log import cause_of, logger, named, objects
from filerow._orm.ownership import Ref
from filerow._registry import storages
from filerow.exceptions import StorageError
from filerow.outbox._census import Also, Census
from filerow.outbox._claims import forget_claims
from filerow.outbox._isolation import read_committed
from filerow.outbox._places import Gate, Note, Places
from filerow.outbox._settings import OutboxSettings
from filerow.outbox._table import Tombstone, now, now_of, write_state

if TYPE_CHECKING:
    from filerow.backends.base import StorageBackend

__all__ = (
    "Drained",
    "DrainedBatch",
    "Due",
    "Failure",
    "Lease",
    "batches",
    "delay_after",
    "drain_steps",
    "leased",
    "locked",
    "note_run",
    "skips_locked",
    "take_write_lock",
)


MOST = 10_000
"""Tombstones of the largest batch: some databases take 32,767 parameters in one statement."""

RUN = "drainer"
"""Under which name the outbox's state tells when it was drained."""

_MOST_OF_AN_ERROR = 2_000


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain has done.

    Attributes:
        deleted: Objects that are gone now.
        taken_back: Tombstones of objects that a row names still, or again; their bytes stay.
        failed: Objects that could not be deleted and are tried again later.
        dead: Objects that could not be deleted and have been given up, until :meth:`Outbox.revive`.
        kept: Objects that may belong to a row whose document this release cannot read; they are tried again later.
    """

    deleted: int = 0
    taken_back: int = 0
    failed: int = 0
    dead: int = 0
    kept: int = 0

    def __add__(self, other: Drained) -> Drained:
        return Drained(
            self.deleted + other.deleted,
            self.taken_back + other.taken_back,
            self.failed + other.failed,
            self.dead + other.dead,
            self.kept + other.kept,
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """One object that could not be deleted.

    Attributes:
        ref: The object.
        error: Why.
        dead: It has been given up.
    """

    ref: Ref
    error: str
    dead: bool


class Doubts(NamedTuple):
    """What rows say that this release does not understand.

    Attributes:
        unreadable: How many documents cannot be read, by column.
        strange: Keys of backends that nobody has registered, in rows that name an object under one, each with a path.
    """

    unreadable: Mapping[str, int] = MappingProxyType({})
    strange: Mapping[str, str] = MappingProxyType({})


_NO_DOUBTS = Doubts()


@dataclass(frozen=True, slots=True)
class DrainedBatch:
    """One batch, settled.

    Attributes:
        drained: What was done.
        failures: What could not be done.
        doubts: What nobody knows.
        notes: What there is to say of places.
    """

    drained: Drained = Drained()
    failures: tuple[Failure, ...] = ()
    doubts: Doubts = _NO_DOUBTS
    notes: tuple[Note, ...] = ()


@dataclass(slots=True)
class _Outcome:
    """How the bulk deletes went."""

    gone: list[Tombstone] = field(default_factory=list)
    failed: list[tuple[Tombstone, str]] = field(default_factory=list)
    left: list[Tombstone] = field(default_factory=list)
    refusing: set[str] = field(default_factory=set)
    interruption: BaseException | None = None


def batches(
    settings: OutboxSettings, engine: Engine, *, batch: int, limit: int | None, also: Also = (), take_over: bool = False
) -> Iterator[DrainedBatch]:
    """Drain what is due at this moment, and yield after every batch; each tombstone is handled once.

    Raises:
        MaintenanceRefusedError: Something is due, and rows may be hidden; or, when all else is done, a place was last swept by
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
        if not ready:  # no lock is held while catalogue and store are asked, and no attempt is counted
            notes = gate.ask(keys)
            if notes:
                yield DrainedBatch(notes=notes)
            continue
        if not found:
            break
        outcome = _delete(lease.tombstones, gate.broken)
        yield _settled(lease, outcome, _settle(settings, engine, outcome))
        gate.closed |= outcome.refusing  # nothing of a store that is down is tried again before the next drain
        left = None if left is None else left - len(found)
    if gate.refusal is not None:
        raise gate.refusal


def _settled(lease: Lease, outcome: _Outcome, failures: Sequence[Failure]) -> DrainedBatch:
    if outcome.interruption is not None:
        raise outcome.interruption
    dead = sum(failure.dead for failure in failures)
    drained = Drained(len(outcome.gone), lease.taken_back, len(failures) - dead, dead, lease.kept)
    return DrainedBatch(drained, tuple(failures), lease.doubts)


def drain_steps(
    settings: OutboxSettings,
    engine: Engine,
    *,
    batch: int,
    limit: int | None = None,
    also: Also = (),
    take_over: bool = False,
) -> Iterator[Drained]:
    """Drain batch by batch, and yield after each what has been done so far.

    Raises:
        ValueError: ``batch`` is out of its range.
    """
    if not 1 <= batch <= MOST:
        msg = f"a batch has 1 to {MOST:,} tombstones, not {batch}"
        raise ValueError(msg)
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


def note_run(settings: OutboxSettings, engine: Engine, told: dict[str, Any]) -> None:
    """Write into the outbox's state that somebody drains it, for ``filerow doctor``; a failure is no reason to stop."""
    try:
        with engine.begin() as connection:
            forget_claims(connection, settings.state)
            write_state(connection, settings.state, RUN, {"host": socket.gethostname(), "pid": os.getpid(), **told})
    except SQLAlchemyError:
        logger.debug("could not write down that the outbox was drained", exc_info=True)


# -- delete ----------------------------------------------------------------------------------------------------------------


class _Erase:
    """Deletes the objects of one backend in one bulk call.

    It may be cancelled at any time, unlike the delete after a commit: the tombstones are there until somebody has seen it done.
    """

    quick = False
    crowd = 0

    def __init__(self, backend: StorageBackend, tombstones: Sequence[Tombstone]) -> None:
        self.failed: dict[str, Any] | None = None
        self.tombstones = tombstones
        self._backend = backend
        self._paths = list(dict.fromkeys(one.path for one in tombstones))

    def stop(self) -> None:
        """A delete that has been sent is not called back."""

    def run(self) -> None:
        """Delete, blocking."""
        self.failed = dict(self._backend.delete(self._paths))

    async def run_async(self) -> None:
        """Delete without blocking the event loop."""
        self.failed = dict(await self._backend.delete_async(self._paths))


def _delete(tombstones: Sequence[Tombstone], broken: Mapping[str, str]) -> _Outcome:
    outcome = _Outcome()
    by_backend: dict[str, list[Tombstone]] = {}
    for one in tombstones:
        by_backend.setdefault(one.backend, []).append(one)
    jobs = []
    for key, ones in by_backend.items():
        if key in broken:
            outcome.failed += [(one, broken[key]) for one in ones]
            outcome.refusing.add(key)
            continue
        try:
            jobs.append(_Erase(storages.get_backend(key), ones))
        except LookupError as error:
            outcome.failed += [(one, str(error)) for one in ones]
            outcome.refusing.add(key)
    ended = run_all(jobs, storages.max_concurrency)
    for job in jobs:
        _sort(job, ended.error, outcome)
    if ended.error is not None and not isinstance(ended.error, Exception):
        outcome.interruption = ended.error
    return outcome


def _sort(job: _Erase, error: BaseException | None, outcome: _Outcome) -> None:
    """Tell apart what is gone, what failed, and what an interruption has left."""
    failed = job.failed
    if failed is None and not isinstance(error, Exception):
        outcome.left += job.tombstones
        return
    if failed is None:
        failed = dict.fromkeys((one.path for one in job.tombstones), error)
    for one in job.tombstones:
        if one.path in failed:
            error = failed[one.path]
            outcome.failed.append((one, error.message if isinstance(error, StorageError) else str(error)))
        else:
            outcome.gone.append(one)
    if len(failed) > 1 and len(failed) == len({one.path for one in job.tombstones}):
        outcome.refusing.add(job.tombstones[0].backend)


# -- settle ----------------------------------------------------------------------------------------------------------------


def delay_after(attempts: int, backoff: timedelta, most: timedelta) -> float:
    """Return how many seconds to wait after so many failed attempts: twice as long each time, a quarter more or less."""
    seconds = min(backoff.total_seconds() * 2.0 ** min(attempts - 1, 60), most.total_seconds())
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - so that a million do not come back at once


def _settle(settings: OutboxSettings, engine: Engine, outcome: _Outcome) -> list[Failure]:
    failures = [
        Failure(Ref(one.backend, one.path), error, one.attempts >= settings.max_attempts) for one, error in outcome.failed
    ]
    if not (outcome.gone or outcome.failed or outcome.left):
        return failures
    table = settings.table
    with read_committed(engine) as connection, connection.begin():
        take_write_lock(settings, connection)
        if outcome.gone:
            connection.execute(delete(table).where(table.c.id.in_([one.id for one in outcome.gone])))
        if outcome.left:  # nobody need wait for the end of the lease
            mine = table.c.id.in_([one.id for one in outcome.left])
            connection.execute(update(table).where(mine).values(next_attempt=now(connection.dialect.name)))
        if failures:
            _put_off(settings, connection, outcome.failed)
    return failures


def log_failures(failures: Iterable[Failure]) -> None:
    """Log what could not be deleted: one message for each backend and cause, for a store that is down refuses everything."""
    alike: dict[tuple[str, str, bool], list[str]] = {}
    for failure in failures:
        cause = cause_of(failure.error, failure.ref.path)
        alike.setdefault((failure.ref.backend, cause, failure.dead), []).append(failure.ref.path)
    for (key, error, dead), paths in alike.items():
        what = (objects(len(paths)), key, named(paths), error)
        if dead:
            logger.error(
                "gave up deleting %s of backend %r: %s: %s; fix the cause, then have outbox.revive(connection) try them again",
                *what,
            )
        else:
            logger.warning("%s of backend %r could not be deleted: %s: %s; they are tried again later", *what)


def log_doubts(doubts: Doubts) -> None:
    """Log what rows say that this release does not understand."""
    if doubts.unreadable:
        told = ", ".join(f"{name} ({count:,})" for name, count in sorted(doubts.unreadable.items()))
        logger.error(
            "rows have documents that this release cannot read, so the files of their tables are kept: %s; upgrade, or have "
            "filerow check name the rows",
            told,
        )
    for key, path in sorted(doubts.strange.items()):
        logger.error("rows name objects under the backend %r, which is not registered, %r for one: they are kept", key, path)


_said: set[tuple[str, str]] = set()


def _log_notes(notes: Iterable[Note]) -> None:
    """Log what there is to say of places: that a server is another one, once in this process."""
    for note in notes:
        if note.code == "first-run":
            logger.info("backend %r: %s; the next drain deletes", note.backend, note.message)
        elif (note.backend, note.who) not in _said:
            _said.add((note.backend, note.who))
            logger.warning("%s", note.message)


def _put_off(settings: OutboxSettings, connection: Connection, failed: Sequence[tuple[Tombstone, str]]) -> None:
    """Write down when to try again; not where another drain has taken over since the lease ran out."""
    table = settings.table
    later = now(connection.dialect.name) + bindparam("delay", type_=Double)
    change = update(table).where(table.c.id == bindparam("tombstone"), table.c.attempts == bindparam("seen"))
    connection.execute(
        change.values(
            next_attempt=later,
            last_error=bindparam("error", type_=Text),
            dead=bindparam("given_up", type_=Integer),
        ),
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
    """Tombstones of dead objects that are ours for the length of the lease; their ``attempts`` include this one."""

    tombstones: list[Tombstone]
    taken_back: int
    kept: int = 0
    doubts: Doubts = _NO_DOUBTS


class Due:
    """Which tombstones are due, at one moment of the database's clock."""

    def __init__(self, settings: OutboxSettings, moment: float, without: set[str]) -> None:
        self._table = settings.table
        self._moment = moment
        self._dropped = moment - settings.retention.total_seconds()
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


def take_write_lock(settings: OutboxSettings, connection: Connection) -> None:
    """Take SQLite's one write lock, by an UPDATE that matches nothing; nothing elsewhere."""
    if connection.dialect.name == "sqlite":
        connection.execute(update(settings.table).values(attempts=settings.table.c.attempts).where(false()))


def skips_locked(dialect: Dialect) -> bool:
    """Return True if the database has ``FOR UPDATE SKIP LOCKED``."""
    version = getattr(dialect, "server_version_info", None) or ()
    if dialect.name == "postgresql":
        return version >= (9, 5)
    if getattr(dialect, "is_mariadb", False):
        return version >= (10, 6)
    return dialect.name == "mysql" and version >= (8, 0, 1)


def locked(settings: OutboxSettings, connection: Connection, due: Due, size: int) -> list[Tombstone]:
    """Return due tombstones that nobody else has; half of a batch at most are tried again while there are new ones."""
    take_write_lock(settings, connection)
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


def leased(settings: OutboxSettings, connection: Connection, found: Sequence[Tombstone], census: Census) -> Lease:
    """Count an attempt for each tombstone, and take back those of objects that a row names.

    From the commit on nobody can give such an object to a row again: the triggers refuse it.
    """
    ours = _marked(settings, connection, found)
    if not ours:
        return Lease([], 0)
    named_by_rows = census.named([Ref(one.backend, one.path) for one in ours], connection)
    unreadable = named_by_rows.unreadable_tables
    doubted = {Ref(one.backend, one.path) for one in ours if (one.table_name or "").rpartition(".")[2] in unreadable}
    doubted = named_by_rows.doubtful | (doubted - named_by_rows.refs)  # the table may have been renamed since
    unsure = [one for one in ours if Ref(one.backend, one.path) in doubted]
    _leave(settings, connection, unsure)
    newest = _newest(settings, connection, ours)
    kept: list[Tombstone] = []
    forgotten: list[int] = []
    doubtful: list[str] = []
    taken_back = 0
    for one in ours:
        ref = Ref(one.backend, one.path)
        if ref in doubted:
            continue
        if ref in named_by_rows.refs:
            taken_back += 1
            if one.attempts > 1:
                doubtful.append(f"{ref.backend}:{ref.path}")
        elif not (one.attempts == 1 and one.id < newest[ref]):
            kept.append(one)
            continue
        forgotten.append(one.id)  # it lives, or was dropped once more: the newest tombstone says from when on to keep it
    if doubtful:
        logger.warning("rows name objects again whose deletion had begun: %s; filerow check finds what is gone", named(doubtful))
    if forgotten:
        connection.execute(delete(settings.table).where(settings.table.c.id.in_(forgotten)))
    return Lease(kept, taken_back, len(unsure), Doubts(named_by_rows.unreadable_columns, named_by_rows.strange))


def _leave(settings: OutboxSettings, connection: Connection, unsure: Sequence[Tombstone]) -> None:
    """Give back tombstones whose objects may have a row, as if nobody had tried them; a later drain does."""
    table = settings.table
    later = now(connection.dialect.name) + literal(settings.lease.total_seconds(), Double)
    change = update(table).values(attempts=table.c.attempts - 1, next_attempt=later)
    if unsure:
        connection.execute(change.where(table.c.id.in_([one.id for one in unsure])))


def _marked(settings: OutboxSettings, connection: Connection, found: Sequence[Tombstone]) -> list[Tombstone]:
    table = settings.table
    lease = now(connection.dialect.name) + literal(settings.lease.total_seconds(), Double)
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
    return [replace(one, attempts=one.attempts + 1) for one in won]


def _newest(settings: OutboxSettings, connection: Connection, ours: Sequence[Tombstone]) -> dict[Ref, int]:
    """Return the number of each object's newest tombstone, due or not."""
    columns = settings.table.c
    same = select(columns.backend, columns.path, func.max(columns.id)).group_by(columns.backend, columns.path)
    rows = connection.execute(same.where(columns.path.in_(sorted({one.path for one in ours}))))
    return {Ref(backend, path): newest for backend, path, newest in rows}
