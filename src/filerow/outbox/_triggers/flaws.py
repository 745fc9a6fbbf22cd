"""Which triggers make writes fail, or write their tombstones elsewhere: after a column, table or schema was renamed under them.

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

__all__ = ("Flaw", "Flaws", "flaws_of")


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
    """Return what is wrong with the triggers that there are.

    Args:
        connection: The database.
        found: What :func:`filerow.outbox._triggers.install.existing` has found there.
    """
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
    "ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) "
    "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    f"JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal AND {OWN} AND t.tgname LIKE :ours ESCAPE '$'"
)
_NAMES = text(
    "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname IN :names"
).bindparams(bindparam("names", expanding=True))
_SCHEMA = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')


def _postgresql(connection: Connection, known: Known) -> dict[Key, Flaw]:
    outboxes = sorted({spec.outbox for _, spec in known.values()})
    places = {(schema, name) for schema, name in connection.execute(_NAMES, {"names": outboxes})}
    wrong: dict[Key, Flaw] = {}
    for schema, table, visible, config, path, columns in connection.execute(_FUNCTIONS, {"ours": PATTERN}):
        for key in ((schema, table), (None, table)) if visible else ((schema, table),):
            if key in known:
                there, spec = known[key]
                flaw = _needs(spec, columns) or _astray(spec, config, path, places, is_found=visible) or _renamed(there, spec)
                wrong.update({} if flaw is None else {key: flaw})
    return wrong


def _astray(
    spec: FileTable, config: Sequence[str] | None, path: Sequence[str], places: set[tuple[str, str]], *, is_found: bool
) -> Flaw | None:
    """Return what is wrong where a function's own search path finds no outbox, or another one than this connection."""
    if spec.outbox_schema is not None:
        return None if (spec.outbox_schema, spec.outbox) in places else _no_outbox(f"{spec.outbox_schema}.{spec.outbox}")
    fixed = next((one.partition("=")[2] for one in config or () if one.startswith("search_path=")), None)
    if fixed is None:
        return None
    schemas = [a.replace('""', '"') or b for a, b in _SCHEMA.findall(fixed)]
    own = next((schema for schema in schemas if (schema, spec.outbox) in places), None)
    if own is None:
        return _no_outbox(f"{spec.outbox} by the search path {fixed}")
    ours = next((schema for schema in path if (schema, spec.outbox) in places), own)
    if is_found and ours != own:
        return Flaw("outdated", f"it writes into {own}.{spec.outbox}, and this connection finds {ours}.{spec.outbox}")
    return None


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
    """Yield an UPDATE of each column; triggers follow a column that is renamed, and what they were made from does not say so."""
    rows: Any = connection.exec_driver_sql(f"PRAGMA table_info({quoted(connection.dialect, spec.name)})")
    for row in rows.all():
        column = quoted(connection.dialect, row[1])
        yield f"UPDATE {quoted(connection.dialect, spec.name)} SET {column} = {column}"
