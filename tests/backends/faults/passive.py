"""A relay in front of an FTP server that passes the commands, and goes wrong with the contents."""

from __future__ import annotations

import asyncio
import re
import socket

from tests.servers._process import HOST
from tests.servers._relay import forward
from tests.servers.faulty import FaultyRelay, _client

_ENTERING = re.compile(rb"^227 (?P<text>.*\()(?P<host>\d+,\d+,\d+,\d+),(?P<high>\d+),(?P<low>\d+)\)", re.MULTILINE)
"""A server's answer to PASV (RFC 959, 4.2): the address and the port at which it waits for the next content."""


class Passive(FaultyRelay):
    """Makes the client send and fetch contents through a relay of their own, which does what ``mode`` says."""

    def __init__(self, target: str) -> None:
        self._contents: list[FaultyRelay] = []
        super().__init__(target)

    async def to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward the client's commands, the urgent bytes of ABOR in their place among the others."""
        _client.get().get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        await forward(reader, writer)

    async def to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward the server's answers, which are lines, with another port in those that name one."""
        while line := await reader.readline():
            if entering := _ENTERING.match(line):
                port = int(entering["high"]) * 256 + int(entering["low"])
                contents = FaultyRelay(f"tcp://{HOST}:{port}", self.mode, after=self.after)
                self._contents.append(contents)
                line = b"227 %b%b,%d,%d).\r\n" % (entering["text"], entering["host"], *divmod(contents.port, 256))
            writer.write(line)
            await writer.drain()
        writer.write_eof()

    @property
    def struck(self) -> int:
        """How often a content has gone wrong."""
        return sum(contents.struck for contents in self._contents)

    @struck.setter
    def struck(self, value: int) -> None:
        assert not value

    def stop(self) -> None:
        """Cut all connections."""
        super().stop()
        for contents in self._contents:
            contents.stop()
