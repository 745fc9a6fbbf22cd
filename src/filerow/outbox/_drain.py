"""Draining: the objects of due tombstones are deleted, unless a row names them still.

A batch has three steps, and holds a connection in the first and the last only::

    claim    one short transaction: lock due tombstones, ask every file column, take back the live ones, count an attempt
    delete   one bulk delete per backend
    settle   one short transaction: forget what is gone, put off what failed

Whoever claims tombstones leaves a lease in ``next_attempt``. A process that dies leaves them to the next drain after that, and
to delete a missing object is no failure, so a drain may be killed anywhere.
"""

from __future__ import annotations

import logging
import os
import random
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Double, Engine, Integer, Text, bindparam, delete, update
from sqlalchemy.exc import SQLAlchemyError

from filerow._execution.batch import run_all
from filerow._orm.ownership import Ref
from filerow._registry import storages
from filerow.outbox._claim import Due, claimed, locked, read_committed, take_write_lock
from filerow.outbox._clock import now, now_of
from filerow.outbox._table import Tombstone

if TYPE_CHECKING:
    from filerow.backends.base import StorageBackend
    from filerow.outbox._outbox import Outbox

__all__ = ("Batch", "Drained", "Failure", "batches", "delay_after", "note_run")

logger = logging.getLogger("filerow")

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
    """

    deleted: int = 0
    taken_back: int = 0
    failed: int = 0
    dead: int = 0

    def __add__(self, other: Drained) -> Drained:
        return Drained(
            self.deleted + other.deleted,
            self.taken_back + other.taken_back,
            self.failed + other.failed,
            self.dead + other.dead,
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


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, settled.

    Attributes:
        drained: What was done.
        failures: What could not be done.
    """

    drained: Drained
    failures: tuple[Failure, ...] = ()


@dataclass(slots=True)
class _Outcome:
    """How the bulk deletes went."""

    gone: list[Tombstone] = field(default_factory=list)
    failed: list[tuple[Tombstone, str]] = field(default_factory=list)
    left: list[Tombstone] = field(default_factory=list)
    refusing: set[str] = field(default_factory=set)
    interruption: BaseException | None = None


def batches(outbox: Outbox, engine: Engine, *, batch: int, limit: int | None) -> Iterator[Batch]:
    """Drain what is due at this moment, and yield after every batch; each tombstone is handled once."""
    engine = read_committed(engine)
    with engine.connect() as connection:
        moment = now_of(connection)
    left = limit
    refusing: set[str] = set()
    while left is None or left > 0:
        size = batch if left is None else min(batch, left)
        with engine.begin() as connection:
            found = locked(outbox, connection, Due(outbox, moment, refusing), size)
            claim = claimed(outbox, connection, found)
        if not found:
            return
        outcome = _delete(claim.tombstones)
        failures = _settle(outbox, engine, outcome)
        if outcome.interruption is not None:
            raise outcome.interruption
        dead = sum(failure.dead for failure in failures)
        yield Batch(Drained(len(outcome.gone), claim.taken_back, len(failures) - dead, dead), tuple(failures))
        refusing |= outcome.refusing  # nothing of a store that is down is tried again before the next drain
        left = None if left is None else left - len(found)


def note_run(outbox: Outbox, engine: Engine, told: dict[str, Any]) -> None:
    """Write into the outbox's state that somebody drains it, for ``filerow doctor``; a failure is no reason to stop."""
    try:
        with engine.begin() as connection:
            outbox.write_state(connection, RUN, {"host": socket.gethostname(), "pid": os.getpid(), **told})
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


def _delete(tombstones: Sequence[Tombstone]) -> _Outcome:
    outcome = _Outcome()
    by_backend: dict[str, list[Tombstone]] = {}
    for one in tombstones:
        by_backend.setdefault(one.backend, []).append(one)
    jobs = []
    for key, ones in by_backend.items():
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
            outcome.failed.append((one, str(failed[one.path])))
        else:
            outcome.gone.append(one)
    if len(failed) > 1 and len(failed) == len({one.path for one in job.tombstones}):
        outcome.refusing.add(job.tombstones[0].backend)


# -- settle ----------------------------------------------------------------------------------------------------------------


def delay_after(attempts: int, backoff: timedelta, most: timedelta) -> float:
    """Return how many seconds to wait after so many failed attempts: twice as long each time, a quarter more or less."""
    seconds = min(backoff.total_seconds() * 2.0 ** min(attempts - 1, 60), most.total_seconds())
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - so that a million do not come back at once


def _settle(outbox: Outbox, engine: Engine, outcome: _Outcome) -> list[Failure]:
    failures = [Failure(Ref(one.backend, one.path), error, one.attempts >= outbox.max_attempts) for one, error in outcome.failed]
    if not (outcome.gone or outcome.failed or outcome.left):
        return failures
    table = outbox.table
    with engine.begin() as connection:
        take_write_lock(outbox, connection)
        if outcome.gone:
            connection.execute(delete(table).where(table.c.id.in_([one.id for one in outcome.gone])))
        if outcome.left:  # nobody need wait for the end of the lease
            mine = table.c.id.in_([one.id for one in outcome.left])
            connection.execute(update(table).where(mine).values(next_attempt=now(connection.dialect.name)))
        if failures:
            _put_off(outbox, connection, outcome.failed)
    for failure in failures:
        if failure.dead:
            logger.error("gave up deleting %s after %d attempts: %s", failure.ref, outbox.max_attempts, failure.error)
    return failures


def _put_off(outbox: Outbox, connection: Connection, failed: Sequence[tuple[Tombstone, str]]) -> None:
    """Write down when to try again; not where another drain has taken over since the lease ran out."""
    table = outbox.table
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
                "delay": delay_after(one.attempts, outbox.backoff, outbox.max_backoff),
                "error": error[:_MOST_OF_AN_ERROR],
                "given_up": int(one.attempts >= outbox.max_attempts),
            }
            for one, error in failed
        ],
    )
