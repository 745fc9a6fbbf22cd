"""The databases of the matrix: engines for the library, and plain DBAPI connections for the check."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.cases.models import DELETE_ORDER, FILE_COLUMNS, Base
from tests.databases import explicit_begin
from tests.servers._database import Database

Row = tuple[str, list[dict[str, Any]]]
"""A table and the documents of one of its rows."""


class SQLite:
    """One file per case."""

    name = "sqlite"

    def __init__(self, path: Path, template: Path) -> None:
        self.path = path
        shutil.copyfile(template, path)

    def engine(self, **options: Any) -> Engine:
        return explicit_begin(create_engine(f"sqlite:///{self.path}", connect_args={"timeout": 60}, **options))

    def async_engine(self, **options: Any) -> AsyncEngine:
        engine = create_async_engine(f"sqlite+aiosqlite:///{self.path}", connect_args={"timeout": 60}, **options)
        explicit_begin(engine.sync_engine)
        return engine

    def empty(self) -> None:
        connection = sqlite3.connect(self.path)
        try:
            connection.executescript("PRAGMA synchronous=OFF;" + ";".join(f"DELETE FROM {table}" for table in DELETE_ORDER))
        finally:
            connection.close()

    def select(self, query: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def rows(self) -> list[Row]:
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            found = []
            for table, columns in FILE_COLUMNS.items():
                for row in connection.execute(f"SELECT {', '.join(columns)} FROM {table}"):
                    found.append((table, _documents(json.loads(value) for value in row if value is not None)))
            return found
        finally:
            connection.close()


class PostgreSQL:
    """One database per worker, emptied before each case."""

    name = "postgresql"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = psycopg.connect(
            host=database.host, port=database.port, user=database.user, dbname=database.name, autocommit=True
        )
        self._connection.execute("SET lock_timeout = '5s'")

    def engine(self, **options: Any) -> Engine:
        return create_engine(self._database.url("psycopg"), **options)

    def async_engine(self, **options: Any) -> AsyncEngine:
        return create_async_engine(self._database.url("asyncpg"), **options)

    def empty(self) -> None:
        self._connection.execute(";".join(f"DELETE FROM {table}" for table in DELETE_ORDER).encode())

    def select(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.encode()).fetchall()

    def rows(self) -> list[Row]:
        found = []
        for table, columns in FILE_COLUMNS.items():
            for row in self._connection.execute(f"SELECT {', '.join(columns)} FROM {table}".encode()):
                found.append((table, _documents(value for value in row if value is not None)))
        return found

    def close(self) -> None:
        self._connection.close()


def _documents(values: Any) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    for value in values:
        assert value is not None, "a column without a file holds SQL NULL, not JSON null"
        documents += value if isinstance(value, list) else [value]
    return documents


def make_template(path: Path) -> Path:
    """Make an SQLite file with all tables, to be copied for each case."""
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path
