"""Engines that share a dialect and a pool, and binds that are not engines at all."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, current_thread
from typing import Any
from unittest.mock import MagicMock, Mock, create_autospec

import pytest
from sqlalchemy import Connection, Engine, delete, event, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session

from filerow import FileObject
from tests.cases.databases import SQLite
from tests.cases.models import Animal, Document, Dog, Folder
from tests.cases.stores import Store

Check = Callable[[], None]

Engines = Callable[[Any], list[Any]]
"""From an engine those to be used, in the order in which sessions see them first."""

ENGINES: dict[str, Engines] = {
    "an option engine first": lambda engine: [engine.execution_options(logging_token="a"), engine],
    "an option engine last": lambda engine: [engine, engine.execution_options(logging_token="a")],
    "options of options": lambda engine: [
        engine.execution_options(logging_token="a").execution_options(schema_translate_map={}),
        engine.execution_options(logging_token="c"),
    ],
}


each_order = pytest.mark.parametrize("engines", ENGINES.values(), ids=ENGINES)


def file(content: bytes = b"new") -> FileObject:
    return FileObject(filename="cat.png", content=content)


def roll_back_a_savepoint(session: Session) -> None:
    """Undo, behind the session's back, what it believes to have committed."""
    one = Document(file=file(b"old"))
    session.add(one)
    session.commit()
    savepoint = session.connection().begin_nested()
    one.file = file()
    session.flush()
    savepoint.rollback()
    session.commit()


def commit_the_connection(session: Session) -> None:
    """Commit, behind the session's back, what it believes to have rolled back."""
    session.add(Document(file=file()))
    session.flush()
    session.connection().commit()
    session.close()


BEHIND_ITS_BACK = [roll_back_a_savepoint, commit_the_connection]
each_way = pytest.mark.parametrize("behind", BEHIND_ITS_BACK, ids=lambda one: one.__name__)


def no_row_is_dangling(place: SQLite, store: Store) -> None:
    documents = [document for _, row in place.rows() for document in row]
    assert documents
    assert {(one["backend"], one["path"]) for one in documents} <= store.objects()


@each_order
@each_way
def test_option_engines_notice_what_bypasses_the_session(
    sqlite: SQLite, store: Store, engines: Engines, behind: Callable[[Session], None]
) -> None:
    engine = sqlite.engine()
    first, then = engines(engine)
    with Session(first) as session:
        session.execute(select(Document))
    with Session(then) as session:
        behind(session)
    engine.dispose()
    no_row_is_dangling(sqlite, store)


@each_order
@each_way
async def test_async_option_engines_notice_what_bypasses_the_session(
    sqlite: SQLite, store: Store, engines: Engines, behind: Callable[[Session], None]
) -> None:
    engine: AsyncEngine = sqlite.async_engine()
    first, then = engines(engine)
    async with AsyncSession(first) as session:
        await session.execute(select(Document))
    async with AsyncSession(then) as session:
        await session.run_sync(behind)
    await engine.dispose()
    no_row_is_dangling(sqlite, store)


def test_first_session_of_an_engine_disturbs_no_statement(sqlite: SQLite, store: Store) -> None:
    engine = sqlite.engine(pool_size=2)
    began, go_on = Event(), Event()

    @event.listens_for(engine, "before_cursor_execute")
    def wait(connection: Connection, *statement: object) -> None:
        if current_thread().name.startswith("other"):
            began.set()
            go_on.wait(10)

    def read() -> object:
        with engine.connect() as connection:
            return connection.scalar(select(1))

    with ThreadPoolExecutor(1, thread_name_prefix="other") as threads:
        reading = threads.submit(read)
        began.wait(10)
        with Session(engine) as session:
            session.execute(select(Document))
        go_on.set()
        assert reading.result() == 1
    engine.dispose()


def test_bulk_statements_ask_an_application_s_own_get_bind(sqlite: SQLite, store: Store) -> None:
    engine = sqlite.engine()

    class RoutingSession(Session):
        def get_bind(self, mapper: Any = None, clause: Any = None) -> Engine:  # type: ignore[override]
            return engine

    with RoutingSession() as session:
        session.execute(insert(Document), [{"title": "a", "file": file()}, {"title": "b", "file": file(b"old")}])
        session.execute(insert(Document).values(title="c", file=file()))
        session.execute(update(Document).where(Document.title == "b").values(file=file()))
        session.execute(update(Document).where(Document.title == "b").values(title="b"))
        session.execute(delete(Document).where(Document.title == "c"))
        session.query(Document).filter_by(title="a").delete()
        session.commit()
    engine.dispose()
    assert len(store.objects()) == 1
    no_row_is_dangling(sqlite, store)


MOCKS: dict[str, Callable[[], Any]] = {
    "Mock": Mock,
    "MagicMock": MagicMock,
    "Mock with a spec": lambda: Mock(spec=Engine),
    "autospec": lambda: create_autospec(Engine, instance=True),
}


@pytest.mark.parametrize("make", MOCKS.values(), ids=MOCKS)
def test_a_session_on_a_mock_works_as_without_files(make: Callable[[], Any]) -> None:
    mock = make()
    with Session(mock) as session:
        session.execute(select(Document))
        session.execute(delete(Document), execution_options={"synchronize_session": False})
        session.execute(update(Document).values(title="x"), execution_options={"synchronize_session": False})
        session.begin_nested().rollback()
        session.commit()
        session.connection()
        session.rollback()
    assert mock.connect.called


@pytest.fixture
def unbound(engine: Engine) -> Session:
    """A session without a bind, whose hook supplies one as SQLAlchemy's documentation shows."""
    session = Session()

    @event.listens_for(session, "do_orm_execute")
    def supply(state: ORMExecuteState) -> Any:
        if "bind" not in state.bind_arguments:
            return state.invoke_statement(bind_arguments={**state.bind_arguments, "bind": engine})
        return None

    return session


STATEMENTS: dict[str, Callable[[], Any]] = {
    "update of a file": lambda: update(Document).where(Document.title == "old").values(file=file()),
    "update of no file": lambda: update(Document).where(Document.title == "old").values(title="other"),
    "delete": lambda: delete(Document).where(Document.title == "old"),
    "insert": lambda: insert(Document).values(title="inserted", file=file()),
    "delete of another class": lambda: delete(Folder),
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_bulk_uses_the_bind_that_a_hook_supplies(
    engine: Engine, unbound: Session, store: Store, check: Check, statement: Callable[[], Any]
) -> None:
    with Session(engine) as session:
        session.add(Document(title="old", file=file(b"old")))
        session.commit()
    with unbound:
        unbound.execute(statement())
        unbound.commit()
    check()


def test_a_child_s_own_bind_is_not_where_it_is_written(
    sqlite: SQLite, tmp_path: Path, sqlite_template: Path, store: Store
) -> None:
    engine, unused = sqlite.engine(), SQLite(tmp_path / "unused.db", sqlite_template).engine()
    with Session(binds={Animal: engine, Dog: unused}, expire_on_commit=False) as session:
        dog = Dog(photo=file(b"old"), chip=file(b"old"))
        session.add(dog)
        session.commit()
        dog.photo, dog.chip = file(), file()
        session.commit()
    engine.dispose()
    unused.dispose()
    no_row_is_dangling(sqlite, store)
    assert len(store.objects()) == 2
