"""Ends reads of a synchronous server that take too long.

Nothing can interrupt a thread that waits for a client's next bytes, but the reading side of the client's socket can be closed:
the read ends as if the client had left, and the answer can still be sent. One thread looks after all reads of the process.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

_LINGERS = 5.0
"""Seconds that the thread waits for another read before it ends."""


class Patience:
    """How long a thread waits for a client.

    Args:
        connection: The client's socket; ``None`` where the server does not show it, and only its own timeouts end a read.

    Attributes:
        is_over: A read took too long; there is nothing more to read.
    """

    def __init__(self, connection: Any) -> None:
        self.is_over = False
        self._connection = connection

    @contextmanager
    def until(self, deadline: float) -> Generator[None]:
        """Let the block wait for the client until a moment of the monotonic clock."""
        if self._connection is None:
            yield
            return
        _watch.begin(self, deadline)
        try:
            yield
        finally:
            _watch.end(self)

    def end(self) -> None:
        """End the read that is under way."""
        self.is_over = True
        with suppress(OSError):  # the client has left meanwhile
            if isinstance(self._connection, socket.socket):  # TLS's own shutdown() would send the answer as plain text
                socket.socket.shutdown(self._connection, socket.SHUT_RD)
            else:
                self._connection.shutdown(socket.SHUT_RD)


class _Watch:
    """The reads under way, and the thread that ends them."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget the reads of the process that this one was forked from."""
        self._changed = threading.Condition()
        self._reads: dict[Patience, float] = {}
        self._wakes = math.inf
        self._runs = False

    def begin(self, read: Patience, deadline: float) -> None:
        """Note that a read has begun."""
        with self._changed:
            self._reads[read] = deadline
            if not self._runs:
                with suppress(RuntimeError):  # there can be no more threads, so this one waits as long as the server lets it
                    threading.Thread(target=self._run, name="upload-patience", daemon=True).start()
                    self._runs = True
            elif deadline < self._wakes:
                self._changed.notify()

    def end(self, read: Patience) -> None:
        """Note that a read has ended."""
        with self._changed:
            self._reads.pop(read, None)

    def _run(self) -> None:
        with self._changed:
            while self._reads or self._is_woken(_LINGERS):
                now = time.monotonic()
                for read in [read for read, deadline in self._reads.items() if deadline <= now]:
                    del self._reads[read]
                    read.end()
                if self._reads:
                    self._wakes = min(self._reads.values())
                    self._changed.wait(max(self._wakes - now, 0))
                    self._wakes = math.inf
            self._runs = False

    def _is_woken(self, seconds: float) -> bool:
        """Wait for another read; return False if none has come."""
        return self._changed.wait(seconds) or bool(self._reads)


_watch = _Watch()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watch.forget)
