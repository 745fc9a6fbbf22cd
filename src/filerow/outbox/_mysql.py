"""The triggers of MySQL and MariaDB.

They compare byte by byte, whatever the collation of the columns: paths differ by case. Neither database has an index for the
check before a deletion: MariaDB has none on expressions, and MySQL's would have to cut the path.

A look that finds no tombstone takes no lock. One that locked would lock the gap in which the next tombstone belongs, and any two
transactions that replace files would wait for each other.
"""

# ruff: noqa: S608 - the SQL is made of quoted names and our own words

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.engine import Dialect

from filerow._references import LEGACY_KEYS
from filerow.outbox._clock import NOW
from filerow.outbox._file_table import NAME, PATTERN, REFUSED, FileTable, Kind, Part, Quoted, make_part, prefix
from filerow.outbox._file_table import literal as plain_literal

__all__ = ("existing", "parts")

_EXACT = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"


def parts(spec: FileTable, dialect: Dialect) -> Iterator[Part]:
    """Return the triggers of a table."""
    names = Quoted.of(spec, dialect)
    schema = prefix(dialect, spec.schema)
    old, new = _members(names, spec, "OLD."), _members(names, spec, "NEW.")
    columns = names.columns.values()

    def trigger(kind: Kind, when: str, *steps: str) -> Part:
        body = " ".join(steps)
        create = (
            f"CREATE TRIGGER {schema}{NAME} AFTER {kind.upper()} ON {names.table} FOR EACH ROW "
            f"BEGIN {spec.note} DECLARE waiting BIGINT DEFAULT 0; IF {when} THEN {body} END IF; END"
        )
        drop = (f"DROP TRIGGER IF EXISTS {schema}{NAME}",)
        return make_part(spec, dialect, kind, (create,), drop)

    yield trigger("insert", _any(columns, "NEW."), _take_back(names, new))
    yield trigger("update", _changed(columns), _let_go(spec, names, old, new), _take_back(names, new, old))
    yield trigger("delete", _any(columns, "OLD."), _let_go(spec, names, old))


def existing(connection: Connection, schemas: Sequence[str]) -> Iterator[tuple[str, str, bool, str, str]]:
    """Return what there is of ours: schema, table, whether it is found without its schema, name, source.

    Args:
        connection: Where.
        schemas: Databases to look into besides the connection's own.
    """
    query = text(
        "SELECT event_object_schema, event_object_table, event_object_schema = database(), trigger_name, action_statement "
        "FROM information_schema.triggers WHERE trigger_name LIKE :ours ESCAPE '$' "
        "AND (event_object_schema = database() OR event_object_schema IN :schemas)"
    ).bindparams(bindparam("schemas", expanding=True))
    for schema, table, visible, name, source in connection.execute(query, {"ours": PATTERN, "schemas": list(schemas)}):
        yield schema, table, bool(visible), name, source


def _literal(value: str) -> str:
    return plain_literal(value.replace("\\", "\\\\"))


def _any(columns: Iterable[str], row: str) -> str:
    return " OR ".join(f"{row}{column} IS NOT NULL" for column in columns)


def _changed(columns: Iterable[str]) -> str:
    exact = "CONVERT({row}.{column} USING utf8mb4) COLLATE utf8mb4_bin"
    return " OR ".join(
        f"NOT ({exact.format(row='OLD', column=column)} <=> {exact.format(row='NEW', column=column)})" for column in columns
    )


def _members(names: Quoted, spec: FileTable, row: str) -> str:
    """Return a subquery, to be given an alias, of all objects that a row names: column_name, document, backend, path."""
    keys = ("backend", "upload_storage", *LEGACY_KEYS)
    read = ", ".join(f"`{key}` VARCHAR(1024) {_EXACT} PATH '$.{key}'" for key in keys)
    found = (
        f"coalesce(one.backend, one.upload_storage) AS backend, coalesce({', '.join(f'one.{k}' for k in LEGACY_KEYS)}) AS path"
    )
    documents = []
    for name, multiple in spec.columns.items():
        value = f"{row}{names.columns[name]}"
        where = "$[*]" if multiple else "$"
        document = f"JSON_EXTRACT({value}, CONCAT('$[', one.position - 1, ']'))" if multiple else value
        documents.append(
            f"SELECT {_literal(name)} AS column_name, {document} AS document, {found} "
            f"FROM JSON_TABLE({value}, '{where}' COLUMNS (position FOR ORDINALITY, {read})) AS one"
        )
    return f"({' UNION ALL '.join(documents)})"


_NAMED = "members.backend <> '' AND members.path <> ''"


def _let_go(spec: FileTable, names: Quoted, old: str, new: str | None = None) -> str:
    """Return the INSERT of a tombstone for each object that the old row names and the new one does not."""
    kept = ""
    if new is not None:
        kept = f" AND NOT EXISTS (SELECT 1 FROM {new} AS kept WHERE kept.path = members.path AND kept.backend = members.backend)"
    return (
        f"INSERT INTO {names.outbox} (backend, path, document, table_name, column_name, row_key, dropped_at, attempts, dead) "
        f"SELECT members.backend, members.path, MIN(members.document), {_literal(spec.fullname)}, MIN(members.column_name), "
        f"{_row_key(names)}, {NOW['mysql']}, 0, 0 FROM {old} AS members WHERE {_NAMED}{kept} "
        "GROUP BY members.backend, members.path;"
    )


def _row_key(names: Quoted) -> str:
    """Return the row's key as JSON; bytes that are no text, as hex digits."""
    keys = ["'{}'", "'{}'"]  # two at least, or it is an error
    for name, quoted in names.keys.items():
        key, value = _literal(name), f"OLD.{quoted}"
        is_binary = f"CHARSET({value}) = 'binary' AND JSON_TYPE(JSON_EXTRACT(JSON_OBJECT('k', {value}), '$.k')) = 'STRING'"
        keys.append(f"IF({is_binary}, JSON_OBJECT({key}, LOWER(HEX({value}))), JSON_OBJECT({key}, {value}))")
    return f"JSON_MERGE_PRESERVE({', '.join(keys)})"


def _take_back(names: Quoted, new: str, old: str | None = None) -> str:
    """Return the steps that take back the tombstones of the objects which the new row names and the old one does not.

    The look may see an old snapshot, and the deletion may have begun, or even ended, since; the DELETE sees what is there now. So
    fewer taken than found is reason enough to refuse.
    """
    lost = ""
    if old is not None:
        lost = f" AND NOT EXISTS (SELECT 1 FROM {old} AS lost WHERE lost.path = members.path AND lost.backend = members.backend)"
    gained = f"(SELECT DISTINCT members.backend, members.path FROM {new} AS members WHERE {_NAMED}{lost}) AS gained"
    there = f"{names.outbox} JOIN {gained} ON {names.outbox}.path = gained.path AND {names.outbox}.backend = gained.backend"
    return (
        f"SELECT COUNT(*) INTO waiting FROM {there}; "
        f"IF waiting > 0 THEN DELETE FROM {names.outbox} USING {there} WHERE {names.outbox}.attempts = 0; "
        f"IF ROW_COUNT() < waiting THEN "
        f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = {_literal(REFUSED)}; END IF; END IF;"
    )
