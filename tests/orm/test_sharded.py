"""``ShardedSession``: rows of one class in two databases, with the same primary keys in both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.horizontal_shard import ShardedSession, set_shard_id
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject
from filerow.outbox import Outbox
from tests.cases.databases import SQLite
from tests.cases.models import Document
from tests.cases.stores import Store
from tests.databases import explicit_begin

SHARDS = ["us", "eu"]


def chosen_by_the_row(mapper: object, instance: Any, clause: object = None) -> str:
    """Choose as SQLAlchemy's own example does, which can say nothing without a row."""
    return str(instance.title.partition(" ")[0])


def with_a_fallback(mapper: object, instance: Any, clause: object = None) -> str:
    """Choose by the row, and send what comes without one to the first shard."""
    return "us" if instance is None else chosen_by_the_row(mapper, instance)


CHOOSERS = [chosen_by_the_row, with_a_fallback]


def all_shards(*args: object, lazy_loaded_from: Any = None, **kwargs: object) -> list[str]:
    return [lazy_loaded_from.identity_token] if lazy_loaded_from else SHARDS


@pytest.fixture
def shards(tmp_path: Path, sqlite_template: Path, store: Store) -> dict[str, SQLite]:
    return {name: SQLite(tmp_path / f"{name}.db", sqlite_template) for name in SHARDS}


@pytest.fixture(params=CHOOSERS, ids=lambda one: one.__name__)
def options(request: pytest.FixtureRequest, shards: dict[str, SQLite]) -> dict[str, Any]:
    return {"shard_chooser": request.param, "identity_chooser": all_shards, "execute_chooser": all_shards}


@pytest.fixture
def session(shards: dict[str, SQLite], options: dict[str, Any]) -> Iterator[ShardedSession]:
    """A session in whose shards there are a row 1 and a row 2 each, in memory all four."""
    engines = {name: place.engine() for name, place in shards.items()}
    with ShardedSession(shards=engines, **options) as made:
        fill(made)
        made.commit()
        yield made
    for engine in engines.values():
        engine.dispose()


def fill(session: Session) -> None:
    for name in SHARDS:
        for number in (1, 2):
            title = f"{name} {number}"
            session.add(Document(id=number, title=title, file=file(title), pages=[file(f"{title} page")]))


def file(content: str) -> FileObject:
    return FileObject(filename="cat.png", content=content.encode())


def row(session: Session, name: str, number: int = 1) -> Any:
    return session.get(Document, number, identity_token=name)


@pytest.fixture
def check(shards: dict[str, SQLite], store: Store) -> Callable[..., None]:
    """Compare all rows of both shards with what they must hold, and with all objects."""

    def compare(**changed: list[str] | None) -> None:
        held, owned = {}, set()
        for name, place in shards.items():
            owned |= {(one["backend"], one["path"]) for _, row in place.rows() for one in row}
            for number, file_, pages in place.select(
                "SELECT id, json_extract(file, '$.path'), json_extract(pages, '$[0].path') FROM document"
            ):
                held[f"{name}_{number}"] = [store.read("docs", path).decode() for path in (file_, pages) if path]
        wanted: dict[str, Any] = {f"{n}_{i}": [f"{n} {i}", f"{n} {i} page"] for n in SHARDS for i in (1, 2)}
        wanted |= changed
        assert held == {key: value for key, value in wanted.items() if value is not None}
        assert store.objects() == owned

    return compare


def test_replacing_a_file_keeps_the_other_shard_s(session: ShardedSession, check: Callable[..., None]) -> None:
    row(session, "us").file = file("new")
    session.commit()
    check(us_1=["new", "us 1 page"])


def test_rows_of_both_shards_change_in_one_flush(session: ShardedSession, check: Callable[..., None]) -> None:
    for name in SHARDS:
        row(session, name).file = file(f"new {name}")
        row(session, name).pages = []
        session.delete(row(session, name, 2))
    session.commit()
    check(us_1=["new us"], eu_1=["new eu"], us_2=None, eu_2=None)


@pytest.mark.parametrize("name", SHARDS)
def test_deleting_a_row_keeps_the_other_shard_s(session: ShardedSession, check: Callable[..., None], name: str) -> None:
    session.delete(row(session, name))
    session.commit()
    check(**{f"{name}_1": None})


@pytest.mark.parametrize("name", SHARDS)
def test_a_deleted_row_s_key_is_taken_over(session: ShardedSession, check: Callable[..., None], name: str) -> None:
    session.delete(row(session, name))
    session.add(Document(id=1, title=f"{name} again", file=file("again")))
    session.commit()
    check(**{f"{name}_1": ["again"]})


def test_a_rolled_back_flush_leaves_both_shards_alone(session: ShardedSession, check: Callable[..., None]) -> None:
    for name in SHARDS:
        row(session, name).file = file("new")
        session.delete(row(session, name, 2))
    session.flush()
    session.rollback()
    check()


def test_a_rolled_back_savepoint_leaves_both_shards_alone(session: ShardedSession, check: Callable[..., None]) -> None:
    savepoint = session.begin_nested()
    for name in SHARDS:
        row(session, name).file = file("new")
    session.flush()
    savepoint.rollback()
    session.commit()
    check()


def test_a_new_row_of_a_rolled_back_savepoint_is_gone(session: ShardedSession, check: Callable[..., None]) -> None:
    savepoint = session.begin_nested()
    session.add(Document(id=3, title="eu 3", file=file("new")))
    session.flush()
    savepoint.rollback()
    session.commit()
    check()


def test_a_file_moves_to_the_row_with_its_key_elsewhere(session: ShardedSession, check: Callable[..., None]) -> None:
    us, eu = row(session, "us"), row(session, "eu")
    eu.file, us.file = us.file, None
    session.commit()
    check(us_1=["us 1 page"], eu_1=["us 1", "eu 1 page"])


def test_a_file_shared_with_another_shard_is_copied(session: ShardedSession, check: Callable[..., None]) -> None:
    row(session, "eu").file = row(session, "us").file
    session.commit()
    check(eu_1=["us 1", "eu 1 page"])


def test_an_expired_row_loses_its_own_file(session: ShardedSession, check: Callable[..., None]) -> None:
    one = row(session, "eu")
    session.expire(one)
    one.file = file("new")
    session.commit()
    check(eu_1=["new", "eu 1 page"])


DELETES: dict[str, Callable[[Session], object]] = {
    "execute": lambda s: s.execute(delete(Document).where(Document.id == 1)),
    "query": lambda s: s.query(Document).filter(Document.id == 1).delete(),
    "fetch": lambda s: s.execute(delete(Document).where(Document.id == 1), execution_options={"synchronize_session": "fetch"}),
}


@pytest.mark.parametrize("statement", DELETES.values(), ids=DELETES)
def test_a_bulk_delete_over_all_shards(
    session: ShardedSession, check: Callable[..., None], statement: Callable[[Session], object]
) -> None:
    statement(session)
    session.commit()
    check(us_1=None, eu_1=None)


IN_ONE_SHARD: dict[str, Callable[[Session, Any], object]] = {
    "option": lambda s, statement: s.execute(statement.options(set_shard_id("eu"))),
    "bind argument": lambda s, statement: s.execute(statement, bind_arguments={"shard_id": "eu"}),
}
in_one_shard = pytest.mark.parametrize("execute", IN_ONE_SHARD.values(), ids=IN_ONE_SHARD)


@in_one_shard
def test_a_bulk_delete_in_one_shard(session: ShardedSession, check: Callable[..., None], execute: Callable[..., object]) -> None:
    execute(session, delete(Document).where(Document.id == 1))
    session.commit()
    check(eu_1=None)


@in_one_shard
def test_a_bulk_update_in_one_shard(session: ShardedSession, check: Callable[..., None], execute: Callable[..., object]) -> None:
    execute(session, update(Document).where(Document.id == 1).values(file=file("new")))
    session.commit()
    check(eu_1=["new", "eu 1 page"])


@in_one_shard
def test_a_bulk_insert_in_one_shard(session: ShardedSession, check: Callable[..., None], execute: Callable[..., object]) -> None:
    execute(session, insert(Document).values(id=3, title="eu 3", file=file("new")))
    session.commit()
    check(eu_3=["new"])


def test_a_bulk_update_over_all_shards_clears_files(session: ShardedSession, check: Callable[..., None]) -> None:
    session.execute(update(Document).where(Document.id == 1).values(file=None))
    session.commit()
    check(us_1=["us 1 page"], eu_1=["eu 1 page"])


def test_a_bulk_update_gives_each_shard_s_row_its_own(session: ShardedSession, check: Callable[..., None]) -> None:
    session.execute(update(Document).where(Document.id == 1).values(file=file("new")))
    session.commit()
    check(us_1=["new", "us 1 page"], eu_1=["new", "eu 1 page"])


def test_a_bulk_update_whose_row_is_in_the_last_shard(session: ShardedSession, check: Callable[..., None]) -> None:
    session.execute(update(Document).where(Document.title == "eu 1").values(file=file("new")))
    session.commit()
    check(eu_1=["new", "eu 1 page"])


def test_a_rolled_back_bulk_delete_leaves_both_shards_alone(session: ShardedSession, check: Callable[..., None]) -> None:
    session.execute(delete(Document))
    session.rollback()
    check()


@pytest.fixture
async def async_session(shards: dict[str, SQLite], options: dict[str, Any]) -> AsyncIterator[AsyncSession]:
    engines = {name: place.async_engine() for name, place in shards.items()}
    sync_engines = {name: engine.sync_engine for name, engine in engines.items()}
    async with AsyncSession(sync_session_class=ShardedSession, shards=sync_engines, **options) as made:
        await made.run_sync(fill)
        await made.commit()
        yield made
    for engine in engines.values():
        await engine.dispose()


async def test_an_async_session_over_shards(async_session: AsyncSession, check: Callable[..., None]) -> None:
    def change(session: Session) -> None:
        row(session, "us").file = file("new")
        session.delete(row(session, "eu"))

    await async_session.run_sync(change)
    await async_session.execute(delete(Document).where(Document.id == 2))
    await async_session.commit()
    check(us_1=["new", "us 1 page"], eu_1=None, us_2=None, eu_2=None)


class Base(DeclarativeBase):
    pass


class Card(Base):
    __tablename__ = "card"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


outbox = Outbox(Base.metadata, retention=timedelta(0))


@pytest.mark.parametrize("chooser", CHOOSERS, ids=lambda one: one.__name__)
def test_each_shard_keeps_the_tombstones_of_its_rows(tmp_path: Path, store: Store, chooser: Any) -> None:
    engines = {name: explicit_begin(create_engine(f"sqlite:///{tmp_path / name}")) for name in SHARDS}
    for engine in engines.values():
        Base.metadata.create_all(engine)
    with ShardedSession(chooser, all_shards, all_shards, engines) as session:
        for name in SHARDS:
            session.add(Card(id=1, title=f"{name} 1", file=file(name)))
        session.commit()
        us, eu = (session.get(Card, 1, identity_token=name) for name in SHARDS)
        assert us is not None
        assert eu is not None
        eu.file, us.file = us.file, None
        session.commit()
    for name, engine in engines.items():
        outbox.drain(engine, take_over=True)
        with engine.connect() as connection:
            assert connection.scalars(select(outbox.table.c.path)).all() == [], name
        engine.dispose()
    with Session(engines["eu"]) as session:
        held = session.scalars(select(Card.file)).one()
        assert held is not None
        assert store.objects() == {("docs", held.path)}
    engines["eu"].dispose()
