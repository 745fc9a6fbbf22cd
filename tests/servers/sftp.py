"""An SFTP server, for fsspec's filesystem of that name: asyncssh's, in a process and a folder of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from tests.servers._process import (
    HOST,
    RunningServer,
    ServerMissingError,
    ServerProcess,
    start_program,
)

USER, PASSWORD = "files", "a password of the tests"

_PROGRAM = """
import asyncio, sys
import asyncssh

class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        return (username, password) == (sys.argv[3], sys.argv[4])

async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    sftp = lambda channel: asyncssh.SFTPServer(channel, chroot=sys.argv[2])
    server = await asyncssh.create_server(Server, "127.0.0.1", int(sys.argv[1]), server_host_keys=[key], sftp_factory=sftp)
    await server.wait_closed()

asyncio.run(main())
"""


class SFTPServer(RunningServer):
    """A server whose root is a folder of its own.

    Args:
        port: Where it listens.
        root: The folder that clients see as ``/``.
        process: Ends with it.
    """

    def __init__(self, port: int, root: Path, process: ServerProcess) -> None:
        super().__init__(process)
        self.port = port
        self.root = root

    @property
    def options(self) -> dict[str, Any]:
        """Options of fsspec's filesystem; none of the machine's own keys, and no agent, is asked."""
        found = {"host": HOST, "port": self.port, "username": USER, "password": PASSWORD}
        return {**found, "allow_agent": False, "look_for_keys": False}


def start() -> SFTPServer:
    """Start the server.

    Raises:
        ServerMissingError: It is not installed, or the client that fsspec needs is not.
    """
    if not (importlib.util.find_spec("asyncssh") and importlib.util.find_spec("paramiko")):
        raise ServerMissingError("an SFTP server", "pip install asyncssh paramiko")
    process = ServerProcess("sftp")
    root = process.folder / "root"
    root.mkdir()
    return SFTPServer(start_program(process, _PROGRAM, str(root), USER, PASSWORD), root, process)
