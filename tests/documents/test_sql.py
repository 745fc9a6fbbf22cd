"""The SQL of the pages, in the databases that it is for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase
from tests.documents import blocks


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


Outbox(Base.metadata)
LEAVING = {"postgresql": "-- PostgreSQL", "sqlite": "-- SQLite", "mariadb": "-- MySQL"}


@pytest.fixture(autouse=True)
def backend() -> Iterator[None]:
    storages.register_backend(MemoryBackend("docs"))
    yield
    storages.clear_backends()


@pytest.fixture
def engine(database: EmptyDatabase) -> Iterator[Engine]:
    engine = create_engine(database.url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def run(engine: Engine, sql: str) -> None:
    """Run statements that end with a semicolon, without comments."""
    plain = "\n".join(line.partition("--")[0] for line in sql.splitlines())
    with engine.begin() as connection:
        for statement in filter(str.strip, plain.split(";")):
            connection.exec_driver_sql(statement.replace("%", "%%"))


@pytest.mark.parametrize("database", LEAVING, indirect=True)
def test_paths_are_copied_out_of_the_documents(engine: Engine) -> None:
    dialect = engine.dialect.name
    block = blocks.find(__file__, f"docs/leaving.md sql {LEAVING['mariadb' if dialect == 'mysql' else dialect]}")
    with Session(engine) as session:
        file = FileObject(filename='a "b" ü.txt', content=b"hello")
        session.add_all([Document(id=1, file=file), Document(id=2)])
        session.commit()
        wanted = (file.path, file.filename, file.content_type)
    run(engine, block.text)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT path, filename, content_type FROM document ORDER BY id")).all()
    assert [tuple(row) for row in found] == [wanted, (None, None, None)]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_settings_of_vacuum_are_taken(engine: Engine) -> None:
    block = blocks.find(__file__, "docs/scale.md sql")
    run(engine, block.text)
    with engine.connect() as connection:
        options = connection.execute(text("SELECT reloptions FROM pg_class WHERE relname = 'filerow_outbox'")).scalar_one()
    assert [option.partition("=")[0] for option in options] == [
        line.split("=")[0].strip() for line in block.text.splitlines() if " = " in line
    ]


def test_each_block_is_for_a_database() -> None:
    leaving = [block for block in blocks.of(__file__) if block.page == "docs/leaving.md"]
    assert sorted(next(name for name, words in LEAVING.items() if block.text.startswith(words)) for block in leaving) == sorted(
        LEAVING
    )
    assert len(blocks.of(__file__)) == len(leaving) + 1
