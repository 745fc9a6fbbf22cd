"""Check the database: tables, types, gaps in triggers, savepoints, the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import JSON, Connection, Engine, MetaData, Table, inspect, text
from sqlalchemy.exc import NoSuchTableError

from filerow._orm.references import file_columns, quoted
from filerow.maintenance._report import Finding, Level
from filerow.outbox import outbox_of
from filerow.outbox._table import now_of
from filerow.outbox._triggers.install import translated
from filerow.outbox._triggers.spec import prefix

_LATE, _FAR = 30.0, 900.0
"""Seconds that clocks may differ by before it is worth a look, and before links and sweeps go wrong."""

_CASCADE = "let the ORM delete them (cascade='all, delete-orphan' without passive_deletes), or run filerow sweep regularly"


def table_findings(metadata: MetaData, engine: Engine) -> Iterator[Finding]:
    """Find tables and columns that are missing or not JSON."""
    with engine.connect() as connection:
        inspector, schemas = inspect(connection), translated(connection)
        for table in _tables(metadata):
            schema = schemas.get(table.schema, table.schema)
            try:
                columns = {column["name"]: column["type"] for column in inspector.get_columns(table.name, schema)}
            except NoSuchTableError:
                advice = "create it (create_all, or a migration), or correct --url"
                yield Finding("table-missing", "this table is not in the database", where=table.fullname, advice=advice)
                continue
            for column in file_columns(metadata):
                if column.table is table:
                    yield from _type_findings(connection, column.name, columns.get(column.column.name))


def _tables(metadata: MetaData) -> list[Table]:
    return list(dict.fromkeys(column.table for column in file_columns(metadata)))


def _type_findings(connection: Connection, where: str, kind: Any) -> Iterator[Finding]:
    if kind is None:
        yield Finding("column-missing", "this column is not in the database", where=where, advice="add it by a migration")
    elif connection.dialect.name == "postgresql" and str(kind) != "JSONB":
        table, _, column = where.rpartition(".")
        message = f"this column is {kind}, not JSONB: triggers work on json, but plain SQL cannot compare such documents"
        yield Finding("not-jsonb", message, "warning", where, advice=f"ALTER TABLE {table} ALTER COLUMN {column} TYPE jsonb")
    elif connection.dialect.name == "sqlite" and not isinstance(kind, JSON):
        yield Finding("not-json", f"this column is declared {kind}, not JSON", "info", where)


# -- limits ----------------------------------------------------------------------------------------------------------------


def limit_findings(metadata: MetaData, engine: Engine, *, is_own: bool) -> Iterator[Finding]:
    """Find what this database hides from triggers, if there is an outbox."""
    if outbox_of(metadata) is None:
        return
    with engine.connect() as connection:
        if connection.dialect.name in {"mysql", "mariadb"}:
            yield from _cascades(metadata, connection)
            yield _truncate(connection.dialect.name)
        elif connection.dialect.name == "sqlite" and is_own:
            yield from _replaces(connection)
        elif connection.dialect.name == "postgresql":
            yield from _replicas(connection)
            yield from _partitions(metadata, connection)


def _cascades(metadata: MetaData, connection: Connection) -> Iterator[Finding]:
    inspector, schemas = inspect(connection), translated(connection)
    for table in _tables(metadata):
        schema = schemas.get(table.schema, table.schema)
        if not inspector.has_table(table.name, schema=schema):
            continue
        for key in inspector.get_foreign_keys(table.name, schema):
            if key.get("options", {}).get("ondelete", "").upper() == "CASCADE":
                message = (
                    f"{connection.dialect.name} runs no triggers for ON DELETE CASCADE: when SQL deletes a row of "
                    f"{key['referred_table']}, the files of its rows in {table.fullname} become orphans"
                )
                where = f"{table.fullname}.{','.join(key['constrained_columns'])}"
                yield Finding("cascade-hidden", message, "warning", where, advice=_CASCADE)


def _truncate(database: str) -> Finding:
    message = f"{database} runs no triggers for TRUNCATE, so the files of an emptied table become orphans"
    advice = "use DELETE, or run filerow sweep --full after a TRUNCATE"
    return Finding("truncate-hidden", message, "info", "TRUNCATE", advice=advice)


def _replaces(connection: Connection) -> Iterator[Finding]:
    if not connection.exec_driver_sql("PRAGMA recursive_triggers").scalar():
        message = "SQLite runs no delete triggers for INSERT OR REPLACE while recursive_triggers is off"
        advice = "execute PRAGMA recursive_triggers=ON on each new connection, or use INSERT ... ON CONFLICT DO UPDATE"
        yield Finding("replace-hidden", message, "info", "PRAGMA recursive_triggers", advice=advice)


def _replicas(connection: Connection) -> Iterator[Finding]:
    if connection.scalar(text("SELECT pg_is_in_recovery()")):
        yield Finding("read-only", "this server is a standby, where nothing can be changed", where="pg_is_in_recovery()")
    if connection.scalar(text("SHOW session_replication_role")) == "replica":
        message = "session_replication_role is replica, so no trigger runs"
        advice = "set it to origin: ALTER ROLE ... RESET session_replication_role"
        yield Finding("triggers-off", message, where="session_replication_role", advice=advice)
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    for name in connection.scalars(text(f"SELECT subname FROM pg_subscription WHERE subdbid = {here}")):  # noqa: S608
        message = "rows that come by logical replication run no triggers"
        advice = "drain and sweep on the server they come from"
        yield Finding("replicated", message, "warning", f"subscription {name}", advice=advice)


def _partitions(metadata: MetaData, connection: Connection) -> Iterator[Finding]:
    """Find partitioned tables: one partition can go without any trigger."""
    schemas, dialect = translated(connection), connection.dialect
    partitioned = text("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(:name)")
    for table in _tables(metadata):
        name = prefix(dialect, schemas.get(table.schema, table.schema)) + quoted(dialect, table.name)
        if connection.scalar(partitioned, {"name": name}):
            message = (
                "PostgreSQL runs no triggers when one partition is truncated, dropped or detached, so its files become orphans"
            )
            advice = "set its file columns to NULL first, in batches, or run filerow sweep --full afterwards"
            yield Finding("partition-hidden", message, "info", table.fullname, advice=advice)


# -- savepoints ------------------------------------------------------------------------------------------------------------

_BEGIN = (
    "have SQLAlchemy begin: a listener to 'connect' sets dbapi_connection.isolation_level = None, one to 'begin' executes BEGIN "
    "(see SQLAlchemy's SQLite dialect, 'Serializable isolation / Savepoints / Transactional DDL')"
)


def savepoint_findings(engine: Engine, *, is_own: bool) -> Iterator[Finding]:
    """Find a driver that begins too late: releasing a savepoint commits.

    Rows and files stay equal, for the unit of work looks whether a transaction was open.
    """
    if not is_own:
        message = (
            "savepoints and other settings of the application's connections were not checked: this engine was made from a URL"
        )
        advice = "name the application's engine: --url package.module:engine"
        yield Finding("engine-unknown", message, "info", "engine", advice=advice)
        return
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TEMP TABLE filerow_doctor (number INTEGER)")
        connection.commit()
        try:
            with connection.begin_nested():
                connection.exec_driver_sql("INSERT INTO filerow_doctor VALUES (1)")
            connection.rollback()
            left = connection.exec_driver_sql("SELECT count(*) FROM filerow_doctor").scalar()
            connection.rollback()
        finally:
            connection.exec_driver_sql("DROP TABLE filerow_doctor")
            connection.commit()
    if left:
        message = "the release of a savepoint commits, so a rollback after it leaves its rows, and their files with them"
        yield Finding("savepoint-commits", message, "info", "engine", advice=_BEGIN)


# -- clocks ----------------------------------------------------------------------------------------------------------------


def clock_findings(engine: Engine) -> Iterator[Finding]:
    """Compare the database's clock with this machine's."""
    with engine.connect() as connection:
        now_of(connection)  # what the first statement takes longer is not skew
        before = time.time()
        theirs = now_of(connection)
        after = time.time()
    yield from skew_findings("the database's clock", theirs, before, after)


def skew_findings(whose: str, theirs: float, before: float, after: float, *, backend: str = "") -> Iterator[Finding]:
    """Compare a clock with this machine's, which was read before and after it."""
    skew = before - theirs if theirs < before else max(0.0, theirs - after)
    if skew <= _LATE:
        return
    side = "behind" if theirs < before else "ahead of"
    message = f"{whose} is {skew:.0f} s {side} this machine's, so signed links, retention and grace end too early or too late"
    level: Level = "error" if skew > _FAR else "warning"
    yield Finding("clock-skew", message, level, backend=backend, advice="set the clocks by NTP")
