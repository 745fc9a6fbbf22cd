"""Classes that are mapped again, as test suites do with imperative mappings."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, create_engine
from sqlalchemy.orm import Session, registry, relationship
from sqlalchemy.pool import StaticPool

from filerow import FileObject, StoredObject
from tests.cases.stores import Store

METADATA = MetaData()
SHELF = Table("shelf", METADATA, Column("id", Integer, primary_key=True))
BOOK = Table(
    "book",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("shelf_id", ForeignKey("shelf.id")),
    Column("file", StoredObject("docs")),
)


class Shelf:
    books: Any

    def __init__(self, books: list[Book]) -> None:
        self.books = books


class Book:
    file: Any

    def __init__(self, content: bytes) -> None:
        self.file = FileObject(filename="book.txt", content=content)


def map_classes() -> registry:
    mappers = registry()
    mappers.map_imperatively(Book, BOOK)
    mappers.map_imperatively(Shelf, SHELF, properties={"books": relationship(Book, cascade="all, delete-orphan")})
    return mappers


def test_files_of_orphans_go_after_classes_were_mapped_again(store: Store) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    METADATA.create_all(engine)
    for _ in range(2):
        mappers = map_classes()
        with Session(engine) as session:
            shelf = Shelf([Book(b"one"), Book(b"two")])
            session.add(shelf)
            session.commit()
            del shelf.books[0]
            session.commit()
            session.delete(shelf)
            session.commit()
        mappers.dispose()
        assert not store.objects()
    engine.dispose()
