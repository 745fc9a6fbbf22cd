"""Rows of transactions that are still open cannot be seen, so a sweep waits for what those have written (P13)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Connection, Engine, Integer, MetaData, Table, create_engine, insert, select

from filerow import StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.maintenance import Finding, sweep
from tests.databases import EmptyDatabase
from tests.generated import generated
from tests.places import know_places

SERVERS = pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
GRACE = timedelta(seconds=0.5)
PAPER = Table("paper", MetaData(), Column("id", Integer, primary_key=True), Column("file", JSON(none_as_null=True)))


def models() -> MetaData:
    metadata = MetaData()
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    return metadata


@pytest.fixture
def docs() -> Iterator[MemoryBackend]:
    storages.clear_backends()
    backend = MemoryBackend("docs")
    storages.register_backend(backend)
    yield backend
    storages.clear_backends()


@pytest.fixture
def engine(database: EmptyDatabase, docs: MemoryBackend) -> Engine:
    engine = database.engine()
    models().create_all(engine)
    know_places(models(), engine)
    return engine


def put(docs: MemoryBackend) -> str:
    path = generated("paper", "file")
    docs.put(path, b"x")
    return path


def write(connection: Connection, path: str) -> None:
    connection.execute(insert(PAPER), {"file": {"v": 1, "backend": "docs", "path": path, "filename": "cat.png"}})


def swept(engine: Engine, **options: Any) -> list[Finding]:
    time.sleep(GRACE.total_seconds() + 0.1)
    steps = sweep(models(), engine, grace=GRACE, delete=True, full=True, **options)
    return [finding for step in steps for finding in step.findings]


@SERVERS
@pytest.mark.parametrize("is_prepared", [True, False], ids=["prepared", "open"])
def test_files_of_a_transaction_older_than_the_grace_are_kept(engine: Engine, docs: MemoryBackend, *, is_prepared: bool) -> None:
    with engine.connect() as connection:
        transaction: Any = connection.begin_twophase() if is_prepared else connection.begin()
        path = put(docs)
        write(connection, path)
        if is_prepared:
            transaction.prepare()
        found = swept(engine)
        transaction.commit()
    assert [one.code for one in found] == ["open-transaction"]
    assert docs.exists(path)
    assert not swept(engine)


@SERVERS
def test_transaction_of_another_database_is_seen(engine: Engine, docs: MemoryBackend, database: EmptyDatabase) -> None:
    other = database.engine()
    with other.connect() as connection:
        connection.begin()
        path = put(docs)
        write(connection, path)
        empty = create_engine("sqlite://")
        models().create_all(empty)
        know_places(models(), empty, also=[other])
        assert [one.code for one in swept(empty, also=[other])] == ["open-transaction"]
        empty.dispose()
    assert docs.exists(path)


@SERVERS
def test_transaction_that_has_only_read_delays_nothing(engine: Engine, docs: MemoryBackend) -> None:
    path = put(docs)
    with engine.connect() as connection:
        connection.execute(select(PAPER)).all()
        assert [one.code for one in swept(engine)] == ["orphan"]
    assert not docs.exists(path)
