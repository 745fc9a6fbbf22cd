"""The process that is killed; imported by a server process, so that a new child starts in milliseconds."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

from filerow import StorageBackend, storages
from filerow.backends.base import ObjectInfo, PutOptions
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend
from tests.databases import make_engine
from tests.soak.crash.models import KEYS


class World(NamedTuple):
    """Where everything is; it goes to the child as it is.

    Attributes:
        url: Of the database.
        stores: A folder, or the URL of a prefix of a bucket, for each backend.
        options: What the store needs.
        with_outbox: Which of the two models.
        claim: Of a client's finished upload, if there is one.
    """

    url: str
    stores: dict[str, str]
    options: dict[str, str]
    with_outbox: bool
    claim: str = ""


class KillPoint(NamedTuple):
    """When to die.

    Attributes:
        work: What the process is doing: one of ``tests.soak.crash.works.WORKS``.
        event: ``put``, ``chunk``, ``copy``, ``delete``, ``insert``, ``savepoint``, ``release``, ``COMMIT`` or ``committed``.
        count: The how manieth of them.
        after: When it is done, not when it begins.
        signal: What the process is sent.
    """

    work: str
    event: str
    count: int = 1
    after: bool = False
    signal: signal.Signals = signal.SIGKILL


class Killer:
    """Sends this process a signal at one moment of its life; SIGKILL and SIGTERM leave it no chance to clean up."""

    moment: KillPoint | None = None
    _lock = threading.Lock()
    _counts: dict[tuple[str, bool], int] = {}

    @classmethod
    def at(cls, name: str, *, after: bool = False) -> None:
        """Report what is about to be done, or has been."""
        if cls.moment is None:
            return
        with cls._lock:
            count = cls._counts[name, after] = cls._counts.get((name, after), 0) + 1
            struck = (name, count, after) == cls.moment[1:4]
        if struck:
            os.kill(os.getpid(), cls.moment.signal)
            if cls.moment.signal != signal.SIGINT:  # which the main thread takes as a KeyboardInterrupt, wherever it is
                signal.pause()


class Killable:
    """A real backend whose process may die before or after each of its writes."""

    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        Killer.at("put")
        info: ObjectInfo = super()._put(path, content, options)  # type: ignore[misc]
        Killer.at("put", after=True)
        return info

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        Killer.at("delete")
        failed: Mapping[str, BaseException] = super()._delete(paths)  # type: ignore[misc]
        Killer.at("delete", after=True)
        return failed

    def _copy(self, source: str, target: str) -> ObjectInfo:
        Killer.at("copy")
        info: ObjectInfo = super()._copy(source, target)  # type: ignore[misc]
        Killer.at("copy", after=True)
        return info

    def _copy_over(self, source: str, target: str) -> ObjectInfo:
        Killer.at("copy")
        info: ObjectInfo = super()._copy_over(source, target)  # type: ignore[misc]
        Killer.at("copy", after=True)
        return info


class KillableLocal(Killable, LocalBackend):
    """A directory."""


class KillableS3(Killable, ObstoreBackend):
    """A bucket."""


def register(world: World) -> None:
    """Register both backends."""
    for key in KEYS:
        backend: StorageBackend
        if world.options:
            backend = KillableS3(key, world.stores[key], **world.options)
        else:
            backend = KillableLocal(key, Path(world.stores[key]))
        storages.register_backend(backend)


def live(world: World, moment: KillPoint) -> None:
    """Do some work and die in it; coming to the end is a failure of the test."""
    from tests.soak.crash import works

    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background has it ignored
    register(world)
    engine = make_engine(world.url)
    _watch(engine)
    Killer.moment = moment
    works.WORKS[moment.work](world, engine)


def _watch(engine: Engine) -> None:
    def inserting(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO paper"):
            Killer.at("insert")

    def committing(connection: Connection) -> None:
        Killer.at("COMMIT")

    def committed(session: Session) -> None:
        Killer.at("committed")

    def beginning(connection: Connection, name: str) -> None:
        Killer.at("savepoint")

    def releasing(connection: Connection, name: str, context: Any) -> None:
        Killer.at("release")

    event.listen(engine, "before_cursor_execute", inserting)
    event.listen(engine, "savepoint", beginning)
    event.listen(engine, "release_savepoint", releasing)
    event.listen(engine, "commit", committing)
    event.listen(Session, "after_commit", committed)
