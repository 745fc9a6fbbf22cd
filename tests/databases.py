"""Empty databases for tests that bring their own tables: SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.servers._database import Database

NAMES = ["sqlite", "postgresql", "mariadb"]

_ASYNC_DRIVERS = {"postgresql": "asyncpg", "mariadb": "asyncmy"}
_DRIVERS = {"postgresql": "psycopg", "mariadb": "pymysql"}


def explicit_begin(engine: Engine) -> Engine:
    """Leave BEGIN to SQLAlchemy, or savepoints would mean nothing on SQLite; and check foreign keys."""

    def connected(dbapi_connection: Any, record: object) -> None:
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=OFF")
        cursor.close()

    def began(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", began)
    return engine


def make_engine(url: str, **options: Any) -> Engine:
    """Return an engine as tests want it: on SQLite with savepoints that work, and with patience for other writers."""
    if not url.startswith("sqlite"):
        return create_engine(url, **options)
    return explicit_begin(create_engine(url, connect_args={"timeout": 60}, **options))


@dataclass
class EmptyDatabase:
    """A database without tables, of one test.

    Attributes:
        name: ``sqlite``, ``postgresql`` or ``mariadb``.
        file: SQLite's file.
        server: Where the server's database is.
    """

    name: str
    file: Path
    server: Database | None = None
    _open: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        """The URL for SQLAlchemy's ordinary driver."""
        return f"sqlite:///{self.file}" if self.server is None else self.server.url(_DRIVERS[self.name])

    @property
    def async_url(self) -> str:
        """The URL for an asynchronous driver."""
        return f"sqlite+aiosqlite:///{self.file}" if self.server is None else self.server.url(_ASYNC_DRIVERS[self.name])

    def engine(self, **options: Any) -> Engine:
        """Return an engine; the test's end disposes of it."""
        engine = make_engine(self.url, **options)
        self._open.callback(engine.dispose)
        return engine

    def async_engine(self, **options: Any) -> AsyncEngine:
        """Return an asynchronous engine, which the test has to dispose of in its own loop."""
        if self.server is not None:
            return create_async_engine(self.async_url, **options)
        engine = create_async_engine(self.async_url, connect_args={"timeout": 60}, **options)
        explicit_begin(engine.sync_engine)
        return engine


@contextmanager
def empty_database(name: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[EmptyDatabase]:
    """Return an empty database of one kind; its server runs as long as the tests do."""
    if name == "sqlite":
        database = EmptyDatabase(name, folder / "rows.db")
        with database._open:
            yield database
        return
    server = request.getfixturevalue("postgres_server" if name == "postgresql" else "mariadb_server")
    database = EmptyDatabase(name, folder, server.make_database())
    try:
        with database._open:
            yield database
    finally:
        server.drop_database(database.server)
