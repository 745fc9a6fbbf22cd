"""Proxies in front of the store and of the database, which break requests: on their way there, back, and in the middle."""

from __future__ import annotations

import asyncio
import contextvars
import random
import re
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias

from tests.servers._relay import CHUNK, Relay

__all__ = ("CommitProxy", "FaultyProxy", "Kind")

Kind: TypeAlias = Literal["reset", "lost", "busy", "refused", "slow", "stalled", "cut"]

KINDS: tuple[Kind, ...] = ("reset", "lost", "busy", "refused", "slow", "stalled", "cut")

_REQUEST = re.compile(rb"(?:GET|PUT|POST|HEAD|DELETE) /[^\r\n]* HTTP/1\.[01]\r\n")


def _answer_with(status: bytes, code: bytes, message: bytes) -> bytes:
    body = b"<Error><Code>%s</Code><Message>%s</Message></Error>" % (code, message)
    head = b"HTTP/1.1 %s\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


_ANSWERS: dict[Kind, bytes] = {
    "busy": _answer_with(b"503 Slow Down", b"SlowDown", b"Please reduce your request rate."),
    "refused": _answer_with(b"403 Forbidden", b"AccessDenied", b"Access Denied"),
}


@dataclass
class _Connection:
    """One connection: its client's end, and what the answer at hand is to suffer."""

    client: asyncio.StreamWriter
    fault: Kind | None = None

    def reset(self) -> NoReturn:
        """Hang up on the client rudely: it sees ECONNRESET, not an orderly end."""
        sock = self.client.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionResetError


_connection: contextvars.ContextVar[_Connection] = contextvars.ContextVar("connection")


class _Proxy(Relay):
    """Knows which connection a chunk belongs to."""

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _connection.set(_Connection(writer))
        await super()._connect(reader, writer)


class CommitProxy(_Proxy):
    """Cuts a share of a database's connections at COMMIT: one half before it has arrived, the other when it was carried out.

    Args:
        target: The database's host and port.
        seed: Of the chance.

    Attributes:
        rate: The share of COMMITs, from 0 to 1.
        broken: How many there were.
    """

    def __init__(self, target: str, seed: int) -> None:
        self.rate = 0.0
        self.broken = 0
        self._random = random.Random(seed)
        super().__init__(target)

    async def to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward what the client sends, unless it is a COMMIT that is not to arrive."""
        connection = _connection.get()
        while chunk := await reader.read(CHUNK):
            if b"COMMIT" in chunk and self._random.random() < self.rate:
                self.broken += 1
                if self._random.random() < 0.5:
                    connection.reset()
                connection.fault = "lost"
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    async def to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward what the server answers, unless nobody is to know."""
        connection = _connection.get()
        while chunk := await reader.read(CHUNK):
            if connection.fault == "lost":
                connection.reset()
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


class FaultyProxy(_Proxy):
    """Breaks a share of all requests, each in a way chosen by chance; what it does may be changed at any time.

    Args:
        target: The store's endpoint.
        seed: Of the chance.

    Attributes:
        rate: The share of requests that are broken, from 0 to 1.
        kinds: The ways to choose from: ``reset``: the request never arrives; ``lost``: it does, and its answer is lost; ``busy``:
            503; ``refused``: 403; ``slow``: late; ``stalled``: no answer, ever; ``cut``: half of the answer.
        requests: How many came.
        broken: How many were broken, by kind.
    """

    def __init__(self, target: str, seed: int) -> None:
        self.rate = 0.0
        self.kinds: tuple[Kind, ...] = KINDS
        self.requests = 0
        self.broken: Counter[Kind] = Counter()
        self._random = random.Random(seed)
        super().__init__(target)

    async def to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward what the client sends, unless this request is to fail."""
        connection = _connection.get()
        while chunk := await reader.read(CHUNK):
            if _REQUEST.match(chunk):
                connection.fault = fault = self._drawn()
                if fault == "slow":
                    await asyncio.sleep(self._random.uniform(0.1, 1.0))
                elif fault == "stalled":
                    while await reader.read(CHUNK):
                        pass
                    return
                elif fault == "reset":
                    connection.reset()
                elif fault in _ANSWERS:
                    await self._answer(connection, reader, _ANSWERS[fault])
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    async def to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward what the server answers, unless this answer is to be lost."""
        connection = _connection.get()
        while chunk := await reader.read(CHUNK):
            if connection.fault == "lost":
                connection.reset()
            if connection.fault == "cut":
                writer.write(chunk[: len(chunk) // 2])
                await writer.drain()
                connection.reset()
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    def _drawn(self) -> Kind | None:
        self.requests += 1
        if self._random.random() >= self.rate:
            return None
        kind = self._random.choice(self.kinds)
        self.broken[kind] += 1
        return kind

    async def _answer(self, connection: _Connection, reader: asyncio.StreamReader, answer: bytes) -> None:
        """Answer in the store's place, and hang up."""
        connection.client.write(answer)
        await connection.client.drain()
        connection.client.write_eof()
        try:
            async with asyncio.timeout(1):
                while await reader.read(CHUNK):
                    pass
        except TimeoutError:
            pass
        raise ConnectionResetError
