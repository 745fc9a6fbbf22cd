"""Finds tables of other tenants whose triggers write into a shared outbox.

They share its marks of places too, so nothing but this keeps a run that knows one tenant from deleting the files of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from sqlalchemy import Connection, Engine, MetaData, bindparam, text

from filerow._log import named
from filerow._orm.fields import outbox_in
from filerow._orm.references import file_columns
from filerow._orm.schemas import full_name, schema_of
from filerow.exceptions import MaintenanceRefusedError
from filerow.outbox._triggers.flaws import first_with, functions_of, places_of
from filerow.outbox._triggers.install import existing
from filerow.outbox._triggers.spec import FileTable, Key

Home: TypeAlias = tuple[str, str, str]
"""A server's database, a schema in it, and a table."""


def check_names_all(databases: Iterable[tuple[MetaData, Engine]]) -> None:
    """Check that all tables whose files are recorded in an outbox are asked.

    Args:
        databases: All models whose files are known, each with an engine by which its tables are found.

    Raises:
        MaintenanceRefusedError: Some are not.
    """
    databases = list(databases)
    writing = {home for metadata, engine in databases for home in _on(engine, _writing, metadata)}
    strange = writing - {home for metadata, engine in databases if writing for home in _on(engine, _asked, metadata)}
    if strange:
        raise MaintenanceRefusedError(
            f"{named(sorted(f'{schema}.{table}' for _, schema, table in strange))}: the files of these tables are noted in the "
            "same outbox, and nobody has named them, so nothing was deleted; name an engine for each schema with also=, by a "
            "schema_translate_map or a search_path of its own"
        )


def _on(engine: Engine, ask: Callable[[Connection, MetaData], Iterator[tuple[str, str]]], metadata: MetaData) -> set[Home]:
    if engine.dialect.name not in _DATABASE:
        return set()
    with engine.connect() as connection:
        database = str(connection.scalar(_DATABASE[engine.dialect.name]))
        return {(database, schema, table) for schema, table in ask(connection, metadata)}


_DATABASE = {
    "postgresql": text("SELECT concat(current_database(), ' ', pg_postmaster_start_time())"),
    "mysql": text("SELECT concat(@@hostname, ' ', @@port)"),
}
_DATABASE["mariadb"] = _DATABASE["mysql"]


# -- which tables write into the outbox ------------------------------------------------------------------------------------


def _writing(connection: Connection, metadata: MetaData) -> Iterator[tuple[str, str]]:
    outbox = outbox_in(metadata)
    if outbox is None:
        return iter(())
    schema, name = schema_of(connection, outbox.table), outbox.table.name
    return (_on_postgresql if connection.dialect.name == "postgresql" else _on_mysql)(connection, schema, name)


def _on_postgresql(connection: Connection, schema: str | None, outbox: str) -> Iterator[tuple[str, str]]:
    specs = _specs(connection)
    if not any(spec.outbox == outbox for spec in specs.values()):
        return
    places = places_of(connection, [outbox])
    for function in functions_of(connection):
        spec = specs.get((function.schema, function.table))
        if spec is not None and spec.outbox == outbox:
            own = spec.outbox_schema or first_with(function.fixed_path or function.path, outbox, places)
            if own is not None and own == (schema or first_with(function.path, outbox, places)):
                yield function.schema, function.table


_SCHEMAS = text("SELECT DISTINCT event_object_schema FROM information_schema.triggers WHERE trigger_name LIKE 'filerow%'")


def _on_mysql(connection: Connection, schema: str | None, outbox: str) -> Iterator[tuple[str, str]]:
    here = str(connection.scalar(text("SELECT database()")))
    for key, spec in _specs(connection, connection.scalars(_SCHEMAS)).items():
        if spec.outbox == outbox and (spec.outbox_schema or key[0]) == (schema or here):
            yield str(key[0]), key[1]


def _specs(connection: Connection, schemas: Iterable[str] = ()) -> dict[Key, FileTable]:
    """Return what existing triggers were made from, by schema and table."""
    found = existing(connection, schemas).items()
    return {key: there.spec for key, there in found if key[0] is not None and there.spec is not None}


# -- which tables are asked ------------------------------------------------------------------------------------------------

_NAMED = text(
    "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.oid IN (SELECT to_regclass(name) FROM unnest(CAST(:names AS text[])) AS name)"
)
_TABLES = text(
    "SELECT table_schema, table_name FROM information_schema.tables "
    "WHERE table_schema = coalesce(:schema, database()) AND table_name IN :tables"
).bindparams(bindparam("tables", expanding=True))


def _asked(connection: Connection, metadata: MetaData) -> Iterator[tuple[str, str]]:
    tables = {column.table: None for column in file_columns(metadata)}
    if connection.dialect.name == "postgresql":
        names = [full_name(connection, table) for table in tables]
        yield from ((schema, table) for schema, table in connection.execute(_NAMED, {"names": names}))
        return
    for table in tables:
        given = {"schema": schema_of(connection, table), "tables": [table.name]}
        yield from ((schema, name) for schema, name in connection.execute(_TABLES, given))
