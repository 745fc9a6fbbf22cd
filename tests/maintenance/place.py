"""What the tests of sweep and check have in common: tables of every kind of column, a store, and objects of any age."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import JSON, Column, Integer, MetaData, String, Table, insert

from filerow import StoredObject
from filerow.maintenance import Finding, Progress
from filerow.outbox import Outbox
from tests.cases.stores import LocalStore, Store
from tests.databases import EmptyDatabase
from tests.generated import generated
from tests.places import know_places

T = TypeVar("T")

HOUR = 3600
DAY = 24 * HOUR


def make_tables(*, outbox: bool = False) -> MetaData:
    metadata = MetaData()
    Table(
        "document",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("file", StoredObject("docs")),
        Column("pages", StoredObject("docs", multiple=True)),
        Column("title", String(20), onupdate="touched"),
    )
    Table("spread", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs", shards=4)))
    Table("elsewhere", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("other")))
    Table("kept", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs", lifecycle=False)))
    Table("own", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs", path=lambda r: r.token)))
    if outbox:
        Outbox(metadata)
    return metadata


def old_path(
    table: str = "document", column: str = "file", age: float = 3 * DAY, shards: int = 0, extension: str = ".png"
) -> str:
    """Return a path as our generator made it ``age`` seconds ago."""
    return generated(table, column, extension, age=age, shards=shards)


def document(path: str, backend: str = "docs", **facts: Any) -> dict[str, Any]:
    return {"v": 1, "backend": backend, "path": path, "filename": "cat.png", "content_type": "image/png", **facts}


@dataclass
class Place:
    """A database with tables, and a store."""

    database: EmptyDatabase
    store: Store
    metadata: MetaData = field(default_factory=make_tables)

    def __post_init__(self) -> None:
        self.engine = self.database.engine()
        self.metadata.create_all(self.engine)
        know_places(self.metadata, self.engine)

    def put(self, path: str, backend: str = "docs", content: bytes = b"content", age: float = 3 * DAY) -> str:
        """Write an object; in a directory, of any age."""
        self.store.write(backend, path, content)
        if isinstance(self.store, LocalStore):
            moment = time.time() - age
            os.utime(self.store.backends[backend].root / path, (moment, moment))
        return path

    def row(self, column: str, value: Any) -> int:
        """Insert a row with a document, or with a list of them, as it is, and return its key."""
        table, _, name = column.partition(".")
        columns = [Column(one.name, JSON(none_as_null=True)) for one in self.metadata.tables[table].c if one.name == name]
        plain = Table(table, MetaData(), Column("id", Integer, primary_key=True), *columns)
        with self.engine.begin() as connection:
            return int(connection.execute(insert(plain).values({name: value})).inserted_primary_key[0])

    def paths(self) -> set[str]:
        """Return the paths of all objects of all backends."""
        return {path for _, path in self.store.everything()}

    def in_a_loop(self, twin: Callable[..., AsyncIterator[T]], **options: Any) -> list[T]:
        """Run the asynchronous twin of something to its end."""

        async def run() -> list[T]:
            engine = self.database.async_engine()
            try:
                return [progress async for progress in twin(self.metadata, engine, **options)]
            finally:
                await engine.dispose()

        return asyncio.run(run())


def findings(steps: Iterator[Progress] | list[Progress]) -> list[Finding]:
    return [finding for progress in steps for finding in progress.findings]


def reported(steps: Iterator[Progress] | list[Progress], code: str) -> set[str]:
    """Return the paths of all findings of one kind."""
    return {finding.path for finding in findings(steps) if finding.code == code}
