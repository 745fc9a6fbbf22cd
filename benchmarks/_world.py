"""Where a measurement runs: a database, a store, and two ways to it, ours and the hand-written one."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import obstore
from sqlalchemy import JSON, create_engine, delete
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StorageBackend, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend

PARALLEL = 16


class Base(DeclarativeBase):
    pass


class Ours(Base):
    __tablename__ = "ours"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("bench"))


class Floor(Base):
    __tablename__ = "floor"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class World:
    """One SQLite file, as ``create_engine()`` opens it, and one store for both ways: S3, or a directory.

    Args:
        name: What the table calls the store.
        folder: For the database, and for a local store.
        s3: Endpoint, keys and bucket of an S3 server; without it the store is a directory.

    Attributes:
        hashes: Whether the hand-written way computes a SHA-256 too.
    """

    def __init__(self, name: str, folder: Path, s3: dict[str, str] | None = None) -> None:
        self.name = name
        self.folder = folder
        self.remote = s3 is not None
        self.url = f"/{folder / 'bench.db'}"
        options: dict[str, Any] = {}
        root = f"file://{folder}/objects"
        if s3:
            root = f"s3://{s3['bucket']}"
            options = {
                "aws_endpoint": s3["endpoint"],
                "aws_access_key_id": s3["access_key"],
                "aws_secret_access_key": s3["secret_key"],
            }
        storages.clear_backends()
        # A directory is ours to write, as file:///... makes it. Like the hand-written way it does not wait for the disk here.
        ours = folder / "objects" / "ours"
        self.backend: StorageBackend = (
            ObstoreBackend("bench", f"{root}/ours", **options) if s3 else LocalBackend("bench", ours, fsync=False)
        )
        storages.register_backend(self.backend)
        self.raw = ObstoreBackend("raw", f"{root}/floor", **options).store
        self.hashes = False
        self.engine = create_engine(f"sqlite://{self.url}")
        self._async_engine = create_async_engine(f"sqlite+aiosqlite://{self.url}")
        self._runner = asyncio.Runner()
        Base.metadata.drop_all(self.engine)
        Base.metadata.create_all(self.engine)

    # -- the hand-written way ------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> dict[str, Any]:
        """Store bytes and return the document to keep."""
        path = f"floor/file/{uuid.uuid4().hex}.bin"
        return _document(path, data, obstore.put(self.raw, path, data))

    async def put_async(self, data: bytes) -> dict[str, Any]:
        """The same, awaited."""
        path = f"floor/file/{uuid.uuid4().hex}.bin"
        document = _document(path, data, await obstore.put_async(self.raw, path, data))
        if self.hashes:
            document["checksum"] = f"sha256:{await asyncio.to_thread(_digest, data)}"
        return document

    async def gather(self, contents: list[bytes]) -> list[dict[str, Any]]:
        """Store several, sixteen at a time."""
        limit = asyncio.Semaphore(PARALLEL)

        async def one(data: bytes) -> dict[str, Any]:
            async with limit:
                return await self.put_async(data)

        return await asyncio.gather(*map(one, contents))

    # -- sessions ------------------------------------------------------------------------------------------------------

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A synchronous session."""
        with Session(self.engine) as session:
            yield session

    @asynccontextmanager
    async def async_session(self) -> AsyncIterator[AsyncSession]:
        """An asynchronous session; use it inside :meth:`awaited`."""
        async with AsyncSession(self._async_engine) as session:
            yield session

    def awaited(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        """Return asynchronous work as plain work. One event loop and one engine do all of it, as in a server."""
        return lambda: self._runner.run(work())

    def empty(self) -> None:
        """Remove all objects and rows; large ones would fill the disk, or the memory."""
        with self.engine.begin() as connection:
            connection.execute(delete(Ours))
            connection.execute(delete(Floor))
        self.backend.delete([info.path for info in self.backend.list("")])
        obstore.delete(self.raw, [item["path"] for batch in obstore.list(self.raw) for item in batch])

    def close(self) -> None:
        """End the event loop and the engines."""
        self._runner.run(self._async_engine.dispose())
        self._runner.close()
        self.engine.dispose()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def speeds(folder: Path) -> tuple[float, float]:
    """Return how many GB/s one core hashes (SHA-256), and how many it copies into a file of the folder."""
    data = os.urandom(64 << 20)
    hashing = min(_seconds(lambda: _digest(data)) for _ in range(5))
    with (folder / "copied").open("w+b", buffering=0) as file:
        copying = min(_seconds(lambda: os.pwrite(file.fileno(), data, 0)) for _ in range(9))  # soon over pages that are there
    (folder / "copied").unlink()
    return len(data) / hashing / 1e9, len(data) / copying / 1e9


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _document(path: str, data: bytes, stored: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "backend": "bench",
        "path": path,
        "filename": "a.bin",
        "content_type": "application/octet-stream",
        "size": len(data),
        "checksum": None,
        "etag": stored["e_tag"],
        "version_id": stored["version"],
        "last_modified": time.time(),
        "metadata": {},
    }


@contextmanager
def temporary(*, in_memory: bool = False) -> Iterator[Path]:
    """A folder that goes; in memory, where the system has such a place, so that no disk decides how long writing takes."""
    place = "/dev/shm" if in_memory and Path("/dev/shm").is_dir() else None  # noqa: S108 - Linux's own name for it
    with tempfile.TemporaryDirectory(prefix="filerow-bench-", dir=place) as folder:
        yield Path(folder)


def some_bytes(size: int) -> bytes:
    """A photograph, as far as its first bytes go; what follows is noise, which nothing on the way can compress."""
    return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + os.urandom(size - 11)
