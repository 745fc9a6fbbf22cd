"""The application's tables: authors with a portrait, and their documents with a cover and a list of pages."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from filerow import FileObject, FileObjectList, StoredObject

__all__ = ("BACKEND", "Author", "Base", "Document")

BACKEND = "library"
"""The key of the backend that keeps the bytes."""


class Base(DeclarativeBase):
    """The base of all tables."""


class Author(Base):
    """Somebody who writes; the documents go when the author goes."""

    __tablename__ = "author"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    portrait: Mapped[FileObject | None] = mapped_column(StoredObject(BACKEND, content_types=["image/*"], max_size="1 MB"))
    documents: Mapped[list[Document]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Document(Base):
    """A document: one file for the cover, a list of files for the pages."""

    __tablename__ = "document"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    # Checked only by COMMIT, so that a commit can fail after everything before it has gone well.
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id", deferrable=True, initially="DEFERRED"))
    cover: Mapped[FileObject | None] = mapped_column(StoredObject(BACKEND, content_types=["image/png"], max_size="5 MB"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject(BACKEND, multiple=True))
    author: Mapped[Author] = relationship(back_populates="documents")
