"""Rows are locked in the order in which SQLAlchemy writes them, so that sessions with and without files never deadlock."""

from __future__ import annotations

import enum
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Enum, ForeignKey, String, Table, Uuid, event, inspect, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from filerow import FileObject, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from tests.databases import EmptyDatabase

# MariaDB compares these without regard to case, PostgreSQL as its locale says, Python by code points
NAME = String(40).with_variant(String(40, collation="utf8mb4_general_ci"), "mysql", "mariadb")


class Size(enum.Enum):
    SMALL = "s"
    MEDIUM = "m"
    LARGE = "l"


class Base(DeclarativeBase):
    pass


class Numbered(Base):
    __tablename__ = "numbered"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Named(Base):
    __tablename__ = "named"
    id: Mapped[str] = mapped_column(NAME, primary_key=True)
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Paired(Base):
    __tablename__ = "paired"
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Unique(Base):
    __tablename__ = "uniquely"
    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Sized(Base):
    __tablename__ = "sized"
    id: Mapped[Size] = mapped_column(Enum(Size, values_callable=lambda kind: [one.value for one in kind]), primary_key=True)
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Animal(Base):
    __tablename__ = "animal"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Cat(Animal):
    __tablename__ = "cat"
    cat_id: Mapped[int] = mapped_column(ForeignKey("animal.id"), primary_key=True)
    lives: Mapped[int | None]
    passport: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_identity": "cat"}


class Dog(Animal):
    tag: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_identity": "dog"}


class Early(Base):
    """Comes first by its name, and last by its table's."""

    __tablename__ = "z_early"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Late(Base):
    __tablename__ = "a_late"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Child(Base):
    """Comes first by every name, but is written after its parent."""

    __tablename__ = "a_child"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("parent.id"))
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Parent(Base):
    __tablename__ = "parent"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    children: Mapped[list[Child]] = relationship()


@pytest.fixture
def engine(database: EmptyDatabase) -> Iterator[Engine]:
    made = database.engine(pool_size=8)
    Base.metadata.create_all(made)
    storages.register_backend(MemoryBackend("docs"))
    yield made
    storages.clear_backends()


Place = tuple[Any, ...]
"""A table's name and a row's key."""

PLAIN = {"file": "title", "tag": "title", "passport": "lives", "title": "title", "lives": "lives"}
"""What a session without files changes instead: a column of the same table."""

NUMBERS = [2, 10, 1, 30, 4, 21]
NAMES = ["b", "C", "a", "D", "_", "Z", "é", "x"]


def numbered(model: type[Any]) -> list[Any]:
    return [model(id=number) for number in NUMBERS]


def animals() -> list[Any]:
    return [(Cat, Dog, Animal)[number % 3](id=number) for number in NUMBERS]


SCENARIOS: dict[str, tuple[list[Any], list[str]]] = {
    "integers": (numbered(Numbered), ["file"]),
    "text": ([Named(id=name) for name in NAMES], ["file"]),
    "pairs": ([Paired(name=name, number=number) for name in NAMES[:4] for number in (10, 9)], ["file"]),
    "uuids": ([Unique(id=uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128)) for number in NUMBERS], ["file"]),
    "enums": ([Sized(id=size) for size in Size], ["file"]),
    "single table and joined": (animals(), ["file"]),
    "child table": ([Cat(id=number) for number in NUMBERS], ["passport"]),
    "both tables": ([Cat(id=number) for number in NUMBERS], ["passport", "file"]),
    "a title above": ([Cat(id=number) for number in NUMBERS], ["passport", "title"]),
    "some rows' titles": (numbered(Numbered), ["file", "title"]),
    "two classes": ([*numbered(Late), *numbered(Early)], ["file"]),
    "another class's titles": ([*numbered(Late), *numbered(Early)], ["file", "title"]),
    "parents and children": ([*numbered(Child), *numbered(Parent)], ["file"]),
}


def change(session: Session, name: str, *, files: bool) -> None:
    """Change each row of a scenario, in an order that should not matter; without files, only plain columns of the same tables."""
    rows, columns = SCENARIOS[name]
    ones = [session.get_one(type(row), inspect(type(row)).primary_key_from_instance(row)) for row in rows]
    for number, one in enumerate(ones):
        chosen = columns
        if "title" in columns and not isinstance(one, Cat):  # some rows change files, others titles
            chosen = ["title" if isinstance(one, Early) or (isinstance(one, Numbered) and number % 2) else "file"]
        for column in chosen:
            plain = PLAIN[column]
            if files and column != plain:
                setattr(one, column, FileObject(filename="a.txt", content=b"content"))
            else:
                setattr(one, plain, 7 if plain == "lives" else "new")


def written_by_sqlalchemy(engine: Engine, name: str) -> list[Place]:
    """Return rows in the order in which a flush without files updates them."""
    order: list[Place] = []

    def note(*given: Any) -> None:
        context = given[4]
        if context.isupdate:
            table = context.compiled.statement.table
            for values in context.compiled_parameters:
                order.append((table.name, *(values[f"{table.name}_{column.name}"] for column in table.primary_key)))

    event.listen(engine, "before_cursor_execute", note)
    with Session(engine) as session:
        change(session, name, files=False)
        session.flush()
        session.rollback()
    event.remove(engine, "before_cursor_execute", note)
    return order


WAITING = {
    "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
    "mysql": "SELECT count(*) FROM information_schema.innodb_lock_waits",
}


def locked_while_one_is_held(engine: Engine, held: Place, write: Callable[[Session], object], wanted: set[Place]) -> set[Place]:
    """Have a session with files write while another holds a row; return the rows that it has locked by then, or in 30 seconds."""
    failures: list[BaseException] = []

    def flush() -> None:
        try:
            with Session(engine) as session:
                write(session)
                session.flush()
                session.rollback()
        except BaseException as error:  # noqa: BLE001 - raised in the other thread
            failures.append(error)

    with engine.connect() as holder:
        table = Base.metadata.tables[held[0]]
        is_held = [column == value for column, value in zip(table.primary_key, held[1:], strict=True)]
        assert holder.execute(select(*table.primary_key).where(*is_held).with_for_update()).one()
        thread = threading.Thread(target=flush)
        thread.start()
        with engine.connect() as other:
            end = time.monotonic() + 30
            while not other.exec_driver_sql(WAITING[engine.dialect.name]).scalar_one():
                assert time.monotonic() < end
                assert thread.is_alive(), failures
                time.sleep(0.15)  # MariaDB answers from what it found 0.1 s ago, and every question puts the next look off
            other.rollback()
            # Another database of the same server may have been what waited, so look until the rows are locked.
            while (locked := _all_locked(other) - {held}) != wanted and time.monotonic() < end:
                time.sleep(0.15)
        holder.rollback()
        thread.join()
    assert not failures
    return locked


def _all_locked(connection: Connection) -> set[Place]:
    return {row for table in Base.metadata.tables.values() for row in _locked(connection, table)}


def _locked(connection: Connection, table: Table) -> set[Place]:
    keys = select(*table.primary_key)
    every = {(table.name, *row) for row in connection.execute(keys)}
    free = {(table.name, *row) for row in connection.execute(keys.with_for_update(skip_locked=True, key_share=True))}
    connection.rollback()
    return every - free


@pytest.mark.one_in(4)
@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("name", SCENARIOS)
def test_rows_are_locked_in_sqlalchemy_s_order(engine: Engine, name: str) -> None:
    with Session(engine) as session:
        for row in SCENARIOS[name][0]:
            session.merge(row)
        session.commit()
    order = written_by_sqlalchemy(engine, name)
    assert len(order) == len(set(order)) >= len(SCENARIOS[name][0])
    for at in (len(order) // 2, len(order) - 1):
        wanted = set(order[:at])
        assert locked_while_one_is_held(engine, order[at], partial(change, name=name, files=True), wanted) == wanted


@pytest.mark.one_in(4)
@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("by_key", [True, False])
def test_bulk_updates_lock_rows_by_key(engine: Engine, *, by_key: bool) -> None:
    with Session(engine) as session:
        session.add_all(numbered(Numbered))
        session.commit()
    rows = [{"id": number, "file": FileObject(content=b"new")} for number in NUMBERS]

    def write(session: Session) -> None:
        if by_key:
            session.execute(update(Numbered), rows)
        else:
            session.execute(update(Numbered).values(file=None))

    order = [("numbered", number) for number in sorted(NUMBERS)]
    assert locked_while_one_is_held(engine, order[3], write, set(order[:3])) == set(order[:3])
