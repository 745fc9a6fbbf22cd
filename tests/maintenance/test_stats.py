"""Rows, files and bytes are counted exactly, whatever documents there are, on each database; ls lists what there is."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, String, Table, insert

from filerow import StoredObject
from filerow.maintenance import ColumnStats, Listed, OutboxStats, ls, ls_async, stats, stats_async
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase

METADATA = MetaData()
DOCUMENT = Table(
    "document",
    METADATA,
    Column("kind", String(20), primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("file", StoredObject("docs")),
    Column("pages", StoredObject("docs", multiple=True)),
)
OUTBOX = Outbox(METADATA)


def ours(path: str, size: int | None = 10, *, backend: str = "docs", checksum: str | None = "sha256:00") -> dict[str, Any]:
    return {"v": 1, "backend": backend, "path": path, "filename": "cat.png", "size": size, "checksum": checksum, "metadata": {}}


ALCHEMY = {"backend": "docs", "filename": "alchemy.png", "content_type": "image/png", "size": 7}
SQLALCHEMY_FILE = {"path": "old/abc-1", "file_id": "abc-1", "upload_storage": "old", "filename": "cat.png", "size": 5}
LARGE = 5_000_000_000  # more than 32 bits

FILES = [
    ours("a"),
    ours("b", LARGE),
    ours("c", None, checksum=None),
    ours("d", backend="other"),
    ALCHEMY,
    SQLALCHEMY_FILE,
    None,
    None,
]
PAGES = [
    [ours("e"), ours("f", backend="other")],
    [ours("g"), ours("h"), ALCHEMY],
    [{"no": "document"}],
    [],
    None,
    None,
    None,
    None,
]

EXPECTED_FILE = [
    ColumnStats("document.file", rows=2),
    ColumnStats("document.file", "docs", rows=4, files=4, size=LARGE + 17, without_size=1, without_checksum=2, legacy=1),
    ColumnStats("document.file", "old", rows=1, files=1, size=5, without_checksum=1, legacy=1),
    ColumnStats("document.file", "other", rows=1, files=1, size=10),
]
EXPECTED_PAGES = [
    ColumnStats("document.pages", rows=6, unreadable=1),
    ColumnStats("document.pages", "docs", rows=2, files=4, size=37, without_checksum=1, legacy=1),
    ColumnStats("document.pages", "other", rows=1, files=1, size=10),
]


@pytest.fixture
def rows(database: EmptyDatabase) -> Engine:
    engine = database.engine()
    METADATA.create_all(engine)
    kinds: list[Any] = [
        Column(one.name, JSON(none_as_null=True)) if isinstance(one.type, StoredObject) else one._copy()
        for one in DOCUMENT.columns
    ]
    plain = Table("document", MetaData(), *kinds)
    with engine.begin() as connection:
        values = [
            {"kind": "x", "id": n, "file": file, "pages": list_} for n, (file, list_) in enumerate(zip(FILES, PAGES, strict=True))
        ]
        connection.execute(insert(plain), values)
        now = time.time()
        for days, more in [(8, {}), (9, {"next_attempt": now + 60, "attempts": 1}), (1, {}), (20, {"dead": 1})]:
            note = {"backend": "docs", "path": f"document/file/{days}", "dropped_at": now - days * 86_400}
            connection.execute(insert(OUTBOX.table).values({**note, **more}))
    return engine


def test_everything_is_counted(rows: Engine, database: EmptyDatabase) -> None:
    *columns, outbox = stats(METADATA, rows)
    assert columns == EXPECTED_FILE + EXPECTED_PAGES
    assert isinstance(outbox, OutboxStats)
    assert (outbox.due, outbox.waiting, outbox.dead) == (1, 2, 1)
    assert outbox.oldest == pytest.approx(9 * 86_400, abs=60)

    async def run() -> list[Any]:
        engine = database.async_engine()
        try:
            files = [file async for file in ls_async(METADATA, engine, "document.file", limit=2)]
            return [[item async for item in stats_async(METADATA, engine)][:-1], [file.path for file in files]]
        finally:
            await engine.dispose()

    assert asyncio.run(run()) == [columns, ["a", "b"]]


def test_counting_by_reading_equals_counting_by_sql(rows: Engine) -> None:
    as_lists = MetaData()  # whose documents no database counts by itself
    Table("document", as_lists, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs", multiple=True)))
    assert list(stats(as_lists, rows)) == EXPECTED_FILE


def test_empty_column_is_reported_too(database: EmptyDatabase) -> None:
    engine = database.engine()
    METADATA.create_all(engine)
    assert list(stats(METADATA, engine)) == [
        ColumnStats("document.file"),
        ColumnStats("document.pages"),
        OutboxStats(due=0, waiting=0, dead=0, oldest=None),
    ]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_files_are_listed_in_the_order_of_their_rows(rows: Engine) -> None:
    files = list(ls(METADATA, rows, "document.file"))
    assert [(file.row["id"], file.backend, file.path) for file in files] == [
        (0, "docs", "a"),
        (1, "docs", "b"),
        (2, "docs", "c"),
        (3, "other", "d"),
        (4, "docs", "alchemy.png"),
        (5, "old", "abc-1"),
    ]
    assert files[1] == Listed({"kind": "x", "id": 1}, "docs", "b", LARGE, "application/octet-stream", "cat.png")
    pages = [file.path for file in ls(METADATA, rows, "document.pages", limit=5)]
    assert pages == ["e", "f", "g", "h", "alchemy.png"]
    assert [file.path for file in ls(METADATA, rows, "document.pages", prefix="al")] == ["alchemy.png"]
    assert list(ls(METADATA, rows, "document.file", limit=0)) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_connection_is_held_while_somebody_looks_at_the_list(rows: Engine) -> None:
    files = ls(METADATA, rows, "document.file")
    assert [file.path for file in itertools.islice(files, 2)] == ["a", "b"]
    assert rows.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_cannot_be_listed_says_why(database: EmptyDatabase) -> None:
    engine = database.engine()
    with pytest.raises(LookupError, match=r"there are: document\.file, document\.pages"):
        ls(METADATA, engine, "document.fil")
    with pytest.raises(ValueError, match="limit must be 0 or more, not -1"):
        ls(METADATA, engine, "document.file", limit=-1)
    metadata = MetaData()
    Table("document", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    with pytest.raises(ValueError, match="without an outbox"):
        ls(metadata, engine, "document.file", removed=True)
