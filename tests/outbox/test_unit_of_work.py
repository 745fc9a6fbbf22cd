"""With an outbox, a commit deletes no object that rows release; the session writes the tombstones that no trigger can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, String, create_engine, delete, event, inspect, select, text, update
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.base import SQLiteTypeCompiler
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase, explicit_begin
from tests.generated import Located


class Base(DeclarativeBase):
    pass


class Letter(Base):
    __tablename__ = "letter"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(20))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    cover: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


OUTBOX = Outbox(Base.metadata)


class _Compiler(SQLiteTypeCompiler):
    def visit_BIGINT(self, type_: Any, **kw: Any) -> str:  # noqa: N802 - SQLAlchemy's name
        return "INTEGER"  # SQLite counts up nothing else


class UnknownDialect(SQLiteDialect_pysqlite):
    """A database that Filerow knows nothing about, least of all how its triggers are made."""

    name = "unknown"
    supports_statement_cache = True
    type_compiler_cls = _Compiler


registry.register("unknown", __name__, "UnknownDialect")


@pytest.fixture
def backend() -> MemoryBackend:
    return storages.register_backend(MemoryBackend("docs"))  # type: ignore[return-value]


@pytest.fixture(params=["sqlite", "unknown"])
def engine(request: pytest.FixtureRequest, tmp_path: Any, backend: MemoryBackend) -> Iterator[Engine]:
    """A database whose tombstones triggers write, and one whose tombstones the session writes: the same is expected."""
    engine = explicit_begin(create_engine(f"{request.param}:///{tmp_path}/rows.db"))
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        triggers = connection.scalar(text("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"))
        assert triggers == (3 if request.param == "sqlite" else 0)
    yield engine
    engine.dispose()


def file(content: bytes) -> FileObject:
    return FileObject(filename="a.bin", content=content)


def add(engine: Engine, **values: Any) -> int:
    with Session(engine) as session:
        letter = Letter(**values)
        session.add(letter)
        session.commit()
        return letter.id


def tombstones(engine: Engine) -> list[tuple[Any, ...]]:
    """Return all tombstones, without their times."""
    c = OUTBOX.table.c
    with engine.connect() as connection:
        rows = connection.execute(select(c.path, c.column_name, c.row_key, c.attempts, c.table_name, c.backend).order_by(c.id))
        found = [tuple(row) for row in rows]
    assert {row[3:] for row in found} <= {(0, "letter", "docs")}
    return [row[:3] for row in found]


def there(backend: MemoryBackend) -> set[str]:
    return {info.path for info in backend.list()}


def paths(engine: Engine, key: int) -> dict[str, str]:
    """Return the paths of the row's files, by a name for each."""
    with Session(engine) as session:
        letter = session.get_one(Letter, key)
        found = {name: value.path for name in ("file", "cover") if (value := getattr(letter, name))}
        return found | {f"page {number}": page.path for number, page in enumerate(letter.pages)}


def replace(session: Session, key: int) -> None:
    session.get_one(Letter, key).file = file(b"new")
    session.flush()


def take_a_page(session: Session, key: int) -> None:
    letter = session.get_one(Letter, key)
    del letter.pages[0]
    session.flush()


def remove(session: Session, key: int) -> None:
    session.delete(session.get_one(Letter, key))


LEAVING: dict[str, tuple[Callable[[Session, int], Any], list[tuple[str, str]]]] = {
    "replace": (replace, [("file", "file")]),
    "list member": (take_a_page, [("page 0", "pages")]),
    "delete": (remove, [("cover", "cover"), ("file", "file"), ("page 0", "pages"), ("page 1", "pages")]),
    "bulk delete": (
        lambda session, key: session.execute(delete(Letter).where(Letter.id == key)),
        [("cover", "cover"), ("file", "file"), ("page 0", "pages"), ("page 1", "pages")],
    ),
    "bulk update": (
        lambda session, key: session.execute(update(Letter).where(Letter.id == key).values(cover=None)),
        [("cover", "cover")],
    ),
}


@pytest.mark.parametrize("way", LEAVING)
def test_a_commit_deletes_nothing_and_leaves_tombstones(way: str, engine: Engine, backend: MemoryBackend) -> None:
    key = add(engine, file=file(b"f"), cover=file(b"c"), pages=[file(b"0"), file(b"1")])
    was = paths(engine, key)
    run, left = LEAVING[way]
    with Session(engine) as session:
        run(session, key)
        session.rollback()
    assert (tombstones(engine), there(backend)) == ([], set(was.values()))
    with Session(engine) as session:
        run(session, key)
        session.commit()
    found = sorted(tombstones(engine))
    keys = [row[2] for row in found]
    assert [row[:2] for row in found] == sorted((was[name], column) for name, column in left)
    assert all(one == {"id": key} or (one is None and way == "bulk update") for one in keys)
    assert there(backend) >= set(was.values())


def test_what_an_undone_transaction_stored_is_deleted_at_once(engine: Engine, backend: MemoryBackend) -> None:
    with Session(engine) as session:
        session.add(Letter(file=file(b"kept")))
        savepoint = session.begin_nested()
        session.add(Letter(file=file(b"undone")))
        session.flush()
        savepoint.rollback()
        assert len(there(backend)) == 1
        session.rollback()
    assert there(backend) == set()
    assert tombstones(engine) == []


def test_a_file_that_never_got_a_row_is_deleted_at_once(engine: Engine, backend: MemoryBackend) -> None:
    def second_thoughts(session: Session, context: object, instances: object) -> None:
        session.expunge(letter)

    with Session(engine) as session:
        letter = Letter(file=file(b"never"))
        session.add_all([letter, Letter(file=file(b"kept"))])
        event.listen(session, "before_flush", second_thoughts)
        session.commit()
    assert len(there(backend)) == 1
    assert tombstones(engine) == []


# -- objects that come back ------------------------------------------------------------------------------------------------


def test_set_back_in_the_same_transaction(engine: Engine, backend: MemoryBackend) -> None:
    key = add(engine, file=file(b"f"))
    was = paths(engine, key)
    with Session(engine) as session:
        letter = session.get_one(Letter, key)
        old, letter.file = letter.file, None
        session.flush()
        letter.file = old
        session.commit()
    assert paths(engine, key) == was
    assert tombstones(engine) == []


def test_set_back_in_a_later_transaction_is_a_copy(engine: Engine, backend: MemoryBackend) -> None:
    key = add(engine, file=file(b"f"))
    was = paths(engine, key)["file"]
    with Session(engine) as session:
        letter = session.get_one(Letter, key)
        old, letter.file = letter.file, None
        session.commit()
        letter.file = old
        session.commit()
        assert letter.file is not None
        assert letter.file.get_content() == b"f"
    assert paths(engine, key)["file"] != was
    assert tombstones(engine) == [(was, "file", {"id": key})]


def between_rows(session: Session, one: int, two: int) -> None:
    first, second = session.get_one(Letter, one), session.get_one(Letter, two)
    second.file, first.file = first.file, None


def to_an_earlier_row(session: Session, one: int, two: int) -> None:
    between_rows(session, two, one)


def to_a_new_row(session: Session, one: int, two: int) -> None:
    first = session.get_one(Letter, one)
    session.add(Letter(file=first.file))
    session.delete(first)


def between_columns(session: Session, one: int, two: int) -> None:
    letter = session.get_one(Letter, one)
    letter.file, letter.cover = None, letter.file


def into_a_list(session: Session, one: int, two: int) -> None:
    letter = session.get_one(Letter, one)
    letter.pages.append(letter.file)
    letter.file = None
    session.flush()


def into_a_list_and_out(session: Session, one: int, two: int) -> None:
    into_a_list(session, one, two)
    first, second = session.get_one(Letter, one), session.get_one(Letter, two)
    second.cover = first.pages.pop()
    session.flush()


def swapped(session: Session, one: int, two: int) -> None:
    first, second = session.get_one(Letter, one), session.get_one(Letter, two)
    first.file, second.file = second.file, first.file


def after_a_savepoint(session: Session, one: int, two: int) -> None:
    savepoint = session.begin_nested()
    session.get_one(Letter, one).file = None
    session.flush()
    savepoint.rollback()
    between_rows(session, one, two)


def dropped_then_had_in_a_savepoint(session: Session, one: int, two: int) -> None:
    first, second = session.get_one(Letter, one), session.get_one(Letter, two)
    file, first.file = first.file, None
    session.flush()
    with session.begin_nested():
        second.cover = file


MOVES = [
    between_rows, to_an_earlier_row, to_a_new_row, between_columns, into_a_list, into_a_list_and_out, swapped, after_a_savepoint,
    dropped_then_had_in_a_savepoint,
]  # fmt: skip


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.__name__)
def test_what_moves_leaves_no_tombstone(move: Any, engine: Engine, backend: MemoryBackend) -> None:
    one, two = add(engine, file=file(b"1")), add(engine, file=file(b"2"))
    with Session(engine) as session:
        overwritten = {between_rows: two, to_an_earlier_row: one, after_a_savepoint: two}.get(move)
        if overwritten is not None:
            session.get_one(Letter, overwritten).file = None
            session.commit()
        before = tombstones(engine)
        move(session, one, two)
        session.commit()
    assert tombstones(engine) == before
    assert len(there(backend)) == 2


def test_move_undone_by_a_savepoint_leaves_the_drop_s_tombstone(engine: Engine, backend: MemoryBackend) -> None:
    one, two = add(engine, file=file(b"1")), add(engine)
    was = paths(engine, one)["file"]
    with Session(engine) as session:
        first, second = session.get_one(Letter, one), session.get_one(Letter, two)
        old, first.file = first.file, None
        session.flush()
        savepoint = session.begin_nested()
        second.file = old
        session.flush()
        savepoint.rollback()
        session.commit()
    assert tombstones(engine) == [(was, "file", {"id": one})]


def test_undeleted_file_can_be_given_to_a_row(engine: Engine, backend: MemoryBackend) -> None:
    key = add(engine, file=file(b"f"))
    was = paths(engine, key)
    with Session(engine) as session:
        session.delete(session.get_one(Letter, key))
        session.commit()
        back = OUTBOX.undelete(session.connection(), "docs", was["file"])
        session.add(Letter(id=99, file=back))
        session.commit()
    assert paths(engine, 99) == was
    assert tombstones(engine) == []


# -- waking the drainer ----------------------------------------------------------------------------------------------------


@pytest.fixture
def woken() -> Iterator[list[None]]:
    calls: list[None] = []
    end = OUTBOX.on_wake(lambda: calls.append(None))
    yield calls
    end()


def test_a_commit_that_dropped_something_wakes_once(engine: Engine, woken: list[None]) -> None:
    key = add(engine, file=file(b"f"), cover=file(b"c"))
    with Session(engine) as session:
        letter = session.get_one(Letter, key)
        with session.begin_nested():
            letter.file = letter.cover = None
        assert woken == []
        session.rollback()
        assert woken == []
        letter.file = letter.cover = None
        session.flush()
        assert woken == []
        session.commit()
        assert woken == [None]
        letter.title = "nothing dropped"
        session.commit()
    assert woken == [None]


def test_a_transaction_somebody_else_began_wakes_at_its_own_end(
    engine: Engine, backend: MemoryBackend, woken: list[None]
) -> None:
    key = add(engine, file=file(b"f"))
    with engine.connect() as connection:
        outer = connection.begin()
        with Session(connection) as session:
            session.get_one(Letter, key).file = None
            session.commit()
        assert woken == []
        outer.commit()
    assert woken == [None]
    assert len(there(backend)) == len(tombstones(engine)) == 1


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
async def test_an_async_session_leaves_tombstones_and_wakes(
    database: EmptyDatabase, backend: MemoryBackend, woken: list[None]
) -> None:
    engine = database.async_engine()
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        letter = Letter(file=file(b"f"), cover=file(b"c"))
        session.add(letter)
        await session.commit()
        await session.refresh(letter)
        letter.cover, letter.file = letter.file, None
        await session.commit()
        assert woken == [None]
    async with engine.connect() as connection:
        columns = (await connection.scalars(select(OUTBOX.table.c.column_name))).all()
    await engine.dispose()
    assert columns == ["cover"]
    assert len(there(backend)) == 2


def test_database_without_triggers_still_gets_its_tables(engine: Engine) -> None:
    assert {"filerow_outbox", "filerow_outbox_state", "letter"} == set(inspect(engine).get_table_names())
    with engine.begin() as connection:
        OUTBOX._take_back(connection, [Located("docs", str(number)) for number in range(1_200)])  # more than one statement holds
