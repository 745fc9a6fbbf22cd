"""A real MariaDB, from the system's package."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import uuid
from typing import TYPE_CHECKING

from tests.servers._database import Database
from tests.servers._process import (
    HOST,
    RunningServer,
    ServerMissingError,
    ServerProcess,
    free_ports,
    start_with_retries,
)

if TYPE_CHECKING:
    from pathlib import Path

USER = "root"


class MariaDBServer(RunningServer):
    """A running MariaDB."""

    def __init__(self, process: ServerProcess, port: int) -> None:
        super().__init__(process)
        self.port = port

    def make_database(self, name: str | None = None) -> Database:
        """Create an empty database and return how to reach it: ``url("pymysql")``, "asyncmy" or "aiomysql"."""
        name = name or f"test_{uuid.uuid4().hex[:20]}"
        self._execute(f"CREATE DATABASE `{name}`")
        return Database("mysql", HOST, self.port, USER, name, options="charset=utf8mb4")

    def drop_database(self, database: Database) -> None:
        """Drop a database."""
        self._execute(f"DROP DATABASE `{database.name}`")

    def _execute(self, statement: str) -> None:
        import pymysql

        with pymysql.connect(host=HOST, port=self.port, user=USER) as connection, connection.cursor() as cursor:
            cursor.execute(statement)


def start(*options: str) -> MariaDBServer:
    """Start MariaDB on new, empty data.

    Args:
        *options: Of the server, besides and before those of all tests.

    Raises:
        ServerMissingError: It is not installed.
    """
    install = "apt-get install mariadb-server; pip install pymysql"
    server, prepare = _find("mariadbd"), _find("mariadb-install-db")
    if server is None or prepare is None or importlib.util.find_spec("pymysql") is None:
        raise ServerMissingError("mariadb", install)
    process = ServerProcess("mariadb")
    data, temporary = process.folder / "data", process.folder / "tmp"
    # In a temporary folder that they share, two servers that start at once delete each other's tables.
    temporary.mkdir()
    as_root = [f"--user={USER}"] if os.geteuid() == 0 else []
    process.run([
        prepare, "--no-defaults", f"--datadir={data}", f"--tmpdir={temporary}", "--skip-test-db",
        "--auth-root-authentication-method=normal", *as_root,
    ])  # fmt: skip
    port = 0

    def attempt() -> bool:
        nonlocal port
        port = free_ports()
        process.spawn([server, *_options(data, port), f"--tmpdir={temporary}", *as_root, *options])
        return process.wait_until(lambda: answers(port))

    start_with_retries(process, attempt)
    return MariaDBServer(process, port)


def _find(program: str) -> str | None:
    """Find a program, also where systems keep servers, which is not on everybody's PATH."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def _options(data: Path, port: int) -> list[str]:
    return [
        "--no-defaults",
        f"--datadir={data}",
        f"--port={port}",
        f"--bind-address={HOST}",
        # A socket's path may have no more than about 100 characters, and a folder for temporary files can be deep.
        f"--socket=filerow-{port}.sock",
        f"--pid-file={data / 'mariadb.pid'}",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-flush-method=nosync",
        "--skip-log-bin",
        "--character-set-server=utf8mb4",
        "--collation-server=utf8mb4_bin",
    ]


def answers(port: int) -> bool:
    """Return True if a server at this port takes connections."""
    import pymysql

    with contextlib.suppress(pymysql.MySQLError):
        pymysql.connect(host=HOST, port=port, user=USER, connect_timeout=2).close()
        return True
    return False
