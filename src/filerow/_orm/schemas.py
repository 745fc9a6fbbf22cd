"""Which schema stands for that of the models: by a ``schema_translate_map`` of the connection, or of one statement."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Connection, Table

__all__ = ("full_name", "of_statement", "schema_of", "statement_options")

_of_statement: ContextVar[Mapping[str, Any]] = ContextVar("filerow_statement_schemas", default={})  # noqa: B039 - never changed


@contextmanager
def of_statement(options: Mapping[str, Any]) -> Generator[None]:
    """Have all questions about tables, meanwhile, be about those of a statement with these execution options."""
    token = _of_statement.set({name: options[name] for name in ("schema_translate_map",) if name in options})
    try:
        yield
    finally:
        _of_statement.reset(token)


def statement_options() -> Mapping[str, Any]:
    """Return the execution options that a statement about the same tables must have."""
    return _of_statement.get()


def schema_of(connection: Connection, table: Table) -> str | None:
    """Return the schema of a table as the database knows it; ``None`` for the default one."""
    given = statement_options().get("schema_translate_map", connection.get_execution_options().get("schema_translate_map"))
    schemas: Mapping[str | None, Any] = given or {}
    found: str | None = schemas.get(table.schema, table.schema)
    return found


def full_name(connection: Connection, table: Table) -> str:
    """Return a table's name in quotes as ``to_regclass`` takes it, with the schema that the connection knows it by."""
    words = connection.dialect.identifier_preparer  # which doubles percent signs, for they are no parameters in a statement
    names = [name for name in (schema_of(connection, table), table.name) if name]
    escaped = [name.replace(words.escape_quote, words.escape_to_quote) for name in names]
    return ".".join(f"{words.initial_quote}{name}{words.final_quote}" for name in escaped)
