"""Where an experiment runs: its own SQLite file and directory, inspected without any of the libraries."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import struct
import time
import zlib
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from sqlalchemy import ForeignKey, Integer, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, mapped_column, relationship

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from benchmarks.compare.libraries import Library

PATIENCE = 10.0
"""Seconds that background work is given; generous, as it is only spent where the work is never done."""


@dataclass(frozen=True)
class S3:
    """A bucket and who may use it."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str
    bucket: str


class Answer(NamedTuple):
    """The answer of one experiment, with the facts that spoke against a yes."""

    value: str
    note: str = ""


def judge(**facts: bool) -> Answer:
    """Answer yes if every fact holds, else no with the names of those that do not."""
    against = [name.replace("_", " ") for name, holds in facts.items() if not holds]
    return Answer("no", "not: " + ", ".join(against)) if against else Answer("yes")


class BrokenSource(io.BytesIO):
    """A file of a megabyte that cannot be read past its first block."""

    def __init__(self) -> None:
        super().__init__(b"broken" * 170_000)

    def read(self, size: int | None = -1, /) -> bytes:  # noqa: D102 - as the base class
        if self.tell():
            msg = "the client went away"
            raise ConnectionError(msg)
        return super().read(min(65_536, size) if size and size > 0 else 65_536)

    def __next__(self) -> bytes:
        return self.read(65_536)


class SlowSource(io.BytesIO):
    """A file whose first read takes half a second, as on a slow disk, and that records when that was."""

    began = ended = 0.0

    def read(self, size: int | None = -1, /) -> bytes:  # noqa: D102 - as the base class
        if not self.began:
            self.began = time.monotonic()
            time.sleep(0.5)
            self.ended = time.monotonic()
        return super().read(size)


class Lab:
    """One library at work.

    Args:
        library: What to set up.
        folder: An empty directory.
        s3: Where bytes go, instead of a directory.
        recipe: Do by hand what the library leaves to the application.
    """

    def __init__(self, library: Library, folder: Path, s3: S3 | None = None, *, recipe: bool = False) -> None:
        self.library, self.folder, self.s3, self.recipe = library, folder, s3, recipe
        self._numbers = count(1)

    def start(self, *, on_s3: bool = False, thumbnail: int = 0) -> Self:
        """Set the library up and create the tables; the files may be images with a thumbnail of so many pixels."""
        self.root.mkdir(exist_ok=True)
        if on_s3:
            assert self.s3 is not None
            self.library.register_s3(self.s3)
        else:
            self.library.register(str(self.root))
        self.Doc, self.Folder = _models(self.library, recipe=self.recipe, thumbnail=thumbnail)
        self.engine = create_engine(f"sqlite:///{self.database}")
        _begin_explicitly(self.engine)
        self.Doc.metadata.create_all(self.engine)
        self.session = self.library.sessions(self.engine)
        return self

    def async_session(self) -> Any:
        """Open an asynchronous session on the same file."""
        engine = create_async_engine(f"sqlite+aiosqlite:///{self.database}")
        _begin_explicitly(engine.sync_engine)
        return self.library.async_sessions(engine)()

    def deploy(self, *, thumbnail: int) -> None:
        """Go on with a release of the application that has another size of thumbnails in its column."""
        self.Doc, self.Folder = _models(self.library, recipe=self.recipe, thumbnail=thumbnail)

    def file(self, content: Any, filename: str = "") -> Any:
        """Make a file to assign, under a name that no other has unless one is given."""
        return self.library.file(filename or f"file-{next(self._numbers)}.txt", content, recipe=self.recipe)

    def in_a_process_that_dies(self, act: Callable[[Lab], None]) -> None:
        """Let another process set up and do something; it must end itself with `os._exit(0)`."""
        if not (child := os.fork()):
            try:
                act(self.start())
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert status == 0, f"the process ended with {os.waitstatus_to_exitcode(status)}"

    # -- looking -------------------------------------------------------------------------------------------------------

    @property
    def root(self) -> Path:
        """The directory that the library stores into."""
        return self.folder / "objects"

    @property
    def database(self) -> Path:
        """The database's file."""
        return self.folder / "rows.db"

    def rows(self, column: str = "file") -> list[Any]:
        """Return a column of all committed rows of `doc`, in order."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            values = connection.execute(f"SELECT {column} FROM doc ORDER BY id").fetchall()  # noqa: S608 - our names
        return [json.loads(value) if value else None for (value,) in values]

    def contents(self) -> list[bytes]:
        """Return the bytes of every file below the directory."""
        return [Path(folder, name).read_bytes() for folder, _, names in os.walk(self.root) for name in names]

    def widths(self) -> list[int]:
        """Return the widths of all images below the directory that can be decoded, in order."""
        return sorted(filter(None, map(width_of, self.contents())))

    def has(self, data: bytes) -> bool:
        """Return True if any file holds exactly these bytes."""
        return data in self.contents()

    def read(self, document: Any) -> bytes | None:
        """Return the bytes that a document means; none if there are none."""
        try:
            return Path(self.root, self.library.path(document)).read_bytes()
        except (KeyError, TypeError, OSError):
            return None


def image(width: int = 200, height: int = 120) -> bytes:
    """Return a PNG, without any library that could decode it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + os.urandom(3 * width) for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def width_of(data: bytes) -> int:
    """Return the width of an image; 0 if it cannot be decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as found:
            found.load()
            return found.width
    except (OSError, SyntaxError):
        return 0


def _models(library: Library, *, recipe: bool, thumbnail: int) -> tuple[Any, Any]:
    class Base(DeclarativeBase):
        pass

    class Folder(Base):
        __tablename__ = "folder"
        id = mapped_column(Integer, primary_key=True)
        docs = relationship("Doc", cascade="all, delete-orphan")

    class Doc(Base):
        __tablename__ = "doc"
        id = mapped_column(Integer, primary_key=True)
        folder_id = mapped_column(ForeignKey(Folder.id))
        file = mapped_column(library.image(thumbnail) if thumbnail else library.column(recipe=recipe), nullable=True)
        pages = mapped_column(library.column(multiple=True, recipe=recipe), nullable=True)

    return Doc, Folder


def _begin_explicitly(engine: Engine) -> None:
    """Let savepoints mean something on SQLite, as SQLAlchemy's documentation says."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")
