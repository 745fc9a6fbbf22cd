"""The tables that have a column of ours, wherever the suite has created them, and what they name."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, NullPool, Table, create_engine, event, exc, inspect
from sqlalchemy.orm import Session

PREFIX: Final = "_zz_"
"""What the names of our columns begin with; the table's name follows, for a joined row has one of each.

SQLAlchemy's tests compare no attribute that begins with an underscore.
"""


@dataclass(frozen=True, order=True)
class Place:
    """One column of ours in one database.

    Attributes:
        schema: "" for the default one.
        table: Its name.
    """

    schema: str
    table: str

    @property
    def column(self) -> str:
        """The name of our column."""
        return PREFIX + self.table


@dataclass(frozen=True)
class Named:
    """A document in a row."""

    place: Place
    path: str
    size: int


class Tables:
    """Which tables are where, and what is in them."""

    def __init__(self) -> None:
        self._created: WeakKeyDictionary[Engine, set[Place]] = WeakKeyDictionary()
        event.listen(Table, "after_create", self._on_create)

    def _on_create(self, table: Table, connection: Connection, **given: object) -> None:
        options = connection.get_execution_options()
        schemas = options.get("schema_translate_map") or {}
        place = Place(schemas.get(table.schema, table.schema) or "", str(table.name))
        if place.column in table.columns:
            self._created.setdefault(connection.engine, set()).add(place)
        else:  # another test had one of this name
            for engine, places in self._created.items():
                if _database(engine) == _database(connection.engine):
                    places.discard(place)

    def places(self, engine: Engine) -> list[Place]:
        """Return what an engine, or another one that shares its database, has created."""
        key = _database(engine)
        found = [places for other, places in self._created.items() if _database(other) == key]
        return sorted({place for places in found for place in places})

    def engines(self) -> Iterator[Engine]:
        """Yield one engine for each database."""
        yield from {_database(engine): engine for engine in list(self._created)}.values()

    def read(self) -> list[Named]:
        """Return what the committed rows of all databases name."""
        named: list[Named] = []
        files: dict[tuple[str, str], Place] = {}
        for engine in self.engines():
            with engine.connect() as connection:
                for schema in {place.schema for place in self.places(engine)}:
                    file, there = _file_of(connection, schema), set(_tables_in(connection, schema))
                    for place in self.places(engine):
                        if place.schema != schema or place.table not in there:
                            continue
                        if file:
                            files[file, place.table] = Place("", place.table)
                        else:
                            named += read_place(connection, place)
        for (file, _), place in files.items():
            named += _read_file(file, place)
        return named

    def share(self, session: Session) -> None:
        """Sabotage: have all rows of a table name one object."""
        session.flush()
        connection = session.connection()
        for place in self.places(connection.engine):
            table, column = _quoted(connection, place)
            with contextlib.suppress(exc.DBAPIError), connection.begin_nested():
                connection.exec_driver_sql(f"UPDATE {table} SET {column} = (SELECT max({column}) FROM {table})")


def _database(engine: Engine) -> object:
    """Return what engines of one database have in common."""
    file = engine.url.database or ":memory:"
    if engine.dialect.name == "sqlite" and (file == ":memory:" or "mode=memory" in file):
        return engine.pool
    return engine.url.render_as_string(hide_password=False)


def _tables_in(connection: Connection, schema: str) -> Iterable[str]:
    try:
        return inspect(connection).get_table_names(schema or None)
    except exc.SQLAlchemyError:  # SQLite: the schema was a database attached to another connection
        return ()


def _file_of(connection: Connection, schema: str) -> str:
    """Return the file of one of SQLite's schemas; "" in memory and for other databases.

    Engines may name one file in two ways, and a connection may have a file open that a test has removed and made again.
    """
    if connection.dialect.name != "sqlite":
        return ""
    cursor = connection.connection.cursor()
    try:
        cursor.execute("PRAGMA database_list")
        return next((file for _, name, file in cursor.fetchall() if name == (schema or "main")), "")
    finally:
        cursor.close()


def _read_file(file: str, place: Place) -> list[Named]:
    """Return what the rows of a table in a file of SQLite's name, as somebody sees them who opens it now."""
    if not Path(file).exists():
        return []
    engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)
    with engine.connect() as connection:
        return read_place(connection, place) if place.table in _tables_in(connection, "") else []


def read_place(connection: Connection, place: Place) -> list[Named]:
    """Return what the rows of one table name; nothing if it has no column of ours after all."""
    table, column = _quoted(connection, place)
    statement = f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"
    cursor = connection.connection.cursor()  # not seen by the suite's listeners
    try:
        cursor.execute(statement)
        return list(_parse(place, [row[0] for row in cursor.fetchall()]))
    finally:
        cursor.close()


def _quoted(connection: Connection, place: Place) -> tuple[str, str]:
    quote = connection.dialect.identifier_preparer.quote
    table = quote(place.table)
    return f"{quote(place.schema)}.{table}" if place.schema else table, quote(place.column)


def _parse(place: Place, values: Iterable[Any]) -> Iterator[Named]:
    for value in values:
        document = json.loads(value) if isinstance(value, str | bytes) else value
        if isinstance(document, dict) and "path" in document:
            yield Named(place, document["path"], document["size"])
