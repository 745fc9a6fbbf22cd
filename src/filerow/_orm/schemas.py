"""Translate the models' schemas to the database's.

A ``schema_translate_map`` does that, of the connection or of one statement.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Connection, Table

_of_statement: ContextVar[Mapping[str, Any]] = ContextVar("filerow_statement_schemas", default={})  # noqa: B039 - never changed


@contextmanager
def of_statement(options: Mapping[str, Any]) -> Generator[None]:
    """Make all queries inside the block use the schemas of one statement.

    Args:
        options: The statement's execution options.
    """
    token = _of_statement.set({name: options[name] for name in ("schema_translate_map",) if name in options})
    try:
        yield
    finally:
        _of_statement.reset(token)


def statement_options() -> Mapping[str, Any]:
    """Return the execution options for statements about the same tables."""
    return _of_statement.get()


def schema_of(connection: Connection, table: Table) -> str | None:
    """Return the schema that a table has in the database.

    ``None`` stands for the default schema.
    """
    given = statement_options().get("schema_translate_map", connection.get_execution_options().get("schema_translate_map"))
    schemas: Mapping[str | None, Any] = given or {}
    found: str | None = schemas.get(table.schema, table.schema)
    return found


def full_name(connection: Connection, table: Table) -> str:
    """Return a table's quoted name with its schema, for ``to_regclass``."""
    words = connection.dialect.identifier_preparer  # its quote() doubles percent signs, and these names are parameters
    names = [name for name in (schema_of(connection, table), table.name) if name]
    escaped = [name.replace(words.escape_quote, words.escape_to_quote) for name in names]
    return ".".join(f"{words.initial_quote}{name}{words.final_quote}" for name in escaped)
