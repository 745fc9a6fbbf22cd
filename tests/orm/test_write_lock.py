"""Taking SQLite's write lock changes nothing and runs nothing of the application's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, String, delete, event, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from tests.databases import EmptyDatabase

runs: Counter[str] = Counter()


def counted() -> str:
    runs["plain"] += 1
    return "now"


def from_title(context: Any) -> str:
    runs["context"] += 1
    return str(context.get_current_parameters()["title"]).upper()


class Base(DeclarativeBase):
    metadata = MetaData(schema="own")


class Stamped(Base):
    __tablename__ = "stamped"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(20))
    touched: Mapped[str | None] = mapped_column(onupdate=counted)
    shouted: Mapped[str | None] = mapped_column(onupdate=from_title)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.fixture
def engine(database: EmptyDatabase, tmp_path: Path) -> Iterator[Engine]:
    storages.register_backend(MemoryBackend("docs"))
    made = database.engine()

    @event.listens_for(made, "begin", insert=True)
    def attach(connection: Any) -> None:
        if not any(row[1] == "tenant" for row in connection.exec_driver_sql("PRAGMA database_list")):
            connection.exec_driver_sql(f"ATTACH '{tmp_path / 'tenant.db'}' AS tenant")

    translated = made.execution_options(schema_translate_map={"own": "tenant"})
    Base.metadata.create_all(translated)
    with Session(translated) as session:
        session.add(Stamped(id=1, title="old", file=FileObject(content=b"old")))
        session.commit()
    runs.clear()
    yield translated
    storages.clear_backends()


def file() -> FileObject:
    return FileObject(filename="a.txt", content=b"new")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_flush_runs_onupdate_once(engine: Engine) -> None:
    with Session(engine) as session:
        row = session.get_one(Stamped, 1)
        row.title, row.file = "new", file()
        session.commit()
        assert runs == {"plain": 1, "context": 1}
        assert (row.touched, row.shouted) == ("now", "NEW")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_delete_runs_no_onupdate(engine: Engine) -> None:
    with Session(engine) as session:
        session.delete(session.get_one(Stamped, 1))
        session.commit()
    assert not runs


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_bulk_statements_run_onupdate_as_without_files(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(update(Stamped).where(Stamped.id == 1).values(title="new", file=file()))
        assert runs == {"plain": 1, "context": 1}
        session.execute(delete(Stamped))
        assert runs == {"plain": 1, "context": 1}
        session.commit()
