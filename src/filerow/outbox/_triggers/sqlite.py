"""SQLite's triggers, and the indexes of the check before a deletion.

A trigger of SQLite sees its own database file only, so tables of attached files have none; the unit of work writes their
tombstones. SQLite has one writer at a time, so nothing can begin between a look and what is done about it.
"""

# ruff: noqa: S608 - the SQL is made of quoted names and our own words

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text
from sqlalchemy.engine import Dialect

from filerow._orm.references import odd_expression, path_expression
from filerow.outbox._table import NOW
from filerow.outbox._triggers.spec import NAME, PATTERN, REFUSED, FileTable, Kind, Part, Quoted, fits, literal, make_part

__all__ = ("existing", "parts")


def parts(spec: FileTable, dialect: Dialect) -> Iterator[Part]:
    """Return the triggers and indexes of a table."""
    names = Quoted.of(spec, dialect)
    old, new = _members(spec, names, dialect, "OLD."), _members(spec, names, dialect, "NEW.")

    def trigger(kind: Kind, moment: str, when: str, *steps: str) -> Part:
        body = "; ".join(steps)
        create = f"CREATE TRIGGER {NAME} AFTER {moment} ON {names.table} WHEN {when} BEGIN {body}; {spec.note} END"
        drop = (f"DROP TRIGGER IF EXISTS {NAME}",)
        return make_part(spec, dialect, kind, (create,), drop)

    columns = names.columns.values()
    yield trigger("insert", "INSERT", " OR ".join(f"NEW.{column} IS NOT NULL" for column in columns), *_take_back(names, new))
    yield trigger(
        "update",
        f"UPDATE OF {', '.join(columns)}",
        " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in columns),
        _let_go(spec, names, old, new),
        *_take_back(names, new, old),
    )
    yield trigger("delete", "DELETE", " OR ".join(f"OLD.{column} IS NOT NULL" for column in columns), _let_go(spec, names, old))
    for column, multiple in spec.columns.items():
        if not multiple:
            what = path_expression(dialect, names.columns[column])
            create = f"CREATE INDEX {NAME} ON {names.table} ({what})"
            yield make_part(spec, dialect, "index", (create,), (f"DROP INDEX IF EXISTS {NAME}",))
            odd = odd_expression(dialect, names.columns[column], multiple=False)  # few rows as a rule, and no subquery
            create = f"CREATE INDEX {NAME} ON {names.table} (1) WHERE {odd}"
            yield make_part(spec, dialect, "index", (create,), (f"DROP INDEX IF EXISTS {NAME}",))


def existing(connection: Connection) -> Iterator[tuple[str, str, bool, str, str]]:
    """Return what there is of ours: schema, table, whether it is found without its schema, name, source."""
    query = text(
        "SELECT tbl_name, name, coalesce(sql, '') FROM sqlite_master WHERE type IN ('trigger', 'index') "
        "AND name LIKE :ours ESCAPE '$'"
    )
    for table, name, source in connection.execute(query, {"ours": PATTERN}):
        yield "main", table, True, name, source


def _members(spec: FileTable, names: Quoted, dialect: Dialect, row: str) -> str:
    """Return a subquery of all objects that a row names: column_name, document, backend, path."""
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


def _let_go(spec: FileTable, names: Quoted, old: str, new: str | None = None) -> str:
    """Return the INSERT of a tombstone for each object that the old row names and the new one does not."""
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
    """Return the steps that take back the tombstones of the objects which the new row names and the old one does not."""
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
