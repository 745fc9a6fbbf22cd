"""An FTP server, for fsspec's filesystem of that name: pyftpdlib's, in a process and a folder of its own."""

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

USER, READER, PASSWORD = "files", "reader", "a password of the tests"

_PROGRAM = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_user(sys.argv[3], sys.argv[4], sys.argv[2], perm="elradfmwMT")
FTPHandler.authorizer.add_user(sys.argv[5], sys.argv[4], sys.argv[2], perm="elr")
FTPServer(("127.0.0.1", int(sys.argv[1])), FTPHandler).serve_forever()
"""


class FTPServer(RunningServer):
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
        """Options of fsspec's filesystem."""
        return {"host": HOST, "port": self.port, "username": USER, "password": PASSWORD}

    @property
    def reading_options(self) -> dict[str, Any]:
        """Options for a user who may write nothing."""
        return {**self.options, "username": READER}


def start() -> FTPServer:
    """Start the server.

    Raises:
        ServerMissingError: It is not installed.
    """
    if not importlib.util.find_spec("pyftpdlib"):
        raise ServerMissingError("an FTP server", "pip install pyftpdlib")
    process = ServerProcess("ftp")
    root = process.folder / "root"
    root.mkdir()
    return FTPServer(start_program(process, _PROGRAM, str(root), USER, PASSWORD, READER), root, process)
