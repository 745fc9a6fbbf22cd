"""AUTOCOMMIT: no transaction keeps rows and bytes together, so what gives or takes files is refused before anything is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import String, create_engine, delete, event, insert, update
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import UnsupportedRouteError
from tests.databases import EmptyDatabase, explicit_begin


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(20))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


def page(content: bytes = b"page") -> FileObject:
    return FileObject(filename="a.txt", content=content)


@pytest.fixture
def store() -> Iterator[MemoryBackend]:
    backend = MemoryBackend("docs")
    storages.register_backend(backend)
    yield backend
    storages.clear_backends()


@pytest.fixture
def engine(database: EmptyDatabase, store: MemoryBackend) -> Any:
    """A database with a row that has a file and a page, and one that has none."""
    made = database.engine()
    if database.name == "sqlite":  # without the listener that begins a transaction all the same
        made = create_engine(made.url)
    Base.metadata.create_all(made)
    with Session(made) as session:
        session.add_all([Paper(id=1, file=page(b"file"), pages=[page()]), Paper(id=2)])
        session.commit()
    yield made
    made.dispose()


def on_engine(engine: Any) -> Session:
    return Session(engine.execution_options(isolation_level="AUTOCOMMIT"))


def on_connection(engine: Any) -> Session:
    session = Session(engine)
    session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
    return session


def joined(engine: Any) -> Session:
    return Session(engine.connect().execution_options(isolation_level="AUTOCOMMIT"))


def _new(session: Session) -> None:
    session.add(Paper(file=page()))
    session.flush()


def _replace(session: Session) -> None:
    session.get_one(Paper, 1).file = page()
    session.flush()


def _append(session: Session) -> None:
    paper = session.get_one(Paper, 1)
    paper.pages.append(page())
    session.flush()


def _clear(session: Session) -> None:
    session.get_one(Paper, 1).file = None
    session.flush()


def _delete(session: Session) -> None:
    session.delete(session.get_one(Paper, 1))
    session.flush()


def _late(session: Session) -> None:
    def stamp(mapper: object, connection: object, target: Paper) -> None:
        target.file = page()

    event.listen(Paper, "before_insert", stamp, insert=True)
    try:
        session.add(Paper(title="new"))
        session.flush()
    finally:
        event.remove(Paper, "before_insert", stamp)


def _bulk_insert(session: Session) -> None:
    session.execute(insert(Paper), [{"file": page()}])


def _bulk_update(session: Session) -> None:
    session.execute(update(Paper).where(Paper.id == 1).values(file=page()))


def _bulk_clear(session: Session) -> None:
    session.execute(update(Paper).where(Paper.id == 1).values(file=None))


def _bulk_delete(session: Session) -> None:
    session.execute(delete(Paper))


ROUTES = [_new, _replace, _append, _clear, _delete, _late, _bulk_insert, _bulk_update, _bulk_clear, _bulk_delete]


def kept(engine: Any, store: MemoryBackend) -> None:
    """Assert that rows and objects are what they were."""
    with Session(engine) as session:
        one, other = session.query(Paper).order_by(Paper.id).all()
        assert one.file.get_content() == b"file"
        assert [file.get_content() for file in one.pages] == [b"page"]
        assert other.file is None
    assert len(list(store.list())) == 2


@pytest.mark.parametrize("route", ROUTES, ids=lambda one: one.__name__.strip("_"))
def test_autocommit_refuses_what_gives_or_takes_files(
    engine: Any, store: MemoryBackend, route: Callable[[Session], None]
) -> None:
    with on_engine(engine) as session:
        with pytest.raises(UnsupportedRouteError, match="AUTOCOMMIT"):
            route(session)
        session.rollback()
    kept(engine, store)


@pytest.mark.parametrize("opened", [on_connection, joined])
def test_autocommit_of_a_connection_refuses_too(engine: Any, store: MemoryBackend, opened: Callable[[Any], Session]) -> None:
    with opened(engine) as session, pytest.raises(UnsupportedRouteError, match="isolation_level"):
        _new(session)
    kept(engine, store)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
async def test_autocommit_refuses_in_asynchronous_sessions(database: EmptyDatabase, engine: Any, store: MemoryBackend) -> None:
    async_engine = database.async_engine(isolation_level="AUTOCOMMIT")
    if database.name == "sqlite":
        event.remove(async_engine.sync_engine, "begin", _begins_of(async_engine.sync_engine))
    async with AsyncSession(async_engine) as session:
        session.add(Paper(file=page()))
        with pytest.raises(UnsupportedRouteError, match="AUTOCOMMIT"):
            await session.commit()
        await session.rollback()
    await async_engine.dispose()
    kept(engine, store)


def _begins_of(engine: Any) -> Any:
    return list(engine.dispatch.begin)[-1]


def test_file_that_moves_between_read_and_write_is_kept(engine: Any, store: MemoryBackend) -> None:
    moved: list[object] = []

    def move(mapper: object, connection: object, target: Paper) -> None:
        if not moved:
            moved.append(target)
            with Session(engine) as other:
                one, two = other.get_one(Paper, 1), other.get_one(Paper, 2)
                one.file, two.file = None, one.file
                other.commit()

    event.listen(Paper, "before_update", move)
    try:
        with on_engine(engine) as session, pytest.raises(UnsupportedRouteError, match="AUTOCOMMIT"):
            _replace(session)
    finally:
        event.remove(Paper, "before_update", move)
    kept(engine, store)


@pytest.mark.skipif(not hasattr(Dialect, "detect_autocommit_setting"), reason="this SQLAlchemy does not ask drivers")
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_driver_set_to_autocommit_is_noticed(engine: Any, store: MemoryBackend) -> None:
    autocommitting = create_engine(engine.url, connect_args={"autocommit": True})
    with Session(autocommitting) as session, pytest.raises(UnsupportedRouteError, match="AUTOCOMMIT"):
        _new(session)
    autocommitting.dispose()
    kept(engine, store)


def test_autocommit_lets_rows_change_that_keep_their_files(engine: Any, store: MemoryBackend) -> None:
    with on_engine(engine) as session:
        session.get_one(Paper, 1).title = "new"
        session.flush()
        session.delete(session.get_one(Paper, 2))
        session.flush()
        session.add(Paper(id=2, title="without files"))
        session.flush()
        session.rollback()
    kept(engine, store)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sqlite_with_a_begin_of_its_own_has_transactions(engine: Any, store: MemoryBackend) -> None:
    begun = explicit_begin(create_engine(engine.url, isolation_level="AUTOCOMMIT"))
    with Session(begun) as session:
        _replace(session)
        session.rollback()
        kept(engine, store)
        _replace(session)
        session.commit()
    begun.dispose()
    assert len(list(store.list())) == 2


# -- tables without transactions -------------------------------------------------------------------------------------------

without_transactions = pytest.mark.parametrize("kind", ["MyISAM", "Aria"])


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
@without_transactions
def test_files_of_tables_without_transactions_are_refused(
    database: EmptyDatabase, engine: Any, store: MemoryBackend, kind: str
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE paper ENGINE = {kind}")
    engine = database.engine()  # each asks once for each table
    there = {one.path for one in store.list()}
    changes: list[Callable[[Session], object]] = [
        lambda session: session.add(Paper(file=page())),
        lambda session: setattr(session.get_one(Paper, 1), "file", None),
        lambda session: session.delete(session.get_one(Paper, 1)),
        lambda session: session.execute(insert(Paper), [{"file": page()}]),
        lambda session: session.execute(update(Paper).where(Paper.id == 2).values(file=page())),
        lambda session: session.execute(delete(Paper)),
    ]
    for change in changes:
        with Session(engine) as session, pytest.raises(UnsupportedRouteError, match="ENGINE = InnoDB"):
            change(session)
            session.flush()
    assert {one.path for one in store.list()} == there
    with Session(engine) as session:
        session.get_one(Paper, 1).title = "files stay"
        session.commit()


def test_connection_shared_by_sessions_is_not_autocommit(store: MemoryBackend) -> None:
    """An in-memory database of SQLite has one connection, on which another session may end the transaction."""
    engine = explicit_begin(create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        row = Paper(file=FileObject(filename="a.txt", content=b"a"))
        session.add(row)
        session.commit()
        session.refresh(row)
        with engine.connect() as other:  # what is given back is rolled back
            assert other.connection.driver_connection is session.connection().connection.driver_connection
        session.delete(row)
        session.commit()
    engine.dispose()
