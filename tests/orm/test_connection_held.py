"""A first flush uploads before the session has taken a connection, so slow clients do not use up the pool."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event, insert
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.backends.base import ObjectInfo, PutOptions
from filerow.backends.memory import MemoryBackend
from tests.cases.databases import SQLite
from tests.cases.models import Document


class ConnectionWatcher(MemoryBackend):
    """Notes whether a connection is checked out while something is stored."""

    def __init__(self, engine: Engine) -> None:
        super().__init__("docs")
        self.checked_out: list[int] = []
        self._out = 0
        event.listen(engine, "checkout", lambda *_: self._count(1))
        event.listen(engine, "checkin", lambda *_: self._count(-1))

    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        self.checked_out.append(self._out)
        return super()._put(path, content, options)

    def _count(self, change: int) -> None:
        self._out += change


def watch(engine: Engine) -> ConnectionWatcher:
    storages.clear_backends()
    backend = ConnectionWatcher(engine)
    storages.register_backend(backend)
    return backend


def document() -> Document:
    return Document(file=FileObject(filename="cat.png", content=b"x"), pages=[FileObject(content=b"y")])


def test_a_first_flush_uploads_without_a_connection(engine: Engine) -> None:
    backend = watch(engine)
    with Session(engine) as session:
        session.add(document())
        session.commit()
        session.add(document())
        session.commit()
    assert backend.checked_out == [0, 0, 0, 0]


async def test_a_first_async_flush_uploads_without_a_connection(sqlite: SQLite, store: object) -> None:
    engine: AsyncEngine = sqlite.async_engine()
    backend = watch(engine.sync_engine)
    async with AsyncSession(engine) as session:
        session.add(document())
        await session.commit()
    await engine.dispose()
    assert backend.checked_out == [0, 0]


def test_a_first_bulk_insert_uploads_without_a_connection(engine: Engine) -> None:
    backend = watch(engine)
    with Session(engine) as session:
        session.execute(insert(Document), [{"file": FileObject(content=b"x")}])
        session.commit()
    assert backend.checked_out == [0]


def test_inserted_rows_cost_one_statement_together(engine: Engine) -> None:
    watch(engine)
    statements: list[str] = []

    def note(connection: Connection, cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    with Session(engine) as session:
        session.add_all([document() for _ in range(20)])
        session.commit()
    assert [s for s in statements if not s.startswith(("INSERT", "BEGIN", "select pg", "show", "SELECT pg"))] == []
