"""What every process of these tests does with files, and reports."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from filerow import FileObject, FilerowError, StoredObject, storages
from tests.places import RECORD


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


def _write_at_once(engine: Engine) -> Engine:
    """Have transactions take SQLite's write lock when they begin: one that has read before cannot wait for it."""

    def connected(dbapi_connection: Any, record: object) -> None:
        dbapi_connection.isolation_level = None

    def began(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", began)
    return engine


def rows_engine(file: str | None = None) -> Engine:
    """Return an engine on the rows of this test, which keeps no connection that a fork could share."""
    url = f"sqlite:///{file or os.environ['FILEROW_TEST_ROWS']}"
    return _write_at_once(create_engine(url, connect_args={"timeout": 60}, poolclass=NullPool))


def rows_async_engine() -> AsyncEngine:
    """Return an asynchronous engine on the rows of this test."""
    url = f"sqlite+aiosqlite:///{os.environ['FILEROW_TEST_ROWS']}"
    engine = create_async_engine(url, connect_args={"timeout": 60}, poolclass=NullPool)
    _write_at_once(engine.sync_engine)
    return engine


def make_tables(file: str | None = None) -> None:
    engine = rows_engine(file)
    Base.metadata.create_all(engine)
    engine.dispose()


def attach(content: bytes = b"content") -> None:
    """Attach a file, read it in another session, replace it, delete its row: nothing is left."""
    engine = rows_engine()
    with Session(engine) as session:
        document = Document(file=FileObject(filename="a.txt", content=content))
        session.add(document)
        session.commit()
        key = document.id
    with Session(engine) as session:
        document = session.get_one(Document, key)
        assert document.file is not None
        with closing(document.file.open()) as opened:
            assert opened.read() == content
        document.file = FileObject(filename="b.txt", content=content * 2)
        session.commit()
        assert document.file.get_content() == content * 2
        session.delete(document)
        session.commit()
    engine.dispose()


async def attach_async(content: bytes = b"content") -> None:
    """Do the same in an event loop."""
    engine = rows_async_engine()
    async with AsyncSession(engine, expire_on_commit=False) as session:
        document = Document(file=FileObject(filename="a.txt", content=content))
        session.add(document)
        await session.commit()
        assert document.file is not None
        assert await document.file.get_content_async() == content
        document.file = FileObject(filename="b.txt", content=content * 2)
        await session.commit()
        assert await document.file.get_content_async() == content * 2
        await session.delete(document)
        await session.commit()
    await engine.dispose()


def outcome(work: Any = attach) -> dict[str, Any]:
    """Run something and return how it went: ``{"pid", "seconds", "error", "says"}``, without an error ``None``."""
    began = time.monotonic()
    error: Exception | None = None
    try:
        made = work()
        if asyncio.iscoroutine(made):
            asyncio.run(made)
    except FilerowError as raised:
        error = raised
    report = {"pid": os.getpid(), "seconds": time.monotonic() - began}
    return {**report, "error": error and type(error).__name__, "says": str(error)}


def left() -> int:
    """Return how many objects there are."""
    return sum(info.path != RECORD for info in storages.get_backend("docs").list())
