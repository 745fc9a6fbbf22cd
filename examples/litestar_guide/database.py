"""The connection between Litestar, Advanced Alchemy and the database."""

import sqlite3
from typing import Any, cast

from advanced_alchemy.extensions.litestar import (
    AlembicAsyncConfig,
    AsyncSessionConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
)
from filerow.ext import alembic
from litestar import Litestar
from sqlalchemy import Engine, event

import litestar_guide.models  # noqa: F401 - migrations compare the database with these
from litestar_guide.settings import Settings


def alchemy_for(settings: Settings) -> SQLAlchemyAsyncConfig:
    """Return the configuration of the database.

    ``autocommit`` commits before a 2xx response is sent, and rolls back before any other: what a failed request has uploaded is
    deleted again.
    """
    alembic.install()
    return SQLAlchemyAsyncConfig(
        connection_string=settings.database_url,
        session_config=AsyncSessionConfig(expire_on_commit=False),
        before_send_handler="autocommit",
        alembic_config=AlembicAsyncConfig(
            script_location=str(settings.migrations),
            script_config=str(settings.migrations / "alembic.ini"),
        ),
    )


def alchemy_of(app: Litestar) -> SQLAlchemyAsyncConfig:
    """Return the configuration of the database that an application uses."""
    (config,) = app.plugins.get(SQLAlchemyPlugin).config
    return cast("SQLAlchemyAsyncConfig", config)


@event.listens_for(Engine, "connect")
def set_up_sqlite(connection: Any, _: object) -> None:
    """Have SQLite check foreign keys, and let reads go on while something is written."""
    driver = getattr(connection, "driver_connection", connection)
    if isinstance(driver, sqlite3.Connection) or type(driver).__module__.startswith("aiosqlite"):
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()
