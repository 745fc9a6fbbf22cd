"""One process of the application: it changes rows and files at random, and writes down what it meant to do and what happened.

``python -m tools.chaos.worker NAME JOURNAL SEED STOP`` works until there is a file called STOP. A line of the journal is written
before the first statement of a transaction (``begin``: what each row is to have), when COMMIT has returned (``ack``), and when
the transaction was rolled back without a COMMIT (``void``). The journal outlives the process: no line of it is buffered.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncpg.exceptions import InterfaceError  # type: ignore[import-untyped]
from sqlalchemy import delete, update
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError
from sqlalchemy.util import await_only

from filerow import FileObject
from filerow.exceptions import StorageError
from tools.chaos import application
from tools.chaos.contents import content_of, token

ROWS = 40
"""Rows of each table, few enough to be fought over."""

THREADS = 4
TASKS = 6
MOST_PAGES = 6

EXPECTED = (
    StorageError,
    DBAPIError,
    PendingRollbackError,
    PoolTimeoutError,
    StaleDataError,
    ObjectDeletedError,
    ConnectionError,
    TimeoutError,
    InterfaceError,  # asyncpg's, raw, of a server that dies while SQLAlchemy sets a new connection up
)
"""What may happen to an application whose database and store are broken."""

Row = Any


class Journal:
    """Lines of one process, each with the time of the machine's one clock."""

    def __init__(self, path: str, worker: str) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._worker = worker

    def write(self, what: str, operation: str, **more: Any) -> None:
        """Write a line, which stays whatever becomes of this process."""
        line = {"at": time.monotonic_ns(), "what": what, "operation": operation, **more}
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")


@dataclass
class Attempt:
    """One transaction.

    Attributes:
        journal: Where it is written down.
        name: Of the operation, unique.
        kind: What it does.
        random: Decides how.
        names: Gives new filenames.
        worker: Whose filenames they are.
        awaits: It runs in an event loop.
        commits: COMMIT has been called, so nobody knows unless it returns.
    """

    journal: Journal
    name: str
    kind: str
    random: random.Random
    names: Iterator[int]
    worker: str
    awaits: bool
    commits: bool = False

    def model(self) -> Any:
        """Choose a table."""
        return self.random.choice(list(application.MODELS.values()))

    def key(self) -> int:
        """Choose a row."""
        return self.random.randrange(ROWS)

    def file(self) -> FileObject:
        """Make a new file, small as a rule, sometimes one that goes in parts."""
        size = self.random.choice([0, 10, 1_000, 30_000, 70_000]) if self.random.random() > 0.02 else 6 << 20
        name = token(self.worker, next(self.names), size)
        content = content_of(name)
        source: Any = content if self.random.random() < 0.7 else iter([content[:9], content[9:]])
        return FileObject(filename=name, content=source)

    def means(self, *wanted: tuple[Row, FileObject | None], part: str = "") -> None:
        """Write down what rows are to have."""
        values = {f"{row.__tablename__}:{row.id}": None if file is None else file.filename for row, file in wanted}
        self.journal.write("begin", self.name + part, values=values, kind=self.kind)

    def commit(self, session: Session) -> None:
        """Commit, and write down that it was done."""
        session.flush()
        self.commits = True
        session.commit()
        self.journal.write("ack", self.name)


def row_of(session: Session, attempt: Attempt, model: Any) -> Row:
    """Return a row, a new one if it is not there."""
    key = attempt.key()
    row = session.get(model, key)
    if row is None:
        row = model(id=key)
        session.add(row)
    return row


def replace(session: Session, attempt: Attempt) -> None:
    """Put a new file into a row."""
    row, file = row_of(session, attempt, attempt.model()), attempt.file()
    attempt.means((row, file))
    row.file = file
    attempt.commit(session)


def replace_twice(session: Session, attempt: Attempt) -> None:
    """Put a new file into a row, and another one in its place before the commit."""
    row, file = row_of(session, attempt, attempt.model()), attempt.file()
    attempt.means((row, file))
    row.file = attempt.file()
    session.flush()
    row.file = file
    attempt.commit(session)


def remove(session: Session, attempt: Attempt) -> None:
    """Delete a row."""
    row = session.get(attempt.model(), attempt.key())
    if row is not None:
        attempt.means((row, None))
        session.delete(row)
        attempt.commit(session)


def empty(session: Session, attempt: Attempt) -> None:
    """Take the file out of a row."""
    row = row_of(session, attempt, attempt.model())
    attempt.means((row, None))
    row.file = None
    attempt.commit(session)


def copy(session: Session, attempt: Attempt) -> None:
    """Give a row's file to another row, which gets a copy."""
    model = attempt.model()
    source, target = session.get(model, attempt.key()), row_of(session, attempt, model)
    if source is not None and source is not target and source.file is not None:
        attempt.means((target, source.file))
        target.file = source.file
        attempt.commit(session)


def move(session: Session, attempt: Attempt) -> None:
    """Move a file from one row to another."""
    model = attempt.model()
    source, target = session.get(model, attempt.key()), row_of(session, attempt, model)
    if source is not None and source is not target and source.file is not None:
        attempt.means((target, source.file), (source, None))
        target.file, source.file = source.file, None
        attempt.commit(session)


def to_the_other_table(session: Session, attempt: Attempt) -> None:
    """Copy a file to a row of the table without an outbox, in another backend."""
    source = session.get(application.Paper, attempt.key())
    target = row_of(session, attempt, application.Bare)
    if source is not None and source.file is not None:
        attempt.means((target, source.file))
        target.file = source.file
        attempt.commit(session)


def append(session: Session, attempt: Attempt) -> None:
    """Add a file to a list, and take the first one out of a full list."""
    row = row_of(session, attempt, attempt.model())
    if len(row.pages) >= MOST_PAGES:
        row.pages.pop(0)
    row.pages.append(attempt.file())
    attempt.commit(session)


def take_out(session: Session, attempt: Attempt) -> None:
    """Take a file out of a list."""
    row = session.get(attempt.model(), attempt.key())
    if row is not None and row.pages:
        row.pages.pop(attempt.random.randrange(len(row.pages)))
        attempt.commit(session)


def give_up(session: Session, attempt: Attempt) -> None:
    """Flush, then roll back."""
    row, file = row_of(session, attempt, attempt.model()), attempt.file()
    attempt.means((row, file))
    row.file = file
    row.pages = [attempt.file()]
    session.flush()
    session.rollback()
    attempt.journal.write("void", attempt.name)


def savepoint(session: Session, attempt: Attempt) -> None:
    """Change a row; change another one in a savepoint that is rolled back."""
    model = attempt.model()
    row, other = row_of(session, attempt, model), row_of(session, attempt, model)
    file, wrong = attempt.file(), attempt.file()
    attempt.means((row, file))
    row.file = file
    session.flush()
    if other is not row:
        attempt.means((other, wrong), part="-undone")
    with suppress(Undone), session.begin_nested():
        other.file = wrong
        other.pages = [attempt.file()]
        session.flush()
        raise Undone
    if other is not row:
        attempt.journal.write("void", attempt.name + "-undone")
    attempt.commit(session)


class Undone(Exception):  # noqa: N818 - it is not an error
    """Rolls a savepoint back."""


def many(session: Session, attempt: Attempt) -> None:
    """Put new files into several rows at once.

    They are locked: with asyncpg SQLAlchemy does not notice, with files or without, that one of several rows was deleted.
    """
    model = attempt.model()
    keys = sorted(attempt.random.sample(range(ROWS), 5))
    rows = [(session.get(model, key, with_for_update=True) or model(id=key), attempt.file()) for key in keys]
    attempt.means(*rows)
    for row, file in rows:
        row.file = file
        session.add(row)
    attempt.commit(session)


def bulk(session: Session, attempt: Attempt) -> None:
    """Delete rows, or empty them, by one statement."""
    model, keys = attempt.model(), sorted(attempt.random.sample(range(ROWS), 3))
    attempt.means(*((model(id=key), None) for key in keys))
    if attempt.random.random() < 0.5:
        session.execute(delete(model).where(model.id.in_(keys)))
    else:
        session.execute(update(model).where(model.id.in_(keys)).values(file=None))
    attempt.commit(session)


def read(session: Session, attempt: Attempt) -> None:
    """Read the files of a row and compare every byte."""
    row = session.get(attempt.model(), attempt.key())
    files = [] if row is None else [file for file in (row.file, *row.pages) if file is not None]
    session.rollback()
    for file in files:
        content = await_only(file.get_content_async()) if attempt.awaits else file.get_content()
        if content != content_of(file.filename):
            attempt.journal.write("wrong", attempt.name, file=file.filename)


OPERATIONS: dict[Callable[[Session, Attempt], None], int] = {
    replace: 8,
    replace_twice: 2,
    remove: 4,
    empty: 2,
    copy: 3,
    move: 3,
    to_the_other_table: 1,
    append: 6,
    take_out: 2,
    give_up: 3,
    savepoint: 3,
    many: 2,
    bulk: 2,
    read: 6,
}


class Worker:
    """Runs attempts until it is to stop."""

    def __init__(self, name: str, journal: str, seed: int, stop: str) -> None:
        self.name = f"{name}-{os.getpid()}"
        self.journal = Journal(journal, self.name)
        self._stop = Path(stop)
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._names = itertools.count(1)
        self._lock = threading.Lock()

    def attempts(self) -> Iterator[tuple[Callable[[Session, Attempt], None], Attempt]]:
        """Yield what to do, until it is time to stop."""
        while not self._stop.exists():
            with self._lock:
                [operation] = self._random.choices(list(OPERATIONS), list(OPERATIONS.values()))
                chance = random.Random(self._random.random())
                name = f"{self.name}-{next(self._numbers)}"
            attempt = Attempt(self.journal, name, operation.__name__, chance, self._names, self.name, self.name[0] == "a")
            yield operation, attempt

    def failed(self, attempt: Attempt, error: BaseException) -> None:
        """Write down what went wrong; what is not expected counts against us."""
        if isinstance(error, EXPECTED):
            self.journal.write("failed", attempt.name, kind=attempt.kind, error=type(error).__name__)
        else:
            trace = "".join(traceback.format_exception(error))[-6000:]
            self.journal.write("unexpected", attempt.name, kind=attempt.kind, error=trace)

    def void(self, attempt: Attempt) -> None:
        """Write down that a transaction was rolled back before anybody said COMMIT."""
        if not attempt.commits:
            self.journal.write("void", attempt.name)

    def run_blocking(self) -> None:
        """Work in threads, with an in-app drainer."""
        drainer = application.outbox.drainer(application.engine, interval=application.SOON)
        with drainer if self._random.random() < 0.5 else nullcontext():
            threads = [threading.Thread(target=self._block, daemon=True) for _ in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _block(self) -> None:
        for operation, attempt in self.attempts():
            try:
                with Session(application.engine) as session:
                    try:
                        operation(session, attempt)
                    except BaseException:
                        session.rollback()
                        self.void(attempt)
                        raise
            except Exception as error:  # noqa: BLE001 - it is written down
                self.failed(attempt, error)

    def run_async(self) -> None:
        """Work in tasks, some of which are cancelled in the middle."""
        asyncio.run(self._run_async())

    async def _run_async(self) -> None:
        engine = application.make_async_engine()
        drainer = application.outbox.drainer(engine, interval=application.SOON)
        try:
            async with drainer if self._random.random() < 0.5 else nullcontext(), asyncio.TaskGroup() as group:
                for _ in range(TASKS):
                    group.create_task(self._await(engine))
        finally:
            await engine.dispose()

    async def _await(self, engine: Any) -> None:
        for operation, attempt in self.attempts():
            patience = attempt.random.choice([0.005, 0.02, 0.05]) if attempt.random.random() < 0.1 else 60
            try:
                async with asyncio.timeout(patience):
                    await self._one(engine, operation, attempt)
            except Exception as error:  # noqa: BLE001 - it is written down
                self.failed(attempt, error)

    async def _one(self, engine: Any, operation: Callable[[Session, Attempt], None], attempt: Attempt) -> None:
        async with AsyncSession(engine) as session:
            try:
                await session.run_sync(operation, attempt)
            except BaseException:
                await session.rollback()
                self.void(attempt)
                raise


def main() -> None:
    """Work as the arguments say."""
    name, journal, seed, stop = sys.argv[1:]
    worker = Worker(name, journal, int(seed), stop)
    worker.journal.write("start", worker.name)
    if name.startswith("async"):
        worker.run_async()
    else:
        worker.run_blocking()
    worker.journal.write("end", worker.name)


if __name__ == "__main__":
    main()
