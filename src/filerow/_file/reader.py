"""Reads objects: seekable readers over range requests, and whole objects."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, cast

from filerow._content import expect_length
from filerow._execution.steps import Call
from filerow._execution.threads import in_thread
from filerow.backends.base import StorageBackend

BUFFER = 1 << 20
"""Bytes a reader fetches at least per request."""


class FileReader(io.RawIOBase):
    """A raw binary file of range requests; wrap it with :func:`buffered`."""

    def __init__(self, backend: StorageBackend, path: str, size: int | None) -> None:
        super().__init__()
        self.name = path
        self._backend = backend
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes from the start."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; returns it."""
        self._position = _target(offset, whence, self._position, self._length)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with the next bytes; returns how many."""
        view = memoryview(buffer).cast("B")
        end = self._position + len(view)
        data = self._backend.read(self.name, self._position, end) if len(view) else b""
        expect_length(self._backend.key, self.name, self._size, len(data), self._position, end)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def readall(self) -> bytes:
        """Return all that remains, in one request."""
        data = self._backend.read(self.name, self._position)
        expect_length(self._backend.key, self.name, self._size, len(data), self._position)
        self._position += len(data)
        return data

    def _length(self) -> int:
        if self._size is None:
            self._size = self._backend.head(self.name).size or 0
        return self._size


def buffered(raw: FileReader) -> io.BufferedReader:
    """Return the reader with a buffer of 1 MiB, so that small reads cost no requests."""
    return io.BufferedReader(raw, BUFFER)


class AsyncFileReader:
    """An asynchronous, seekable binary reader that keeps 1 MiB for small reads."""

    def __init__(self, backend: StorageBackend, path: str, size: int | None) -> None:
        self.name = path
        self._backend = backend
        self._size = size
        self._position = 0
        self._held = b""
        self._held_at = 0
        self._held_is_last = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._held, self._held_is_last = b"", False

    def tell(self) -> int:
        """Return the position in bytes from the start."""
        return self._position

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; returns it."""
        if whence == os.SEEK_END and self._size is None:
            self._size = (await self._backend.head_async(self.name)).size
        self._position = _target(offset, whence, self._position, lambda: self._size or 0)
        return self._position

    async def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, or fewer at the end; negative for all."""
        if size < 0:
            data = await self._backend.read_async(self.name, self._position)
            expect_length(self._backend.key, self.name, self._size, len(data), self._position)
        else:
            data = await self._read(size)
        self._position += len(data)
        return data

    async def _read(self, size: int) -> bytes:
        offset = self._position - self._held_at
        held = len(self._held) if self._held_is_last and offset >= 0 else len(self._held) - size
        if not 0 <= offset <= held:
            wanted = max(size, BUFFER)
            end = self._position + wanted
            found = await self._backend.read_async(self.name, self._position, end)
            expect_length(self._backend.key, self.name, self._size, len(found), self._position, end)
            self._held = found
            self._held_at, offset = self._position, 0
            self._held_is_last = len(self._held) < wanted
        return self._held[offset : offset + size]


def _target(offset: int, whence: int, position: int, length: Callable[[], int]) -> int:
    if whence == os.SEEK_CUR:
        offset += position
    elif whence == os.SEEK_END:
        offset += length()
    elif whence != os.SEEK_SET:
        raise ValueError(f"whence is 0, 1 or 2, not {whence}")
    if offset < 0:
        raise ValueError(f"cannot seek to {offset}: before the start of the file")
    return offset


def read_through(backend: StorageBackend, path: str, feed: Callable[[bytes], object]) -> Call:
    """Return the call that reads an object once, from its first byte to its last.

    Args:
        backend: Where it is.
        path: Its path.
        feed: Called with each chunk, in a thread where the caller awaits, for it mostly hashes; what it raises ends the reading.
    """

    def read() -> None:
        for chunk in backend.stream(path):
            feed(chunk)

    async def read_async() -> None:
        async with aclosing(cast("AsyncGenerator[bytes]", backend.stream_async(path))) as chunks:
            async for chunk in chunks:
                await in_thread(feed, chunk)

    return Call(read, read_async)
