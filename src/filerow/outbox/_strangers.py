"""Finds documents in tables and columns that no model knows.

An archive that plain SQL has made, a table that was renamed, a column of a later release: their rows own files, too. The first
rows of each JSON column that the models do not have are looked at; that takes as long for a billion rows as for ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, MetaData, Text, bindparam, cast, column, select, table, text

from filerow._log import named
from filerow._orm.references import has_ours
from filerow._orm.schemas import schema_of
from filerow.exceptions import MaintenanceRefusedError

_ROWS = 100
"""Documents of a column that are looked at."""

_FIRST = 10_000
"""Rows among which they are looked for: there may be none in the first ones."""

_JSON = {
    "postgresql": text(
        "SELECT n.nspname, c.relname, a.attname, pg_table_is_visible(c.oid) FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_type t ON t.oid = a.atttypid WHERE t.typname IN ('json', 'jsonb') AND c.relkind IN ('r', 'p') "
        "AND NOT c.relispartition AND NOT a.attisdropped AND a.attnum > 0 "
        "AND a.attinhcount = 0 "  # else it is read with its parent's column, which is a known one or looked at, too
        "AND (n.nspname = ANY (current_schemas(false)) OR n.nspname IN :schemas) "
        "AND has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT')"
    ).bindparams(bindparam("schemas", expanding=True)),
    "sqlite": text(
        "SELECT 'main', m.name, p.name, 1 FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table' "
        "AND upper(p.type) IN ('', 'JSON', 'JSONB', 'NUM', 'TEXT')"  # NUM is what JSON becomes by CREATE TABLE AS
    ),
    "mysql": text(
        "SELECT c.table_schema, c.table_name, c.column_name, c.table_schema = database() FROM information_schema.columns c "
        "JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name "
        "WHERE t.table_type = 'BASE TABLE' AND c.data_type IN ('json', 'longtext') "
        "AND (c.table_schema = database() OR c.table_schema IN :schemas)"
    ).bindparams(bindparam("schemas", expanding=True)),
}
_JSON["mariadb"] = _JSON["mysql"]


def check_no_strangers(connection: Connection, models: Iterable[MetaData]) -> None:
    """Check that no table beside the models has files.

    Args:
        connection: The database.
        models: All models whose files are known. What they have as anything but a file column owns none.

    Raises:
        MaintenanceRefusedError: A column that no model has begins with documents of ours.
    """
    found = strangers(connection, models)
    if found:
        raise MaintenanceRefusedError(
            f"{named(found)}: rows have files in columns that these models do not know (an archive, a later release, or another "
            "program), so nothing was deleted; add them to the models, or name the models that have them with also=: as a "
            "StoredObject if these rows own their files, as plain JSON if they do not"
        )


def strangers(connection: Connection, models: Iterable[MetaData]) -> list[str]:
    """Return the columns without a model whose first rows have documents of ours."""
    query = _JSON.get(connection.dialect.name)
    if query is None:
        return []
    known: dict[tuple[str | None, str], set[str]] = {}
    for one in (one for metadata in models for one in metadata.tables.values()):
        known.setdefault((schema_of(connection, one), one.name), set()).update(column.name for column in one.columns)
    schemas = sorted({schema for schema, _ in known if schema}) or [""]  # an empty list has no type
    given = {"schemas": schemas} if ":schemas" in query.text else {}
    has_default = any(schema is None for schema, _ in known)
    rows = [tuple(row) for row in connection.execute(query, given)]
    outboxes = {(schema, name) for schema, name, column, _ in rows if column == "row_key"}
    found = []
    for schema, name, file, visible in rows:
        places = [(schema, name), *([(None, name)] if visible else [])]
        is_ours = any(schema == other for other, _ in known) or (visible and has_default)
        is_known = any(file in known.get(place, ()) for place in places) or (schema, name) in outboxes
        if is_ours and not is_known and _begins_with_documents(connection, None if schema == "main" else schema, name, file):
            found.append(f"{name}.{file}" if visible else f"{schema}.{name}.{file}")
    return sorted(found)


def _begins_with_documents(connection: Connection, schema: str | None, name: str, file: str) -> bool:
    first = select(table(name, column(file), schema=schema).c[file]).limit(_FIRST).subquery()
    found = select(cast(first.c[file], Text)).where(first.c[file].is_not(None)).limit(_ROWS)
    return has_ours(connection.scalars(found, execution_options={"schema_translate_map": None}))
