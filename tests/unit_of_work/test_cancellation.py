"""A commit that is cancelled, at whatever moment: rows and objects agree afterwards.

There is one doubt that nobody can resolve: COMMIT was sent and its answer lost. Then everything is kept, which is logged; rows
are never dangling even so, and a sweep finds what is left over.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from filerow import FileObject
from tests.cases.databases import PostgreSQL, SQLite
from tests.cases.models import Document
from tests.cases.stores import Store

# A cancelled aiosqlite connection is thrown away by SQLAlchemy without being closed, of which Python 3.13 and aiosqlite warn.
pytestmark = [
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
        session.add_all([Document(file=file(b"old"), pages=[file(b"old")]) for _ in range(40)])
        await session.commit()


async def settled() -> None:
    """Wait for what a cancelled session still does in tasks of SQLAlchemy's own; one that closes a connection may never end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=5)


class Judge:
    """Checks after each cancellation, and tidies up after a doubt."""

    def __init__(self, place: SQLite | PostgreSQL, store: Store, check: Check, caplog: pytest.LogCaptureFixture) -> None:
        self._place, self._store, self._check, self._caplog = place, store, check, caplog
        self.doubts = 0

    async def check(self) -> None:
        await settled()
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
def judge(place: SQLite | PostgreSQL, store: Store, check: Check, caplog: pytest.LogCaptureFixture) -> Judge:
    return Judge(place, store, check, caplog)


@pytest.mark.parametrize("kind", ["local", "s3"])
async def test_a_cancelled_commit_leaves_rows_and_objects_equal(
    async_engine: AsyncEngine, store: Store, judge: Judge, kind: str
) -> None:
    await seed(async_engine)
    store.backends["docs"].delay = 0.01
    finished = 0
    for number in range(30):
        task = asyncio.create_task(work(async_engine))
        await asyncio.sleep(number * 0.004)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        else:
            finished += 1
        await judge.check()
        if finished >= 3:
            break
    assert judge.doubts <= 3


async def test_a_commit_cancelled_at_any_step_of_the_loop_leaves_rows_and_objects_equal(
    async_engine: AsyncEngine, store: Store, judge: Judge
) -> None:
    await seed(async_engine)
    steps, finished = 1, 0
    while finished < 2 and steps < 2000:
        task = asyncio.create_task(work(async_engine))
        for _ in range(steps):
            await asyncio.sleep(0)
        finished += task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await judge.check()
        steps += 1 + steps // 8


async def test_a_timeout_during_the_upload_leaves_nothing(async_engine: AsyncEngine, store: Store, judge: Judge) -> None:
    store.backends["docs"].delay = 0.2
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), AsyncSession(async_engine) as session:
            session.add(Document(file=file(), pages=[file() for _ in range(40)]))
            await session.commit()
    await judge.check()
    assert store.objects() == set()


async def test_a_cancellation_during_the_delete_after_a_commit_finishes_the_delete(
    async_engine: AsyncEngine, store: Store, judge: Judge
) -> None:
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
    await judge.check()
    assert store.objects() == set()


async def test_a_commit_cancelled_twice_leaves_rows_and_objects_equal(
    async_engine: AsyncEngine, store: Store, judge: Judge
) -> None:
    await seed(async_engine)
    store.backends["docs"].delay = 0.01
    for number in range(12):
        task = asyncio.create_task(work(async_engine))
        await asyncio.sleep(number * 0.008)
        task.cancel()
        await asyncio.sleep(0.003)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await judge.check()


async def test_a_cancellation_while_the_connection_is_given_back_still_deletes_what_was_dropped(
    async_engine: AsyncEngine, judge: Judge
) -> None:
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
    await judge.check()
