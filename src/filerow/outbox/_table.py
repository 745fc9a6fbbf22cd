"""The outbox's two tables: tombstones, and what its workers remember."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TableClause,
    Text,
    any_,
    column,
    delete,
    false,
    insert,
    literal,
    literal_column,
    select,
    table,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.postgresql import JSONB

from filerow._document import Facts, to_document
from filerow._orm.fields import Buried
from filerow._orm.locks import any_of
from filerow._orm.ownership import Ref
from filerow._orm.references import FileColumn

_BATCH = 500

# Paths differ by case; the usual collations of MySQL and MariaDB do not see it.
_EXACT = {"charset": "utf8mb4", "collation": "utf8mb4_bin"}
_Id = BigInteger().with_variant(Integer, "sqlite")
_Key = String(255).with_variant(mysql.VARCHAR(255, **_EXACT), "mysql", "mariadb")
_Path = String(1024).with_variant(mysql.VARCHAR(1024, **_EXACT), "mysql", "mariadb")
_Value = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_LongText = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


class Tombstone(NamedTuple):
    """A note that an object has lost a row: a suspicion, not a verdict.

    Attributes:
        id: Number of the note.
        backend: Key of the backend.
        path: The path in it.
        attempts: How often its deletion has begun; from the first on, the object may be gone.
        dropped_at: When it lost its row: seconds since the Unix epoch, by the database's clock.
        table_name: The table of that row, with its schema; ``None`` if unknown.
        column_name: The column, likewise.
    """

    id: int
    backend: str
    path: str
    attempts: int
    dropped_at: float
    table_name: str | None
    column_name: str | None


def among(column: ColumnElement[Any], values: Sequence[Any], dialect: str) -> ColumnElement[bool]:
    """Return ``column IN (values)``; on PostgreSQL with one array, which is faster."""
    if dialect == "postgresql":
        return column == any_(literal(values, ARRAY(column.type)))
    return column.in_(values)


def make_table(metadata: MetaData, name: str) -> Table:
    """Return the table of tombstones; times are in seconds of the Unix epoch."""
    return Table(
        name,
        metadata,
        Column("id", _Id, primary_key=True, autoincrement=True),
        Column("backend", _Key, nullable=False),
        Column("path", _Path, nullable=False),
        Column("document", JSON),
        Column("table_name", String(255)),
        Column("column_name", String(255)),
        Column("row_key", JSON),
        Column("dropped_at", Double, nullable=False),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("next_attempt", Double),
        Column("last_error", _LongText),
        Column("dead", Integer, nullable=False, server_default="0"),
        Index(f"ix_{name}_path", "path", mysql_length={"path": 255}, mariadb_length={"path": 255}),
        Index(f"ix_{name}_due", "dead", "next_attempt", "dropped_at"),
    )


def make_state_table(metadata: MetaData, name: str) -> Table:
    """Return the table of the workers' state: a sweep's cursor, a drainer's run."""
    return Table(
        name,
        metadata,
        Column("name", _Key, primary_key=True),
        Column("value", _LongText, nullable=False),
        Column("updated_at", Double, nullable=False),
    )


def bury(connection: Connection, table: Table, buried: Sequence[Buried]) -> None:
    """Write tombstones, where no trigger does.

    The document says where the object is and no more: the unit of work does not read the rest before a row goes.
    """
    rows = [
        {
            "backend": one.ref.backend,
            "path": one.ref.path,
            "document": to_document(Facts(one.ref.backend, one.ref.path, one.ref.path.rpartition("/")[2])),
            "table_name": one.table,
            "column_name": one.column,
            "row_key": None if one.key is None else json.loads(json.dumps(one.key, default=str)),
        }
        for one in buried
    ]
    if rows:
        connection.execute(insert(table).values({"dropped_at": now(connection.dialect.name), "attempts": 0, "dead": 0}), rows)


def take_back(connection: Connection, table: Table, refs: Sequence[Ref]) -> None:
    """Remove tombstones of objects that have a row, if deletion has not begun."""
    columns = [table.c.path, table.c.backend]
    for start in range(0, len(refs), _BATCH):
        keys = [(ref.path, ref.backend) for ref in refs[start : start + _BATCH]]
        connection.execute(delete(table).where(any_of(columns, keys), table.c.attempts == 0))


# -- statements of maintenance ---------------------------------------------------------------------------------------------


def take_write_lock(connection: Connection, of: TableClause, name: str) -> None:
    """Take SQLite's one write lock; do nothing on other databases."""
    if connection.dialect.name == "sqlite":
        connection.execute(update(of).values({name: of.c[name]}).where(false()))


def plain_table(file_column: FileColumn) -> TableClause:
    """Return a file column's table without ``onupdate`` and without file types."""
    source = file_column.table
    keys = [column(one.name, one.type) for one in source.primary_key.columns]
    return table(source.name, *keys, column(file_column.column.name, _Value), schema=source.schema)


# -- the database's clock, which all writers use ---------------------------------------------------------------------------


NOW = {
    "postgresql": "extract(epoch FROM clock_timestamp())",
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "mysql": "unix_timestamp(now(6))",
    "mariadb": "unix_timestamp(now(6))",
}
"""SQL for the seconds since the Unix epoch, by dialect."""


def now(dialect: str) -> ColumnElement[float]:
    """Return SQL for the present time, or this machine's if it has none."""
    if dialect not in NOW:
        return literal(time.time(), Double)
    return literal_column(NOW[dialect], Double)


def now_of(connection: Connection) -> float:
    """Return the seconds since the Unix epoch, by the database's clock."""
    return float(connection.execute(select(now(connection.dialect.name))).scalar_one())


def read_state(connection: Connection, state: Table, name: str) -> dict[str, Any] | None:
    """Return what was remembered under a name, ``None`` when nothing was."""
    value = connection.scalar(select(state.c.value).where(state.c.name == name))
    return None if value is None else json.loads(value)


def write_state(connection: Connection, state: Table, name: str, value: dict[str, Any]) -> None:
    """Remember a JSON object under a name, in place of what was remembered before."""
    row = {"value": json.dumps(value), "updated_at": now(connection.dialect.name)}
    # An UPDATE first, for a DELETE would let two writers collide each time.
    if not connection.execute(update(state).where(state.c.name == name).values(row)).rowcount:
        connection.execute(insert(state).values({"name": name, **row}))
