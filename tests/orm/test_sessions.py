"""Every kind of session, through its own interface, without any set-up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, delete, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from filerow import FileObject
from tests.cases.models import Document
from tests.cases.stores import Store

Check = Callable[[], None]


class OurSession(Session):
    """A session of the application's own."""


class OurAsyncSession(AsyncSession):
    """An asynchronous session over a synchronous one of the application's own."""

    sync_session_class = OurSession


class OurMaker(sessionmaker[OurSession]):
    """A factory of the application's own."""


def file(content: bytes = b"one") -> FileObject:
    return FileObject(filename="cat.png", content=content)


SESSIONS: dict[str, Callable[[Engine], Session]] = {
    "Session": Session,
    "sessionmaker": lambda engine: sessionmaker(engine)(),
    "a_subclass": OurSession,
    "sessionmaker_of_a_subclass": lambda engine: sessionmaker(engine, class_=OurSession)(),
    "a_subclass_of_sessionmaker": lambda engine: OurMaker(engine, class_=OurSession)(),
    "no_expire": lambda engine: Session(engine, expire_on_commit=False),
    "no_autoflush": lambda engine: Session(engine, autoflush=False),
    "autobegin_off": lambda engine: Session(engine, autobegin=False),
    "bound_to_a_class": lambda engine: Session(binds={Document: engine}),
}


@pytest.mark.parametrize("make", SESSIONS.values(), ids=SESSIONS)
def test_a_session_stores_replaces_rolls_back_and_deletes(
    engine: Engine, store: Store, check: Check, make: Callable[[Engine], Session]
) -> None:
    session = make(engine)
    document = Document(file=file())
    with session.begin():
        session.add(document)
    check()
    with session.begin():
        document.file = file(b"two")
    check()
    with session.begin() as transaction:
        document.file = file(b"three")
        session.flush()
        transaction.rollback()
    check()
    with session.begin():
        session.delete(document)
    assert store.objects() == set()
    session.close()


def test_a_scoped_session(engine: Engine, store: Store, check: Check) -> None:
    session = scoped_session(sessionmaker(engine))
    document = Document(file=file())
    session.add(document)
    session.commit()
    check()
    document.file = file(b"two")
    session.flush()
    session.remove()
    check()
    session.execute(delete(Document))
    session.commit()
    assert store.objects() == set()
    session.remove()


ASYNC_SESSIONS: dict[str, Callable[[AsyncEngine], AsyncSession]] = {
    "AsyncSession": lambda engine: AsyncSession(engine, expire_on_commit=False),
    "async_sessionmaker": lambda engine: async_sessionmaker(engine, expire_on_commit=False)(),
    "a_subclass": lambda engine: OurAsyncSession(engine, expire_on_commit=False),
    "async_sessionmaker_of_a_subclass": lambda e: async_sessionmaker(e, class_=OurAsyncSession, expire_on_commit=False)(),
}


@pytest.mark.parametrize("make", ASYNC_SESSIONS.values(), ids=ASYNC_SESSIONS)
async def test_an_async_session_stores_replaces_rolls_back_and_deletes(
    async_engine: AsyncEngine, store: Store, check: Check, make: Callable[[AsyncEngine], AsyncSession]
) -> None:
    async with make(async_engine) as session:
        document = Document(file=file(), pages=[file(b"1")])
        session.add(document)
        await session.commit()
        check()
        assert document.file is not None
        assert await document.file.get_content_async() == b"one"
        document.file = file(b"two")
        document.pages.append(file(b"2"))
        await session.commit()
        check()
        async with session.begin_nested() as savepoint:
            document.file = file(b"three")
            await session.flush()
            await savepoint.rollback()
        await session.commit()
        check()
        await session.delete(document)
        await session.commit()
        assert store.objects() == set()


async def test_an_async_session_replaces_an_expired_attribute(async_engine: AsyncEngine, store: Store, check: Check) -> None:
    async with AsyncSession(async_engine) as session:
        document = Document(file=file())
        session.add(document)
        await session.commit()
        document.file = file(b"two")  # touching the old value would raise MissingGreenlet
        await session.commit()
    check()
    assert len(store.objects()) == 1


async def test_async_session_left_without_commit_leaves_nothing(async_engine: AsyncEngine, store: Store, check: Check) -> None:
    async with AsyncSession(async_engine) as session:
        session.add(Document(file=file()))
        await session.flush()
        assert len(store.objects()) == 1
    assert store.objects() == set()


async def test_an_async_bulk_statement(async_engine: AsyncEngine, store: Store, check: Check) -> None:
    async with AsyncSession(async_engine) as session, session.begin():
        session.add(Document(file=file()))
        await session.flush()
        await session.execute(delete(Document).where(Document.file.size == 3))
    assert store.objects() == set()


async def test_an_async_scoped_session(async_engine: AsyncEngine, store: Store, check: Check) -> None:
    session = async_scoped_session(async_sessionmaker(async_engine), scopefunc=asyncio.current_task)
    session.add(Document(file=file()))
    await session.commit()
    check()
    document = (await session.scalars(select(Document))).one()
    document.file = file(b"two")
    await session.flush()
    await session.remove()
    check()
    assert len(store.objects()) == 1


async def test_an_async_upload_from_an_async_iterator(async_engine: AsyncEngine, store: Store, check: Check) -> None:
    async def chunks() -> object:
        for chunk in (b"a", b"b", b"c"):
            await asyncio.sleep(0)
            yield chunk

    async with AsyncSession(async_engine) as session, session.begin():
        session.add(Document(file=FileObject(filename="cat.png", content=chunks())))
    check()
    assert len(store.objects()) == 1
