"""Sessions inside a transaction that somebody else began, as in SQLAlchemy's recipe for test suites."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from filerow import FileObject
from tests.cases.databases import PostgreSQL, SQLite
from tests.cases.models import Document
from tests.cases.stores import Store

pytestmark = pytest.mark.usefixtures("frozen_heap")

Check = Callable[[], None]
JOINING = ["conditional_savepoint", "rollback_only", "create_savepoint"]
each_mode = pytest.mark.parametrize("mode", [*JOINING, "control_fully"])
each_joining_mode = pytest.mark.parametrize("mode", JOINING)


def file(content: bytes = b"new") -> FileObject:
    return FileObject(filename="cat.png", content=content)


def joined(connection: Connection, mode: Any) -> Session:
    return Session(connection, join_transaction_mode=mode)


@pytest.fixture
def before(engine: Engine, store: Store) -> set[tuple[str, str]]:
    """Two committed rows; the objects they own."""
    with Session(engine) as session:
        session.add_all([Document(title=title, file=file(b"old")) for title in ("replaced", "deleted")])
        session.commit()
    return store.objects()


def change(session: Session) -> None:
    replaced, deleted = session.query(Document).order_by(Document.id)
    replaced.file = file()
    session.delete(deleted)
    session.add(Document(title="added", file=file(), pages=[file()]))


@each_joining_mode
def test_rows_that_come_back_find_their_bytes(
    engine: Engine, store: Store, check: Check, before: set[tuple[str, str]], mode: str
) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, mode) as session:
            change(session)
            session.commit()
        assert before < store.objects(), "the outer transaction is still open: nothing may be deleted"
        outer.rollback()
    check()
    assert store.objects() == before


@each_mode
def test_the_outer_commit_deletes_what_was_dropped(
    engine: Engine, store: Store, check: Check, before: set[tuple[str, str]], mode: str
) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, mode) as session:
            change(session)
            session.commit()
        if outer.is_active:
            outer.commit()
    check()
    assert not before & store.objects()


@each_mode
def test_a_rolled_back_session_leaves_nothing(
    engine: Engine, store: Store, check: Check, before: set[tuple[str, str]], mode: str
) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, mode) as session:
            change(session)
            session.flush()
            session.rollback()
        if outer.is_active:
            outer.commit()
    check()
    assert store.objects() == before


@each_mode
def test_a_session_closed_without_commit(
    engine: Engine, store: Store, check: Check, before: set[tuple[str, str]], mode: str
) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, mode) as session:
            change(session)
            session.flush()
        if outer.is_active:
            outer.commit()  # whether the rows are there now is the mode's business; that rows and objects agree is ours
    check()


@each_joining_mode
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_connection_of_an_engine_with_options(
    engine: Engine, store: Store, check: Check, before: set[tuple[str, str]], mode: str, end: str
) -> None:
    with engine.execution_options(schema_translate_map={}).connect() as connection:
        outer = connection.begin()
        with joined(connection, mode) as session:
            change(session)
            session.commit()
        getattr(outer, end)()
    check()
    assert (before & store.objects()) == (before if end == "rollback" else set())


def test_a_pool_of_one_connection_read_after_the_outer_commit(
    sqlite: SQLite, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    engine = sqlite.engine(poolclass=StaticPool)
    with engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, "create_savepoint") as session:
            session.add(Document(title="one", file=file()))
            session.commit()
            session.query(Document).one().file = file(b"newer")
            session.commit()
        outer.commit()
        with engine.connect() as other:
            other.execute(select(Document.id))
    engine.dispose()
    assert len(store.objects()) == 1
    assert not caplog.records


def test_a_pool_of_one_connection_rolled_back_by_another_user(postgresql: PostgreSQL, store: Store) -> None:
    postgresql.empty()
    engine = postgresql.engine(poolclass=StaticPool)
    with Session(engine) as session:
        session.add(Document(title="one", file=file()))
        session.commit()
    with engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, "create_savepoint") as session:
            session.query(Document).one().file = None
            session.commit()
        with engine.connect() as other:
            other.exec_driver_sql("SELECT 1")
            other.rollback()
        outer.commit()
    with Session(engine) as session:
        one = session.query(Document).one()
        assert one.file is None or one.file.get_content() == b"new"
    engine.dispose()


@each_joining_mode
def test_several_sessions_in_one_outer_transaction(
    engine: Engine, store: Store, check: Check, before: set[tuple[str, str]], mode: str
) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        for content in (b"1", b"2", b"3"):
            with joined(connection, mode) as session:
                session.query(Document).filter_by(title="replaced").one().file = file(content)
                session.commit()
        outer.commit()
    check()
    assert len(store.objects()) == 2


@each_joining_mode
def test_a_file_moved_by_a_second_session_is_kept(
    engine: Engine, store: Store, check: Check, before: set[tuple[str, str]], mode: str
) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, mode) as session:
            row = session.query(Document).filter_by(title="replaced").one()
            old, row.file = row.file, None
            session.commit()
        with joined(connection, mode) as session:
            session.query(Document).filter_by(title="replaced").one().file = old
            session.commit()
        outer.commit()
    check()
    assert len(store.objects()) == 2


def test_the_recipe_for_test_suites(engine: Engine, store: Store, check: Check, before: set[tuple[str, str]]) -> None:
    connection = engine.connect()
    transaction = connection.begin()
    session = Session(bind=connection, join_transaction_mode="create_savepoint")
    change(session)
    session.commit()
    session.query(Document).filter_by(title="added").one().file = file(b"again")
    session.flush()
    session.rollback()
    session.query(Document).filter_by(title="added").one().cover = file(b"cover")
    session.commit()
    session.close()
    transaction.rollback()
    connection.close()
    check()
    assert store.objects() == before


@each_joining_mode
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_savepoint_that_begins_with_a_flush(
    engine: Engine, store: Store, check: Check, before: set[tuple[str, str]], mode: str, end: str
) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, mode) as session:
            session.add(Document(title="outside", file=file(b"outside")))
            session.flush()
            with session.begin_nested(), session.begin_nested() as savepoint:
                session.add(Document(title="inside", file=file(b"inside")))
                session.flush()
                if end == "rollback":
                    savepoint.rollback()
            session.commit()
        outer.commit()
    check()
    assert len(store.objects() - before) == (1 if end == "rollback" else 2)


def test_an_outer_savepoint_that_rolls_back(engine: Engine, store: Store, check: Check, before: set[tuple[str, str]]) -> None:
    with engine.connect() as connection, connection.begin():
        savepoint = connection.begin_nested()
        with joined(connection, "create_savepoint") as session:
            change(session)
            session.commit()
        savepoint.rollback()
    assert before <= store.objects(), "rows that came back have lost their bytes"


def test_an_outer_savepoint_that_is_released(engine: Engine, store: Store, check: Check, before: set[tuple[str, str]]) -> None:
    with engine.connect() as connection, connection.begin():
        with connection.begin_nested(), joined(connection, "create_savepoint") as session:
            change(session)
            session.commit()
    check()


def test_a_connection_closed_without_commit(engine: Engine, store: Store, check: Check, before: set[tuple[str, str]]) -> None:
    with engine.connect() as connection:
        connection.begin()
        with joined(connection, "create_savepoint") as session:
            change(session)
            session.commit()
    check()
    assert store.objects() == before


def test_a_connection_lost_before_the_outer_commit(
    engine: Engine, store: Store, check: Check, before: set[tuple[str, str]]
) -> None:
    with engine.connect() as connection:
        connection.begin()
        with joined(connection, "create_savepoint") as session:
            change(session)
            session.commit()
        connection.invalidate()  # the server is gone: nobody says rollback any more
    assert before <= store.objects(), "the rows are as they were before, and have lost their bytes"


@pytest.mark.one_in(2)
def test_a_connection_that_nobody_holds_any_more(
    engine: Engine, store: Store, check: Check, before: set[tuple[str, str]]
) -> None:
    connection = engine.connect()
    connection.begin()
    session = joined(connection, "create_savepoint")
    change(session)
    session.commit()
    session.close()
    del session, connection
    gc.collect()  # the pool rolls back, which is not an event of the connection
    assert before <= store.objects(), "the rows are as they were before, and have lost their bytes"


async def test_the_async_recipe_for_test_suites(
    engine: Engine, async_engine: AsyncEngine, store: Store, check: Check, before: set[tuple[str, str]]
) -> None:
    async with async_engine.connect() as connection:
        transaction = await connection.begin()
        async with AsyncSession(bind=connection, join_transaction_mode="create_savepoint") as session:
            await session.run_sync(change)
            await session.commit()
        assert before < store.objects()
        await transaction.rollback()
    check()
    assert store.objects() == before


async def test_an_async_outer_commit_deletes_what_was_dropped(
    engine: Engine, async_engine: AsyncEngine, store: Store, check: Check, before: set[tuple[str, str]]
) -> None:
    async with async_engine.connect() as connection, connection.begin():
        async with AsyncSession(bind=connection, join_transaction_mode="create_savepoint") as session:
            await session.run_sync(change)
            await session.commit()
    check()
    assert not before & store.objects()


@pytest.mark.parametrize("mode", ["conditional_savepoint", "rollback_only", "create_savepoint"])
def test_outer_commit_before_session_closes_keeps_flushed_files(engine: Engine, store: Store, check: Check, mode: str) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with joined(connection, mode) as session:
            session.add(Document(file=file()))
            session.flush()
            outer.commit()
    check()
    assert len(store.objects()) == 1
