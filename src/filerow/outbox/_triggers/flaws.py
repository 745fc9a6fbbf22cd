"""Finds triggers that fail or write elsewhere since something was renamed.

PostgreSQL and MariaDB keep a trigger's SQL as it was; what it needs is compared with the catalogue. SQLite rewrites it, and is
asked to prepare a statement of each kind.
"""

# ruff: noqa: S608 - the SQL is made of quoted names and our own words

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.exc import DBAPIError

from filerow._log import named
from filerow._orm.references import quoted
from filerow.outbox._triggers.postgresql import OWN
from filerow.outbox._triggers.spec import PATTERN, Existing, FileTable, Key, kind_of


class Flaw(NamedTuple):
    """What is wrong with a trigger that has the right name.

    Attributes:
        problem: ``broken``: it makes writes fail; ``outdated``: it does not do what it should.
        message: Why.
    """

    problem: Literal["broken", "outdated"]
    message: str


Flaws = Mapping[Key, Mapping[str, Flaw]]
"""By table, and then by the trigger's name."""


def flaws_of(connection: Connection, found: Mapping[Key, Existing]) -> Flaws:
    """Return what is wrong with the triggers that there are."""
    known = {key: (there, there.spec) for key, there in found.items() if there.spec is not None}
    wrong: dict[Key, Flaw | None] = {}
    if connection.dialect.name == "sqlite":
        wrong = {key: _unprepared(connection, spec) for key, (_, spec) in known.items()}
    elif known:
        wrong |= _postgresql(connection, known) if connection.dialect.name == "postgresql" else _mysql(connection, known)
    return {
        key: {name: flaw for name in there.names if kind_of(name) != "index"}
        for key, (there, _) in known.items()
        if (flaw := wrong.get(key)) is not None
    }


Known = Mapping[Key, tuple[Existing, FileTable]]


def _needs(spec: FileTable, columns: Iterable[str]) -> Flaw | None:
    missing = {*spec.columns, *spec.primary_key} - set(columns)
    if not missing:
        return None
    return Flaw("broken", f"it looks at {named(sorted(missing))}, which the table does not have")


def _no_outbox(name: str) -> Flaw:
    return Flaw("broken", f"it writes into {name}, which is not there")


# -- PostgreSQL ------------------------------------------------------------------------------------------------------------

_FUNCTIONS = text(
    "SELECT n.nspname, c.relname, pg_table_is_visible(c.oid), p.proconfig, CAST(current_schemas(false) AS text[]), "
    "p.proowner, pg_get_userbyid(p.proowner), "
    "ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) "
    "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    f"JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal AND {OWN} AND t.tgname LIKE :ours ESCAPE '$'"
)
_NAMES = text(
    "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname IN :names"
).bindparams(bindparam("names", expanding=True))
_SCHEMA = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')


class Function(NamedTuple):
    """A trigger's function, and what it finds.

    Attributes:
        schema: The table's schema.
        table: The table.
        visible: The table is found without its schema.
        fixed_path: The function's own search path; ``None`` without one.
        path: The connection's.
        owner: The number of the role as which it runs.
        role: That role's name.
        columns: The table's columns.
    """

    schema: str
    table: str
    visible: bool
    fixed_path: Sequence[str] | None
    path: Sequence[str]
    owner: int
    role: str
    columns: Sequence[str]


def functions_of(connection: Connection) -> Iterator[Function]:
    """Yield the functions of all triggers of ours in a database of PostgreSQL."""
    for schema, table, visible, config, path, owner, role, columns in connection.execute(_FUNCTIONS, {"ours": PATTERN}):
        fixed = next((one.partition("=")[2] for one in config or () if one.startswith("search_path=")), None)
        found = None if fixed is None else [a.replace('""', '"') or b for a, b in _SCHEMA.findall(fixed)]
        yield Function(schema, table, bool(visible), found, path, owner, role, columns)


def places_of(connection: Connection, outboxes: Sequence[str]) -> set[tuple[str, str]]:
    """Return the schemas that have tables of these names, each with the name."""
    return {(schema, name) for schema, name in connection.execute(_NAMES, {"names": list(outboxes)})}


def first_with(path: Iterable[str], outbox: str, places: set[tuple[str, str]]) -> str | None:
    """Return the schema in which a search path finds an outbox."""
    return next((schema for schema in path if (schema, outbox) in places), None)


def _postgresql(connection: Connection, known: Known) -> dict[Key, Flaw]:
    places = places_of(connection, sorted({spec.outbox for _, spec in known.values()}))
    wrong: dict[Key, Flaw] = {}
    for function in functions_of(connection):
        keys: list[Key] = [(function.schema, function.table), *([(None, function.table)] if function.visible else [])]
        for there, spec in (known[key] for key in keys if key in known):
            flaw = _needs(spec, function.columns) or _astray(spec, function, places) or _renamed(there, spec)
            flaw = flaw or _powerless(connection, spec, function, places)
            wrong.update(dict.fromkeys(keys, flaw) if flaw is not None else {})
    return wrong


def _astray(spec: FileTable, function: Function, places: set[tuple[str, str]]) -> Flaw | None:
    """Return the flaw of a function that finds no outbox, or another one."""
    if spec.outbox_schema is not None:
        return None if (spec.outbox_schema, spec.outbox) in places else _no_outbox(f"{spec.outbox_schema}.{spec.outbox}")
    if function.fixed_path is None:
        return None
    own = first_with(function.fixed_path, spec.outbox, places)
    if own is None:
        return _no_outbox(f"{spec.outbox} by the search path {', '.join(function.fixed_path)}")
    ours = first_with(function.path, spec.outbox, places) or own
    if function.visible and ours != own:
        return Flaw("outdated", f"it writes into {own}.{spec.outbox}, and this connection finds {ours}.{spec.outbox}")
    return None


_MAY = text(
    "SELECT has_table_privilege(CAST(:owner AS oid), to_regclass(:outbox), 'SELECT') "
    "AND has_table_privilege(CAST(:owner AS oid), to_regclass(:outbox), 'INSERT') "
    "AND has_table_privilege(CAST(:owner AS oid), to_regclass(:outbox), 'DELETE')"
)


def _powerless(connection: Connection, spec: FileTable, function: Function, places: set[tuple[str, str]]) -> Flaw | None:
    """Return the flaw of a function whose role may not write into the outbox."""
    schema = spec.outbox_schema or first_with(function.fixed_path or function.path, spec.outbox, places)
    outbox = ".".join(quoted(connection.dialect, name) for name in (schema, spec.outbox) if name)
    if connection.scalar(_MAY, {"owner": function.owner, "outbox": outbox}) is not False:
        return None
    message = (
        f"it runs as {function.role}, who may not write into {outbox}: GRANT SELECT, INSERT, DELETE ON {outbox} TO that role, or "
        "give the triggers' functions to the outbox's owner, too"
    )
    return Flaw("broken", message)


def _renamed(there: Existing, spec: FileTable) -> Flaw | None:
    if there.made_for in {None, spec.name}:
        return None
    return Flaw("broken", f"the table was called {there.made_for} when it was made, so TRUNCATE fails")


# -- MySQL and MariaDB -----------------------------------------------------------------------------------------------------

_COLUMNS = text(
    "SELECT coalesce(nullif(table_schema, database()), ''), table_name, column_name FROM information_schema.columns "
    "WHERE (table_schema = database() OR table_schema IN :schemas) AND table_name IN :tables"
).bindparams(bindparam("schemas", expanding=True), bindparam("tables", expanding=True))


def _mysql(connection: Connection, known: Known) -> dict[Key, Flaw]:
    specs = [spec for _, spec in known.values()]
    schemas = {one for spec in specs for one in (spec.schema, spec.outbox_schema) if one is not None}
    tables = {one for spec in specs for one in (spec.name, spec.outbox)}
    here = connection.scalar(text("SELECT database()"))
    columns: dict[Key, set[str]] = {}
    for schema, table, column in connection.execute(_COLUMNS, {"schemas": sorted(schemas), "tables": sorted(tables)}):
        columns.setdefault((schema or here, table), set()).add(column)
    wrong: dict[Key, Flaw] = {}
    for key, (_, spec) in known.items():
        place = (spec.outbox_schema or spec.schema or here, spec.outbox)
        flaw = _needs(spec, columns.get((spec.schema or here, spec.name), ()))
        flaw = flaw or (None if place in columns else _no_outbox(f"{place[0]}.{place[1]}"))
        wrong.update({} if flaw is None else {key: flaw})
    return wrong


# -- SQLite ----------------------------------------------------------------------------------------------------------------


def _unprepared(connection: Connection, spec: FileTable) -> Flaw | None:
    table = quoted(connection.dialect, spec.name)
    for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} DEFAULT VALUES", *_updates(connection, spec)):
        try:
            connection.exec_driver_sql(f"EXPLAIN {statement}").close()
        except DBAPIError as error:
            return Flaw("broken", f"SQLite cannot prepare {statement}: {error.orig}")
    return None


def _updates(connection: Connection, spec: FileTable) -> Iterator[str]:
    """Yield an UPDATE of each column, since triggers follow renamed columns."""
    rows: Any = connection.exec_driver_sql(f"PRAGMA table_info({quoted(connection.dialect, spec.name)})")
    for row in rows.all():
        column = quoted(connection.dialect, row[1])
        yield f"UPDATE {quoted(connection.dialect, spec.name)} SET {column} = {column}"
