"""The walk over the rows of a column: every row once, for each kind of key and database, from any row on."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Date,
    DateTime,
    Engine,
    Enum,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    func,
    insert,
    select,
)

from filerow import StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.maintenance import Progress, check, check_async, ls, migrate
from tests.databases import EmptyDatabase


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


METADATA = MetaData()
KEYS: dict[str, tuple[list[Column[Any]], Sequence[tuple[Any, ...]]]] = {
    "number": ([Column("id", Integer, primary_key=True)], [(number,) for number in (-3, 1, 2, 5, 7, 11)]),
    "text": ([Column("id", String(20), primary_key=True)], [("Ärger",), ("a'b",), ("b",), ("雪",), ("z z",)]),
    "uuid": ([Column("id", Uuid, primary_key=True)], [(UUID(int=number << 90 | number),) for number in range(1, 6)]),
    "moment": (
        [Column("at", DateTime, primary_key=True)],
        [(datetime(2026, 1, day, 3, 4, 5),) for day in range(1, 6)],  # noqa: DTZ001 - as in most databases
    ),
    "composite": (
        [
            Column("region", String(5), primary_key=True),
            Column("day", Date, primary_key=True),
            Column("price", Numeric(6, 2), primary_key=True),
            Column("colour", Enum(Colour), primary_key=True),
        ],
        [
            (region, date(2026, 1, day), Decimal(price), colour)
            for region in ("eu", "us")
            for day in (1, 2)
            for price in ("1.50", "2.25")
            for colour in Colour
        ],
    ),
}
TABLES = {
    name: Table(name, METADATA, *keys, Column("title", String(20), onupdate="touched"), Column("file", StoredObject("docs")))
    for name, (keys, _) in KEYS.items()
}


def document(number: int, backend: str = "docs") -> dict[str, Any]:
    return {"v": 1, "backend": backend, "path": f"a/{number}", "filename": "cat.png"}


@pytest.fixture(autouse=True)
def docs() -> Iterator[MemoryBackend]:
    """An empty store, in which every walk misses the object of each row that it sees."""
    storages.clear_backends()
    backend = storages.register_backend(MemoryBackend("docs"))
    storages.register_backend(MemoryBackend("former"))
    yield backend
    storages.clear_backends()


def filled(engine: Engine, name: str, backends: Mapping[int, str] = MappingProxyType({})) -> str:
    """Fill one table, with a row without a file among the others, and return its column's name."""
    METADATA.create_all(engine)
    keys, values = KEYS[name]
    plain = Table(
        name, MetaData(), *(one._copy() for one in keys), Column("title", String(20)), Column("file", JSON(none_as_null=True))
    )
    with engine.begin() as connection:
        for number, value in enumerate(values):
            file = None if number == 1 else document(number, backends.get(number, "docs"))
            connection.execute(insert(plain).values(dict(zip([one.name for one in keys], value, strict=True)) | {"file": file}))
    return f"{name}.file"


class Seen(NamedTuple):
    """A row that a walk has seen."""

    row: str
    path: str


def missed(progress: Progress) -> list[Seen]:
    assert {finding.code for finding in progress.findings} <= {"missing"}
    return [Seen(finding.where, finding.path) for finding in progress.findings]


def walked(engine: Engine, column: str, **options: Any) -> list[Seen]:
    return [seen for progress in check(METADATA, engine, columns=[column], **options) for seen in missed(progress)]


@pytest.mark.one_in(3)
def test_walk_sees_each_row_with_a_file_once_and_can_be_resumed(database: EmptyDatabase) -> None:
    engine = database.engine()
    for name, (keys, values) in KEYS.items():
        column = filled(engine, name)
        expected = {value: f"a/{number}" for number, value in enumerate(values) if number != 1}
        listed = {tuple(file.row[key.name] for key in keys): file.path for file in ls(METADATA, engine, column)}
        assert listed == expected
        whole = walked(engine, column, batch=2)
        assert sorted(seen.path for seen in whole) == sorted(expected.values())
        assert [seen.path for seen in whole] == [file.path for file in ls(METADATA, engine, column)]
        for at, progress in enumerate(check(METADATA, engine, columns=[column], batch=1), 1):
            assert (progress.done, progress.total) == (at, len(expected))
            assert progress.cursor is not None
            assert walked(engine, column, resume=progress.cursor, batch=2) == whole[at:]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_walk_may_be_narrowed(database: EmptyDatabase) -> None:
    """Of a migration only the rows whose files are elsewhere are read."""
    engine = database.engine()
    column = filled(engine, "number", {3: "former", 4: "former", 5: "former"})
    steps = list(migrate(METADATA, engine, column, to="docs", batch=1, dry_run=True))
    assert [step.done for step in steps] == [1, 2, 3]
    assert {step.total for step in steps} == {3}
    assert [json.loads(step.cursor or "")["after"] for step in steps] == [[5], [7], [11]]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_cursor_of_another_column_is_refused(database: EmptyDatabase) -> None:
    engine = database.engine()
    column = filled(engine, "number")
    for wrong in ('{"column": "text.file", "after": [1]}', '{"column": "number.file", "after": []}', "7", "x"):
        with pytest.raises(ValueError, match=r"not a cursor of number\.file"):
            list(migrate(METADATA, engine, column, resume=wrong))


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_async_walk_sees_the_same_without_holding_connections(database: EmptyDatabase) -> None:
    column = filled(database.engine(), "composite")

    async def walk() -> list[Seen]:
        engine = database.async_engine(pool_size=1, max_overflow=0)
        seen = []
        async for progress in check_async(METADATA, engine, columns=[column], batch=4):
            async with engine.connect() as connection:  # waits forever if the walk holds the only one
                rows = select(func.count()).select_from(TABLES["composite"])
                assert (await connection.execute(rows)).scalar_one() == 16
            seen += missed(progress)
        await engine.dispose()
        return seen

    assert asyncio.run(walk()) == walked(database.engine(), column, batch=4)


def test_value_is_written_without_touching_the_rest_of_the_row(database: EmptyDatabase, docs: MemoryBackend) -> None:
    engine = database.engine()
    column = filled(engine, "number", {2: "former"})
    storages.get_backend("former").put("a/2", b"2")
    for number in (0, 4, 5):
        docs.put(f"a/{number}", b"")
    list(migrate(METADATA, engine, column, to="docs"))  # of the row 2
    list(check(METADATA, engine, columns=[column], repair="null"))  # of the row 5, whose object is missing
    found = {file.row["id"]: file for file in ls(METADATA, engine, column)}
    moved = found.pop(2)
    assert (moved.backend, docs.read(moved.path)) == ("docs", b"2")
    assert {key: file.path for key, file in found.items()} == {-3: "a/0", 7: "a/4", 11: "a/5"}
    with engine.connect() as connection:
        assert set(connection.execute(select(TABLES["number"].c.title)).scalars()) == {None}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_row_is_named_by_its_key(database: EmptyDatabase) -> None:
    engine = database.engine()
    assert [seen.row for seen in walked(engine, filled(engine, "number"))][:2] == ["number.file id=-3", "number.file id=2"]
    assert walked(engine, filled(engine, "moment"))[0].row == "moment.file at=2026-01-01 03:04:05"
    assert walked(engine, filled(engine, "composite"))[0].row == (
        "composite.file region=eu day=2026-01-01 price=1.50 colour=Colour.RED"
    )
