"""What the process that is killed does; imported by a server process, so that a new child starts in milliseconds."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

from filerow import FileObject, StorageBackend, storages
from filerow.backends.base import ObjectInfo, PutOptions
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.maintenance import migrate, sweep
from tests.crash.models import model, outbox
from tests.databases import make_engine

KEYS = ("docs", "old")
NO_TIME = timedelta(0)


class World(NamedTuple):
    """Where everything is; it goes to the child as it is.

    Attributes:
        url: Of the database.
        stores: A folder, or the URL of a prefix of a bucket, for each backend.
        options: What the store needs.
        with_outbox: Which of the two models.
    """

    url: str
    stores: dict[str, str]
    options: dict[str, str]
    with_outbox: bool


class Moment(NamedTuple):
    """When to die.

    Attributes:
        work: What the process is doing: ``write``, ``stream``, ``drain``, ``sweep`` or ``migrate``.
        event: ``put``, ``chunk``, ``delete``, ``insert``, ``COMMIT`` or ``committed``.
        count: The how manieth of them.
        after: When it is done, not when it begins.
    """

    work: str
    event: str
    count: int = 1
    after: bool = False


class Fate:
    """Kills this process at one moment of its life, without a chance to clean up."""

    moment: Moment | None = None
    _lock = threading.Lock()
    _counts: dict[tuple[str, bool], int] = {}

    @classmethod
    def at(cls, name: str, *, after: bool = False) -> None:
        """Say what is about to be done, or has been."""
        if cls.moment is None:
            return
        with cls._lock:
            count = cls._counts[name, after] = cls._counts.get((name, after), 0) + 1
            if (name, count, after) == cls.moment[1:]:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()


class Mortal:
    """A real backend whose process may die before or after each of its writes."""

    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        Fate.at("put")
        info: ObjectInfo = super()._put(path, content, options)  # type: ignore[misc]
        Fate.at("put", after=True)
        return info

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        Fate.at("delete")
        failed: Mapping[str, BaseException] = super()._delete(paths)  # type: ignore[misc]
        Fate.at("delete", after=True)
        return failed


class MortalLocal(Mortal, LocalBackend):
    """A directory."""


class MortalS3(Mortal, ObstoreBackend):
    """A bucket."""


def register(world: World) -> None:
    """Register both backends."""
    for key in KEYS:
        backend: StorageBackend
        if world.options:
            backend = MortalS3(key, world.stores[key], **world.options)
        else:
            backend = MortalLocal(key, Path(world.stores[key]))
        storages.register_backend(backend)


def live(world: World, moment: Moment) -> None:
    """Do some work and die in it; coming to the end is a failure of the test."""
    register(world)
    engine = make_engine(world.url)
    _watch(engine)
    Fate.moment = moment
    WORKS[moment.work](world, engine)


def _watch(engine: Engine) -> None:
    def inserting(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO paper"):
            Fate.at("insert")

    def committing(connection: Connection) -> None:
        Fate.at("COMMIT")

    def committed(session: Session) -> None:
        Fate.at("committed")

    event.listen(engine, "before_cursor_execute", inserting)
    event.listen(engine, "commit", committing)
    event.listen(Session, "after_commit", committed)


def write(world: World, engine: Engine) -> None:
    """One transaction with everything in it: new files, a replaced one, a list that changes, a row that goes."""
    paper = model(with_outbox=world.with_outbox)
    with Session(engine) as session:
        first, second, third = (session.get(paper, number) for number in (1, 2, 3))
        first.file = FileObject(filename="new.txt", content=b"new " * 50_000)
        first.pages.pop(0)
        first.pages.append(FileObject(filename="appended.txt", content=b"appended"))
        second.file = None
        session.delete(third)
        session.add(
            paper(id=5, file=FileObject(content=b"inserted"), pages=[FileObject(content=b"page %d" % n) for n in range(3)])
        )
        session.commit()


def stream(world: World, engine: Engine) -> None:
    """One row with a file that comes in chunks, so that it goes up in parts."""

    def chunks() -> Iterator[bytes]:
        for number in range(16):
            Fate.at("chunk")
            yield bytes([number]) * (1 << 20)

    paper = model(with_outbox=world.with_outbox)
    with Session(engine) as session:
        session.add(paper(id=6, file=FileObject(content=chunks())))
        session.commit()


def drain(world: World, engine: Engine) -> None:
    """Delete what the outbox says."""
    outbox.drain(engine)


def clean(world: World, engine: Engine) -> None:
    """Delete what no row owns."""
    metadata = model(with_outbox=world.with_outbox).metadata
    for _ in sweep(metadata, engine, grace=NO_TIME, delete=True, full=True, allow_many=True):
        pass


def move(world: World, engine: Engine) -> None:
    """Move the older files."""
    metadata = model(with_outbox=world.with_outbox).metadata
    for name in ("paper.file", "paper.pages"):
        for _ in migrate(metadata, engine, name):
            pass


WORKS: dict[str, Callable[[World, Engine], None]] = {
    "write": write,
    "stream": stream,
    "drain": drain,
    "sweep": clean,
    "migrate": move,
}
