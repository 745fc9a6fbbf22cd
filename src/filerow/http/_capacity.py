"""Limits of our own route: how many uploads run, and how slow each may be.

A client that opens many connections and sends a byte now and then holds a thread, a descriptor and a half-written file for each.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from filerow.http._upload import UploadLimits, UploadRefusedError

_RETRY_AFTER = 5

_LEAST_BLOCK, _MOST_BLOCK = 1 << 10, 64 << 10

_DISCARDS = 4
"""How many threads may read the rest of refused uploads."""


@dataclass(slots=True)
class UploadCapacity:
    """What this process accepts at a time. Set it before the first request.

    Attributes:
        concurrent: Maximum number of uploads at a time; another one is answered with 503 and ``Retry-After``.
        staged_bytes: Maximum size in bytes of all uploads under way, as announced or else received; a single one may have more.
        idle: Seconds without a byte after which an upload is given up (408); on Flask, without a block of them. Where a
            synchronous server does not show the client's socket, only its own timeouts end a read.
        least_rate: Bytes a second that an upload must have on average, after its first ``idle`` seconds (408).
    """

    concurrent: int = 64
    staged_bytes: int = 8 << 30
    idle: float = 30.0
    least_rate: float = 1024.0


upload_capacity: UploadCapacity = UploadCapacity()
"""That of this process."""


class _Uploads:
    """The uploads of this process."""

    def __init__(self) -> None:
        self.forget()

    @contextmanager
    def admit(self, backend: str, path: str, limits: UploadLimits) -> Generator[Admitted]:
        """Admit one upload for the duration of the block.

        Raises:
            UploadRefusedError: The same upload is running, or too many are.
        """
        key = backend, path
        size = next((limit for limit in (limits.exactly, limits.most) if limit is not None), 0)
        with self._lock:
            if key in self._under_way:
                raise UploadRefusedError(409, "This upload is already running.", code="upload-under-way")
            staged = sum(self._under_way.values())
            if len(self._under_way) >= upload_capacity.concurrent or (staged and staged + size > upload_capacity.staged_bytes):
                raise _full()
            self._under_way[key] = size
        try:
            yield Admitted(key, grows=not size)
        finally:
            with self._lock:
                self._under_way.pop(key, None)

    def grow(self, key: tuple[str, str], size: int) -> None:
        """Count bytes of an upload without an announced length.

        Raises:
            UploadRefusedError: There are too many bytes.
        """
        with self._lock:
            if key not in self._under_way:  # it has been given up meanwhile
                return
            self._under_way[key] += size
            if len(self._under_way) > 1 and sum(self._under_way.values()) > upload_capacity.staged_bytes:
                raise _full()

    @contextmanager
    def discarding(self) -> Generator[bool]:
        """Yield True if this thread may read the rest of a refused upload.

        A synchronous read cannot be interrupted: a slow client, even without a valid link, would hold the thread.
        """
        with self._lock:
            allowed = self._discards < _DISCARDS
            self._discards += allowed
        try:
            yield allowed
        finally:
            with self._lock:
                self._discards -= allowed

    def forget(self) -> None:
        """Forget the uploads of the parent process after a fork."""
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, str], int] = {}
        self._discards = 0


uploads = _Uploads()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=uploads.forget)


class Admitted:
    """One admitted upload.

    Args:
        key: Its backend and path.
        grows: True if it announced no length.
    """

    def __init__(self, key: tuple[str, str], *, grows: bool) -> None:
        self._key = key
        self._grows = grows
        self._begun = time.monotonic()
        self._size = 0

    def paced(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """Iterate over a body while it arrives fast enough.

        Raises:
            UploadRefusedError: The upload is too slow, or the process is full.
        """
        for chunk in body:
            self._take(chunk)
            yield chunk

    async def paced_async(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Iterate over a body; see :meth:`paced`."""
        while True:
            try:
                async with asyncio.timeout(upload_capacity.idle):
                    chunk = await anext(body, None)
            except TimeoutError:
                raise too_slow() from None
            if chunk is None:
                return
            self._take(chunk)
            yield chunk

    def _take(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._grows:
            uploads.grow(self._key, len(chunk))
        seconds = time.monotonic() - self._begun
        if seconds > upload_capacity.idle and self._size < seconds * upload_capacity.least_rate:
            raise too_slow()


def block_size() -> int:
    """Return how many bytes to read at once, so that a fast client is in time."""
    return min(max(int(upload_capacity.idle * upload_capacity.least_rate / 2), _LEAST_BLOCK), _MOST_BLOCK)


def too_slow() -> UploadRefusedError:
    """Return the error that gives up an upload."""
    return UploadRefusedError(408, "The upload came too slowly.", code="upload-too-slow")


def _full() -> UploadRefusedError:
    return UploadRefusedError(503, "Too many uploads are running.", ("retry-after", str(_RETRY_AFTER)), code="uploads-full")
