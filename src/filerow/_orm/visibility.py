"""Find out what a user may lock and see.

Privileges, row level security, views, and servers that lag behind limit it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Table, TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import Pool

from filerow._log import named
from filerow._orm.schemas import full_name, schema_of
from filerow.exceptions import MaintenanceRefusedError

_HIDES_ROWS = frozenset({"postgresql"})


def may_hide_rows(connection: Connection) -> bool:
    """Return True if a database may show rows that it does not let us lock.

    It may also let us change a row that it does not show afterwards.
    """
    return connection.dialect.name in _HIDES_ROWS


_LOCKABLE = text("SELECT has_any_column_privilege(to_regclass(:name), 'UPDATE')")
_lockable: WeakKeyDictionary[Pool, set[str]] = WeakKeyDictionary()


def may_lock(connection: Connection, tables: Iterable[object]) -> bool:
    """Return True if this user may lock rows of the tables.

    PostgreSQL requires the privilege to UPDATE one of their columns. A positive answer counts for
    all users of the same pool, so that each table is queried once.
    """
    if not may_hide_rows(connection):
        return True
    known = _lockable.setdefault(connection.engine.pool, set())
    for table in tables:
        name = full_name(connection, table) if isinstance(table, Table) else None
        if name is not None and name not in known:
            if connection.scalar(_LOCKABLE, {"name": name}) is False:
                return False
            known.add(name)
    return True


_TRANSACTIONAL = text(
    "SELECT e.transactions = 'YES' FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine "
    "WHERE t.table_schema = coalesce(:schema, database()) AND t.table_name = :table"
)
_transactional: WeakKeyDictionary[Pool, set[tuple[str | None, str]]] = WeakKeyDictionary()


def has_transactions(connection: Connection, table: Table) -> bool:
    """Return False if the rows of a table outlive a rollback.

    On MariaDB and MySQL those of some storage engines do.
    """
    if connection.dialect.name not in {"mysql", "mariadb"}:
        return True
    known, name = _transactional.setdefault(connection.engine.pool, set()), (schema_of(connection, table), table.name)
    if name not in known:
        if not all(_ask(connection, _TRANSACTIONAL, table)):
            return False
        known.add(name)
    return True


_HIDDEN = text(
    "WITH RECURSIVE part(oid) AS (SELECT CAST(to_regclass(:name) AS oid) "
    "UNION SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid) "
    "SELECT coalesce(row_security_active(CAST(to_regclass(:name) AS oid)), false) AND bool_or("
    "EXISTS (SELECT 1 FROM pg_rewrite r WHERE r.ev_class = part.oid) "
    "OR EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = part.oid AND NOT t.tgisinternal AND t.tgtype & 10 = 10)) FROM part"
)
"""Asks whether a trigger or rule may keep a row that a policy then hides.

The trigger is one before DELETE (2 stands for BEFORE, 8 for DELETE), also of a partition.
``relhasrules`` would stay true after the rules are dropped, until a VACUUM.
"""


def hides_kept_rows(connection: Connection, table: Table) -> bool:
    """Return True if a row that was to be deleted may be kept and hidden.

    A trigger or a rule may keep it, and a policy may hide it then.
    """
    return may_hide_rows(connection) and bool(connection.scalar(_HIDDEN, {"name": full_name(connection, table)}))


def _ask(connection: Connection, query: TextClause, table: Table) -> Iterable[Any]:
    """Return the result of a query of the catalogue about a table."""
    values = {"name": full_name(connection, table), "table": table.name, "schema": schema_of(connection, table)}
    return connection.scalars(query, {name: value for name, value in values.items() if f":{name}" in query.text}).all()


# -- all rows must be seen before an object is deleted because no row names it ---------------------------------------------

_UNLIMITED = 2**64 - 1
_STATE = {
    "postgresql": text("SELECT pg_is_in_recovery(), false, set_config('row_security', 'off', true)"),
    "mysql": text(f"SELECT @@global.read_only, @@session.sql_select_limit < {_UNLIMITED}"),
}
_STATE["mariadb"] = _STATE["mysql"]
_KIND = {
    "postgresql": text(
        "WITH RECURSIVE part(oid) AS (SELECT CAST(to_regclass(:name) AS oid) "
        "UNION SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid) "
        "SELECT bool_or(c.relkind NOT IN ('r', 'p') OR c.relpersistence = 't') FROM pg_class c JOIN part ON part.oid = c.oid"
    ),
    "sqlite": text(
        "SELECT type = 'view' FROM sqlite_master WHERE name = :table COLLATE NOCASE AND type IN ('table', 'view') UNION ALL "
        "SELECT 1 FROM sqlite_temp_master WHERE name = :table COLLATE NOCASE AND type IN ('table', 'view')"
    ),
    "mysql": text("SELECT table_type = 'VIEW' FROM information_schema.tables "
                  "WHERE table_schema = coalesce(:schema, database()) AND table_name = :table"),
}  # fmt: skip
_KIND["mariadb"] = _KIND["mysql"]

_BARE = text("SELECT relkind = 'r' AND NOT relhasindex FROM pg_class WHERE oid = to_regclass(:name)")
"""Asks whether a table has no index at all.

``pg_restore`` makes indexes, like all keys, when all tables have their rows.
"""

_POLICED = text("SELECT row_security_active(oid) FROM pg_class WHERE oid = to_regclass(:name)")
_ROLES = (
    "so nothing was deleted or rewritten; run it as a role with BYPASSRLS, or as the owner of tables without FORCE ROW LEVEL "
    "SECURITY, who may SELECT from all of them"
)

_FORBIDDEN = "42501"
"""PostgreSQL's SQLSTATE for a missing privilege.

It is also that of a query that row level security would filter.
"""


def check_shows_all(connection: Connection, tables: Iterable[Table], *, own: bool = True) -> None:
    """Make sure that a connection shows all rows of some tables.

    It must lead to the primary, and the tables must be tables, with all their partitions and
    children.

    Args:
        connection: The database.
        tables: The tables.
        own: They are the application's, and have keys; an archive that ``CREATE TABLE … AS`` has
            made may have none.

    Raises:
        MaintenanceRefusedError: The server is a standby or read-only, a table is a view or on
            another server, or policies filter its rows.
    """
    tables = list(tables)
    policed = filtered(connection, tables)
    _require_all_rows(connection)
    hidden = [table.fullname for table in tables if _is_view(connection, table)]
    if hidden:
        raise MaintenanceRefusedError(
            f"{named(hidden)}: views and foreign tables, and temporary ones, may show a part of the rows only, so nothing was "
            "deleted; run it with models of the tables themselves"
        )
    bare = [table.fullname for table in tables if own and _is_being_restored(connection, table)]
    if bare:
        raise MaintenanceRefusedError(
            f"{named(bare)}: no index exists, not even that of the primary key, as while a dump is being restored, so nothing "
            "was deleted; run it when that is done, or add the table's primary key"
        )
    if policed:
        raise MaintenanceRefusedError(f"row level security hides rows of {named(policed)} from this user, {_ROLES}")


def filtered(connection: Connection, tables: Iterable[Table]) -> list[str]:
    """Return the names of tables whose rows a policy may hide."""
    if not may_hide_rows(connection):
        return []
    return sorted({table.fullname for table in tables if connection.scalar(_POLICED, {"name": full_name(connection, table)})})


def _is_view(connection: Connection, table: Table) -> bool:
    """Return True if a name stands for something else than a table.

    It may be a view, a part of the table may be one, or a temporary table may hide it.
    """
    query, schema = _KIND.get(connection.dialect.name), schema_of(connection, table)
    if query is not None and schema is not None and connection.dialect.name == "sqlite":  # an attached database
        master = f"{connection.dialect.identifier_preparer.quote_identifier(schema)}.sqlite_master"
        query = text(f"SELECT type = 'view' FROM {master} WHERE name = :table COLLATE NOCASE")  # noqa: S608 - a quoted name
    return query is not None and any(_ask(connection, query, table))


def _is_being_restored(connection: Connection, table: Table) -> bool:
    """Return True if a table lacks the key that its model has.

    Then its rows may not all be there yet.
    """
    has_key = bool(table.primary_key.columns)
    return connection.dialect.name == "postgresql" and has_key and any(_ask(connection, _BARE, table))


def _require_all_rows(connection: Connection) -> None:
    """Make sure that this connection shows everything that the primary has.

    That holds until its transaction ends. Another connection of the same pool may lead to another
    server, so each one is asked.

    Raises:
        MaintenanceRefusedError: The connection may not show everything.
    """
    query = _STATE.get(connection.dialect.name)
    if query is None:
        return
    lags, cuts, *_ = connection.execute(query).one()
    if lags:
        raise MaintenanceRefusedError(
            "this server is a standby or read-only, so what it shows may be older than what the primary has, and nothing was "
            "deleted; connect to the primary"
        )
    if cuts:
        msg = "sql_select_limit makes the server leave rows out of its results, so nothing was deleted; connect without it"
        raise MaintenanceRefusedError(msg)


@contextmanager
def unfiltered(connection: Connection) -> Generator[None]:
    """Make sure that queries inside the block read all rows.

    PostgreSQL raises where row level security would hide rows. It does not hide any from
    superusers, roles with BYPASSRLS, and owners of tables without FORCE ROW LEVEL SECURITY.

    Raises:
        MaintenanceRefusedError: Some rows would be hidden.
    """
    _require_all_rows(connection)
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", getattr(error.orig, "pgcode", None)) != _FORBIDDEN:
            raise
        msg = f"PostgreSQL does not show this user all rows ({str(error.orig).strip()}), {_ROLES}"
        raise MaintenanceRefusedError(msg) from error


AS_WRITTEN = "filerow_as_written"
"""The execution option that holds a statement as it was before listeners."""

_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_TOKEN = re.compile(r"[\w.\"`]+|\S")


def check_as_written(context: Any, statement: str) -> None:
    """Refuse a query that the application's listeners have changed.

    Such a listener adds a tenant to each WHERE, for example. Comments, and other names in place of
    ours, are allowed.

    Args:
        context: SQLAlchemy's execution context of a statement that was sent. Nothing is checked
            unless its options hold the statement as it was written.
        statement: The text that the driver got.

    Raises:
        MaintenanceRefusedError: The query was changed.
    """
    written = context.execution_options.get(AS_WRITTEN)
    if written is None or (context.invoked_statement is written and _are_alike(statement, context.statement)):
        return
    raise MaintenanceRefusedError(
        "a listener of this engine (before_execute, before_cursor_execute) changes queries, and may hide rows, so "
        f"nothing was deleted; run it with an engine without that listener: {' '.join(statement.split())[:200]}"
    )


def _are_alike(one: str, other: str) -> bool:
    """Return True if two statements have the same number of words.

    Most are equal.
    """
    return one == other or _words(one) == _words(other)


def _words(statement: str) -> int:
    """Return the number of words in a statement."""
    return len(_TOKEN.findall(_COMMENT.sub(" ", statement)))
