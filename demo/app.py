"""The application's engines, sessions and backend. One call to ``storages`` is all that Filerow asks for."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from demo.models import BACKEND, Base
from filerow import StorageBackend, storages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ("Library", "Settings")


@dataclass(frozen=True)
class Settings:
    """Where the application's database and store are.

    Attributes:
        database: SQLAlchemy URL.
        async_database: The same for an asynchronous driver.
        store: URL of the backend.
        store_options: What the backend needs beside the URL.
    """

    database: str
    async_database: str
    store: str
    store_options: dict[str, str] = field(default_factory=dict, repr=False)  # holds a secret

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON, for another process."""
        return asdict(self)


class Library:
    """The running application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.backend: StorageBackend = storages.register_backend(settings.store, key=BACKEND, **settings.store_options)
        self._engine = create_engine(settings.database)
        _prepare(self._engine)
        self.session = sessionmaker(self._engine)

    def create_tables(self) -> None:
        """Create the tables."""
        Base.metadata.create_all(self._engine)

    @asynccontextmanager
    async def async_sessions(self) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
        """Open an asynchronous engine for one event loop."""
        engine = create_async_engine(self.settings.async_database)
        _prepare(engine.sync_engine)
        try:
            yield async_sessionmaker(engine)
        finally:
            await engine.dispose()

    def close(self) -> None:
        """Give back the connections and forget the backend."""
        self._engine.dispose()
        storages.unregister_backend(BACKEND)

    def __enter__(self) -> Self:
        """Return the running application."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the application."""
        self.close()


def _prepare(engine: Engine) -> None:
    """Make SQLite keep its promises: foreign keys, and a BEGIN, without which savepoints mean nothing.

    IMMEDIATE, because a transaction that reads first and writes later would fail when another one wrote in between.
    """
    if engine.dialect.name != "sqlite":
        return
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    if not engine.dialect.is_async:
        event.listen(engine, "reset", _end_sqlite)


def _configure_sqlite(connection: Any, record: object) -> None:  # noqa: ARG001 - the event's signature
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _end_sqlite(connection: Any, *_: object) -> None:
    """End what a failed COMMIT leaves open: SQLite goes on with the transaction, and SQLAlchemy believes it is over."""
    if connection.in_transaction:
        connection.rollback()
