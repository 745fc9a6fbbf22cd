"""Count the requests that really go to a server: a relay that reads along what an HTTP/1.1 client sends."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.servers._relay import CHUNK, Relay

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator


@dataclass(frozen=True)
class Request:
    """One request as it stood on the wire."""

    method: str
    path: str
    query: str

    def __str__(self) -> str:
        """Show it as on the wire, ``PUT /bucket/key?x-id=PutObject``."""
        return f"{self.method} {self.path}" + (f"?{self.query}" if self.query else "")


class CountingProxy(Relay):
    """Forwards to an HTTP server and remembers method, path and query of every request.

    A request is remembered before a byte of it goes on, so a client that has its answer finds it here.

    Args:
        target: The server's endpoint.
    """

    def __init__(self, target: str) -> None:
        self._requests: list[Request] = []
        self._lock = threading.Lock()
        super().__init__(target)

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order in which they came."""
        with self._lock:
            return list(self._requests)

    def reset(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._requests.clear()

    @contextlib.contextmanager
    def record(self) -> Generator[list[Request]]:
        """Yield a list that holds, once the block has ended, the requests made during it."""
        seen: list[Request] = []
        before = len(self.requests)
        try:
            yield seen
        finally:
            seen += self.requests[before:]

    async def to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward request after request, each with its body."""
        while head := await _read_head(reader):
            first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
            method, target, _version = first.split(" ")
            path, _, query = target.partition("?")
            with self._lock:
                self._requests.append(Request(method, path, query))
            writer.write(head)
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if "chunked" in headers.get("transfer-encoding", "").lower():
                await _forward_chunked(reader, writer)
            else:
                await _forward_exactly(reader, writer, int(headers.get("content-length", 0)))
            await writer.drain()
        writer.write_eof()


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """Read a request up to its empty line, nothing if the client has none any more."""
    lines: list[bytes] = []
    while line := await reader.readline():
        lines.append(line)
        if line == b"\r\n" and len(lines) > 1:
            return b"".join(lines)
    return b""


async def _forward_exactly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
    while size > 0 and (chunk := await reader.read(min(size, CHUNK))):
        size -= len(chunk)
        writer.write(chunk)
        await writer.drain()


async def _forward_chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        await _forward_exactly(reader, writer, size + 2)
    while (line := await reader.readline()) not in {b"", b"\r\n"}:  # trailers
        writer.write(line)
    writer.write(b"\r\n")
