"""The marks of deleting runs, which a database keeps for each place.

Marks are in the outbox's table of states, or, for models without an outbox, in ``filerow_places``, a table of the same shape
made by the first deleting run. Marks are only ever added, so workers of one database need not wait for each other.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, MetaData, Table, delete, func, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from filerow._orm.fields import outbox_in
from filerow._orm.references import file_columns
from filerow._orm.schemas import schema_of
from filerow.exceptions import MaintenanceRefusedError
from filerow.outbox._table import make_state_table, now

TABLE = "filerow_places"
"""The table of models without an outbox."""

_SIDE_BY_SIDE = 3_600.0
"""Seconds within which runs may overlap, so that the one that began first may write last."""

_KEPT = 100
"""Number of marks kept for each place."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A run of this database that was about to delete.

    Attributes:
        lineage: The place's lineage.
        serial: The number of the run.
        value: The random value that it wrote into the place, or was about to write.
        before: The value that it found there.
        age: Seconds since then, by the database's clock.
    """

    lineage: str
    serial: int
    value: str
    before: str = ""
    age: float = 0.0

    @property
    def name(self) -> str:
        """The name under which the database stores it."""
        return f"{_prefix(self.lineage)}{self.serial:012d}:{self.value}"


def last_of(marks: Iterable[Mark]) -> Mark:
    """Return the newest mark."""
    return max(marks, key=lambda mark: (mark.serial, -mark.age))


def expected(marks: Sequence[Mark]) -> set[str]:
    """Return the values of a place where no other database has deleted since.

    These are the value that the last run wrote; the one it found, if it was killed before writing; and those of runs that
    overlapped with it.
    """
    if not marks:
        return set()
    last = last_of(marks)
    return {last.value, last.before} | {mark.value for mark in marks if mark.age - last.age <= _SIDE_BY_SIDE}


def read_marks(metadata: MetaData, engine: Engine, lineage: str) -> list[Mark]:
    """Return what a database remembers of a place."""
    found: list[Mark] = []
    with engine.connect() as connection:
        for table in _tables(connection, metadata):
            age = now(connection.dialect.name) - table.c.updated_at
            rows = connection.execute(select(table.c.name, table.c.value, age).where(table.c.name.like(f"{_prefix(lineage)}%")))
            found += [_parsed(*row) for row in rows]
    return found


def add_mark(metadata: MetaData, engine: Engine, mark: Mark, known: Sequence[Mark] = ()) -> None:
    """Record a run in a transaction of its own, and remove the oldest marks.

    Raises:
        MaintenanceRefusedError: There is no table for marks, and this user may not make one.
    """
    table = _home(metadata)
    if outbox_in(metadata) is None:
        _make(engine, table)
    old = [one.name for one in known if one.serial <= mark.serial - _KEPT]
    with engine.begin() as connection:
        value = json.dumps({"before": mark.before})
        connection.execute(insert(table).values(name=mark.name, value=value, updated_at=now(connection.dialect.name)))
        if old:
            connection.execute(delete(table).where(table.c.name.in_(old)))


def forget(metadata: MetaData, engine: Engine, lineage: str) -> None:
    """Remove all marks of a place, which is a new place from now on."""
    with engine.begin() as connection:
        for table in _tables(connection, metadata):
            connection.execute(delete(table).where(table.c.name.like(f"{_prefix(lineage)}%")))


def drop_marks(metadata: MetaData, engine: Engine, *marks: Mark) -> None:
    """Remove marks of runs that wrote nothing."""
    table = _home(metadata)
    with engine.begin() as connection:
        connection.execute(delete(table).where(table.c.name.in_([mark.name for mark in marks])))


def _prefix(lineage: str) -> str:
    return f"place:{lineage}:"


def _parsed(name: str, value: str, age: float) -> Mark:
    _, lineage, serial, mark = name.split(":")
    return Mark(lineage, int(serial), mark, json.loads(value)["before"], float(age))


def _home(metadata: MetaData) -> Table:
    """Return the table in which marks are written."""
    outbox = outbox_in(metadata)
    return _own_table(metadata) if outbox is None else outbox.state


def _own_table(metadata: MetaData) -> Table:
    """Return the table of models without an outbox, outside their ``MetaData``."""
    schemas = {column.table.schema for column in file_columns(metadata)}
    schema = schemas.pop() if metadata.schema is None and len(schemas) == 1 else metadata.schema
    return make_state_table(MetaData(schema=schema), TABLE)


def _tables(connection: Connection, metadata: MetaData) -> Iterator[Table]:
    """Yield the tables with marks: the outbox's, and that of models without one."""
    outbox = outbox_in(metadata)
    if outbox is not None:
        yield outbox.state
    own = _own_table(metadata)
    if inspect(connection).has_table(own.name, schema=schema_of(connection, own)):
        yield own


def _make(engine: Engine, table: Table) -> None:
    def is_there() -> bool:
        with engine.connect() as connection:
            return inspect(connection).has_table(table.name, schema=schema_of(connection, table))

    if is_there():
        return
    try:
        with engine.begin() as connection:
            connection.execute(CreateTable(table, if_not_exists=True))
    except DBAPIError as error:
        if is_there():  # another worker was faster
            return
        statement = " ".join(str(CreateTable(table).compile(dialect=engine.dialect)).split())
        raise MaintenanceRefusedError(
            f"the table {table.fullname}, which records the places that a database deletes in, does not exist and this user may "
            f"not make it, so nothing was deleted. Run this as a user who may, and grant SELECT, INSERT and DELETE: {statement}"
        ) from error


# -- how a server is recognised ------------------------------------------------------------------------------------------


_MAY_ASK = text("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")
_CLUSTER = text("SELECT system_identifier FROM pg_control_system()")
_DATABASE = text("SELECT oid, datname FROM pg_database WHERE datname = current_database()")


def hints_of(engine: Engine, lineage: str) -> dict[str, str]:
    """Return identifiers of the database, hashed for one place.

    None of them changes with a restart, a minor upgrade, a failover to a physical standby, another user or a pool.
    """
    with engine.connect() as connection:
        found = _facts(connection)
    return {
        name: hashlib.sha256(f"{lineage}:{engine.dialect.name}:{fact}".encode()).hexdigest()[:16] for name, fact in found.items()
    }


def _facts(connection: Connection) -> dict[str, str]:
    dialect = connection.dialect
    if dialect.name == "postgresql":
        try:
            found = {"database": ":".join(map(str, connection.execute(_DATABASE).one()))}
            if connection.scalar(_MAY_ASK):
                found["server"] = str(connection.scalar(_CLUSTER))
        except DBAPIError:  # not a complete PostgreSQL
            connection.rollback()
            return {}
        return found
    if dialect.name in {"mysql", "mariadb"}:
        found = {"database": str(connection.scalar(select(func.database())))}
        if not getattr(dialect, "is_mariadb", False):  # MariaDB's server_uid and hostname are a container's
            found["server"] = str(connection.scalar(text("SELECT @@server_uuid")))
        return found
    if dialect.name == "sqlite":
        file = next((row[2] for row in connection.exec_driver_sql("PRAGMA database_list") if row[1] == "main"), "")
        return {"database": f"{os.path.realpath(file)}:{Path(file).stat().st_ino}"} if file else {}
    return {"database": str(connection.engine.url.database)}
