"""The triggers of MySQL and MariaDB.

They compare byte by byte, with any collation of the columns: paths differ by case. Neither database has an index for the
check before a deletion: MariaDB has none on expressions, and MySQL's would have to cut the path.

A look that finds no tombstone takes no lock. One that locked would lock the gap in which the next tombstone belongs, and any two
transactions that replace files would wait for each other.
"""

# ruff: noqa: S608 - the SQL is made of quoted names and our own words

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import bindparam, text
from sqlalchemy.engine import Dialect

from filerow._orm.references import LEGACY_KEYS, first_path
from filerow.outbox._table import NOW
from filerow.outbox._triggers.spec import (
    LONGEST_BACKEND,
    LONGEST_PATH,
    NAME,
    REFUSED,
    FileTable,
    Kind,
    Part,
    Quoted,
    fits,
    make_part,
    prefix,
)
from filerow.outbox._triggers.spec import literal as plain_literal

EXISTING = text(
    "SELECT event_object_schema, event_object_table, event_object_schema = database(), trigger_name, action_statement "
    "FROM information_schema.triggers WHERE trigger_name LIKE :ours ESCAPE '$' "
    "AND (event_object_schema = database() OR event_object_schema IN :schemas)"
).bindparams(bindparam("schemas", expanding=True))

_EXACT = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"


def parts(spec: FileTable, dialect: Dialect) -> Iterator[Part]:
    """Return the triggers of a table."""
    names = Quoted.of(spec, dialect)
    schema = prefix(dialect, spec.schema)
    columns = names.columns.values()

    def trigger(kind: Kind, when: str, *steps: str) -> Part:
        create = (
            f"CREATE TRIGGER {schema}{NAME} AFTER {kind.upper()} ON {names.table} FOR EACH ROW "
            f"BEGIN {spec.note} DECLARE waiting BIGINT DEFAULT 0; IF {when} THEN {' '.join(steps)} END IF; END"
        )
        return make_part(spec, dialect, kind, create)

    all_old, all_new = _members(names, spec, "OLD."), _members(names, spec, "NEW.")
    left, gained = _members(names, spec, "OLD.", "NEW."), _members(names, spec, "NEW.", "OLD.")
    yield trigger("insert", _any(columns, "NEW."), _take_back(names, all_new))
    yield trigger("update", _changed(columns), _bury(spec, names, left), _take_back(names, gained))
    yield trigger("delete", _any(columns, "OLD."), _bury(spec, names, all_old))


def _literal(value: str) -> str:
    return plain_literal(value.replace("\\", "\\\\"))


def _any(columns: Iterable[str], row: str) -> str:
    return " OR ".join(f"{row}{column} IS NOT NULL" for column in columns)


def _changed(columns: Iterable[str]) -> str:
    exact = "CONVERT({row}.{column} USING utf8mb4) COLLATE utf8mb4_bin"
    return " OR ".join(
        f"NOT ({exact.format(row='OLD', column=column)} <=> {exact.format(row='NEW', column=column)})" for column in columns
    )


_ROOM = dict.fromkeys(("backend", "upload_storage"), LONGEST_BACKEND) | dict.fromkeys(LEGACY_KEYS, LONGEST_PATH)
# JSON_TABLE cuts what is too long; room for one more character shows that
_TEXTS = ", ".join(f"`{key}` VARCHAR({room + 1}) {_EXACT} PATH '$.{key}'" for key, room in _ROOM.items())
_READ = f"{_TEXTS}, v VARCHAR(9) PATH '$.v'"


def _backend(alias: str) -> str:
    return f"coalesce({alias}.backend, {alias}.upload_storage)"


def _path(alias: str) -> str:
    return first_path({key: f"nullif({alias}.{key}, '')" for key in LEGACY_KEYS}, f"{alias}.v IS NOT NULL")


def _objects(value: str, alias: str, *, multiple: bool) -> str:
    """Return a table of the objects that a column's value names."""
    where = "$[*]" if multiple else "$"
    return f"JSON_TABLE({value}, '{where}' COLUMNS (position FOR ORDINALITY, {_READ})) AS {alias}"


def _members(names: Quoted, spec: FileTable, row: str, without: str | None = None) -> str:
    """Return a subquery of the objects that one row names and another does not.

    No DISTINCT, no GROUP BY and no document in it: each would have the database make a temporary table on disk for every row.
    """
    found = []
    for name, multiple in spec.columns.items():
        value, same = (
            f"{row}{names.columns[name]}",
            f"{_path('other')} = {_path('one')} AND {_backend('other')} = {_backend('one')}",
        )
        conditions = [fits(_backend("one"), _path("one"), "CHAR_LENGTH")]
        if multiple:
            before = _objects(value, "other", multiple=True)
            conditions.append(f"NOT EXISTS (SELECT 1 FROM {before} WHERE {same} AND other.position < one.position)")
        for other, is_list in spec.columns.items() if without is not None else ():
            objects = _objects(f"{without}{names.columns[other]}", "other", multiple=is_list)
            conditions.append(f"NOT EXISTS (SELECT 1 FROM {objects} WHERE {same})")
        found.append(
            f"SELECT {_literal(name)} AS column_name, one.position, {_backend('one')} AS backend, {_path('one')} AS path "
            f"FROM {_objects(value, 'one', multiple=multiple)} WHERE {' AND '.join(conditions)}"
        )
    return f"({' UNION ALL '.join(found)})"


def _bury(spec: FileTable, names: Quoted, left: str) -> str:
    """Return the INSERT of tombstones for objects that only the old row names."""
    documents = []
    for name, multiple in spec.columns.items():
        value = f"OLD.{names.columns[name]}"
        document = f"JSON_EXTRACT({value}, CONCAT('$[', members.position - 1, ']'))" if multiple else value
        documents.append(f"WHEN {_literal(name)} THEN {document}")
    return (
        f"INSERT INTO {names.outbox} (backend, path, document, table_name, column_name, row_key, dropped_at, attempts, dead) "
        f"SELECT members.backend, members.path, CASE members.column_name {' '.join(documents)} END, {_literal(spec.fullname)}, "
        f"members.column_name, {_row_key(names)}, {NOW['mysql']}, 0, 0 FROM {left} AS members;"
    )


def _row_key(names: Quoted) -> str:
    """Return the row's key as JSON; binary values as hex digits."""
    keys = ["'{}'", "'{}'"]  # two at least, or it is an error
    for name, quoted in names.keys.items():
        key, value = _literal(name), f"OLD.{quoted}"
        is_binary = f"CHARSET({value}) = 'binary' AND JSON_TYPE(JSON_EXTRACT(JSON_OBJECT('k', {value}), '$.k')) = 'STRING'"
        keys.append(f"IF({is_binary}, JSON_OBJECT({key}, LOWER(HEX({value}))), JSON_OBJECT({key}, {value}))")
    return f"JSON_MERGE_PRESERVE({', '.join(keys)})"


def _take_back(names: Quoted, gained: str) -> str:
    """Return SQL that removes tombstones of objects that only the new row names.

    The look may see an old snapshot, and the deletion may have begun, or even ended, since; the DELETE sees what is there now. So
    fewer taken than found is reason enough to refuse.
    """
    same = f"{names.outbox}.path = gained.path AND {names.outbox}.backend = gained.backend"
    return (
        f"SELECT COUNT(DISTINCT {names.outbox}.id) INTO waiting FROM {gained} AS gained STRAIGHT_JOIN {names.outbox} ON {same}; "
        f"IF waiting > 0 THEN DELETE FROM {names.outbox} USING {gained} AS gained STRAIGHT_JOIN {names.outbox} ON {same} "
        f"WHERE {names.outbox}.attempts = 0; IF ROW_COUNT() < waiting THEN "
        f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = {_literal(REFUSED)}; END IF; END IF;"
    )
