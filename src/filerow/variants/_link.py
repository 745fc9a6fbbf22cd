"""One end of a socket to a worker, used blocking or awaited."""

from __future__ import annotations

import asyncio
import socket
import time

from filerow._execution.steps import Call

_PART = 1 << 18


class Deadline:
    """A moment after which nothing is waited for; it can be put off."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, never less than a moment."""
        return max(self._until - time.monotonic(), 0.001)

    def extend(self, seconds: float) -> None:
        """Put it off."""
        self._until += seconds


class WorkerLink:
    """A socket that belongs to one caller at a time.

    Its calls raise ``TimeoutError`` after the deadline, and ``EOFError`` when the other end is closed.
    """

    def __init__(self, end: socket.socket, deadline: Deadline) -> None:
        self._socket = end
        self.deadline = deadline

    def receive(self, size: int) -> Call:
        """Return the call that reads exactly that many bytes."""
        return Call(self._receive, self._receive_async, (size,))

    def send(self, data: bytes) -> Call:
        """Return the call that writes all of them."""
        return Call(self._send, self._send_async, (data,))

    def _receive(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            self._socket.settimeout(self.deadline.left)
            found += _some(self._socket.recv(min(size - len(found), _PART)))
        return bytes(found)

    async def _receive_async(self, size: int) -> bytes:
        found = bytearray()
        loop = asyncio.get_running_loop()
        self._socket.setblocking(False)  # noqa: FBT003 - its only argument
        async with asyncio.timeout(self.deadline.left):
            while len(found) < size:
                found += _some(await loop.sock_recv(self._socket, min(size - len(found), _PART)))
        return bytes(found)

    def _send(self, data: bytes) -> None:
        self._socket.settimeout(self.deadline.left)
        self._socket.sendall(data)

    async def _send_async(self, data: bytes) -> None:
        self._socket.setblocking(False)  # noqa: FBT003 - its only argument
        async with asyncio.timeout(self.deadline.left):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)


def _some(data: bytes) -> bytes:
    if not data:
        raise EOFError("the worker has closed its end")
    return data
