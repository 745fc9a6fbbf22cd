"""A look at rows and bytes that Filerow has no part in."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import psycopg

    from tests.servers._s3 import S3Server

Row = tuple[str, dict[str, Any]]


class Rows(Protocol):
    """The table of documents."""

    def all(self) -> list[Row]: ...
    def execute(self, statement: str) -> None: ...
    def remove(self) -> None: ...


class Objects(Protocol):
    """The store."""

    def all(self) -> dict[str, bytes]: ...
    def remove(self) -> None: ...


@dataclass
class SQLite:
    """A table in a file."""

    file: Path

    def all(self) -> list[Row]:
        """Return name and document of every row."""
        with closing(sqlite3.connect(self.file)) as connection:
            return [(name, json.loads(document)) for name, document in connection.execute("SELECT name, file FROM document")]

    def execute(self, statement: str) -> None:
        """Execute and commit a statement."""
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute(statement)

    def remove(self) -> None:
        """Remove every row."""
        self.execute("DELETE FROM document")


@dataclass
class Postgres:
    """A table on a server."""

    connection: psycopg.Connection[Any]

    def all(self) -> list[Row]:
        """Return name and document of every row."""
        return list(self.connection.execute("SELECT name, file FROM document"))

    def execute(self, statement: str) -> None:
        """Execute and commit a statement."""
        self.connection.execute(statement.encode())

    def remove(self) -> None:
        """Remove every row."""
        self.execute("DELETE FROM document")


@dataclass
class Folder:
    """Objects in a directory."""

    root: Path

    def all(self) -> dict[str, bytes]:
        """Return every object's bytes by its path."""
        return {file.relative_to(self.root).as_posix(): file.read_bytes() for file in self._files()}

    def remove(self) -> None:
        """Remove every object."""
        for file in self._files():
            file.unlink()

    def _files(self) -> list[Path]:
        return [file for file in self.root.rglob("*") if file.is_file()]


@dataclass
class Bucket:
    """Objects on S3."""

    server: S3Server
    bucket: str
    prefix: str

    def all(self) -> dict[str, bytes]:
        """Return every object's bytes by its path."""
        get = self.server.client.get_object
        return {key.removeprefix(self.prefix): get(Bucket=self.bucket, Key=key)["Body"].read() for key in self._keys()}

    def remove(self) -> None:
        """Remove every object."""
        for key in self._keys():
            self.server.client.delete_object(Bucket=self.bucket, Key=key)

    def _keys(self) -> set[str]:
        return self.server.keys(self.bucket, self.prefix)


@dataclass
class Raw:
    """Both."""

    rows: Rows
    objects: Objects
