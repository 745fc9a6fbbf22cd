"""Reads the start of an object by range requests, ahead and within bounds."""

from __future__ import annotations

from filerow.backends.base import StorageBackend

_BLOCK = 64 << 10
_LARGEST_BLOCK = 256 << 10
_MOST_REQUESTS = 16
_MOST_READ = 2 << 20


class Ranges:
    """The bytes of one object, at any offset.

    Args:
        backend: The backend it is in.
        path: Where.
    """

    def __init__(self, backend: StorageBackend, path: str) -> None:
        self._backend = backend
        self._path = path
        self._first: bytes | None = None
        self._later = (0, b"")
        self._requests = 0
        self._read = 0

    def peek(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from an offset.

        Raises:
            ValueError: No honest file's header reaches as far.
        """
        if self._first is None:
            self._first = self._fetch(0, _BLOCK)
        if offset + size <= len(self._first) or len(self._first) < _BLOCK:
            return self._first[offset : offset + size]
        start, block = self._later
        if not start <= offset <= offset + size <= start + len(block):
            start, block = self._later = offset, self._fetch(offset, size)
        return block[offset - start : offset - start + size]

    def _fetch(self, offset: int, least: int) -> bytes:
        length = max(least, min(_BLOCK << self._requests, _LARGEST_BLOCK))
        if self._requests == _MOST_REQUESTS or self._read + length > _MOST_READ:
            msg = f"the header of this file reaches further than {_MOST_READ} bytes, or takes more than {_MOST_REQUESTS} looks"
            raise ValueError(msg)
        self._requests += 1
        self._read += length
        return self._backend.read(self._path, offset, offset + length)
