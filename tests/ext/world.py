"""What the applications of the four frameworks share: one model, one directory of files, one database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.local import LocalBackend

if TYPE_CHECKING:
    from sqlalchemy import Engine

LIMIT = 1000
SECRET = "a secret for as long as a test runs"
TOKEN = "let me in"


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    file: Mapped[FileObject | None] = mapped_column(
        StoredObject("docs", max_size=LIMIT, content_types=["text/plain", "image/png", "text/html"])
    )
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True, max_size=LIMIT))
    big: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class WatchedBackend(LocalBackend):
    """A directory that knows how many bytes were streamed out of it.

    Attributes:
        streamed: The bytes so far.
    """

    streamed = 0

    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        for chunk in super()._stream(path, start, end, chunk_size):
            self.streamed += len(chunk)
            yield chunk


@dataclass
class World:
    """The store and the database.

    Attributes:
        root: The directory of the files.
        backend: Its backend, "docs".
        engine: The database, for blocking code.
        async_engine: The same database, for asynchronous code.
    """

    root: Path
    backend: WatchedBackend
    engine: Engine
    async_engine: AsyncEngine

    @classmethod
    def make(cls, folder: Path) -> World:
        """Make a world and register its backend."""
        root = folder / "files"
        backend = WatchedBackend("docs", root, fsync=False, base_url="/files", secret=SECRET)
        storages.clear_backends()
        storages.register_backend(backend)
        database = folder / "rows.db"
        engine = create_engine(f"sqlite:///{database}", poolclass=NullPool)
        Base.metadata.create_all(engine)
        return cls(root, backend, engine, create_async_engine(f"sqlite+aiosqlite:///{database}", poolclass=NullPool))

    def stored(self, **columns: FileObject) -> Document:
        """Commit a document and return it, to be looked at without its session."""
        with Session(self.engine, expire_on_commit=False) as session:
            document = Document(name="made by the test", **columns)
            session.add(document)
            session.commit()
            return document

    def paths(self) -> set[str]:
        """Return what is stored."""
        return {info.path for info in self.backend.list()}

    def names(self) -> list[str]:
        """Return the names of the documents that are committed."""
        with Session(self.engine) as session:
            return [document.name for document in session.query(Document)]

    def open_files(self) -> int:
        """Count the stored files that this process has open."""
        return sum(1 for target in _descriptors() if target.startswith(str(self.root)))


def _descriptors() -> Iterator[str]:
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:  # closed meanwhile
            continue


def chunks_of(file: Any) -> Iterator[bytes]:
    """Read an upload as a stream whose length nobody knows before it has passed."""
    while chunk := file.read(100):
        yield chunk


def shown(document: Document) -> dict[str, Any]:
    """Return what an application says of a document; the framework shows the files."""
    return {
        "id": document.id,
        "name": document.name,
        "file": document.file,
        "pages": document.pages,
        "url": document.file.sign() if document.file else None,
    }
