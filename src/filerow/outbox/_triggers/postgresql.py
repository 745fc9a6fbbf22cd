"""PostgreSQL's triggers, one function for each event, and its indexes.

Columns may be ``jsonb`` or ``json``. The functions run as their owner, without row level security: a role that may delete a row
need not be allowed to write into the outbox, or to see all rows that a TRUNCATE removes. They keep the search path of their
creation, since a session with another one may delete a row. Those that read the outbox always prefer its index, since their plans
are kept and the outbox was empty when they were made.
"""

# ruff: noqa: S608 - the SQL is made of quoted names and our own words

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.engine import Dialect

from filerow._orm.references import list_expression, odd_expression, path_expression
from filerow.outbox._table import NOW
from filerow.outbox._triggers.spec import NAME, REFUSED, FileTable, Kind, Part, Quoted, fits, literal, make_part, prefix

OWN = "coalesce(to_jsonb(t) ->> 'tgparentid', '0') = '0'"
"""The condition that a trigger is not a partition's copy of its table's one; before PostgreSQL 13 those are internal."""


EXISTING = text(
    "SELECT n.nspname, c.relname, pg_table_is_visible(c.oid), t.tgname, p.prosrc FROM pg_trigger t "
    "JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid "
    f"WHERE NOT t.tgisinternal AND {OWN} AND t.tgenabled IN ('O', 'A') AND t.tgname LIKE :ours ESCAPE '$' UNION ALL "
    "SELECT n.nspname, c.relname, pg_table_is_visible(c.oid), i.relname, '' FROM pg_index x "
    "JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE x.indisvalid AND i.relname LIKE :ours ESCAPE '$'"
)


def parts(spec: FileTable, dialect: Dialect) -> Iterator[Part]:
    """Return the triggers and indexes of a table."""
    names = Quoted.of(spec, dialect)
    old, new, gone = (_members(spec, names, dialect, row) for row in ("OLD.", "NEW.", "gone."))
    every = f"{names.table} AS gone CROSS JOIN LATERAL {gone}"
    look = "DECLARE tombstones bigint[]; taken bigint; BEGIN"
    exchange = f"{_bury(spec, names, old, new)}; {_take_back(names, new, old)}"
    triggers: tuple[tuple[Kind, str, str, str], ...] = (
        ("insert", "AFTER", f"ROW WHEN ({_any(spec, names, 'NEW.')})", f"{look} {_take_back(names, new)}"),
        ("update", "AFTER", f"ROW WHEN ({_changed(names)})", f"{look} {exchange}"),
        ("delete", "AFTER", f"ROW WHEN ({_any(spec, names, 'OLD.')})", f"BEGIN {_bury(spec, names, old)};"),
        ("truncate", "BEFORE", "STATEMENT", f"BEGIN {_tombstones(spec, names, 'gone.', every)};"),
    )
    for kind, when, each, body in triggers:
        moment = f"{when} {kind.upper()} ON {names.table} FOR EACH {each}"
        yield _trigger(spec, dialect, kind, moment, f"{body} RETURN NULL; END")
    for column, multiple in spec.columns.items():
        safe = names.columns[column]
        paths = f"USING gin ({list_expression(dialect, safe)})" if multiple else f"({path_expression(dialect, safe)})"
        odd = f"((1)) WHERE {odd_expression(dialect, safe, multiple=multiple)}"  # rows whose documents name no path: mostly none
        for what in (paths, odd):
            yield make_part(spec, dialect, "index", f"CREATE INDEX {NAME} ON {names.table} {what}")


def _trigger(spec: FileTable, dialect: Dialect, kind: Kind, moment: str, body: str) -> Part:
    table, function = Quoted.of(spec, dialect).table, f"{prefix(dialect, spec.schema)}{NAME}"
    settings = "SET row_security TO off" + (" SET enable_seqscan TO off" if kind in {"insert", "update"} else "")
    return make_part(
        spec,
        dialect,
        kind,
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {settings} "
        f"AS $filerow$ {spec.note} {body} $filerow$",
        _fixed_path(function),
        f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC",
        f"DROP TRIGGER IF EXISTS {NAME} ON {table}",
        f"CREATE TRIGGER {NAME} {moment} EXECUTE FUNCTION {function}()",
    )


def drop_function(name: str) -> str:
    """Return SQL to drop a trigger's function unless another table uses it."""
    drop = f"DROP FUNCTION IF EXISTS {name}()"
    return f"DO $filerow$ BEGIN {drop}; EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END $filerow$"


def _fixed_path(function: str) -> str:
    """Return SQL that fixes a function's search path, temporary tables last.

    They come first otherwise, so a role that may delete a row could divert tombstones into a table of its own.
    """
    schemas = "SELECT string_agg(quote_ident(name), ', ') FROM unnest(current_schemas(false)) AS name"
    set_path = f"$path$ALTER FUNCTION {function}() SET search_path = $path$ || concat_ws(', ', ({schemas}), 'pg_temp')"
    return f"DO $filerow$ BEGIN EXECUTE {set_path}; END $filerow$"


def _any(spec: FileTable, names: Quoted, row: str) -> str:
    """Return the condition that a row names an object at all."""
    empty = {
        name: f" AND CAST({row}{names.columns[name]} AS jsonb) <> '[]'" if multiple else ""
        for name, multiple in spec.columns.items()
    }
    return " OR ".join(f"({row}{quoted} IS NOT NULL{empty[name]})" for name, quoted in names.columns.items())


def _changed(names: Quoted) -> str:
    return " OR ".join(
        f"CAST(OLD.{column} AS jsonb) IS DISTINCT FROM CAST(NEW.{column} AS jsonb)" for column in names.columns.values()
    )


def _members(spec: FileTable, names: Quoted, dialect: Dialect, row: str) -> str:
    """Return a subquery of all objects that a row names."""
    documents = []
    for name, multiple in spec.columns.items():
        value = f"CAST({row}{names.columns[name]} AS jsonb)"
        if multiple:
            array = f"CASE jsonb_typeof({value}) WHEN 'array' THEN {value} END"
            documents.append(f"SELECT {literal(name)}, member FROM jsonb_array_elements({array}) AS member")
        else:
            documents.append(f"SELECT {literal(name)}, {value}")
    backend = "coalesce(named.document ->> 'backend', named.document ->> 'upload_storage')"
    path = path_expression(dialect, "named.document")
    return (
        f"(SELECT named.column_name, named.document, {backend} AS backend, {path} AS path "
        f"FROM ({' UNION ALL '.join(documents)}) AS named(column_name, document) "
        f"WHERE {fits(backend, path)}) AS members"
    )


def _bury(spec: FileTable, names: Quoted, old: str, new: str | None = None) -> str:
    """Return the INSERT of tombstones for objects that only the old row names."""
    kept = (
        "" if new is None else f" WHERE (members.backend, members.path) NOT IN (SELECT members.backend, members.path FROM {new})"
    )
    return _tombstones(spec, names, "OLD.", f"{old}{kept}")


def _tombstones(spec: FileTable, names: Quoted, row: str, source: str) -> str:
    key = ", ".join(f"{literal(name)}, {row}{quoted}" for name, quoted in names.keys.items())
    return (
        f"INSERT INTO {names.outbox} (backend, path, document, table_name, column_name, row_key, dropped_at, attempts, dead) "
        "SELECT DISTINCT ON (members.backend, members.path) members.backend, members.path, CAST(members.document AS json), "
        f"{literal(spec.fullname)}, members.column_name, json_build_object({key}), {NOW['postgresql']}, 0, 0 FROM {source}"
    )


def _take_back(names: Quoted, new: str, old: str | None = None) -> str:
    """Return SQL that removes tombstones of objects that only the new row names.

    Between the look and the DELETE, which waits for a worker that holds the tombstone, its deletion may begin and even end; so
    fewer taken than found is reason enough to refuse.
    """
    kept = "" if old is None else f" EXCEPT SELECT members.backend, members.path FROM {old}"
    gained = f"(SELECT DISTINCT members.backend, members.path FROM {new}{kept}) AS gained"
    # LATERAL and OFFSET leave the planner no way but to ask the index for each object.
    notes = (
        f"(SELECT note.id FROM {names.outbox} AS note WHERE note.path = gained.path AND note.backend = gained.backend OFFSET 0) "
        "AS tombstone"
    )
    return (
        f"tombstones := ARRAY(SELECT tombstone.id FROM {gained} CROSS JOIN LATERAL {notes}); "
        "IF cardinality(tombstones) > 0 THEN "
        f"DELETE FROM {names.outbox} AS note WHERE note.id = ANY (tombstones) AND note.attempts = 0; "
        "GET DIAGNOSTICS taken = ROW_COUNT; "
        f"IF taken < cardinality(tombstones) THEN RAISE EXCEPTION USING ERRCODE = '23000', MESSAGE = {literal(REFUSED)}; END IF; "
        "END IF;"
    )
