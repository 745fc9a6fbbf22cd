"""Redis, where task queues keep their messages: from the system's package.

::

    with redis.start() as server:
        server.url(1)  # redis://127.0.0.1:…/1
"""

from __future__ import annotations

import os
import shutil

from tests.servers._process import (
    HOST,
    RunningServer,
    ServerMissingError,
    ServerProcess,
    accepts_connections,
    free_ports,
    start_with_retries,
)


class RedisServer(RunningServer):
    """A server that keeps nothing on disk.

    Args:
        port: Where it listens.
        process: Ends with it.
    """

    def __init__(self, port: int, process: ServerProcess) -> None:
        super().__init__(process)
        self.port = port

    def url(self, number: int) -> str:
        """Return the address of one of its databases, from 0 to 15."""
        return f"redis://{HOST}:{self.port}/{number}"


def start() -> RedisServer:
    """Start the server.

    Raises:
        ServerMissingError: It is not installed.
    """
    program = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise ServerMissingError("Redis", "apt-get install redis-server")
    process = ServerProcess("redis")
    port = 0

    def attempt() -> bool:
        nonlocal port
        port = free_ports(1)
        where = ["--bind", HOST, "--port", str(port), "--dir", str(process.folder)]
        process.spawn([program, *where, "--save", "", "--appendonly", "no"])
        return process.wait_until(lambda: accepts_connections(port))

    start_with_retries(process, attempt)
    return RedisServer(port, process)
