"""A relay that reads HTTP/1.1: subclasses see one request after the other, and change, refuse or answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.servers._relay import CHUNK, Relay

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence


@dataclass
class Message:
    """The head of a request or of an answer.

    Attributes:
        first: Its first line.
        lines: Its headers, as they stood on the wire.
    """

    first: str
    lines: list[tuple[str, str]]

    @property
    def headers(self) -> dict[str, str]:
        """The headers by lower-case names."""
        return {name.lower(): value for name, value in self.lines}

    @property
    def target(self) -> tuple[str, str, str]:
        """Method, path and query of a request."""
        method, target, _ = self.first.split(" ")
        path, _, query = target.partition("?")
        return method, path, query

    @property
    def status(self) -> int:
        """Status of an answer."""
        return int(self.first.split()[1])

    def drop(self, names: Sequence[str]) -> None:
        """Remove headers, by lower-case names."""
        self.lines = [(name, value) for name, value in self.lines if name.lower() not in names]

    def encode(self) -> bytes:
        """Return the head as it goes over the wire."""
        return "".join([f"{self.first}\r\n", *(f"{name}: {value}\r\n" for name, value in self.lines), "\r\n"]).encode("latin-1")


@dataclass(frozen=True)
class Ends:
    """The streams of the client and of the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server_reader: asyncio.StreamReader
    server_writer: asyncio.StreamWriter

    async def read_body(self, request: Message) -> bytes:
        """Return the body of a request; ask for it if the client waits for that."""
        if "expect" in request.headers:
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.drop(["expect"])
        return await read_body(self.reader, request)

    async def pass_request(self, request: Message) -> Message:
        """Forward a request, its body once the server wants it, and return the head of the answer."""
        self.server_writer.write(request.encode())
        if "expect" in request.headers:
            answer = await self._read_answer()
            if answer.status != 100:
                return answer
            self.writer.write(answer.encode())
        await forward_body(request, self.reader, self.server_writer)
        return await self._read_answer()

    async def send(self, request: Message, body: bytes) -> Message:
        """Forward a request whose body was read, and return the head of the answer."""
        self.server_writer.write(request.encode() + body)
        await self.server_writer.drain()
        return await self._read_answer()

    async def pass_answer(self, request: Message, answer: Message) -> None:
        """Forward an answer with its body."""
        self.writer.write(answer.encode())
        if has_body(request, answer.status):
            await forward_body(answer, self.server_reader, self.writer)

    async def _read_answer(self) -> Message:
        answer = await read_head(self.server_reader)
        if answer is None:
            msg = "the server hung up"
            raise ConnectionResetError(msg)
        return answer


class HTTPRelay(Relay):
    """Handles requests one after the other."""

    async def exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        """Handle the requests of one connection."""
        ends = Ends(reader, writer, server_reader, server_writer)
        while (request := await read_head(reader)) is not None:
            await self.handle(request, ends)
            await writer.drain()
        writer.write_eof()

    async def handle(self, request: Message, ends: Ends) -> None:
        """Have the server answer a request."""
        await ends.pass_answer(request, await ends.pass_request(request))


def has_body(request: Message, status: int) -> bool:
    """Return True if the answer to a request has a body."""
    return not request.first.startswith("HEAD ") and status not in {204, 304}


async def read_head(reader: asyncio.StreamReader) -> Message | None:
    """Read a head up to its empty line; return None if there is no more."""
    lines: list[str] = []
    while line := (await reader.readline()).decode("latin-1"):
        if line.rstrip("\r\n"):
            lines.append(line.rstrip("\r\n"))
        elif lines:
            pairs = (part.partition(":") for part in lines[1:])
            return Message(lines[0], [(name, value.strip()) for name, _, value in pairs])
    return None


class _Buffer:
    """Keeps what is written to it."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.write = self.content.extend

    async def drain(self) -> None:
        pass


async def read_body(reader: asyncio.StreamReader, message: Message) -> bytes:
    """Return the body of a message as it stands on the wire."""
    kept = _Buffer()
    await forward_body(message, reader, kept)
    return bytes(kept.content)


async def forward_body(message: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | _Buffer) -> None:
    """Copy the body of a message, byte for byte."""
    headers = message.headers
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        await _forward_exactly(reader, writer, int(headers.get("content-length", 0)))
        return
    while line := await reader.readline():
        writer.write(line)
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        await _forward_exactly(reader, writer, size + 2)
    while (line := await reader.readline()) not in {b"", b"\r\n"}:  # trailers
        writer.write(line)
    writer.write(b"\r\n")
    await writer.drain()


async def _forward_exactly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter | _Buffer, size: int) -> None:
    while size > 0 and (chunk := await reader.read(min(size, CHUNK))):
        size -= len(chunk)
        writer.write(chunk)
        await writer.drain()
