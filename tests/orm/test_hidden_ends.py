"""Transactions that end behind SQLAlchemy's back, or were never there: no row may lose its bytes."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, String, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject
from filerow.backends.memory import MemoryBackend
from tests.databases import EmptyDatabase


class Base(DeclarativeBase):
    pass


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(20))
    cover: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.fixture
def engine(database: EmptyDatabase, docs: MemoryBackend) -> Engine:
    made = database.engine()
    Base.metadata.create_all(made)
    with Session(made) as session:
        session.add(Book(id=1, cover=file(b"old")))
        session.commit()
    return made


def file(content: bytes = b"new") -> FileObject:
    return FileObject(filename="a.txt", content=content)


def check(engine: Engine, docs: MemoryBackend, *, orphans: int = 0) -> None:
    """Compare rows and objects, through a connection of its own."""
    with engine.connect() as connection:
        documents = [json.loads(one) if isinstance(one, str) else one for one in _covers(connection)]
    paths = {document["path"] for document in documents}
    there = {one.path for one in docs.list()}
    assert paths <= there, "a row has lost its bytes"
    assert len(there - paths) == orphans


def _covers(connection: Any) -> list[Any]:
    return list(connection.scalars(text("SELECT cover FROM book WHERE cover IS NOT NULL")))


def replace(session: Session) -> Book:
    book = session.get_one(Book, 1)
    book.cover = file()
    session.flush()
    return book


def by_statement(words: str) -> Callable[[Session], None]:
    def end(session: Session) -> None:
        session.execute(text(words))

    return end


def by_driver(name: str) -> Callable[[Session], None]:
    def end(session: Session) -> None:
        getattr(session.connection().connection, name)()

    return end


COMMITS = {
    "a statement": by_statement("COMMIT"),
    "a statement in small letters": by_statement("  commit"),
    "plain SQL": lambda session: session.connection().exec_driver_sql("COMMIT"),
    "the driver": by_driver("commit"),
}
ROLLBACKS = {"a statement": by_statement("ROLLBACK"), "the driver": by_driver("rollback")}


@pytest.mark.parametrize("commit", COMMITS.values(), ids=[name.replace(" ", "_") for name in COMMITS])
def test_a_commit_of_another_s_keeps_what_it_committed(
    engine: Engine, docs: MemoryBackend, commit: Callable[[Session], None]
) -> None:
    with Session(engine) as session:
        replace(session)
        commit(session)
        session.rollback()
    check(engine, docs, orphans=1 if commit is COMMITS["the driver"] else 0)


@pytest.mark.parametrize("roll_back", ROLLBACKS.values(), ids=[name.replace(" ", "_") for name in ROLLBACKS])
def test_a_rollback_of_another_s_keeps_what_came_back(
    engine: Engine, docs: MemoryBackend, roll_back: Callable[[Session], None]
) -> None:
    with Session(engine) as session:
        replace(session)
        roll_back(session)
        session.commit()
    check(engine, docs, orphans=1 if roll_back is ROLLBACKS["the driver"] else 0)


@pytest.mark.parametrize("end", [by_driver("commit"), by_driver("rollback")], ids=["commit", "rollback"])
def test_an_end_by_the_driver_is_noticed_at_the_next_statement(
    engine: Engine, docs: MemoryBackend, end: Callable[[Session], None]
) -> None:
    with Session(engine) as session:
        replace(session)
        end(session)
        session.execute(text("SELECT 1"))
        session.commit()
    check(engine, docs, orphans=1)


def test_a_savepoint_of_plain_sql_that_is_rolled_back(engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        session.get_one(Book, 1).title = "a"
        session.flush()
        session.execute(text("SAVEPOINT mine"))
        replace(session)
        session.execute(text("ROLLBACK TO SAVEPOINT mine"))
        session.commit()
    check(engine, docs, orphans=1)


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
@pytest.mark.parametrize("words", ["CREATE TABLE other (id INTEGER)", "START TRANSACTION", "SET autocommit = 1"])
def test_mariadb_commits_before_ddl(engine: Engine, docs: MemoryBackend, words: str) -> None:
    with Session(engine) as session:
        replace(session)
        session.execute(text(words))
        session.rollback()
    check(engine, docs)


def test_a_first_statement_that_fails_leaves_nothing(engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        session.add(Book(id=1, cover=file()))
        with pytest.raises(IntegrityError):
            session.commit()
    check(engine, docs)


@pytest.mark.parametrize("mode", ["rollback_only", "control_fully", "conditional_savepoint"])
def test_joined_session_whose_connection_commits_by_statement(engine: Engine, docs: MemoryBackend, mode: Any) -> None:
    with engine.connect() as connection, connection.begin(), Session(connection, join_transaction_mode=mode) as session:
        replace(session)
        session.execute(text("COMMIT"))
        session.rollback()
    check(engine, docs)


# -- no transaction yet    -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_savepoint_that_sqlite_s_driver_commits(database: EmptyDatabase, engine: Engine, docs: MemoryBackend) -> None:
    plain = create_engine(database.url)  # begins with the first INSERT, UPDATE or DELETE, but not with SAVEPOINT
    with Session(plain) as session:
        book = session.get_one(Book, 1)
        with session.begin_nested():
            book.cover = file()
        session.rollback()
    plain.dispose()
    check(engine, docs)


# -- what the database rolls back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_postgresql_rolls_back_after_an_ignored_error(engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        replace(session)
        session.add(Book(id=2, cover=file()))
        session.flush()
        with contextlib.suppress(DBAPIError):
            session.execute(text("SELECT 1 / 0"))
        session.commit()
    check(engine, docs)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_asyncpg_rolls_back_after_an_error_that_was_passed_over(
    database: EmptyDatabase, engine: Engine, docs: MemoryBackend
) -> None:
    async_engine = database.async_engine()
    async with AsyncSession(async_engine) as session:
        await session.run_sync(replace)
        with contextlib.suppress(DBAPIError):
            await session.execute(text("SELECT 1 / 0"))
        await session.commit()
    await async_engine.dispose()
    check(engine, docs)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_asyncpg_commits_after_an_error_inside_a_savepoint(
    database: EmptyDatabase, engine: Engine, docs: MemoryBackend
) -> None:
    async_engine = database.async_engine()
    async with AsyncSession(async_engine) as session:
        await session.run_sync(replace)
        with contextlib.suppress(DBAPIError):
            async with session.begin_nested():
                await session.execute(text("SELECT 1 / 0"))
        await session.commit()
    await async_engine.dispose()
    check(engine, docs)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_joined_session_whose_outer_commit_is_refused(engine: Engine, docs: MemoryBackend) -> None:
    with engine.connect() as connection, connection.begin(), Session(connection) as session:
        replace(session)
        session.commit()
        with contextlib.suppress(DBAPIError):
            connection.execute(text("SELECT 1 / 0"))
    check(engine, docs)


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_mariadb_rolls_back_after_an_ignored_deadlock(engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        session.add(Book(id=2))
        session.commit()
        replace(session)
        waits = threading.Thread(target=_meet, args=(engine, locked := threading.Event()))
        waits.start()
        locked.wait()
        with pytest.raises(DBAPIError, match="1213"):
            session.execute(text("UPDATE book SET title = 'b' WHERE id = 2"))
        session.commit()
        waits.join()
    check(engine, docs, orphans=1)


def _meet(engine: Engine, locked: threading.Event) -> None:
    """Lock what the other wants, want what it has, and weigh more, so that the other is the victim."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO book (id) VALUES " + ", ".join(f"({number})" for number in range(100, 200))))
        connection.execute(text("UPDATE book SET title = 'a' WHERE id = 2"))
        locked.set()
        connection.execute(text("UPDATE book SET title = 'a' WHERE id = 1"))


# -- listeners that fail ---------------------------------------------------------------------------------------------------


def test_a_listener_that_fails_after_the_commit_loses_nothing(engine: Engine, docs: MemoryBackend) -> None:
    def fail(session: Session) -> None:
        raise RuntimeError

    session = Session(engine)
    replace(session)
    event.listen(Session, "after_commit", fail, insert=True)
    try:
        with pytest.raises(RuntimeError):
            session.commit()
        session.close()
    finally:
        event.remove(Session, "after_commit", fail)
    check(engine, docs, orphans=1)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_listener_that_fails_before_the_commit_loses_nothing(engine: Engine, docs: MemoryBackend) -> None:
    def fail(connection: object) -> None:
        raise RuntimeError

    session = Session(engine)
    replace(session)
    event.listen(engine, "commit", fail)
    try:
        with pytest.raises(RuntimeError):
            session.commit()
        session.close()
    finally:
        event.remove(engine, "commit", fail)
    check(engine, docs, orphans=1)
