"""Statements that name their tenant's schema themselves, by ``schema_translate_map``."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, delete, event, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject
from filerow.backends.memory import MemoryBackend
from tests.databases import EmptyDatabase


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    __table_args__ = {"schema": "tenant"}
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


TENANTS = ("one", "two")


def in_schema(name: str) -> dict[str, Any]:
    return {"execution_options": {"schema_translate_map": {"tenant": name}}}


@pytest.fixture
def engine(database: EmptyDatabase, docs: MemoryBackend) -> Engine:
    """Two schemas with a table each, and one row with the key 1 in each; on SQLite, attached databases."""
    engine = database.engine()
    if database.name == "sqlite":

        @event.listens_for(engine, "connect")
        def attach(connection: Any, record: object) -> None:
            for name in TENANTS:
                connection.execute(f"ATTACH '{database.file}.{name}' AS {name}")

        engine.dispose()
    else:
        with engine.begin() as connection:
            for name in TENANTS:
                connection.execute(text(f"CREATE SCHEMA {name}"))
    for name in TENANTS:
        tenant = engine.execution_options(schema_translate_map={"tenant": name})
        Base.metadata.create_all(tenant)
        with Session(tenant) as session:
            session.add(Paper(id=1, title="a", file=FileObject(content=name.encode())))
            session.commit()
    return engine


def contents(engine: Engine) -> dict[str, bytes | None]:
    found = {}
    for name in TENANTS:
        with Session(engine) as session:
            paper = session.scalars(select(Paper).where(Paper.id == 1), **in_schema(name)).one_or_none()
            found[name] = None if paper is None or paper.file is None else paper.file.get_content()
    return found


each_database = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@each_database
def test_bulk_delete_in_another_schema_deletes_its_objects(engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        session.execute(delete(Paper).where(Paper.title == "a"), **in_schema("two"))
        session.commit()
    assert contents(engine) == {"one": b"one", "two": None}
    assert len(list(docs.list())) == 1


@each_database
def test_bulk_update_in_another_schema_drops_what_it_replaces(engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        statement = update(Paper).where(Paper.id == 1).values(file=FileObject(content=b"new"))
        session.execute(statement, **in_schema("two"))
        session.commit()
    assert contents(engine) == {"one": b"one", "two": b"new"}
    assert len(list(docs.list())) == 2


@each_database
def test_bulk_update_of_many_rows_counts_those_of_the_schema(engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine.execution_options(schema_translate_map={"tenant": "two"})) as session:
        session.add(Paper(id=2, title="a", file=FileObject(content=b"more")))
        session.commit()
    with Session(engine) as session:
        session.execute(update(Paper).values(file=None), **in_schema("two"))
        session.execute(update(Paper).values(file=FileObject(content=b"new")), **in_schema("one"))
        session.commit()
    assert contents(engine)["one"] == b"new"
    assert len(list(docs.list())) == 1


@each_database
def test_statement_that_carries_its_schema_itself(engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        session.execute(delete(Paper).execution_options(schema_translate_map={"tenant": "two"}))
        session.commit()
    assert contents(engine) == {"one": b"one", "two": None}
    assert len(list(docs.list())) == 1


@each_database
def test_session_of_a_connection_with_a_schema(engine: Engine, docs: MemoryBackend) -> None:
    with engine.connect().execution_options(schema_translate_map={"tenant": "two"}) as connection, Session(connection) as session:
        session.get_one(Paper, 1).file = FileObject(content=b"new")
        session.commit()
        session.delete(session.get_one(Paper, 1))
        session.commit()
    assert contents(engine) == {"one": b"one", "two": None}
    assert len(list(docs.list())) == 1
