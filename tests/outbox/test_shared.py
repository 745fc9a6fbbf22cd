"""Tenants with tables of their own and one outbox: nothing is deleted until all of them are named (P13)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, Table, create_engine, insert, text

from filerow import StoredObject, storages
from filerow.backends.base import StorageBackend
from filerow.exceptions import MaintenanceRefusedError
from filerow.maintenance import drain, sweep
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase

LIVE = [f"paper/file/0190000000007000800000000000000{n}.png" for n in (1, 2)]
ORPHAN = "paper/file/0190000000007000800000000000000b.png"
PAPER = Table("paper", MetaData(), Column("id", Integer, primary_key=True), Column("file", JSON(none_as_null=True)))


@pytest.fixture
def docs(tmp_path: Path) -> Iterator[StorageBackend]:
    storages.clear_backends()
    backend = storages.register_backend(f"file://{tmp_path}/files", key="docs", fsync=False)
    for path in (*LIVE, ORPHAN):
        backend.put(path, b"x")
    yield backend
    storages.clear_backends()


def by_search_path(database: EmptyDatabase) -> tuple[MetaData, list[Engine]]:
    """The outbox lies in a schema that all tenants' search paths end with."""
    metadata, engine = MetaData(), database.engine()
    _paper(metadata)
    Outbox(metadata, retention=timedelta(0))
    run(engine, "CREATE SCHEMA shared", "CREATE SCHEMA one", "CREATE SCHEMA two")
    common = create_engine(database.url, connect_args={"options": "-c search_path=shared"})
    for name in ("filerow_outbox", "filerow_outbox_state"):
        metadata.tables[name].create(common)
    common.dispose()
    return metadata, [create_engine(database.url, connect_args={"options": f"-c search_path={one},shared"}) for one in TENANTS]


def by_translate_map(database: EmptyDatabase) -> tuple[MetaData, list[Engine]]:
    """The outbox names no schema, and the tenants' tables one that stands for theirs."""
    metadata, engine = MetaData(), database.engine()
    _paper(metadata, schema="tenant")
    Outbox(metadata, retention=timedelta(0))
    run(engine, "CREATE SCHEMA one", "CREATE SCHEMA two")
    return metadata, [engine.execution_options(schema_translate_map={"tenant": one}) for one in TENANTS]


TENANTS = ("one", "two")


def _paper(metadata: MetaData, schema: str | None = None) -> None:
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")), schema=schema)


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def document(path: str) -> dict[str, Any]:
    return {"v": 1, "backend": "docs", "path": path, "filename": "cat.png"}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("how", [by_search_path, by_translate_map])
@pytest.mark.parametrize("work", ["sweep", "drain"])
def test_a_tenant_that_shares_the_outbox_must_be_named(
    database: EmptyDatabase, docs: StorageBackend, how: Any, work: str
) -> None:
    metadata, engines = how(database)
    outbox = metadata.tables["filerow_outbox"]
    for engine, schema, path in zip(engines, TENANTS, LIVE, strict=True):
        with engine.begin() as connection:
            metadata.tables["paper" if how is by_search_path else "tenant.paper"].create(connection, checkfirst=False)
        metadata.create_all(engine)
        paper = PAPER.to_metadata(MetaData(), schema=schema)
        with engine.begin() as connection:
            connection.execute(insert(paper).values(file=document(path)))
    if work == "drain":
        with engines[0].begin() as connection:
            connection.execute(insert(outbox), [{"backend": "docs", "path": path, "dropped_at": 1.0} for path in (*LIVE, ORPHAN)])

    def worked(also: list[Engine]) -> None:
        for _ in range(2):  # the first run of a place deletes nothing
            if work == "drain":
                list(drain(metadata, engines[0], also=also))
            else:
                list(sweep(metadata, engines[0], delete=True, full=True, grace=timedelta(0), also=also))

    with pytest.raises(MaintenanceRefusedError, match=r"'two\.paper': .*same outbox"):
        worked([])
    assert {info.path for info in docs.list("paper")} == {*LIVE, ORPHAN}
    worked(engines[1:])
    assert {info.path for info in docs.list("paper")} == set(LIVE)
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_tenant_in_another_database_must_be_named(database: EmptyDatabase, docs: StorageBackend) -> None:
    engine = database.engine()
    here = engine.url.database
    tenants = [f"{here}_{name}" for name in TENANTS]
    metadata = MetaData()
    _paper(metadata, schema="tenant")
    Outbox(metadata, retention=timedelta(0))
    engines = [engine.execution_options(schema_translate_map={"tenant": one}) for one in tenants]
    run(engine, *(f"CREATE DATABASE {one}" for one in tenants))
    try:
        for one, tenant, path in zip(engines, tenants, LIVE, strict=True):
            metadata.create_all(one)
            with one.begin() as connection:
                connection.execute(insert(PAPER.to_metadata(MetaData(), schema=tenant)).values(file=document(path)))
        with pytest.raises(MaintenanceRefusedError, match=r"_two\.paper': .*same outbox"):
            list(sweep(metadata, engines[0], delete=True, full=True, grace=timedelta(0)))
        for _ in range(2):
            list(sweep(metadata, engines[0], delete=True, full=True, grace=timedelta(0), also=engines[1:]))
        assert {info.path for info in docs.list("paper")} == set(LIVE)
    finally:
        run(engine, *(f"DROP DATABASE {one}" for one in tenants))
