"""A TCP relay in a thread of its own, to put between a client and a server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Self
from urllib.parse import urlsplit

from tests.servers._process import HOST

CHUNK = 64 * 1024


class Relay:
    """Forwards every connection to a server, byte for byte; subclasses look at the bytes or hold them back.

    Configure the client with the relay's `endpoint`, so it signs for that host and port, which pass through unchanged.

    Args:
        target: The server's endpoint, such as "http://127.0.0.1:9000", or "127.0.0.1:5432".
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target if "://" in target else f"tcp://{target}")
        if not parts.hostname or not parts.port:
            msg = f"a relay needs a host and a port to forward to, not {target!r}"
            raise ValueError(msg)
        self._target = (parts.hostname, parts.port)
        self._scheme = parts.scheme
        self.connections = 0
        """How many connections clients have opened so far."""
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="relay", daemon=True)
        self._thread.start()
        started.wait()

    @property
    def endpoint(self) -> str:
        """The address to give to clients."""
        return f"{self._scheme}://{HOST}:{self.port}"

    async def exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        """Forward both ways until both have ended."""
        async with asyncio.TaskGroup() as directions:
            directions.create_task(self.to_server(reader, server_writer))
            directions.create_task(self.to_client(server_reader, writer))

    async def to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward what the client sends; must end when it does."""
        await forward(reader, writer)

    async def to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward what the server sends; must end when it does."""
        await forward(reader, writer)

    def stop(self) -> None:
        """Cut all connections and end the thread; safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def __enter__(self) -> Self:
        """Return the running relay."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.stop()

    def _run(self, started: threading.Event) -> None:
        try:
            self._loop.run_until_complete(self._serve(started))
        finally:
            self._loop.close()

    async def _serve(self, started: threading.Event) -> None:
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._accept, HOST, 0, limit=CHUNK)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stopping.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)  # an aborted transport gives its socket back in one of the loop's next turns

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = self._loop.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # a task that was cancelled before it began has done nothing

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.ExitStack() as ends:
                ends.callback(writer.transport.abort)
                server_reader, server_writer = await asyncio.open_connection(*self._target, limit=CHUNK)
                ends.callback(server_writer.transport.abort)
                await self.exchange(reader, writer, server_reader, server_writer)
        except* OSError:
            pass  # one of the two hung up, and now the other one knows


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until the end, then say that nothing more will come."""
    while chunk := await reader.read(CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()
