"""What the tests of the drain have in common: a table with files, real objects in a directory, and tombstones of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import JSON, Column, Engine, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from filerow import StoredObject, storages
from filerow.outbox import Outbox
from tests.places import RECORD, know_places


class App(NamedTuple):
    """A database with an outbox, and a directory.

    Attributes:
        engine: The database.
        outbox: Its outbox.
        paper: A table with a file column and a list column.
        folder: Where the objects of backend ``docs`` are.
    """

    engine: Engine
    outbox: Outbox
    paper: Table
    folder: Path

    def put(self, *paths: str) -> None:
        """Make objects."""
        for path in paths:
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.encode())

    def there(self) -> set[str]:
        """Return the paths of all objects, looked at from outside."""
        return {str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file()} - {RECORD}

    def add_tombstones(self, *paths: str, age: float = 0, backend: str = "docs", **columns: Any) -> None:
        """Write a tombstone for each path, dropped ``age`` seconds ago."""
        rows = [{"backend": backend, "path": path, **columns} for path in paths]
        dropped = time.time() - 0.01 - age
        with self.engine.begin() as connection:
            for start in range(0, len(rows), 1000):
                connection.execute(insert(self.outbox.table).values(dropped_at=dropped), rows[start : start + 1000])

    def tombstones(self, *names: str) -> list[Any]:
        """Return columns of all tombstones, the oldest first; the path by default."""
        columns = self.outbox.table.c
        with self.engine.connect() as connection:
            rows = connection.execute(select(*(columns[name] for name in names or ["path"])).order_by(columns.id)).all()
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    def make_due(self) -> None:
        """Let the leases run out, and the time pass that failed tombstones wait for."""
        table = self.outbox.table
        with self.engine.begin() as connection:
            connection.execute(update(table).where(table.c.next_attempt.is_not(None)).values(next_attempt=1.0))

    def own(self, *paths: str, column: str = "file", key: int | None = None) -> None:
        """Insert a row for each path that names it, by plain SQL; a list column gets all of them in one row."""
        with self.engine.begin() as connection:
            for value in [[document(path) for path in paths]] if column == "pages" else map(document, paths):
                row = {column: value} if key is None else {"id": key, column: value}
                connection.execute(insert(plain(self.paper)).values(row))


def document(path: str, backend: str = "docs") -> dict[str, Any]:
    """Return the document of a file."""
    facts = {"filename": "a.txt", "content_type": "text/plain", "size": len(path), "checksum": None, "etag": None}
    return {"v": 1, "backend": backend, "path": path, **facts, "version_id": None, "last_modified": 1.0, "metadata": {}}


def plain(table: Table) -> Table:
    """Return the table with columns of plain JSON, to write documents as they are."""
    columns = [
        Column(column.name, JSON(none_as_null=True)) if isinstance(column.type, StoredObject) else column._copy()
        for column in table.columns
    ]
    return Table(table.name, MetaData(), *columns)


def paper_table(metadata: MetaData) -> Table:
    """Return the table of all these tests."""
    return Table(
        "paper",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("title", String(50)),
        Column("file", StoredObject("docs")),
        Column("pages", StoredObject("docs", multiple=True)),
    )


def make_app(engine: Engine, folder: Path, retention: timedelta = timedelta(0), **options: Any) -> App:
    """Return an empty database with its tables, and register a directory as ``docs``."""
    metadata = MetaData()
    paper = paper_table(metadata)
    outbox = Outbox(metadata, retention=retention, **options)
    metadata.create_all(engine)
    folder.mkdir(parents=True, exist_ok=True)
    if not storages.is_registered("docs"):
        storages.register_backend(f"file://{folder}", key="docs", fsync=False)
    know_places(metadata, engine)
    return App(engine, outbox, paper, folder)


def paths(count: int, prefix: str = "paper/file") -> list[str]:
    """Return ``count`` paths."""
    return [f"{prefix}/{number:05}.txt" for number in range(count)]


def written(document: Any) -> dict[str, Any]:
    """Return the JSON of a column, which some databases hand out as text."""
    found: dict[str, Any] = json.loads(document) if isinstance(document, str | bytes) else document
    return found


def first(values: Iterable[Any]) -> Any:
    """Return the first of some values."""
    return next(iter(values))


async def ends(engine: AsyncEngine) -> None:
    """Close an asynchronous engine in its own loop."""
    await engine.dispose()
