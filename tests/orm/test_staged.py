"""Staged files, which no row owns yet: however many FileObjects name one object, one row gets it, and the others get copies."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import FileStateError
from filerow.testing.faults import Fault, FaultyBackend
from tests.databases import EmptyDatabase


class Base(DeclarativeBase):
    metadata = MetaData()


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    cover: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class NotMadeYet(Base):
    """A table that the database does not have."""

    __tablename__ = "not_made_yet"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.fixture
def docs() -> Iterator[FaultyBackend]:
    made = FaultyBackend(MemoryBackend("docs"))
    storages.register_backend(made)
    yield made
    storages.clear_backends()


@pytest.fixture
def engine(database: EmptyDatabase, docs: FaultyBackend) -> Engine:
    made = database.engine()
    Base.metadata.create_all(made, [Book.__table__, Paper.__table__])  # type: ignore[list-item]
    return made


def replaced(file: FileObject) -> list[FileObject]:
    return [file, file.replace(filename="b.txt"), file.replace(filename="c.txt")]


def pickled(file: FileObject) -> list[FileObject]:
    return [pickle.loads(pickle.dumps(file)) for _ in range(3)]


def named_by_path(file: FileObject) -> list[FileObject]:
    return [FileObject(to_filename=file.path) for _ in range(3)]


def original_and_pickled(file: FileObject) -> list[FileObject]:
    return [pickle.loads(pickle.dumps(file)), file, pickle.loads(pickle.dumps(file))]


WAYS = [replaced, pickled, named_by_path, original_and_pickled]
each_way = pytest.mark.parametrize("name", WAYS)


def save() -> FileObject:
    return FileObject("docs", filename="a.txt", content=b"one").save()


def check(engine: Engine, docs: FaultyBackend, count: int) -> None:
    """Each row has an object of its own, with the bytes, and there are no others."""
    with Session(engine) as session:
        files = [*session.scalars(select(Book.cover)), *session.scalars(select(Paper.file))]
        files += [page for book in session.scalars(select(Book)) for page in book.pages]
    paths = [file.path for file in files if file is not None]
    assert len(paths) == len(set(paths)) == count, "two rows share an object"
    assert sorted(one.path for one in docs.list()) == sorted(paths)
    assert {file.get_content() for file in files if file is not None} == {b"one"}


@each_way
def test_one_row_gets_the_object_and_the_next_ones_copies(
    engine: Engine, docs: FaultyBackend, name: Callable[[FileObject], list[FileObject]]
) -> None:
    first, second, third = name(save())
    with Session(engine) as session:
        session.add(Book(cover=first))
        session.commit()
        session.add(Book(pages=[second]))
        session.commit()
        session.add(Paper(file=third))
        session.commit()
    check(engine, docs, 3)


@each_way
def test_bulk_statements_give_copies_too(
    engine: Engine, docs: FaultyBackend, name: Callable[[FileObject], list[FileObject]]
) -> None:
    first, second, third = name(save())
    with Session(engine) as session:
        session.execute(insert(Book), [{"id": 1, "cover": first}, {"id": 2}])
        session.commit()
        session.execute(update(Book).where(Book.id == 2).values(cover=second))
        session.commit()
        session.execute(insert(Paper).values(file=third))
        session.commit()
    check(engine, docs, 3)


def test_one_flush_gives_an_object_to_one_row(engine: Engine, docs: FaultyBackend) -> None:
    first, second, third = pickled(save())
    with Session(engine) as session:
        session.add_all([Book(cover=first, pages=[second]), Paper(file=third)])
        session.commit()
    check(engine, docs, 3)


def test_a_row_keeps_the_object_it_has(engine: Engine, docs: FaultyBackend) -> None:
    first, second, _ = pickled(save())
    with Session(engine) as session:
        book = Book(cover=first)
        session.add(book)
        session.commit()
        path = first.path
        book.cover = second
        session.commit()
        assert book.cover.path == path
    check(engine, docs, 1)


def test_a_rolled_back_row_leaves_the_object_to_the_next(engine: Engine, docs: FaultyBackend) -> None:
    first, second, _ = pickled(save())
    with Session(engine) as session:
        session.add(Book(cover=first))
        session.flush()
        session.rollback()
        session.add(Book(cover=second))
        session.commit()
        assert second.path == first.path
    check(engine, docs, 1)


def test_a_saved_file_costs_no_question(engine: Engine, docs: FaultyBackend) -> None:
    """Nobody else knows of it: rows are asked only where another FileObject may name the object."""
    file = save()
    with Session(engine) as session:
        session.execute(text("DROP TABLE paper"))  # which would be asked
        session.commit()
        session.add(Book(cover=file))
        session.commit()
        assert file.path.startswith("staged/")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_two_transactions_at_once(engine: Engine, docs: FaultyBackend) -> None:
    first, second, _ = pickled(save())
    with Session(engine) as one, ThreadPoolExecutor(1) as pool:
        one.add(Book(cover=first))
        one.flush()
        begun = threading.Event()
        other = pool.submit(_give, engine, second, begun)
        begun.wait()
        one.commit()
        other.result()
    check(engine, docs, 2)


def _give(engine: Engine, file: FileObject, begun: threading.Event) -> None:
    with Session(engine) as session:
        session.add(Book(cover=file))
        begun.set()
        session.commit()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("saved", [True, False])
async def test_one_file_in_two_tasks_at_once(
    database: EmptyDatabase, engine: Engine, docs: FaultyBackend, *, saved: bool
) -> None:
    file = await FileObject("docs", content=b"one").save_async() if saved else FileObject(content=b"one")
    async_engine = database.async_engine()

    async def give() -> Any:
        async with AsyncSession(async_engine) as session:
            session.add(Book(cover=file))
            await session.commit()

    with docs.inject(Fault("head" if saved else "put", delay=0.2)):
        results = await asyncio.gather(give(), give(), return_exceptions=True)
    assert sorted(type(one) for one in results if one is not None) == [FileStateError]
    await give()  # later it is a row's, so this is a copy
    await async_engine.dispose()
    check(engine, docs, 2)
