"""The doctor finds each thing that would go wrong, and nothing where nothing would."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    create_engine,
    delete,
    event,
    insert,
    text,
)

from filerow import FileObject, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.maintenance import Finding, doctor, doctor_async
from filerow.maintenance._doctor_backends import _signs
from filerow.maintenance._doctor_database import skew_findings
from filerow.outbox import Outbox
from filerow.outbox._clock import now_of
from filerow.outbox._triggers import drop_all
from tests.databases import EmptyDatabase
from tests.servers import seaweedfs
from tests.servers._s3 import S3Server
from tests.servers.azurite import AzuriteServer

ONLY_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
ONLY_POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def _own_backends(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("FILEROW_SECRET", raising=False)
    yield
    storages.clear_backends()


@dataclass
class Models:
    """Tables with an outbox, in a database."""

    engine: Engine
    metadata: MetaData
    outbox: Outbox
    document: Table

    def found(self, **options: Any) -> dict[str, Finding]:
        """Return what the doctor finds, by code."""
        return {
            finding.code: finding for progress in doctor(self.metadata, self.engine, **options) for finding in progress.findings
        }

    def store(self) -> FileObject:
        """Store a file for a row."""
        file = FileObject("docs", "cat.txt", content=b"meow").save()
        with self.engine.begin() as connection:
            connection.execute(insert(self.document).values(file=file, folder_id=None))
        return file

    def bury(self, count: int = 1, *, late: float = 0.0, **values: Any) -> None:
        """Write tombstones that are due since so many seconds."""
        with self.engine.begin() as connection:
            dropped = now_of(connection) - self.outbox.retention.total_seconds() - late
            rows = [{"backend": "docs", "path": f"document/file/{n}", "dropped_at": dropped, **values} for n in range(count)]
            connection.execute(insert(self.outbox.table), rows)


def models(engine: Engine, *, ondelete: str | None = None, **column: Any) -> Models:
    metadata = MetaData()
    Table("folder", metadata, Column("id", Integer, primary_key=True))
    document = Table(
        "document",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("folder_id", Integer, ForeignKey("folder.id", ondelete=ondelete)),
        Column("file", StoredObject("docs", **column)),
        Column("pages", StoredObject("docs", multiple=True)),
    )
    outbox = Outbox(metadata, retention=timedelta(days=1))
    metadata.create_all(engine)
    return Models(engine, metadata, outbox, document)


def engine_of(database: EmptyDatabase) -> Engine:
    """Return an engine as the documents advise."""
    engine = database.engine()
    if database.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA recursive_triggers=ON"))
    return engine


@pytest.fixture
def healthy(database: EmptyDatabase, tmp_path: Path) -> Models:
    storages.register_backend(LocalBackend("docs", tmp_path / "files", fsync=False))
    return models(engine_of(database))


def test_nothing_is_found_where_nothing_is_wrong(healthy: Models, database: EmptyDatabase, tmp_path: Path) -> None:
    healthy.store()
    healthy.bury()  # due a moment ago
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
    assert steps == ["tables", "columns", "database", "savepoints", "clock", "triggers", "outbox", "backend docs", "files"]


# -- database --------------------------------------------------------------------------------------------------------------


def test_missing_triggers_and_indexes_are_found(healthy: Models) -> None:
    with healthy.engine.begin() as connection:
        drop_all(connection, healthy.outbox.table, [healthy.document])
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
def test_tables_of_a_translated_schema_are_looked_for_where_they_are(database: EmptyDatabase) -> None:
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
def test_a_partitioned_table_is_told_what_its_partitions_hide(healthy: Models) -> None:
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
        drop_all(connection, healthy.outbox.table, [healthy.document])
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
            "savepoint-commits": "error",
            "replace-hidden": "info",
        }
        assert "isolation_level = None" in found["savepoint-commits"].advice
        assert set(healthy.found(is_own=False)) == {"engine-unknown"}
        with healthy.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM sqlite_temp_master WHERE name LIKE 'filerow%'")) == 0
    finally:
        healthy.engine.dispose()


def test_clocks_that_differ_are_found() -> None:
    def levels(theirs: float) -> list[tuple[str, str]]:
        return [(finding.code, finding.level) for finding in skew_findings("its clock", theirs, 1000.0, 1002.0)]

    assert levels(1001.0) == levels(975.0) == levels(1030.0) == []
    assert levels(960.0) == levels(1040.0) == [("clock-skew", "warning")]
    assert levels(90.0) == levels(1903.0) == [("clock-skew", "error")]
    (finding,) = skew_findings("its clock", 900.0, 1000.0, 1002.0)
    assert finding.message.startswith("its clock is 100 s behind this machine's")


@ONLY_SQLITE
def test_a_database_and_a_store_of_another_time_are_found(healthy: Models) -> None:
    ahead = 120 / 86_400
    event.listen(
        healthy.engine, "connect", lambda connection, _: connection.create_function("julianday", 1, lambda _: julian_now() + ahead)
    )
    healthy.engine.dispose()
    found = healthy.found()
    assert set(found) == {"clock-skew"}
    assert found["clock-skew"].message.startswith("the database's clock is 1")
    storages.clear_backends()
    storages.register_backend(OfYesterday("docs"))
    skew = healthy.found()["clock-skew"]
    assert (skew.level, skew.backend) == ("error", "docs")
    assert skew.message.startswith("its clock is 86")


# -- outbox ----------------------------------------------------------------------------------------------------------------


@ONLY_SQLITE
def test_an_outbox_that_nobody_drains_is_found(healthy: Models) -> None:
    healthy.bury(3, late=1000)
    found = healthy.found()
    assert set(found) == {"drainer-not-running"}
    assert found["drainer-not-running"].message == "3 objects are due, and no drainer has ever run"
    with healthy.engine.begin() as connection:
        healthy.outbox.write_state(connection, "drainer", {"interval": 30.0})
    assert healthy.found() == {}
    with healthy.engine.begin() as connection:
        state = healthy.outbox.state
        connection.execute(state.update().values(updated_at=state.c.updated_at - 7200))
    assert healthy.found()["drainer-not-running"].message == "3 objects are due, and the drainer was last seen 2:00:00 ago"


@ONLY_SQLITE
def test_what_is_late_and_what_is_dead_is_found(healthy: Models) -> None:
    healthy.bury(2, late=3 * 3600)
    assert "is 3:00:0" in healthy.found()["outbox-late"].message
    with healthy.engine.begin() as connection:
        connection.execute(delete(healthy.outbox.table))
    healthy.bury(25, dead=1, attempts=10, last_error="AccessDenied")
    dead = [one for progress in doctor(healthy.metadata, healthy.engine) for one in progress.findings]
    assert {one.code for one in dead} == {"dead-letter"}
    assert len(dead) == 21
    assert (dead[0].path, dead[0].message) == ("document/file/0", "given up after 10 attempts: AccessDenied")
    assert dead[-1].message == "and 5 more"


@ONLY_SQLITE
def test_what_is_tried_again_later_is_not_late(healthy: Models) -> None:
    with healthy.engine.connect() as connection:
        later = now_of(connection) + 600
    healthy.bury(late=5 * 3600, attempts=2, next_attempt=later)
    assert healthy.found() == {}


@ONLY_SQLITE
def test_what_filerow_leaves_to_the_application_is_told(database: EmptyDatabase) -> None:
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


# -- backends --------------------------------------------------------------------------------------------------------------


def julian_now() -> float:
    """Return the time as SQLite counts it."""
    return time.time() / 86_400 + 2_440_587.5


class OfYesterday(MemoryBackend):
    """A store whose clock is a day behind."""

    def _head(self, path: str) -> Any:
        info = super()._head(path)
        return info._replace(last_modified=time.time() - 86_400)


@dataclass
class Denying(MemoryBackend):
    """A store whose credentials may not do some things."""

    denied: set[str] = field(default_factory=set)

    def __init__(self, key: str, *denied: str) -> None:
        super().__init__(key)
        self.denied = set(denied)

    def _deny(self, verb: str) -> None:
        if verb in self.denied:
            raise PermissionError(verb)

    def _put(self, path: str, content: Any, options: Any) -> Any:
        self._deny("write")
        return super()._put(path, content, options)

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        self._deny("read")
        return super()._read(path, start, end)

    def _list(self, prefix: str, start_after: str) -> Iterator[Any]:
        self._deny("list")
        return super()._list(prefix, start_after)

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        self._deny("delete")
        return super()._delete(paths)


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Callable[..., Models]]:
    """Tables in a SQLite database of its own, without a finding of theirs."""
    database = EmptyDatabase("sqlite", tmp_path / "rows.db")
    with database._open:
        yield lambda **column: models(engine_of(database), **column)


@pytest.mark.parametrize("verb", ["write", "read", "list", "delete"])
def test_what_a_backend_may_not_do_is_found(tables: Callable[..., Models], verb: str) -> None:
    backend = Denying("docs", verb)
    storages.register_backend(backend)
    found = tables().found()
    assert set(found) == {f"cannot-{verb}"}
    assert found[f"cannot-{verb}"].advice
    left = [info.path for info in MemoryBackend.list(backend, "")] if verb != "list" else []
    assert len(left) == (verb == "delete")
    if left:
        assert left[0] in found["cannot-delete"].advice


def test_a_store_that_may_not_delete_is_found_by_what_it_answers(
    tables: Callable[..., Models], azurite_server: AzuriteServer
) -> None:
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    container = azurite_server.make_container()
    token = generate_container_sas(
        azurite_server.account_name,
        container,
        account_key=azurite_server.account_key,
        permission=ContainerSasPermissions(read=True, write=True, create=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    options = {"account_name": azurite_server.account_name, "sas_token": token, "endpoint": azurite_server.endpoint}
    storages.register_backend(ObstoreBackend("docs", f"az://{container}/papers/", **options))
    found = tables().found()
    assert "cannot-delete" in found
    assert set(found) <= {"cannot-delete", "cannot-sign"}
    [left] = azurite_server.keys(container)
    assert left.removeprefix("papers/") in found["cannot-delete"].advice


def test_a_store_that_does_not_answer_is_asked_for_one_file_only(tables: Callable[..., Models]) -> None:
    storages.register_backend(MemoryBackend("docs"))
    healthy = tables()
    for _ in range(3):
        healthy.store()
    storages.clear_backends()
    nobody = {"aws_endpoint": "http://127.0.0.1:9", "aws_access_key_id": "x", "aws_secret_access_key": "y"}
    storages.register_backend(ObstoreBackend("docs", "s3://papers/", retry_config={"max_retries": 0}, **nobody))
    findings = [finding for progress in doctor(healthy.metadata, healthy.engine) for finding in progress.findings]
    assert [one.code for one in findings] == ["cannot-write", "cannot-list", "unreadable"]
    assert "is it running" in findings[0].advice


def test_a_backend_that_nobody_registered_is_found(tables: Callable[..., Models]) -> None:
    storages.register_backend(MemoryBackend("docs"))
    healthy = tables()
    healthy.store()
    storages.clear_backends()
    storages.register_backend(MemoryBackend("other"))
    findings = [finding for progress in doctor(healthy.metadata, healthy.engine) for finding in progress.findings]
    assert [(one.code, one.backend, one.where) for one in findings] == [
        ("backend-missing", "docs", "document.file, document.pages"),
        ("backend-missing", "docs", "document.file"),
    ]


def test_files_that_are_gone_are_found_among_the_first(tables: Callable[..., Models]) -> None:
    backend = MemoryBackend("docs")
    storages.register_backend(backend)
    healthy = tables()
    healthy.store()
    gone = healthy.store()
    backend.delete(gone.path)
    finding = healthy.found()["missing"]
    assert (finding.where, finding.backend, finding.path) == ("document.file", "docs", gone.path)


def test_two_keys_of_one_place_are_found(tables: Callable[..., Models], tmp_path: Path) -> None:
    for key, folder in [("docs", "files"), ("again", "files"), ("below", "files/below")]:
        storages.register_backend(LocalBackend(key, tmp_path / folder, fsync=False))
    found = tables().found()
    assert set(found) == {"same-place"}
    assert "'docs' and 'again'" in found["same-place"].message


def test_a_missing_secret_is_found(tables: Callable[..., Models]) -> None:
    storages.register_backend(MemoryBackend("docs", base_url="/files"))
    healthy = tables()
    assert set(healthy.found()) == {"secret-missing"}
    assert healthy.found()["secret-missing"].level == "error"
    findings = [one for progress in doctor(healthy.metadata, healthy.engine, direct=["docs"]) for one in progress.findings]
    assert [(one.code, one.level) for one in findings] == [("secret-missing", "error"), ("secret-missing", "info")]


def test_plain_http_is_told_unless_it_stays_on_this_machine() -> None:
    def codes(endpoint: str) -> list[str]:
        backend = ObstoreBackend("docs", "s3://b/", aws_endpoint=endpoint, aws_access_key_id="x", aws_secret_access_key="y")
        return [finding.code for finding in _signs(backend)]

    assert codes("http://files.example") == ["plain-http"]
    assert codes("https://files.example") == codes("http://127.0.0.1:9000") == codes("http://localhost:9000") == []


def s3(server: S3Server, bucket: str, *, reader: bool = False) -> ObstoreBackend:
    keys = (seaweedfs.READER_ACCESS_KEY, seaweedfs.READER_SECRET_KEY) if reader else (server.access_key, server.secret_key)
    options = {"aws_endpoint": server.endpoint, "aws_access_key_id": keys[0], "aws_secret_access_key": keys[1]}
    return ObstoreBackend("docs", f"s3://{bucket}/papers/", **options)


def test_s3_is_asked_for_what_it_lets_credentials_and_browsers_do(
    tables: Callable[..., Models], s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILEROW_SECRET", "a-secret-of-the-tests")
    bucket = s3_server.make_bucket()
    storages.register_backend(s3(s3_server, bucket))
    healthy = tables()
    assert healthy.found(direct=["docs"]) == {}
    rule = {"AllowedOrigins": ["https://app.example"], "AllowedMethods": ["PUT", "POST"], "AllowedHeaders": ["*"]}
    s3_server.client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    assert healthy.found(direct=["docs=https://app.example"]) == {}
    refused = healthy.found(direct=["docs=https://evil.example"])
    assert {code: finding.level for code, finding in refused.items()} == {"cors": "error"}
    assert {code: one.level for code, one in healthy.found(direct=["docs"]).items()} == {"cors-unknown": "info"}
    assert s3_server.keys(bucket) == set()
    storages.unregister_backend("docs")
    storages.register_backend(s3(s3_server, bucket, reader=True))
    assert set(healthy.found()) == {"cannot-write"}
