"""A relay that goes wrong: it resets, stalls and delays the connections that pass through it."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import struct
from typing import Literal, TypeAlias

from tests.servers._relay import CHUNK, Relay

Mode: TypeAlias = Literal["pass", "silent", "reset", "lost", "stalled-answer", "cut-answer", "stalled-upload", "cut-upload"]

_client: contextvars.ContextVar[asyncio.StreamWriter] = contextvars.ContextVar("client")


class FaultyRelay(Relay):
    """Forwards to a server, or does not; changes its mind at once, for open connections too.

    Attributes:
        mode: ``pass``; ``silent``: takes what the client sends and never answers; ``reset``: hangs up as soon as the client sends
            something; ``lost``: the server gets all, the client gets a reset for an answer; ``stalled-answer`` and
            ``cut-answer``: the first ``after`` bytes of the answer come, then nothing or a reset; ``stalled-upload`` and
            ``cut-upload``: reads no more, or hangs up, when the client has sent ``after`` bytes.
        after: Bytes of one connection that pass before it goes wrong, where the mode says so.
        delay: Seconds by which every chunk is late, each way.
        retold: What every connection is answered that the client opens after it has gone wrong; as the server would, when empty.
        marker: It goes wrong only from the moment on at which the client sends these bytes, on that connection.
    """

    def __init__(self, target: str, mode: Mode = "pass", *, after: int = 0, delay: float = 0.0, marker: bytes = b"") -> None:
        self.mode: Mode = mode
        self.after = after
        self.delay = delay
        self.marker = marker
        self.retold = b""
        self.struck = 0
        """How often it has gone wrong."""
        super().__init__(target)

    async def to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward what the client sends, or stop at it."""
        sent = 0
        if self.retold and self.struck:
            await reader.read(CHUNK)
            _client.get().write(self.retold)
            await _client.get().drain()
        while chunk := await reader.read(CHUNK):
            await asyncio.sleep(self.delay)
            if self.marker and self.marker not in chunk:
                writer.write(chunk)
                continue
            sent += len(chunk)
            if self.mode == "reset":
                self._reset()
            if self.mode == "silent":
                self.struck += 1
                self.marker = b""  # from here on, everything
                while await reader.read(CHUNK):
                    pass
                return
            if self.mode in {"stalled-upload", "cut-upload"} and sent > self.after:
                if self.mode == "cut-upload":
                    self._reset()
                self.struck += 1
                await asyncio.Event().wait()
            writer.write(chunk)
            if self.mode == "lost":
                self.marker = b""
            await writer.drain()
        writer.write_eof()

    async def to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward what the server answers, or keep it back."""
        passed = 0
        while chunk := await reader.read(CHUNK):
            await asyncio.sleep(self.delay)
            if self.mode == "lost" and not self.marker:
                self._reset()
            if self.mode in {"stalled-answer", "cut-answer"}:
                chunk = chunk[: max(0, self.after - passed)]
                passed += len(chunk)
                writer.write(chunk)
                await writer.drain()
                if passed >= self.after:
                    if self.mode == "cut-answer":
                        self._reset()
                    self.struck += 1
                    await asyncio.Event().wait()
                continue
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _client.set(writer)
        await super()._connect(reader, writer)

    def _reset(self) -> None:
        """Hang up on the client rudely: it sees ECONNRESET, not an orderly end."""
        self.struck += 1
        sock = _client.get().get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionResetError
