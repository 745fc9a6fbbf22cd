"""Models for the tests of events, spans and metrics, one set with an outbox."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, StoredObject
from filerow.outbox import Outbox


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(default="")
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[list[FileObject]] = mapped_column(StoredObject("docs", multiple=True))


class Letter(Base):
    __tablename__ = "letter"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", max_size=100_000))


class KeptBase(DeclarativeBase):
    pass


class Kept(KeptBase):
    __tablename__ = "kept"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


outbox = Outbox(KeptBase.metadata, retention=timedelta(0), max_attempts=2, backoff=timedelta(microseconds=1))


def a_file(name: str, content: bytes = b"x") -> FileObject:
    return FileObject(filename=name, content=content)


class Shelved(KeptBase):
    __tablename__ = "shelved"
    shelf: Mapped[int] = mapped_column(primary_key=True)
    b: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
