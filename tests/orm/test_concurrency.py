"""Many threads and many tasks at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from filerow import FileObject
from tests.cases.models import Document
from tests.cases.stores import Store

WORKERS, INSERTS = 8, 25


def document(worker: int, number: int) -> Document:
    return Document(title=f"{worker}-{number}", file=FileObject(filename="cat.png", content=b"%d %d" % (worker, number)))


@pytest.mark.one_in(4)
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_eight_threads_insert_at_once(engine: Engine, store: Store, check: Callable[[], None], kind: str) -> None:
    def work(worker: int) -> None:
        for number in range(INSERTS):
            with Session(engine) as session:
                session.add(document(worker, number))
                session.commit()

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))
    check()
    assert len(store.objects()) == WORKERS * INSERTS


@pytest.mark.one_in(4)
@pytest.mark.parametrize("kind", ["local", "s3"])
async def test_eight_tasks_insert_at_once(async_engine: AsyncEngine, store: Store, check: Callable[[], None], kind: str) -> None:
    async def work(worker: int) -> None:
        for number in range(INSERTS):
            async with AsyncSession(async_engine) as session:
                session.add(document(worker, number))
                await session.commit()

    await asyncio.gather(*map(work, range(WORKERS)))
    check()
    assert len(store.objects()) == WORKERS * INSERTS


def test_one_session_stores_two_hundred_files_at_once(engine: Engine, store: Store, check: Callable[[], None]) -> None:
    with Session(engine) as session:
        session.add_all([document(0, number) for number in range(200)])
        session.commit()
    check()
    assert len(store.objects()) == 200
