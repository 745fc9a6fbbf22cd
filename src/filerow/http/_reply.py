"""A response to a request, independent of frameworks, and its body."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, Self, TypeAlias, cast

from filerow._execution.batch import raise_if
from filerow._log import extras, logger
from filerow.backends._headers import check_header
from filerow.backends.base import StorageBackend
from filerow.backends.local import LocalBackend
from filerow.exceptions import IntegrityError, InvalidOptionError, StorageError
from filerow.hooks import Event, deliver, deliver_async, subscriptions

CHUNK = 256 * 1024
"""Bytes per chunk: large enough to be quick, small enough for many slow readers at once."""

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Headers of a response: names in lower case, values in ASCII."""

RequestHeaders: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
"""Headers of a request, as a mapping or as pairs; names in any case."""


class Body:
    """The bytes ``[start, end)`` of an object; nothing is read before iteration.

    Args:
        backend: Where the object is.
        path: Its path.
        start: The first byte.
        end: The byte after the last.
        file: What clients may see of the file, for those who listen to events.
        reported: Report to them that it was sent, or was not.
    """

    __slots__ = ("_backend", "_file", "_path", "_reported", "end", "start")

    def __init__(
        self,
        backend: StorageBackend,
        path: str,
        start: int,
        end: int,
        file: Mapping[str, Any] | None = None,
        *,
        reported: bool = True,
    ) -> None:
        self._backend = backend
        self._path = path
        self._file = file
        self._reported = reported
        self.start: int = start
        self.end: int = end

    def __repr__(self) -> str:
        return f"<Body: bytes {self.start} to {self.end}>"

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self.end - self.start

    def stream(self, chunk_size: int = CHUNK) -> Iterator[bytes]:
        """Iterate over the bytes, in bounded memory; closing it closes the object.

        Args:
            chunk_size: Approximate size of a chunk in bytes.

        Raises:
            ObjectNotFoundError: The object is gone.
            IntegrityError: The object ends early. Its length was already sent, so the response must be aborted.
        """
        left = self.length
        chunks = self._backend.stream(self._path, self.start, self.end, chunk_size)
        try:
            for chunk in chunks:
                left -= len(chunk)
                yield chunk
            self._expect_none(left)
        except StorageError as error:
            self._log(error, left)
            if self._is_reported:
                raise_if(deliver([self._event(error)]))
            raise
        finally:
            if isinstance(chunks, Generator):
                chunks.close()
        if self._is_reported:
            raise_if(deliver([self._event()]))

    async def stream_async(self, chunk_size: int = CHUNK) -> AsyncIterator[bytes]:
        """Iterate over the bytes without blocking the event loop; see :meth:`stream`.

        The next chunk is read when it is requested. If you stop early, call ``aclose()``, as ``contextlib.aclosing`` does.
        """
        left = self.length
        chunks = self._backend.stream_async(self._path, self.start, self.end, chunk_size)
        try:
            async for chunk in chunks:
                left -= len(chunk)
                yield chunk
            self._expect_none(left)
        except StorageError as error:
            self._log(error, left)
            if self._is_reported:
                await deliver_async([self._event(error)])
            raise
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
        if self._is_reported:
            await deliver_async([self._event()])

    async def place_async(self) -> str | None:
        """Return the absolute path of a whole local file, or ``None``.

        Raises:
            ObjectNotFoundError: There is no such file.
            InvalidPathError: The path escapes the directory, or goes through a symbolic link.
        """
        backend = self._backend
        if self.start or not isinstance(backend, LocalBackend):
            return None
        info = await backend.head_async(self._path)
        if info.size != self.end:
            return None
        if self._is_reported:
            await deliver_async([self._event()])
        return str(backend.root / self._path)

    def open_file(self) -> BinaryIO | None:
        """Return a whole local file, open, or ``None``; see :meth:`place_async`."""
        if self.start or not isinstance(self._backend, LocalBackend):
            return None
        file = self._backend.open_file(self._path)
        if os.fstat(file.fileno()).st_size == self.end:
            if self._is_reported:
                raise_if(deliver([self._event()]))
            return file
        file.close()
        return None

    def begin(self, chunk_size: int = CHUNK) -> Chunks:
        """Read the first chunk, to find a missing object in time; see :meth:`stream`."""
        return Chunks(self.stream(chunk_size))

    async def begin_async(self, chunk_size: int = CHUNK) -> AsyncChunks:
        """Read the first chunk; see :meth:`begin`."""
        return await AsyncChunks.begun(self.stream_async(chunk_size))

    @property
    def _is_reported(self) -> bool:
        return bool(subscriptions) and self._reported

    def _event(self, error: StorageError | None = None) -> Event:
        place: dict[str, Any] = {"backend": self._backend.key, "path": self._path, "file": self._file}
        if error is not None:
            return Event(kind="failed", operation="serve", error=error, **place)
        return Event(kind="served", sent=(self.start, self.end), **place)

    def _log(self, error: StorageError, left: int) -> None:
        """Log a failure after the status was sent; earlier ones get a response."""
        sent = self.length - left
        if sent:
            cause = "" if error.__cause__ is None else f" ({type(error.__cause__).__name__})"
            message = "a response was aborted after %s of %s bytes: %s%s"
            fields = extras("serve", self._backend.key, error=type(error).__name__)
            logger.error(message, f"{sent:,}", f"{self.length:,}", error, cause, extra=fields)

    def _expect_none(self, left: int) -> None:
        if left > 0:
            msg = f"the object ends {left} bytes before the length given by the row or the store"
            raise IntegrityError(msg, operation="read", backend=self._backend.key, path=self._path)


class Chunks:
    """An iterator whose first chunk has been read. Close it if you stop early.

    Args:
        chunks: The chunks.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._first = next(chunks, None)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        first, self._first = self._first, None
        return next(self._chunks) if first is None else first

    def close(self) -> None:
        """Close the object."""
        self._first = None
        if isinstance(self._chunks, Generator):
            self._chunks.close()


class AsyncChunks:
    """An asynchronous iterator with its first chunk read; close it if you stop early.

    Args:
        chunks: The following chunks.
        first: The first chunk.
    """

    def __init__(self, chunks: AsyncIterator[bytes], first: bytes | None) -> None:
        self._chunks = chunks
        self._first = first

    @classmethod
    async def begun(cls, chunks: AsyncIterator[bytes]) -> Self:
        """Read the first chunk."""
        return cls(chunks, await anext(chunks, None))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, None
        return await anext(self._chunks) if first is None else first

    async def aclose(self) -> None:
        """Close the object."""
        self._first = None
        if isinstance(self._chunks, AsyncGenerator):
            await self._chunks.aclose()


class Reply(NamedTuple):
    """A response.

    Attributes:
        status: The status code.
        headers: Names in lower case, values in ASCII, with ``content-length`` wherever it is allowed.
        body: The bytes to send; empty in a response to ``HEAD``.
    """

    status: int
    headers: Headers
    body: Body | bytes = b""

    def header(self, name: str) -> str | None:
        """Return the value of a header, or ``None``."""
        return next((value for known, value in self.headers if known == name.lower()), None)


def own_headers(headers: Mapping[str, str] | None) -> Headers:
    """Return headers that an application adds to a response, in lower case.

    Raises:
        InvalidOptionError: A name or value is not allowed in a header, or the name is one that describes the file.
    """
    found: Headers = ()
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            msg = f"headers= contains {name!r}, which is not a valid header name (RFC 9110, section 5.1)"
            raise InvalidOptionError(msg, operation="serve")
        if name.lower() in DESCRIBING:
            hint = _INSTEAD.get(name.lower(), "Filerow sets it from the file itself")
            raise InvalidOptionError(f"headers= cannot have {name}: {hint}", operation="serve")
        found = (*found, (name.lower(), check_header(name, value, operation="serve", backend="")))
    return found


DESCRIBING = frozenset(
    {
        "accept-ranges",
        "content-disposition",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "etag",
        "last-modified",
        "location",
        "transfer-encoding",
        "x-content-type-options",
    }
)
"""Headers that describe the bytes, which an application cannot replace."""

_INSTEAD = {
    "content-disposition": "use download_as= and inline=",
    "content-type": "it is the type recognised when the file was stored",
}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def merged(ours: Headers, others: Iterable[tuple[str, str]]) -> Headers:
    """Return our headers with the application's, which replace some of ours."""
    theirs = tuple((name, value) for name, value in others if name.lower() not in DESCRIBING)
    replaced = {name.lower() for name, _ in theirs}
    return (*((name, value) for name, value in ours if name not in replaced), *theirs)


def plain(status: int, *headers: tuple[str, str]) -> Reply:
    """Return a response without content."""
    return Reply(status, (*headers, ("content-length", "0")))


def lowered(headers: RequestHeaders) -> dict[str, str]:
    """Return headers with lower-case names; repeated ones are joined (RFC 9110, 5.3)."""
    found: dict[str, list[str]] = {}  # joined at the end: a client may send one field thousands of times
    pairs = cast("Mapping[str, str]", headers).items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        found.setdefault(name.lower(), []).append(value)
    return {name: ", ".join(values) for name, values in found.items()}
