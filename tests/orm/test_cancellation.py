"""A commit that is cancelled, at whatever moment: rows and objects agree afterwards.

There is one doubt that nobody can resolve: COMMIT was sent and its answer lost. Then everything is kept, which is logged; rows
are never dangling even so, and a sweep finds what is left over.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from filerow import FileObject
from tests.cases.databases import PostgreSQL, SQLite
from tests.cases.models import Document
from tests.cases.stores import Store

# A cancelled aiosqlite connection is thrown away by SQLAlchemy without being closed, of which Python 3.13 and aiosqlite warn.
pytestmark = [
    pytest.mark.usefixtures("frozen_heap"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*was deleted before being closed:ResourceWarning"),
]

Check = Callable[[], None]


@pytest.fixture(autouse=True)
def connections_thrown_away() -> Iterator[None]:
    """Have them collected here, where the warning is expected, not in a later test."""
    yield
    gc.collect()


def file(content: bytes = b"new") -> FileObject:
    return FileObject(filename="cat.png", content=content)


async def work(engine: AsyncEngine) -> None:
    """Add, replace, append and delete in one transaction with a savepoint."""
    async with AsyncSession(engine) as session:
        first, second = (await session.scalars(select(Document).order_by(Document.id).limit(2))).all()
        session.add(Document(file=file(), pages=[file(b"1"), file(b"2")]))
        first.file = file()
        first.pages.append(file())
        async with session.begin_nested():
            session.add(Document(file=file()))
        await session.delete(second)
        await session.commit()


async def seed(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add_all([Document(file=file(b"old"), pages=[file(b"old")]) for _ in range(4)])  # no work leaves fewer rows
        await session.commit()


async def work_cancelled(engine: AsyncEngine, *moments: Callable[[], Awaitable[None]]) -> bool:
    """Start the work and cancel it at each of the moments; return True if it was done before.

    What SQLAlchemy throws away of an aiosqlite connection may hold its lock until Python has collected the last traceback, and
    SQLite then refuses the next one at once: the database is locked. That is a failure like any other: rows and objects agree.
    """
    task = asyncio.create_task(work(engine))
    finished = False
    for moment in moments:
        await moment()
        finished = task.done()
        task.cancel()
    (error,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(error, OperationalError) and "database is locked" in str(error):
        return False
    if isinstance(error, InterfaceError) and "connection is closed" in str(error):  # so SQLAlchemy 2.0.30 puts a cancellation
        return False
    assert error is None or isinstance(error, asyncio.CancelledError), repr(error)
    return finished


def steps(number: int) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    return wait


def seconds(number: float) -> Callable[[], Awaitable[None]]:
    return lambda: asyncio.sleep(number)


def still_busy() -> bool:
    """Return True if anything works on for a cancelled session: tasks of SQLAlchemy's own, or threads of aiosqlite's."""
    threads = [thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name]
    return bool(threads or asyncio.all_tasks() - {asyncio.current_task()})


async def settled(engine: AsyncEngine) -> None:
    """Wait until nothing goes on any more; a task that closes an aiosqlite connection twice may never end."""
    await engine.dispose()
    for milliseconds in (0, 1, 2, 5, 10, 20, 50):
        await asyncio.sleep(milliseconds / 1000)
        if not still_busy():
            break
    gc.collect()


class Checker:
    """Checks after each cancellation, and tidies up after a doubt."""

    def __init__(
        self,
        engine: AsyncEngine,
        place: SQLite | PostgreSQL,
        store: Store,
        check: Check,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self._engine, self._place, self._store, self._check, self._caplog = engine, place, store, check, caplog
        self.doubts = 0

    async def check(self) -> None:
        await settled(self._engine)
        if "did not say whether it committed" in self._caplog.text:
            self.doubts += 1
            self._caplog.clear()
            paths = {(d["backend"], d["path"]) for _, documents in self._place.rows() for d in documents}
            objects = self._store.objects()
            assert paths <= objects, "dangling after a doubt"
            for key, path in objects - paths:
                self._store.backends[key].delete(path)
        self._check()


@pytest.fixture
def checker(
    async_engine: AsyncEngine, place: SQLite | PostgreSQL, store: Store, check: Check, caplog: pytest.LogCaptureFixture
) -> Checker:
    if async_engine.dialect.name == "sqlite":
        event.listen(async_engine.sync_engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 500"))
    return Checker(async_engine, place, store, check, caplog)


ONE = pytest.mark.parametrize("place", [pytest.param("sqlite", marks=pytest.mark.thorough), "postgresql"], indirect=True)
PAIRS = pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("sqlite", "s3"),
        ("postgresql", "local"),
        pytest.param("sqlite", "local", marks=pytest.mark.thorough),
        pytest.param("postgresql", "s3", marks=pytest.mark.thorough),
    ],
    indirect=["place"],
)


@pytest.mark.one_in(2)
@PAIRS
async def test_a_cancelled_commit_leaves_rows_and_objects_equal(
    async_engine: AsyncEngine, store: Store, checker: Checker, kind: str
) -> None:
    await seed(async_engine)
    store.backends["docs"].delay = 0.01
    finished = 0
    for number in range(18):
        finished += await work_cancelled(async_engine, seconds(number * 0.007))
        await checker.check()
        if finished >= 3:
            break
    assert checker.doubts <= 3


@pytest.mark.one_in(2)
async def test_cancelled_commit_leaves_rows_and_objects_equal(async_engine: AsyncEngine, store: Store, checker: Checker) -> None:
    await seed(async_engine)
    number, finished = 1, 0
    while finished < 2 and number < 2000:
        finished += await work_cancelled(async_engine, steps(number))
        await checker.check()
        number += 1 + number // 5


@pytest.mark.one_in(2)
async def test_a_timeout_during_the_upload_leaves_nothing(async_engine: AsyncEngine, store: Store, checker: Checker) -> None:
    store.backends["docs"].delay = 0.2
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), AsyncSession(async_engine) as session:
            session.add(Document(file=file(), pages=[file() for _ in range(40)]))
            await session.commit()
    await checker.check()
    assert store.objects() == set()


@pytest.mark.one_in(2)
async def test_cancelled_deletes_after_a_commit_are_finished(async_engine: AsyncEngine, store: Store, checker: Checker) -> None:
    await seed(async_engine)
    store.backends["docs"].delay = 0.2

    async def clear() -> None:
        async with AsyncSession(async_engine) as session:
            for document in await session.scalars(select(Document)):
                await session.delete(document)
            await session.commit()

    task = asyncio.create_task(clear())
    while not store.backends["docs"].deletes:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await checker.check()
    assert store.objects() == set()


@pytest.mark.thorough
@ONE
async def test_a_commit_cancelled_twice_leaves_rows_and_objects_equal(
    async_engine: AsyncEngine, store: Store, checker: Checker
) -> None:
    await seed(async_engine)
    store.backends["docs"].delay = 0.01
    for number in range(12):
        await work_cancelled(async_engine, seconds(number * 0.008), seconds(0.003))
        await checker.check()


async def test_cancelled_connection_release_still_deletes_dropped(async_engine: AsyncEngine, checker: Checker) -> None:
    await seed(async_engine)
    this = asyncio.current_task()
    assert this is not None
    async with AsyncSession(async_engine) as session:
        document = (await session.scalars(select(Document).limit(1))).one()
        document.file = file()
        event.listen(session.sync_session, "after_commit", lambda _: this.cancel())  # takes effect at the next await
        with pytest.raises(asyncio.CancelledError):
            await session.commit()
        this.uncancel()
    await checker.check()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", ["s3", "local"])
async def test_a_crowd_of_uploads_in_threads_is_all_stored_or_all_gone(
    async_engine: AsyncEngine, store: Store, check: Check, kind: str
) -> None:
    async def insert(session: AsyncSession) -> None:
        session.add_all(Document(file=file(b"%d" % number * 100_000)) for number in range(10, 50))
        session.add_all(Document(file=file(b"%d" % number)) for number in range(260))
        await session.commit()

    async with AsyncSession(async_engine) as session:
        task = asyncio.create_task(insert(session))
        while not await asyncio.to_thread(store.objects):
            await asyncio.sleep(0)
        assert not task.done(), "it was to be cancelled in the middle"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert store.objects() == set()
    check()
    async with AsyncSession(async_engine) as session:
        await insert(session)
    check()
    assert len(store.objects()) == 300
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("filerow")] == []
