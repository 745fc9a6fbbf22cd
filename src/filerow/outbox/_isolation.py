"""Connections of maintenance: what each of their transactions sees."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.exc import DBAPIError, OperationalError

_LEVELS = frozenset({"postgresql", "mysql", "mariadb"})

_OLDEST = {
    "postgresql": text(
        "SELECT extract(epoch FROM least("
        "(SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend' AND backend_xid IS NOT NULL), "
        "(SELECT min(prepared) FROM pg_prepared_xacts WHERE database = current_database())))"
    ),
    "mysql": text(
        "SELECT unix_timestamp(min(trx_started)) FROM information_schema.innodb_trx "
        "WHERE trx_rows_modified > 0 OR trx_mysql_thread_id = 0"  # a prepared one may have lost its connection
    ),
}
_OLDEST["mariadb"] = _OLDEST["mysql"]


def oldest_writer(engine: Engine) -> float | None:
    """Return when the oldest open transaction that has written began.

    Nobody sees its rows yet, and a prepared one may stay for days. It is in seconds since the Unix epoch, by the database's
    clock, and ``None`` if there is none. PostgreSQL shows those of other roles only to members of ``pg_read_all_stats``,
    except prepared ones, and MariaDB shows any only to those with the privilege PROCESS.
    """
    query = _OLDEST.get(engine.dialect.name)
    if query is None:
        return None
    try:
        with engine.connect() as connection:
            found = connection.scalar(query)
    except OperationalError:  # the privilege is missing
        return None
    return None if found is None else float(found)


@contextmanager
def read_committed(engine: Engine) -> Generator[Connection]:
    """Connect so that each statement sees what is committed by then."""
    with engine.connect() as connection:
        if engine.dialect.name in _LEVELS:
            isolate(connection, "READ COMMITTED")
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Generator[Connection]:
    """Connect in the isolation that sees one moment.

    Else a file that moves from one column to another between two questions would be in neither.
    """
    with engine.connect() as connection:
        if engine.dialect.name in _LEVELS:
            isolate(connection, "REPEATABLE READ")
        with connection.begin():
            driver: Any = connection.connection.driver_connection
            if engine.dialect.name == "sqlite" and not driver.in_transaction:  # its driver begins with the first write only
                connection.exec_driver_sql("BEGIN")
            yield connection


def isolate(connection: Connection, level: IsolationLevel) -> None:
    """Set the isolation of a connection until it goes back to its pool.

    Raises:
        DBAPIError: The database refused, or the connection is dead.
    """
    try:
        connection.execution_options(isolation_level=level)
    except connection.dialect.loaded_dbapi.Error as error:
        # SQLAlchemy passes on what the driver raises here, and keeps a dead connection. A statement meets the same error in a
        # place where it is translated, and where the pool replaces its connections.
        connection.exec_driver_sql("SELECT 1")
        base = connection.dialect.loaded_dbapi.Error
        raise DBAPIError.instance(None, None, error, base, dialect=connection.dialect) from error
