"""What a user may lock and see: privileges and row level security, which PostgreSQL has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Table, text
from sqlalchemy.pool import Pool

__all__ = ("HIDES_ROWS", "hides_kept_rows", "may_lock")

HIDES_ROWS = frozenset({"postgresql"})
"""Databases that may show a row and not let it be locked, or let it be changed and not show it any more."""

_LOCKABLE = text("SELECT has_any_column_privilege(to_regclass(:name), 'UPDATE')")
_lockable: WeakKeyDictionary[Pool, set[str]] = WeakKeyDictionary()


def may_lock(connection: Connection, tables: Iterable[object]) -> bool:
    """Return True if this user may lock rows: PostgreSQL wants the privilege to UPDATE one of their columns.

    A user who may is taken for all users of the same pool, so that each table is asked for once.
    """
    if connection.dialect.name not in HIDES_ROWS:
        return True
    known = _lockable.setdefault(connection.engine.pool, set())
    for table in tables:
        name = _full_name(connection, table) if isinstance(table, Table) else None
        if name is not None and name not in known:
            if connection.scalar(_LOCKABLE, {"name": name}) is False:
                return False
            known.add(name)
    return True


_HIDDEN = text(
    "SELECT row_security_active(c.oid) AND (c.relhasrules OR EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid "
    "AND NOT t.tgisinternal AND t.tgtype & 10 = 10)) FROM pg_class c WHERE c.oid = to_regclass(:name)"
)
"""Whether a trigger before DELETE (2 stands for BEFORE, 8 for DELETE) or a rule may keep a row that a policy hides then."""


def hides_kept_rows(connection: Connection, table: Table) -> bool:
    """Return True if a trigger or a rule may keep a row of a table that was to be deleted, and a policy hide it then."""
    return connection.dialect.name in HIDES_ROWS and bool(connection.scalar(_HIDDEN, {"name": _full_name(connection, table)}))


def _full_name(connection: Connection, table: Table) -> str:
    schemas: Mapping[str | None, Any] = connection.get_execution_options().get("schema_translate_map") or {}
    schema, words = schemas.get(table.schema, table.schema), connection.dialect.identifier_preparer
    return ".".join(words.quote_identifier(name) for name in (schema, table.name) if name)
