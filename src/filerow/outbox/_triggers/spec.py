"""What the triggers of a table are made from: only names, as in migrations."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy import Table
from sqlalchemy.engine import Dialect

from filerow._orm.column import StoredObject
from filerow._orm.references import quoted

Kind = Literal["insert", "update", "delete", "truncate", "index"]

CURRENT_VERSION = 2
"""Version of the triggers' SQL. Increase it with each change, so that older releases leave newer triggers alone."""

REFUSED = "filerow: the object is being deleted and cannot be given to a row again"

NAME = "@filerow-name@"
"""Stands in SQL for the name that carries the SQL's own hash."""

PATTERN = "filerow$_%"
"""For LIKE, with ``$`` as its escape: everything whose name we may have made."""

_OURS = re.compile(r"filerow_[0-9a-f]{10}_(insert|update|delete|truncate|index)_")
_NOTE = re.compile(r"/\* filerow (\{.*?\}) \*/", re.DOTALL)
LONGEST_BACKEND, LONGEST_PATH = 255, 1024
"""Characters that a tombstone has room for."""

_LONGEST = 63  # bytes of a name in PostgreSQL; MySQL allows 64 characters


@dataclass(frozen=True, slots=True)
class FileTable:
    """A table with file columns.

    Attributes:
        name: Its name.
        columns: The file columns whose files live and die with the rows; each shows if it holds a list.
        primary_key: Names of the primary key's columns.
        outbox: Name of the table of tombstones.
        schema: The table's schema, if it names one.
        outbox_schema: The outbox's schema, if it names one.
    """

    name: str
    columns: Mapping[str, bool]
    primary_key: Sequence[str] = ("id",)
    outbox: str = "filerow_outbox"
    schema: str | None = None
    outbox_schema: str | None = None

    @property
    def fullname(self) -> str:
        """The name with the schema before it."""
        return self.name if self.schema is None else f"{self.schema}.{self.name}"

    @property
    def note(self) -> str:
        """A comment in each trigger with what it was made from, for migrations."""
        values: dict[str, Any] = {"v": CURRENT_VERSION, "table": self.name, "columns": dict(self.columns)}
        values |= {"primary_key": list(self.primary_key), "outbox": self.outbox}
        if self.outbox_schema is not None:
            values["outbox_schema"] = self.outbox_schema
        return f"/* filerow {json.dumps(values).replace('*/', '*' + chr(92) + 'u002f')} */"


Key: TypeAlias = tuple[str | None, str]
"""A table's schema and name."""


@dataclass(frozen=True, slots=True)
class Existing:
    """The triggers and indexes of ours that a table has in the database.

    Attributes:
        names: Their names.
        spec: What its triggers were made from, if their notes say so.
        version: The highest version of the triggers' SQL; 0 if unknown.
        made_for: What the table was called when they were made.
    """

    names: frozenset[str]
    spec: FileTable | None
    version: int = 0
    made_for: str | None = None


class Part(NamedTuple):
    """One trigger or index of a table.

    Attributes:
        kind: What it is.
        name: Its name, which changes with its SQL.
        create: The statements that make it.
    """

    kind: Kind
    name: str
    create: tuple[str, ...]


class Quoted(NamedTuple):
    """A table's names as SQL, always quoted: one SQL and hash for all drivers."""

    table: str
    outbox: str
    columns: dict[str, str]
    keys: dict[str, str]

    @classmethod
    def of(cls, spec: FileTable, dialect: Dialect) -> Quoted:
        """Quote the names of a table."""
        return cls(
            prefix(dialect, spec.schema) + quoted(dialect, spec.name),
            prefix(dialect, spec.outbox_schema) + quoted(dialect, spec.outbox),
            {name: quoted(dialect, name) for name in spec.columns},
            {name: quoted(dialect, name) for name in spec.primary_key},
        )


def prefix(dialect: Dialect, schema: str | None) -> str:
    """Return what stands before a name in a schema."""
    return "" if schema is None else f"{quoted(dialect, schema)}."


def literal(text: str) -> str:
    """Return text as an SQL string; a backslash is doubled only by MySQL's module."""
    return "'" + text.replace("'", "''") + "'"


def fits(backend: str, path: str, length: str = "length") -> str:
    """Return the condition that a tombstone has room for an object's place.

    What is longer, or empty, was never an object of ours, and must not keep a row from being changed.
    """
    return f"{length}({backend}) BETWEEN 1 AND {LONGEST_BACKEND} AND {length}({path}) BETWEEN 1 AND {LONGEST_PATH}"


def make_part(spec: FileTable, dialect: Dialect, kind: Kind, *create: str) -> Part:
    """Give a trigger or an index its name and put that into its SQL."""
    hashed = hashlib.sha256("\n".join([spec.fullname, *create]).encode()).hexdigest()[:10]
    name = f"filerow_{hashed}_{kind}_{spec.name}".encode()[:_LONGEST].decode(errors="ignore")
    return Part(kind, name, tuple(sql.replace(NAME, quoted(dialect, name)) for sql in create))


def kind_of(name: str) -> Kind | None:
    """Return what a trigger or index of ours is by its name; ``None`` for others."""
    found: Any = _OURS.match(name)
    return found.group(1) if found else None


def spec_of(
    table: Table, outbox: Table, dialect: Dialect, schemas: Mapping[str | None, str | None] | None = None
) -> FileTable | None:
    """Return what a table's triggers are made from; ``None`` without owned files."""
    schemas = schemas or {}
    columns = {
        column.name: column.type.multiple
        for column in table.columns
        if isinstance(column.type, StoredObject) and column.type.lifecycle
    }
    if not columns:
        return None
    schema, outbox_schema = schemas.get(table.schema, table.schema), schemas.get(outbox.schema, outbox.schema)
    if schema is not None and outbox_schema is None and dialect.name in {"mysql", "mariadb"}:
        outbox_schema = dialect.default_schema_name  # a trigger takes names without a database for its own one's
    key = tuple(column.name for column in table.primary_key.columns)
    return FileTable(table.name, columns, key, outbox.name, schema, outbox_schema)


def existing_in(sources: Mapping[str, str], schema: str | None, table: str) -> Existing:
    """Return a table's triggers and indexes, by their names and notes."""
    notes = [note for source in sources.values() if {"columns", "primary_key", "outbox"} <= (note := _note_in(source)).keys()]
    if not notes:
        return Existing(frozenset(sources), None)
    note = max(notes, key=lambda note: note.get("v", 0))  # what a later release adds to it is passed over
    spec = FileTable(table, note["columns"], note["primary_key"], note["outbox"], schema, note.get("outbox_schema"))
    return Existing(frozenset(sources), spec, note.get("v", 0), note.get("table"))


def _note_in(source: str) -> dict[str, Any]:
    found = _NOTE.search(source)
    note: dict[str, Any] = {} if found is None else json.loads(found.group(1))
    return note
