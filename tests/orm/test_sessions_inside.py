"""Sessions opened on another session's connection, or on one that somebody else looks after, and never closed.

SQLAlchemy-Continuum and other audit extensions do so: inside a flush they open a session on ``session.connection()``, write
their rows with it, and forget it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from filerow import FileObject
from tests.cases.models import Document, Named
from tests.cases.stores import Store

pytestmark = pytest.mark.usefixtures("frozen_heap")

Check = Callable[[], None]
Objects = set[tuple[str, str]]


def file(content: bytes = b"new") -> FileObject:
    return FileObject(filename="cat.png", content=content)


class Versions:
    """Writes a version of every row that a flush has written, by a session of its own.

    Args:
        keeps: It holds its session, as Continuum does, rather than dropping it after the flush.
        mode: How its session joins the transaction.
        name: The event in which it writes.
    """

    def __init__(self, *, keeps: bool, mode: Any = "conditional_savepoint", name: str = "after_flush") -> None:
        self._keeps = keeps
        self._mode = mode
        self._name = name
        self._sessions: list[Session] = []

    def watch(self, session: Session) -> None:
        event.listen(session, self._name, self._write)

    def _write(self, session: Session, *context: object) -> None:
        written = [one for one in [*session.new, *session.dirty] if isinstance(one, Document)]
        if not written:
            return
        inner = Session(session.connection(), join_transaction_mode=self._mode)
        for one in written:
            inner.add(Document(title="version", file=one.file, pages=[file(b"seal")]))
        inner.flush()
        if self._keeps:
            self._sessions.append(inner)


def change(session: Session) -> None:
    session.query(Document).filter_by(title="replaced").one().file = file()
    session.add(Document(title="added", file=file(), pages=[file()]))


@pytest.fixture
def before(engine: Engine, store: Store) -> Objects:
    with Session(engine) as session:
        session.add(Document(title="replaced", file=file(b"old")))
        session.commit()
    return store.objects()


each_holding = pytest.mark.parametrize("keeps", [True, False], ids=["kept", "dropped"])
MODES = ["conditional_savepoint", "rollback_only", "create_savepoint", "control_fully"]
IN_EVERY_RUN = [(True, "conditional_savepoint"), (False, "create_savepoint")]
each_way = pytest.mark.parametrize(
    ("keeps", "mode"),
    [
        pytest.param(keeps, mode, marks=() if (keeps, mode) in IN_EVERY_RUN else pytest.mark.thorough)
        for keeps in (True, False)
        for mode in MODES
    ],
)


@pytest.mark.parametrize("name", ["before_flush", "after_flush"])
@each_way
def test_a_rolled_back_flush_leaves_no_version(
    engine: Engine, store: Store, check: Check, before: Objects, mode: str, name: str, *, keeps: bool
) -> None:
    versions = Versions(keeps=keeps, mode=mode, name=name)
    with Session(engine) as session:
        versions.watch(session)
        for _ in range(2):
            change(session)
            session.flush()
            session.rollback()
    check()
    assert store.objects() == before


@each_way
def test_a_commit_keeps_versions_and_deletes_the_replaced(
    engine: Engine, store: Store, check: Check, before: Objects, mode: str, *, keeps: bool
) -> None:
    versions = Versions(keeps=keeps, mode=mode)
    with Session(engine) as session:
        versions.watch(session)
        change(session)
        session.flush()
        if mode == "create_savepoint" and not keeps:
            gc.collect()
        session.commit()
    check()
    assert not before & store.objects()
    assert len(store.objects()) == 3 + 4


@each_holding
def test_a_rolled_back_savepoint_takes_its_versions_along(
    engine: Engine, store: Store, check: Check, before: Objects, *, keeps: bool
) -> None:
    versions = Versions(keeps=keeps, mode="rollback_only")
    with Session(engine) as session:
        session.add(Document(title="first", file=file()))
        session.flush()
        versions.watch(session)
        savepoint = session.begin_nested()
        change(session)
        session.flush()
        savepoint.rollback()
        session.commit()
    check()
    assert len(store.objects()) == 2


@each_holding
def test_versions_of_two_savepoints_are_distinguished(
    engine: Engine, store: Store, check: Check, before: Objects, *, keeps: bool
) -> None:
    versions = Versions(keeps=keeps, mode="rollback_only")
    with Session(engine) as session:
        versions.watch(session)
        session.add(Document(title="first", file=file()))
        session.flush()
        with session.begin_nested():
            session.add(Document(title="second", file=file()))
        savepoint = session.begin_nested()
        session.add(Document(title="third", file=file()))
        session.flush()
        savepoint.rollback()
        session.commit()
    check()
    assert len(store.objects()) == 1 + 2 * 3


def test_a_flush_that_fails_leaves_no_version(engine: Engine, store: Store, check: Check, before: Objects) -> None:
    versions = Versions(keeps=True, name="before_flush")
    with Session(engine) as session:
        versions.watch(session)
        change(session)
        session.add_all([Named(name="same", file=file()), Named(name="same", file=file())])
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
    check()
    assert store.objects() == before


def test_an_inner_session_s_end_is_not_the_outer_one_s(engine: Engine, store: Store, check: Check, before: Objects) -> None:
    with Session(engine) as session:
        change(session)
        session.flush()
        with Session(session.connection()) as inner:
            inner.add(Document(title="inner", file=file()))
            inner.commit()
        session.connection().commit()  # behind the session's back: its rows are there
    check()


def test_an_inner_session_s_savepoint_is_its_own_business(engine: Engine, store: Store, check: Check, before: Objects) -> None:
    with Session(engine) as session:
        change(session)
        session.flush()
        with Session(session.connection(), join_transaction_mode="create_savepoint") as inner:
            inner.add(Document(title="inner", file=file()))
            inner.flush()
            inner.rollback()
        session.commit()
    check()
    assert not before & store.objects()


def test_an_inner_savepoint_that_took_the_outer_s_rows_along(engine: Engine, store: Store, before: Objects) -> None:
    with Session(engine) as session:
        replaced = session.query(Document).one()
        with Session(session.connection(), join_transaction_mode="create_savepoint") as inner:
            inner.execute(text("SELECT 1"))
            replaced.file = file()
            session.flush()
            inner.rollback()
        session.commit()
    assert before <= store.objects(), "the row names its old file again"


def test_a_released_savepoint_does_not_hide_a_commit(engine: Engine, store: Store, check: Check) -> None:
    with Session(engine) as session:
        with session.begin_nested():
            session.add(Document(file=file()))
        session.connection().commit()
    check()
    assert len(store.objects()) == 1


OUTER: dict[str, Callable[[Connection], None]] = {
    "rolled back": lambda connection: connection.rollback(),
    "committed": lambda connection: connection.commit(),
    "closed": lambda connection: connection.close(),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("end", OUTER.values(), ids=OUTER)
@each_way
def test_an_outer_transaction_ends_before_its_session(
    engine: Engine, store: Store, check: Check, before: Objects, mode: Any, end: Callable[[Connection], None], *, keeps: bool
) -> None:
    connection = engine.connect()
    connection.begin()
    session = Session(connection, join_transaction_mode=mode)
    change(session)
    session.flush()
    kept = [session] if keeps else []
    del session
    gc.collect()
    end(connection)
    connection.close()
    check()
    kept.clear()
    gc.collect()
    check()


@each_holding
def test_an_outer_connection_is_garbage_collected(
    engine: Engine, store: Store, check: Check, before: Objects, *, keeps: bool
) -> None:
    connection = engine.connect()
    connection.begin()
    session = Session(connection)
    change(session)
    session.flush()
    if not keeps:
        session.commit()
        session.close()
    del session, connection
    gc.collect()
    with Session(engine) as another:  # whoever ends a transaction next deletes what was left
        another.query(Document).all()
    check()
    assert store.objects() == before


def test_a_session_that_is_garbage_collected_leaves_nothing(engine: Engine, store: Store, check: Check, before: Objects) -> None:
    session = Session(engine)
    change(session)
    session.flush()
    del session
    gc.collect()
    with Session(engine) as another:
        another.query(Document).all()
    check()
    assert store.objects() == before


async def test_async_versions_are_rolled_back(
    engine: Engine, async_engine: AsyncEngine, store: Store, check: Check, before: Objects
) -> None:
    versions = Versions(keeps=True)
    async with AsyncSession(async_engine) as session:
        versions.watch(session.sync_session)
        await session.run_sync(change)
        await session.flush()
        await session.rollback()
        assert store.objects() == before
        await session.run_sync(change)
        await session.commit()
    check()
    assert len(store.objects()) == 3 + 4
