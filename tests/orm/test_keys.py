"""Rows whose keys look otherwise in Python than in the database, and the connections that they are read and written with."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import CHAR, Engine, Numeric, String, TypeDecorator, insert, text, update
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, make_transient_to_detached, mapped_column

from filerow import FileObject, FileObjectList, StoredObject
from filerow.backends.memory import MemoryBackend
from tests.databases import EmptyDatabase, make_engine


class Lower(TypeDecorator[str]):
    """Stores text in small letters."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return value.lower() if isinstance(value, str) else value


class Base(DeclarativeBase):
    pass


class Lowered(Base):
    __tablename__ = "lowered"
    key: Mapped[str] = mapped_column(Lower, primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Padded(Base):
    __tablename__ = "padded"
    key: Mapped[str] = mapped_column(CHAR(9), primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Scaled(Base):
    __tablename__ = "scaled"
    key: Mapped[Decimal] = mapped_column(Numeric(10, 2), primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Numbered(Base):
    __tablename__ = "numbered"
    key: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


KEYS: dict[str, tuple[type[Any], Any, Any]] = {
    "a type that normalises": (Lowered, "ABC", "Xyz"),
    "text that is padded": (Padded, "abc", "xyz"),
    "a number with other digits": (Scaled, Decimal("1.5"), Decimal(2)),
    "a number as text": (Numbered, "7", "8"),
}
each_key = pytest.mark.parametrize(("model", "one", "two"), KEYS.values(), ids=[name.replace(" ", "_") for name in KEYS])


@pytest.fixture
def engine(database: EmptyDatabase, docs: MemoryBackend) -> Engine:
    made = database.engine()
    Base.metadata.create_all(made)
    return made


def file() -> FileObject:
    return FileObject(filename="a.txt", content=b"a")


def check(engine: Engine, docs: MemoryBackend, model: type[Any]) -> None:
    """Each object has a row, and each row its objects."""
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT file, pages FROM {model.__tablename__}")).all()
    values = [json.loads(one) if isinstance(one, str) else one for row in rows for one in row if one is not None]
    documents = [document for value in values for document in (value if isinstance(value, list) else [value])]
    assert sorted(document["path"] for document in documents) == sorted(one.path for one in docs.list())


@each_key
def test_an_object_with_the_key_it_was_given(engine: Engine, docs: MemoryBackend, model: type[Any], one: Any, two: Any) -> None:
    with Session(engine, expire_on_commit=False) as session:
        rows = [model(key=key, file=file(), pages=[file()]) for key in (one, two)]
        session.add_all(rows)
        session.commit()
        for row in rows:
            row.file = file()
            row.pages.append(file())
        session.commit()
        check(engine, docs, model)
        session.delete(rows[0])
        rows[1].file = None
        session.commit()
    check(engine, docs, model)


@each_key
def test_an_object_made_for_a_row(engine: Engine, docs: MemoryBackend, model: type[Any], one: Any, two: Any) -> None:
    with Session(engine) as session:
        session.add_all([model(key=key, file=file(), pages=[file()]) for key in (one, two)])
        session.commit()
    with Session(engine) as session:
        row = model(key=one)
        make_transient_to_detached(row)
        session.add(row)
        row.file, row.pages = file(), [file(), file()]
        session.commit()
    check(engine, docs, model)


@each_key
def test_a_bulk_update_by_key(engine: Engine, docs: MemoryBackend, model: type[Any], one: Any, two: Any) -> None:
    with Session(engine) as session:
        session.execute(insert(model), [{"key": key, "file": file(), "pages": [file()]} for key in (one, two)])
        session.commit()
        session.execute(update(model), [{"key": key, "file": file(), "pages": [file(), file()]} for key in (two, one)])
        session.commit()
    check(engine, docs, model)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("by", ["class", "statement"])
def test_a_bulk_update_by_key_reads_where_it_writes(engine: Engine, docs: MemoryBackend, tmp_path: Path, by: str) -> None:
    """SQLAlchemy asks for the bind of the class there, without the statement and without ``bind_arguments``."""
    other = make_engine(f"sqlite:///{tmp_path}/other.db")
    Base.metadata.create_all(other)

    class Routing(Session):
        def get_bind(self, mapper: Any = None, *, clause: Any = None, **given: Any) -> Any:
            return engine if self._flushing or clause is None else other

    choose: Callable[[], Session] = Routing if by == "class" else lambda: Session(engine)
    options: dict[str, Any] = {} if by == "class" else {"bind_arguments": {"bind": other}}
    with choose() as session:
        session.execute(insert(Numbered), [{"key": 1, "file": file(), "pages": []}], **options)
        session.execute(update(Numbered), [{"key": 1, "file": file(), "pages": [file()]}], **options)
        session.commit()
    check(engine, docs, Numbered)
    other.dispose()
