"""Count the requests that really go to a server: a relay that reads along what an HTTP/1.1 client sends."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.servers._http import forward_body, read_head
from tests.servers._relay import Relay

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
        while (head := await read_head(reader)) is not None:
            with self._lock:
                self._requests.append(Request(*head.target))
            writer.write(head.encode())
            await forward_body(head, reader, writer)
            await writer.drain()
        writer.write_eof()
