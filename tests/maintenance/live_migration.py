"""A migration under traffic: files go to S3 while an application changes rows; the process that moves them is killed once.

``benchmarks/migrate.py`` does the same with many more files.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.maintenance import migrate, sweep
from filerow.outbox import Outbox
from tests.databases import make_engine
from tests.generated import Located
from tests.places import RECORD, know_places

KEYS = ("old", "new")
WRITERS = 2


class Earlier(DeclarativeBase):
    """The application before it moves."""


class Base(DeclarativeBase):
    """The application while it moves."""


class _Document:
    __tablename__: Any = "document"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int]


class EarlierDocument(_Document, Earlier):
    file: Mapped[FileObject] = mapped_column(StoredObject("old"))


class Document(_Document, Base):
    file: Mapped[FileObject] = mapped_column(StoredObject("new"))


outbox = Outbox(Base.metadata, retention=timedelta(hours=1))


@dataclass(frozen=True)
class Place:
    """Where everything is; it goes to the other process as JSON.

    Attributes:
        url: Of the database.
        folder: The directory that the files are in.
        bucket: The URL of a prefix of a bucket, where they go.
        options: What S3 needs.
        size: Bytes of each file.
        batch: Rows to migrate at a time.
    """

    url: str
    folder: str
    bucket: str
    options: dict[str, Any]
    size: int = 1_000
    batch: int = 20

    def register(self) -> None:
        """Register both backends."""
        storages.clear_backends()
        storages.register_backend(LocalBackend("old", Path(self.folder), fsync=False))
        storages.register_backend(ObstoreBackend("new", self.bucket, **self.options))

    def content(self, number: int, version: int) -> bytes:
        """Return the one right content of a row."""
        return (b"%d:%d;" % (number, version)).ljust(self.size, b".")


def fill(place: Place, engine: Engine, files: int) -> None:
    """Make the rows, with their files in the directory, as the application did before it moved."""
    Base.metadata.create_all(engine)
    know_places(Base.metadata, engine)
    with Session(engine) as session:
        for start in range(0, files, 500):
            numbers = range(start, min(files, start + 500))
            session.add_all(
                EarlierDocument(id=number, version=0, file=FileObject(content=place.content(number, 0))) for number in numbers
            )
            session.commit()


@dataclass
class Traffic:
    """What the application does meanwhile: two threads write through the ORM, one reads random rows, afresh each time.

    Attributes:
        expected: The version of each row, as its writer knows it.
        writes: How many changes were committed.
        reads: How many files were read, each with the right bytes.
        errors: What went wrong.
    """

    place: Place
    engine: Engine
    expected: dict[int, int]
    pause: float = 0.005
    writes: int = 0
    reads: int = 0
    errors: list[BaseException] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Generator[None]:
        """Let it happen."""
        threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]
        threads.append(threading.Thread(target=self._read))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join()

    def _write(self, writer: int) -> None:
        """Replace, delete and insert; each writer has rows of its own, so it knows what they must be in the end.

        Half of the rows are nobody's: however slow the other process is, these files are left for it.
        """
        chance = random.Random(writer)
        shares = 2 * WRITERS
        mine = [number for number in self.expected if number % shares == writer]
        fresh = max(self.expected) + 1 + shares + writer - (max(self.expected) + 1) % shares
        try:
            while not self._end.wait(self.pause):
                with Session(self.engine) as session:
                    action = chance.randrange(4)
                    if action == 0:
                        session.add(Document(id=fresh, version=0, file=FileObject(content=self.place.content(fresh, 0))))
                        session.commit()
                        self.expected[fresh] = 0
                        mine.append(fresh)
                        fresh += shares
                    elif action == 1:
                        number = mine.pop(chance.randrange(len(mine)))
                        session.delete(session.get_one(Document, number))
                        session.commit()
                        del self.expected[number]
                    else:
                        number = chance.choice(mine)
                        document = session.get_one(Document, number)
                        document.version += 1
                        document.file = FileObject(content=self.place.content(number, document.version))
                        session.commit()
                        self.expected[number] += 1
                self.writes += 1
        except BaseException as error:  # noqa: BLE001 - the test shows it
            self.errors.append(error)

    def _read(self) -> None:
        chance = random.Random(99)
        try:
            while not self._end.is_set():
                with Session(self.engine) as session:
                    number = chance.choice(list(self.expected))
                    document = session.get(Document, number)
                    if document is not None:
                        assert document.file.get_content() == self.place.content(number, document.version)
                        self.reads += 1
        except BaseException as error:  # noqa: BLE001 - the test shows it
            self.errors.append(error)


class MigratingProcess:
    """A process that migrates, and is killed in the middle of a batch. Make it early: it takes its time to start."""

    def __init__(self, place: Place) -> None:
        command = [sys.executable, "-m", "tests.maintenance.live_migration", json.dumps(asdict(place))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def kill_after(self, batches: int) -> str:
        """Start it, kill it in the batch after a number of rows, and return its last cursor."""
        assert self._process.stdout is not None
        line = "{}"
        for _ in range(batches):
            self._go_on()
            line = self._process.stdout.readline()
        self._go_on()
        time.sleep(0.01)
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL, "it was to be killed in the middle of its work"
        return str(json.loads(line)["cursor"])

    def _go_on(self) -> None:
        """Let it do one batch: it may not be so quick that it has ended before it is killed."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()


def settle(place: Place, engine: Engine) -> tuple[int, int]:
    """Delete what is in the outbox, then what the killed process left; return how many objects each were."""
    with engine.begin() as connection:
        connection.execute(update(outbox.table).values(dropped_at=0))
    drained = outbox.drain(engine).deleted
    steps = list(sweep(Base.metadata, engine, grace=timedelta(0), delete=True, full=True, backends=KEYS, allow_many=True))
    return drained, sum({step.step: step.changed for step in steps}.values())


def objects() -> set[Located]:
    """Return all objects of both backends."""
    return {Located(key, info.path) for key in KEYS for info in storages.get_backend(key).list() if info.path != RECORD}


def named(engine: Engine) -> set[Located]:
    """Return the objects that rows name."""
    with Session(engine) as session:
        return {Located(file.backend_key, file.path) for file in session.scalars(select(Document.file))}


def left_behind(engine: Engine) -> int:
    """Return how many rows have their file in the old backend."""
    with Session(engine) as session:
        return session.scalar(select(func.count()).where(Document.file.backend == "old")) or 0


def main() -> None:
    """Be the process that migrates."""
    place = Place(**json.loads(sys.argv[1]))
    place.register()
    sys.stdin.readline()
    for progress in migrate(Base.metadata, make_engine(place.url), "document.file", batch=place.batch):
        sys.stdout.write(json.dumps({"done": progress.done, "cursor": progress.cursor}) + "\n")
        sys.stdout.flush()
        sys.stdin.readline()


if __name__ == "__main__":
    main()
