"""The walk over the rows of a column: every row once, for each kind of key and database, from any row on."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
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

from filerow import StoredObject
from filerow._execution.batch import iterate_async
from filerow._orm.references import FileColumn, column_named
from filerow.maintenance._rows import Row, count, read_locked, row_name, rows, write
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


def document(number: int) -> dict[str, Any]:
    return {"v": 1, "backend": "docs", "path": f"a/{number}", "filename": "cat.png"}


def filled(engine: Engine, name: str) -> FileColumn:
    """Fill one table, with a row without a file among the others, and return its column."""
    METADATA.create_all(engine)
    keys, values = KEYS[name]
    plain = Table(
        name, MetaData(), *(one._copy() for one in keys), Column("title", String(20)), Column("file", JSON(none_as_null=True))
    )
    with engine.begin() as connection:
        for number, value in enumerate(values):
            file = None if number == 1 else document(number)
            connection.execute(insert(plain).values(dict(zip([one.name for one in keys], value, strict=True)) | {"file": file}))
    return column_named(METADATA, f"{name}.file")


def walked(engine: Engine, column: FileColumn, **options: Any) -> list[Row]:
    return [row for batch in rows(engine, column, **options) for row in batch.rows]


def test_each_row_with_a_file_is_seen_once_whatever_its_key_and_a_walk_goes_on_after_any_batch(database: EmptyDatabase) -> None:
    engine = database.engine()
    for name, (_, values) in KEYS.items():
        column = filled(engine, name)
        expected = {value: document(number) for number, value in enumerate(values) if number != 1}
        whole = walked(engine, column, batch=2)
        assert {row.key: row.value for row in whole} == expected
        assert len(whole) == len(expected) == count(engine, column)
        for at, batch in enumerate(rows(engine, column, batch=1), 1):
            assert batch.cursor is not None
            assert walked(engine, column, resume=batch.cursor, batch=2) == whole[at:]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_walk_may_be_narrowed(database: EmptyDatabase) -> None:
    engine = database.engine()
    column = filled(engine, "number")
    where = TABLES["number"].c.id > 2
    assert [row.key for row in walked(engine, column, where=where, batch=1)] == [(5,), (7,), (11,)]
    assert count(engine, column, where) == 3


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_cursor_of_another_column_is_refused(database: EmptyDatabase) -> None:
    engine = database.engine()
    column = filled(engine, "number")
    for wrong in ('{"column": "text.file", "after": [1]}', '{"column": "number.file", "after": []}', "7", "x"):
        with pytest.raises(ValueError, match=r"no cursor of number\.file"):
            walked(engine, column, resume=wrong)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_an_asynchronous_walk_sees_the_same_and_holds_no_connection_between_its_pages(database: EmptyDatabase) -> None:
    column = filled(database.engine(), "composite")

    async def walk() -> list[Row]:
        engine = database.async_engine(pool_size=1, max_overflow=0)
        seen = []
        async for batch in iterate_async(rows(engine.sync_engine, column, batch=4)):
            async with engine.connect() as connection:  # waits for ever if the walk holds the only one
                assert (await connection.execute(select(func.count()).select_from(column.table))).scalar_one() == 16
            seen += batch.rows
        await engine.dispose()
        return seen

    assert asyncio.run(walk()) == walked(database.engine(), column)


def test_a_value_is_written_without_touching_anything_else_of_the_row(database: EmptyDatabase) -> None:
    engine = database.engine()
    column = filled(engine, "number")
    with engine.begin() as connection:
        assert read_locked(connection, column, (2,)) == document(2)
        write(connection, column, (2,), document(99))
        write(connection, column, (5,), None)
        assert read_locked(connection, column, (-3,)) == document(0)
        assert read_locked(connection, column, (1,)) is None
        assert read_locked(connection, column, (999,)) is None
    assert {row.key[0]: row.value["path"] for row in walked(engine, column)} == {-3: "a/0", 2: "a/99", 7: "a/4", 11: "a/5"}
    with engine.connect() as connection:
        assert set(connection.execute(select(TABLES["number"].c.title)).scalars()) == {None}


def test_a_row_is_named_by_its_key() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert row_name(column_named(METADATA, "number.file"), (3,)) == "number.file id=3"
    assert row_name(column_named(METADATA, "moment.file"), (at,)) == "moment.file at=2026-01-01 00:00:00+00:00"
