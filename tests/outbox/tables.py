"""Tables of every shape that triggers know, made once for each database and emptied for each case."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from sqlalchemy import JSON, Engine, ForeignKey, String, TableClause, column, delete, insert, select, table
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from filerow import FileObject, FileObjectList, StoredObject
from filerow.outbox import Outbox
from tests.databases import empty_database


class Base(DeclarativeBase):
    pass


class Folder(Base):
    __tablename__ = "folder"
    id: Mapped[int] = mapped_column(primary_key=True)
    documents: Mapped[list[Document]] = relationship(cascade="all, delete-orphan")


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    folder_id: Mapped[int | None] = mapped_column(ForeignKey("folder.id", ondelete="CASCADE"))
    title: Mapped[str | None] = mapped_column(String(20))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    cover: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True), nullable=True)
    loose: Mapped[FileObject | None] = mapped_column(StoredObject("docs", lifecycle=False))


class Archive(Base):
    __tablename__ = "archive"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Animal(Base):
    __tablename__ = "animal"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    photo: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    id: Mapped[int] = mapped_column(ForeignKey("animal.id"), primary_key=True)
    chip: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"polymorphic_identity": "dog"}


OUTBOX = Outbox(Base.metadata)


def doc(path: str, backend: str = "docs") -> dict[str, Any]:
    """Return the document of an object."""
    return {
        "v": 1, "backend": backend, "path": path, "filename": "cat.png", "content_type": "image/png", "size": 1,
        "checksum": "sha256:00", "etag": "1", "version_id": None, "last_modified": 1.0, "metadata": {"path": "decoy"},
    }  # fmt: skip


def plain(name: str) -> TableClause:
    """Return a table whose file columns are plain JSON, to write documents as they are."""
    columns = [
        column(one.name, JSON(none_as_null=True) if isinstance(one.type, StoredObject) else one.type)
        for one in Base.metadata.tables[name].columns
    ]
    return table(name, *columns)


class Tombstone(NamedTuple):
    """A tombstone, as far as a case describes it."""

    table: str
    key: int
    column: str
    path: str


class TriggerDatabase:
    """One database with all tables."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self.engine = engine
        self.outbox = OUTBOX

    def clear(self) -> None:
        """Empty all tables, and put the rows of a case into them."""
        with self.engine.begin() as connection:
            for one in reversed(Base.metadata.sorted_tables):
                connection.execute(delete(one))
            connection.execute(delete(OUTBOX.table))
            connection.execute(insert(Folder.__table__), [{"id": 1}, {"id": 2}])
            rows = [
                {"id": 1, "folder_id": 1, "file": doc("a"), "cover": doc("c"), "pages": [doc("p1"), doc("p2"), doc("p3")]},
                {"id": 2, "folder_id": 2, "file": doc("b"), "cover": None, "pages": []},
                {"id": 3, "folder_id": None, "file": None, "cover": None, "pages": None},
            ]
            connection.execute(insert(plain("document")), rows)
            connection.execute(insert(plain("animal")), [{"id": 1, "kind": "dog", "photo": doc("photo")}])
            connection.execute(insert(plain("dog")), [{"id": 1, "chip": doc("chip")}])

    def tombstones(self) -> set[Tombstone]:
        """Return all tombstones; their documents must name what they are of."""
        found = set()
        with self.engine.connect() as connection:
            rows = connection.execute(select(OUTBOX.table)).mappings().all()
        for row in rows:
            document = row["document"] if isinstance(row["document"], dict) else json.loads(row["document"])
            assert row["path"] in {document.get("path"), document.get("filename"), document.get("file_id")}
            assert (row["backend"], row["attempts"], row["dead"]) == ("docs", 0, 0)
            assert row["next_attempt"] is row["last_error"] is None
            found.add(Tombstone(row["table_name"], row["row_key"]["id"], row["column_name"], row["path"]))
        assert len(found) == len(rows), "one object, two tombstones"
        return found

    def live(self, *paths: str) -> set[str]:
        """Return those of the objects that a row names, whatever column it is in."""
        found: set[str] = set()
        with self.engine.connect() as connection:
            for one in Base.metadata.tables.values():
                for file in [file.name for file in one.columns if isinstance(file.type, StoredObject)]:
                    for value in connection.scalars(select(plain(one.name).c[file])):
                        documents = value if isinstance(value, list) else [value or {}]
                        found |= {document["path"] for document in documents if document.get("backend") == "docs"}
        return found & set(paths)


@contextmanager
def trigger_database(name: str, request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> Iterator[TriggerDatabase]:
    """Make the tables in a database of their own."""
    with empty_database(name, factory.mktemp("trigger_database"), request) as database:
        engine = database.engine()
        Base.metadata.create_all(engine)
        yield TriggerDatabase(name, engine)


def sql(session: Session, *statements: str) -> None:
    """Run plain SQL through the driver."""
    dbapi = session.connection().connection
    cursor = dbapi.cursor()
    try:
        for statement in statements:
            cursor.execute(statement)
    finally:
        cursor.close()
