"""Put a distance between a client and a server: a TCP relay that holds every byte back for half a round trip."""

from __future__ import annotations

import asyncio

from tests.servers._relay import CHUNK, Relay


class LatencyProxy(Relay):
    """Forwards to a server as if it were further away.

    Only time is added, not a limit: bytes that follow each other closely arrive closely, so throughput stays as high as
    a client keeps requests in flight. A new connection costs its first request one more round trip, as TCP's handshake
    does.

    Args:
        target: The server's endpoint.
        round_trip: Seconds between a request and the first byte of its answer, beyond what the server takes.
    """

    def __init__(self, target: str, *, round_trip: float) -> None:
        self.round_trip = round_trip
        super().__init__(target)

    async def to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Delay by the handshake once, then everything by half a round trip."""
        await asyncio.sleep(self.round_trip)
        await self._delayed(reader, writer)

    async def to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Delay everything by half a round trip."""
        await self._delayed(reader, writer)

    async def _delayed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=1024)

        async def arrive() -> None:
            while True:
                due, chunk = await under_way.get()
                if (wait := due - clock()) > 0:
                    await asyncio.sleep(wait)
                if not chunk:
                    writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()

        async def depart() -> None:
            chunk = b"-"
            while chunk:
                chunk = await reader.read(CHUNK)
                await under_way.put((clock() + self.round_trip / 2, chunk))

        async with asyncio.TaskGroup() as both:
            both.create_task(depart())
            both.create_task(arrive())
