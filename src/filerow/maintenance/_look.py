"""One look at one object, and what it says of the document that names it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from filerow._document import Facts
from filerow._execution.threads import in_thread
from filerow.backends._types import ObjectInfo
from filerow.backends.base import StorageBackend
from filerow.exceptions import ObjectNotFoundError, StorageError
from filerow.maintenance._report import Level

__all__ = ("Look", "Verdict", "verdict_of")

_CHUNK = 1 << 20
_SHA256 = "sha256:"


class Look:
    """Asks the store for one object, and reads it if it is to be compared with its checksum. Keeps errors, raises none.

    Args:
        facts: What the row says.
        backend: Where the object is.
        deep: Read it, if the row knows a checksum.

    Attributes:
        info: What the store says; ``None`` where it has no such object, or did not answer.
        error: Why the store did not answer. That there is no such object is an answer.
        checksum: Of the bytes, where they were read.
        transferred: Bytes read.
    """

    def __init__(self, facts: Facts, backend: StorageBackend, *, deep: bool) -> None:
        self.facts = facts
        self.backend = backend
        self.info: ObjectInfo | None = None
        self.error: StorageError | None = None
        self.checksum: str | None = None
        self.transferred = 0
        self._deep = deep and (facts.checksum or "").lower().startswith(_SHA256)
        self._stopped = False

    crowd = 0

    @property
    def quick(self) -> bool:
        """A look into a local directory takes less time than to hand it to a thread."""
        return self.backend.capabilities.quick and not self._deep

    def stop(self) -> None:
        """Stop reading at the next chunk."""
        self._stopped = True

    def run(self) -> None:
        """Look, blocking."""
        try:
            info = self.backend.head(self.facts.path)
            if self._deep:
                digest = hashlib.sha256()
                for chunk in self.backend.stream(self.facts.path, chunk_size=_CHUNK):
                    if self._stopped:
                        return
                    digest.update(chunk)
                    self.transferred += len(chunk)
                self.checksum = f"{_SHA256}{digest.hexdigest()}"
            self.info = info
        except StorageError as error:
            self._failed(error)

    async def run_async(self) -> None:
        """Look without blocking the event loop, nor by hashing."""
        try:
            info = await self.backend.head_async(self.facts.path)
            if self._deep:
                digest = hashlib.sha256()
                chunks = cast("AsyncGenerator[bytes]", self.backend.stream_async(self.facts.path, chunk_size=_CHUNK))
                async with aclosing(chunks):
                    async for chunk in chunks:
                        await in_thread(digest.update, chunk)
                        self.transferred += len(chunk)
                self.checksum = f"{_SHA256}{digest.hexdigest()}"
            self.info = info
        except StorageError as error:
            self._failed(error)

    def _failed(self, error: StorageError) -> None:
        if not isinstance(error, ObjectNotFoundError):
            self.error = error


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with an object.

    Attributes:
        code: The finding's.
        message: The finding's.
        level: The finding's.
    """

    code: str
    message: str
    level: Level = "error"


def verdict_of(look: Look) -> Verdict | None:
    """Compare what the row says with what the store says; ``None`` where they agree as far as both know."""
    facts, info = look.facts, look.info
    if look.error is not None:
        return Verdict("unreadable", f"the store did not answer: {look.error}")
    if info is None:
        return Verdict("missing", "there is no object at the path that the row names")
    size = look.transferred if look.checksum is not None else info.size
    if None not in {facts.size, size} and facts.size != size:
        return Verdict("size", f"the object has {size:,} bytes, and the row says {facts.size:,}")
    if look.checksum is not None and look.checksum != (facts.checksum or "").lower():
        return Verdict("checksum", f"the object's bytes have {look.checksum}, and the row says {facts.checksum}")
    if None not in {facts.etag, info.etag} and facts.etag != info.etag:
        if look.checksum is not None:
            return Verdict("etag", f"the object has etag {info.etag}, and the row says {facts.etag}; its bytes are right", "info")
        message = f"the object has etag {info.etag}, and the row says {facts.etag}: it was restored, copied or overwritten"
        return Verdict("etag", message, "warning")
    return None
