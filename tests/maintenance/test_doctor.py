"""The doctor finds each thing that would go wrong, and nothing where nothing would."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    create_engine,
    delete,
    event,
    text,
)

from filerow import StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.maintenance import Finding, doctor, doctor_async
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase
from tests.maintenance.models import Models, drop_triggers, engine_of, models

ONLY_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
ONLY_POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def _own_backends(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("FILEROW_SECRET", raising=False)
    yield
    storages.clear_backends()


@pytest.fixture
def healthy(database: EmptyDatabase, tmp_path: Path) -> Models:
    storages.register_backend(LocalBackend("docs", tmp_path / "files", fsync=False))
    return models(engine_of(database))


def test_nothing_is_found_where_nothing_is_wrong(healthy: Models, database: EmptyDatabase, tmp_path: Path) -> None:
    healthy.store()
    healthy.add_tombstones()  # due a moment ago
    limits = {"truncate-hidden"} if database.name == "mariadb" else set()
    assert set(healthy.found()) == limits

    async def run() -> list[Finding]:
        engine = database.async_engine()
        if database.name == "sqlite":
            event.listen(engine.sync_engine, "connect", lambda connection, _: connection.execute("PRAGMA recursive_triggers=ON"))
        try:
            return [finding async for progress in doctor_async(healthy.metadata, engine) for finding in progress.findings]
        finally:
            await engine.dispose()

    assert {finding.code for finding in asyncio.run(run())} == limits
    files = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
    assert len(files) == 1, "the probe is gone again"


@ONLY_SQLITE
def test_each_check_is_a_step(healthy: Models) -> None:
    steps = [progress.step for progress in doctor(healthy.metadata, healthy.engine)]
    database = ["tables", "columns", "database", "savepoints", "clock", "visibility", "triggers", "outbox"]
    assert steps == [*database, "backend docs", "files"]


# -- database --------------------------------------------------------------------------------------------------------------


def test_missing_triggers_and_indexes_are_found(healthy: Models) -> None:
    with healthy.engine.begin() as connection:
        drop_triggers(connection)
    found = healthy.found()
    assert found["trigger-missing"].where == "document"
    assert found["trigger-missing"].level == "error"
    assert set(found) <= {"trigger-missing", "index-missing", "truncate-hidden"}


def test_triggers_of_an_earlier_model_are_found(healthy: Models) -> None:
    kind = {"postgresql": "jsonb"}.get(healthy.engine.dialect.name, "json")
    with healthy.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE document ADD COLUMN cover {kind}"))
    Table("document", healthy.metadata, Column("cover", StoredObject("docs")), extend_existing=True)
    found = healthy.found()
    assert (found["trigger-outdated"].where, found["trigger-outdated"].level) == ("document", "warning")
    healthy.metadata.create_all(healthy.engine)
    assert set(healthy.found()) <= {"truncate-hidden"}


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_tables_of_a_translated_schema_are_found(database: EmptyDatabase) -> None:
    storages.register_backend(MemoryBackend("docs"))
    schema, metadata = f"tenant_{uuid.uuid4().hex[:12]}", MetaData(schema="any")
    document = Table("document", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    outbox = Outbox(metadata)
    engine = database.engine().execution_options(schema_translate_map={"any": schema})
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    try:
        metadata.create_all(engine)
        assert set(Models(engine, metadata, outbox, document).found()) <= {"truncate-hidden"}
        metadata.drop_all(engine)
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {schema}"))


@ONLY_POSTGRESQL
def test_partitioned_table_is_reported_with_what_partitions_hide(healthy: Models) -> None:
    Table(
        "archive", healthy.metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")),
        postgresql_partition_by="RANGE (id)",
    )  # fmt: skip
    healthy.metadata.create_all(healthy.engine)
    with healthy.engine.begin() as connection:
        connection.execute(text("CREATE TABLE archive_1 PARTITION OF archive FOR VALUES FROM (0) TO (10)"))
    found = healthy.found()
    assert set(found) == {"partition-hidden"}
    assert (found["partition-hidden"].where, found["partition-hidden"].level) == ("archive", "info")


@ONLY_SQLITE
def test_missing_tables_are_found_and_hide_nothing_else(healthy: Models) -> None:
    with healthy.engine.begin() as connection:
        connection.execute(text("DROP TABLE filerow_outbox_state"))
    assert set(healthy.found()) == {"outbox-missing"}
    healthy.metadata.drop_all(healthy.engine)
    found = healthy.found()
    assert found["table-missing"].where == "document"
    assert found["outbox-missing"].where == "filerow_outbox_state"
    assert found["check-failed"].where == "files"


@ONLY_SQLITE
def test_a_column_that_a_migration_forgot_is_found(healthy: Models) -> None:
    Table("document", healthy.metadata, Column("cover", StoredObject("docs")), extend_existing=True)
    assert healthy.found()["column-missing"].where == "document.cover"


@ONLY_POSTGRESQL
def test_a_column_of_json_and_not_jsonb_is_found(healthy: Models) -> None:
    with healthy.engine.begin() as connection:
        drop_triggers(connection)
        connection.execute(text("ALTER TABLE document ALTER COLUMN file TYPE json"))
    finding = healthy.found()["not-jsonb"]
    assert (finding.where, finding.advice) == ("document.file", "ALTER TABLE document ALTER COLUMN file TYPE jsonb")


def test_a_cascade_is_found_where_it_runs_no_triggers(database: EmptyDatabase) -> None:
    storages.register_backend(MemoryBackend("docs"))
    tables = models(engine_of(database), ondelete="CASCADE")
    found = tables.found()
    assert set(found) == ({"cascade-hidden", "truncate-hidden"} if database.name == "mariadb" else set())
    if found:
        assert found["cascade-hidden"].where == "document.folder_id"


@ONLY_POSTGRESQL
def test_sessions_and_subscriptions_without_triggers_are_found(healthy: Models, database: EmptyDatabase) -> None:
    subscription = "CREATE SUBSCRIPTION papers CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)"
    with healthy.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(subscription))
    healthy.engine = database.engine(connect_args={"options": "-c session_replication_role=replica"})
    try:
        found = healthy.found()
        assert set(found) == {"triggers-off", "replicated"}
        assert found["replicated"].where == "subscription papers"
    finally:
        with healthy.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ALTER SUBSCRIPTION papers SET (slot_name = NONE)"))
            connection.execute(text("DROP SUBSCRIPTION papers"))


@ONLY_SQLITE
def test_a_driver_that_begins_too_late_is_found_by_what_it_does(healthy: Models, database: EmptyDatabase) -> None:
    healthy.engine = create_engine(database.url)
    try:
        found = healthy.found()
        assert {code: finding.level for code, finding in found.items()} == {
            "savepoint-commits": "info",
            "replace-hidden": "info",
        }
        assert "isolation_level = None" in found["savepoint-commits"].advice
        assert set(healthy.found(is_own=False)) == {"engine-unknown"}
        with healthy.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM sqlite_temp_master WHERE name LIKE 'filerow%'")) == 0
    finally:
        healthy.engine.dispose()


def at_another_time(healthy: Models, ahead: float) -> dict[str, Finding]:
    """Return the findings where the database's clock differs by some seconds."""

    def julianday(_: str) -> float:
        return (time.time() + ahead) / 86_400 + 2_440_587.5  # as SQLite counts time

    event.listen(healthy.engine, "connect", lambda connection, _: connection.create_function("julianday", 1, julianday))
    healthy.engine.dispose()
    return healthy.found()


@ONLY_SQLITE
def test_clocks_that_differ_are_found(healthy: Models) -> None:
    def levels(ahead: float) -> list[tuple[str, str]]:
        return [(code, finding.level) for code, finding in at_another_time(healthy, ahead).items()]

    assert levels(0) == levels(-25) == levels(25) == []
    assert levels(-40) == levels(40) == [("clock-skew", "warning")]
    assert levels(-910) == levels(910) == [("clock-skew", "error")]
    behind = at_another_time(healthy, -100)["clock-skew"]
    assert re.match(r"the database's clock is (99|100|10\d) s behind this machine's", behind.message)


@ONLY_SQLITE
def test_a_database_of_another_time_is_found(healthy: Models) -> None:
    found = at_another_time(healthy, 120)
    assert set(found) == {"clock-skew"}
    assert re.match(r"the database's clock is 1[12]\d s ahead of this machine's", found["clock-skew"].message)


# -- outbox ----------------------------------------------------------------------------------------------------------------


@ONLY_SQLITE
def test_an_outbox_that_nobody_drains_is_found(healthy: Models) -> None:
    healthy.add_tombstones(3, late=1000)
    found = healthy.found()
    assert set(found) == {"drainer-not-running"}
    assert found["drainer-not-running"].message == "3 objects are due, and no drainer has ever run"
    with healthy.engine.begin() as connection:
        heartbeat = {"name": "drainer", "value": '{"interval": 30.0}', "updated_at": time.time()}
        connection.execute(healthy.outbox.state.insert().values(heartbeat))
    assert healthy.found() == {}
    with healthy.engine.begin() as connection:
        state = healthy.outbox.state
        connection.execute(state.update().values(updated_at=time.time() - 7200))
    assert healthy.found()["drainer-not-running"].message == "3 objects are due, and the drainer was last seen 2:00:00 ago"


@ONLY_SQLITE
def test_what_is_late_and_what_is_dead_is_found(healthy: Models) -> None:
    healthy.add_tombstones(2, late=3 * 3600)
    assert "is 3:00:0" in healthy.found()["outbox-late"].message
    with healthy.engine.begin() as connection:
        connection.execute(delete(healthy.outbox.table))
    healthy.add_tombstones(25, dead=1, attempts=10, last_error="AccessDenied")
    dead = [one for progress in doctor(healthy.metadata, healthy.engine) for one in progress.findings]
    assert {one.code for one in dead} == {"dead-letter"}
    assert len(dead) == 21
    assert (dead[0].path, dead[0].message) == ("document/file/0", "given up after 10 attempts: AccessDenied")
    assert dead[-1].message == "and 5 more"


@ONLY_SQLITE
def test_what_is_tried_again_later_is_not_late(healthy: Models) -> None:
    healthy.add_tombstones(late=5 * 3600, attempts=2, next_attempt=time.time() + 600)
    assert healthy.found() == {}


@ONLY_SQLITE
def test_columns_left_to_the_application_are_reported(database: EmptyDatabase) -> None:
    storages.register_backend(MemoryBackend("docs"))
    metadata = MetaData()
    Table(
        "document",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("file", StoredObject("docs", path=lambda request: request.token)),
        Column("other", StoredObject("docs", lifecycle=False)),
    )
    engine = database.engine()
    metadata.create_all(engine)
    findings = [finding for progress in doctor(metadata, engine) for finding in progress.findings]
    assert {(one.code, one.where, one.level) for one in findings} == {
        ("custom-path", "document.file", "info"),
        ("no-lifecycle", "document.other", "info"),
        ("no-outbox", "metadata", "info"),
    }
