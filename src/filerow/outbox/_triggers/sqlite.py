"""SQLite's triggers, and the indexes of the check before a deletion.

A trigger of SQLite sees its own database file only, so tables of attached files have none; the unit of work writes their
tombstones. SQLite has one writer at a time, so nothing can begin between a look and what is done about it.
"""

# ruff: noqa: S608 - the SQL is made of quoted names and our own words

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.engine import Dialect

from filerow._orm.references import odd_expression, path_expression
from filerow.outbox._table import NOW
from filerow.outbox._triggers.spec import NAME, REFUSED, FileTable, Kind, Part, Quoted, fits, literal, make_part

EXISTING = text(
    "SELECT 'main', tbl_name, 1, name, coalesce(sql, '') FROM sqlite_master WHERE type IN ('trigger', 'index') "
    "AND name LIKE :ours ESCAPE '$'"
)


def parts(spec: FileTable, dialect: Dialect) -> Iterator[Part]:
    """Return the triggers and indexes of a table."""
    names = Quoted.of(spec, dialect)
    columns = names.columns.values()
    old, new = _members(spec, names, dialect, "OLD."), _members(spec, names, dialect, "NEW.")
    inserted, deleted = (" OR ".join(f"{row}.{column} IS NOT NULL" for column in columns) for row in ("NEW", "OLD"))
    changed = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in columns)
    released, taken = _bury(spec, names, old, new), _take_back(names, new, old)
    triggers: tuple[tuple[Kind, str, str, tuple[str, ...]], ...] = (
        ("insert", "INSERT", inserted, _take_back(names, new)),
        ("update", f"UPDATE OF {', '.join(columns)}", changed, (released, *taken)),
        ("delete", "DELETE", deleted, (_bury(spec, names, old),)),
    )
    for kind, moment, when, steps in triggers:
        body = "; ".join((*steps, spec.note))
        yield make_part(
            spec, dialect, kind, f"CREATE TRIGGER {NAME} AFTER {moment} ON {names.table} WHEN {when} BEGIN {body} END"
        )
    for column in (names.columns[name] for name, multiple in spec.columns.items() if not multiple):
        odd = odd_expression(dialect, column, multiple=False)  # few rows as a rule, and no subquery
        for what in (f"({path_expression(dialect, column)})", f"(1) WHERE {odd}"):
            yield make_part(spec, dialect, "index", f"CREATE INDEX {NAME} ON {names.table} {what}")


def _members(spec: FileTable, names: Quoted, dialect: Dialect, row: str) -> str:
    """Return a subquery of all objects that a row names."""
    documents = []
    for name, multiple in spec.columns.items():
        value = f"{row}{names.columns[name]}"
        if multiple:
            array = f"CASE WHEN json_valid({value}) THEN {value} END"
            documents.append(f"SELECT {literal(name)}, value FROM json_each({array}) WHERE type = 'object'")
        else:
            documents.append(f"SELECT {literal(name)}, {value} WHERE json_valid({value})")
    named = f"SELECT NULL AS column_name, NULL AS document WHERE 0 UNION ALL {' UNION ALL '.join(documents)}"
    backend = "coalesce(json_extract(document, '$.backend'), json_extract(document, '$.upload_storage'))"
    return (
        f"(SELECT column_name, document, {backend} AS backend, {path_expression(dialect, 'document')} AS path "
        f"FROM ({named})) AS members"
    )


def _bury(spec: FileTable, names: Quoted, old: str, new: str | None = None) -> str:
    """Return the INSERT of tombstones for objects that only the old row names."""
    kept = "" if new is None else f" AND (backend, path) NOT IN (SELECT backend, path FROM {new} WHERE {_NAMED})"
    key = ", ".join(
        f"{literal(name)}, CASE typeof(OLD.{quoted}) WHEN 'blob' THEN lower(hex(OLD.{quoted})) ELSE OLD.{quoted} END"
        for name, quoted in names.keys.items()
    )
    return (
        f"INSERT INTO {names.outbox} (backend, path, document, table_name, column_name, row_key, dropped_at, attempts, dead) "
        f"SELECT backend, path, document, {literal(spec.fullname)}, column_name, json_object({key}), {NOW['sqlite']}, 0, 0 "
        f"FROM {old} WHERE {_NAMED}{kept} GROUP BY backend, path"
    )


_NAMED = fits("backend", "path")


def _take_back(names: Quoted, new: str, old: str | None = None) -> tuple[str, str]:
    """Return SQL that removes tombstones of objects that only the new row names."""
    kept = "" if old is None else f" EXCEPT SELECT backend, path FROM {old} WHERE {_NAMED}"
    # CROSS JOIN is SQLite's way to say in which order: the index is asked for each object.
    tombstones = (
        f"(SELECT backend, path FROM {new} WHERE {_NAMED}{kept}) AS gained CROSS JOIN {names.outbox} AS tombstone "
        "ON tombstone.path = gained.path AND tombstone.backend = gained.backend"
    )
    return (
        f"SELECT RAISE(ABORT, {literal(REFUSED)}) FROM {tombstones} WHERE tombstone.attempts > 0",
        f"DELETE FROM {names.outbox} WHERE attempts = 0 AND id IN (SELECT tombstone.id FROM {tombstones})",
    )
