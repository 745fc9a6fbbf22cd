"""The connection to the database is cut or falls silent in a transaction: no committed row is left without its bytes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.maintenance import sweep
from tests.servers._database import Database
from tests.servers.faulty import FaultyRelay, Mode

pytestmark = pytest.mark.one_in(1)  # each of its few variants, in every run

LOST = (DBAPIError, PendingRollbackError, ConnectionError, TimeoutError)


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.fixture(scope="module")
def place(postgres_server: Any) -> Iterator[Database]:
    """A database with the table."""
    database = postgres_server.make_database()
    engine = create_engine(database.url("psycopg"))
    Base.metadata.create_all(engine)
    engine.dispose()
    yield database
    postgres_server.drop_database(database)


@pytest.fixture
def direct(place: Database) -> Iterator[Engine]:
    """The way to the database that nothing disturbs; the table is empty, and so is the store."""
    engine = create_engine(place.url("psycopg"))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM paper"))
    storages.register_backend(MemoryBackend("docs"))
    yield engine
    storages.clear_backends()
    engine.dispose()


def url(relay: FaultyRelay, place: Database, driver: str) -> str:
    return Database(place.dialect, "127.0.0.1", relay.port, place.user, place.name).url(driver)


def paper(content: bytes) -> Paper:
    return Paper(file=FileObject(filename="a.bin", content=content))


def attempt(relay: FaultyRelay, place: Database, driver: str, mode: Mode, marker: bytes, *, rollback: bool) -> None:
    """Replace the file of one row, add another row, and end the transaction, while the connection goes wrong at the marker."""
    if driver == "psycopg":
        engine = create_engine(url(relay, place, driver))
        try:
            with Session(engine) as session:
                change(session)
                strike(relay, mode, marker)
                session.rollback() if rollback else session.commit()
        finally:
            engine.dispose()
    else:
        asyncio.run(attempt_async(relay, place, mode, marker, rollback=rollback))


async def attempt_async(relay: FaultyRelay, place: Database, mode: Mode, marker: bytes, *, rollback: bool) -> None:
    engine = create_async_engine(url(relay, place, "asyncpg"), connect_args={"command_timeout": 1})
    try:
        async with AsyncSession(engine) as session:
            await session.run_sync(change)
            strike(relay, mode, marker)
            await (session.rollback() if rollback else session.commit())
    finally:
        await engine.dispose()


def change(session: Session) -> None:
    session.query(Paper).one().file = FileObject(filename="b.bin", content=b"new")
    session.flush()
    session.add(paper(b"second"))


def strike(relay: FaultyRelay, mode: Mode, marker: bytes) -> None:
    relay.marker, relay.mode = marker, mode


def settle(direct: Engine) -> None:
    """Wait until the server has noticed that the connection is gone, and holds no lock for it any more."""
    with direct.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '30s'"))
        connection.execute(text("LOCK TABLE paper IN ACCESS EXCLUSIVE MODE"))


def paths(engine: Engine) -> set[str]:
    with Session(engine) as session:
        return {row.file.path for row in session.query(Paper) if row.file}


def objects() -> set[str]:
    return {info.path for info in storages.get_backend("docs").list()}


def check(direct: Engine) -> set[str]:
    """Compare rows and objects; return the orphans, having seen that a sweep finds exactly these."""
    rows = paths(direct)
    assert rows - objects() == set(), "dangling: rows without their objects"
    orphans = objects() - rows
    list(sweep(Base.metadata, direct, grace=timedelta(0), delete=True, allow_many=True))
    assert objects() == rows
    with Session(direct) as session:
        for row in session.query(Paper):
            assert row.file is not None
            row.file.verify()
    return orphans


STEPS: dict[str, tuple[bytes, bool]] = {
    "flush": (b"INSERT INTO paper", False),
    "commit": (b"COMMIT", False),
    "rollback": (b"ROLLBACK", True),
}


@pytest.mark.parametrize("step", ["commit", *(pytest.param(step, marks=pytest.mark.thorough) for step in ("flush", "rollback"))])
@pytest.mark.parametrize("mode", ["reset", "lost"])
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_cut_connection_leaves_no_row_without_its_bytes(
    place: Database, direct: Engine, driver: str, mode: Mode, step: str
) -> None:
    with Session(direct) as session:
        session.add(paper(b"old"))
        session.commit()
    marker, rollback = STEPS[step]
    before = paths(direct)
    with FaultyRelay(f"{place.host}:{place.port}") as relay:
        with pytest.raises(LOST):
            attempt(relay, place, driver, mode, marker, rollback=rollback)
        assert relay.struck
    settle(direct)
    committed = paths(direct) != before
    assert committed == (step == "commit" and mode == "lost")
    orphans = check(direct)
    # Nobody can know what became of a COMMIT without an answer, so nothing is deleted then; else all is as it was.
    assert len(orphans) == (0 if step != "commit" else 1 if committed else 2)


@pytest.mark.thorough
def test_unanswered_commit_ends_at_the_driver_s_timeout(place: Database, direct: Engine) -> None:
    with Session(direct) as session:
        session.add(paper(b"old"))
        session.commit()
    began = time.monotonic()
    with FaultyRelay(f"{place.host}:{place.port}") as relay:
        with pytest.raises(LOST):
            attempt(relay, place, "asyncpg", "silent", b"COMMIT", rollback=False)
        assert relay.struck
    assert time.monotonic() - began < 60
    settle(direct)
    assert len(check(direct)) == 2


def test_hanging_commit_is_settled_when_the_connection_dies(place: Database, direct: Engine) -> None:
    with Session(direct) as session:
        session.add(paper(b"old"))
        session.commit()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            attempt(relay, place, "psycopg", "silent", b"COMMIT", rollback=False)
        except LOST as error:
            errors.append(error)

    with FaultyRelay(f"{place.host}:{place.port}") as relay:
        thread = threading.Thread(target=work)
        thread.start()
        until = time.monotonic() + 60
        while not relay.struck and time.monotonic() < until:
            time.sleep(0.005)
        assert relay.struck
    thread.join(60)
    assert errors
    settle(direct)
    assert len(check(direct)) == 2
