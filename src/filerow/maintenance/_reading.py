"""Reads an object through once, in bounded memory: its size, its checksum and its first bytes."""

from __future__ import annotations

from filerow._content import Meter
from filerow._execution.steps import Call
from filerow._execution.threads import in_thread
from filerow._validation.rules import SNIFF_BYTES
from filerow.backends.base import StorageBackend

__all__ = ("Reading", "is_ours")


class Reading:
    """One object, read through.

    Attributes:
        meter: What has passed.
        head: The first bytes, as many as a type is recognised by.
    """

    def __init__(self, backend: StorageBackend, path: str) -> None:
        self.meter = Meter()
        self.head = b""
        self._backend = backend
        self._path = path

    @property
    def call(self) -> Call:
        """Both forms of the work."""
        return Call(self._read, self._read_async, (), {})

    def _read(self) -> None:
        for chunk in self._backend.stream(self._path):
            self._feed(chunk)

    async def _read_async(self) -> None:
        async for chunk in self._backend.stream_async(self._path):
            await in_thread(self._feed, chunk)

    def _feed(self, chunk: bytes) -> None:
        self.meter.feed(chunk)
        if len(self.head) < SNIFF_BYTES:
            self.head += chunk[: SNIFF_BYTES - len(self.head)]


def is_ours(checksum: str | None) -> bool:
    """Say whether a checksum is one that we compare; other libraries have others."""
    return checksum is not None and checksum.startswith("sha256:")
