"""Whose place is it? Copies, restored dumps, moved servers and drainers that meet in one place (P13)."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, Table, create_engine, insert, inspect, select, text
from sqlalchemy.exc import SAWarning
from sqlalchemy.pool import StaticPool

from filerow import FileObject, StoredObject, storages
from filerow.backends.base import ObjectInfo, PutOptions
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import InvalidPathError, MaintenanceRefusedError, UnsupportedOperationError
from filerow.maintenance import Finding, drain, migrate, sweep, sweep_async
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase, empty_database, make_engine
from tests.generated import generated
from tests.places import RECORD, know_places
from tests.servers.counting import CountingProxy

TABLE = "filerow_places"
DAY = 86_400
SOON = timedelta(seconds=0.05)
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
BOTH = pytest.mark.parametrize("work", ["sweep", "drain"])


class Killed(KeyboardInterrupt):
    """What ends a process."""


class Watched(LocalBackend):
    """A directory that counts requests, and may be killed, held up or without conditions when its record is written."""

    def __init__(self, key: str, root: Path) -> None:
        super().__init__(key, root, fsync=False)
        self.requests: list[str] = []
        self.kill = ""
        self.has_conditions = True
        self.hold: dict[str, threading.Event] = {}

    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        self.requests.append("put")
        if path == RECORD and options.create_only and not self.has_conditions:
            raise UnsupportedOperationError("this store overwrites")
        if self.kill == "before":
            raise Killed
        held = self.hold.get(threading.current_thread().name)
        if held is not None and not held.wait(20):
            raise TimeoutError
        info = super()._put(path, content, options)
        if self.kill == "after":
            raise Killed
        return info

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        self.requests.append("read")
        return super()._read(path, start, end)


class Deployment:
    """One database with rows, one of which names a file; what it calls ``docs`` is registered while it works.

    Attributes:
        live: The path that a row names.
        lost: A path that no row names, or that has a tombstone.
    """

    def __init__(self, database: EmptyDatabase, *, outbox: bool = True, engine: Engine | None = None) -> None:
        self.database = database
        self.metadata = MetaData()
        columns = Column("id", Integer, primary_key=True), Column("file", StoredObject("docs"))
        Table("paper", self.metadata, *columns)
        self.outbox = Outbox(self.metadata, retention=timedelta(0)) if outbox else None
        self.engine = engine or database.engine()
        self.metadata.create_all(self.engine)

    def own(self) -> str:
        """Store a file that a row names."""
        path = put()
        with self.engine.begin() as connection:
            connection.execute(insert(PLAIN).values(file={"v": 1, "backend": "docs", "path": path, "filename": "a"}))
        return path

    def lose(self, work: str) -> str:
        """Store a file that no row names, with a tombstone for a drain."""
        path = put()
        if work == "drain":
            assert self.outbox is not None
            with self.engine.begin() as connection:
                connection.execute(insert(self.outbox.table).values(backend="docs", path=path, dropped_at=1.0))
        return path

    def run(self, work: str, **options: Any) -> list[Finding]:
        """Sweep or drain, and return what was found, orphans aside."""
        if work == "drain":
            steps = drain(self.metadata, self.engine, **options)
        else:
            options = {"delete": True, **options}
            steps = sweep(self.metadata, self.engine, grace=timedelta(0), full=True, allow_many=True, **options)
        return [one for step in steps for one in step.findings if one.code != "orphan"]

    def restored(self, database: EmptyDatabase, engine: Engine | None = None) -> Deployment:
        """Write everything that is in this database, table by table, into another one."""
        other = Deployment(database, outbox=self.outbox is not None, engine=engine)
        tables = MetaData()
        with warnings.catch_warnings(action="ignore", category=SAWarning):  # of our indexes on expressions
            tables.reflect(self.engine)
        tables.create_all(other.engine, checkfirst=True)
        with self.engine.connect() as source, other.engine.begin() as target:
            for table in tables.sorted_tables:
                rows = [row._asdict() for row in source.execute(select(table))]
                if rows:
                    target.execute(insert(table), rows)
        return other

    def age(self, seconds: float = DAY) -> None:
        """Let time pass for what the database remembers of the place."""
        state = self.outbox.state.name if self.outbox is not None else TABLE
        with self.engine.begin() as connection:
            connection.execute(text(f"UPDATE {state} SET updated_at = updated_at - {seconds} WHERE name LIKE 'place:%'"))


PLAIN = Table("paper", MetaData(), Column("id", Integer, primary_key=True), Column("file", JSON(none_as_null=True)))


def put() -> str:
    path = generated("paper", "file", ".txt")
    storages.get_backend("docs").put(path, b"x")
    return path


def there() -> set[str]:
    return {info.path for info in storages.get_backend("docs").list()} - {RECORD}


def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(storages.get_backend("docs").read(RECORD))
    return found


@pytest.fixture(params=["local", "s3"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A place."""
    if request.param == "local":
        (tmp_path / "docs").mkdir()
        yield storages.register_backend(Watched("docs", tmp_path / "docs"))
    else:
        server = request.getfixturevalue("s3_server")
        yield storages.register_backend(
            ObstoreBackend(
                "docs",
                f"s3://{server.shared_bucket}/{server.make_prefix()}",
                aws_endpoint=server.endpoint,
                aws_access_key_id=server.access_key,
                aws_secret_access_key=server.secret_key,
            )
        )
    storages.clear_backends()


LOCAL = pytest.mark.parametrize("bucket", ["local"], indirect=True)


@pytest.fixture
def second(database: EmptyDatabase, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EmptyDatabase]:
    """Another empty database of the same kind."""
    folder = tmp_path / "second"
    folder.mkdir()
    with empty_database(database.name, folder, request) as one:
        yield one


def until(true: Any) -> None:
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.01)


def refused(deployment: Deployment, work: str, code: str, **options: Any) -> str:
    with pytest.raises(MaintenanceRefusedError, match="take-over") as caught:
        deployment.run(work, **options)
    assert caught.value.code == code
    return str(caught.value)


# -- the first run ---------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("outbox", [True, False], ids=["outbox", "plain"])
@pytest.mark.one_in(3)
def test_first_run_writes_a_record_and_deletes_nothing(database: EmptyDatabase, bucket: Any, work: str, *, outbox: bool) -> None:
    deployment = Deployment(database, outbox=outbox or work == "drain")
    live, lost = deployment.own(), deployment.lose(work)
    [first] = deployment.run(work)
    assert (first.code, first.level, "next run deletes" in first.advice) == ("first-run", "warning", True)
    assert there() == {live, lost}
    assert deployment.run(work) == []
    assert there() == {live}
    assert "rows" not in json.dumps(record()), "no name of a database is in the clear"


@SQLITE
@LOCAL
def test_first_sweep_of_an_empty_place_has_nothing_to_say(database: EmptyDatabase, bucket: Watched) -> None:
    deployment = Deployment(database)
    assert deployment.run("sweep") == []
    lost = deployment.lose("sweep")
    assert deployment.run("sweep") == []
    assert lost not in there()


@BOTH
@pytest.mark.parametrize("conditions", [True, False], ids=["conditions", "no_conditions"])
@pytest.mark.one_in(3)
def test_of_two_databases_that_meet_at_first_use_one_wins(
    database: EmptyDatabase, second: EmptyDatabase, bucket: Any, work: str, *, conditions: bool
) -> None:
    if not conditions and not isinstance(bucket, Watched):
        bucket = storages.get_backend("docs")
    elif isinstance(bucket, Watched):
        bucket.has_conditions = conditions
    both = [Deployment(database), Deployment(second)]
    files = {deployment.own() for deployment in both} | {deployment.lose(work) for deployment in both}
    start = threading.Barrier(2)

    def meet(deployment: Deployment) -> str:
        start.wait(20)
        try:
            return ",".join(found.code for found in deployment.run(work))
        except MaintenanceRefusedError as error:
            return error.code

    with ThreadPoolExecutor(2) as pool:
        reported = sorted(pool.map(meet, both))
    assert there() == files, "nobody deletes in the first run"
    if conditions or not isinstance(bucket, Watched):
        assert reported == ["another-database", "first-run"]
    codes = []
    for deployment in both:
        try:
            deployment.run(work)
        except MaintenanceRefusedError as error:
            codes.append(error.code)
    assert codes == ["another-database"]


# -- copies ----------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.one_in(2)
def test_a_restored_dump_is_refused_after_the_original_has_run(
    database: EmptyDatabase, second: EmptyDatabase, bucket: Any, work: str
) -> None:
    original = Deployment(database)
    know_places(original.metadata, original.engine)
    copy = original.restored(second)
    stored_since = original.own()
    copy.lose(work)
    original.lose(work)
    original.age()
    original.run(work)
    left = there()
    message = refused(copy, work, "another-database")
    assert all(part in message for part in ("last swept", record()["by"], record()["at"], "this database is", "deletes=False"))
    assert stored_since in left == there()
    [dry] = copy.run("sweep", delete=False)
    assert (dry.code, dry.level) == ("another-database", "error")
    before = record()
    assert copy.run(work, take_over=True) == []
    assert record()["lineage"] != before["lineage"]
    refused(original, "sweep", "another-database")
    original.lose("drain")
    refused(original, "drain", "another-database")
    copy.age()
    assert copy.run("sweep") == []


@pytest.mark.one_in(2)
def test_a_restored_dump_is_refused_before_the_original_has_run(
    database: EmptyDatabase, second: EmptyDatabase, bucket: Any
) -> None:
    original = Deployment(database)
    know_places(original.metadata, original.engine)
    copy = original.restored(second)
    stored_since = original.own()
    refused(copy, "sweep", "another-server")
    assert stored_since in there()
    assert original.run("sweep") == []


@SQLITE
@LOCAL
def test_a_copy_that_migrates_leaves_the_originals_objects(
    database: EmptyDatabase, second: EmptyDatabase, bucket: Any, tmp_path: Path
) -> None:
    """Without an outbox they would go at once."""
    original = Deployment(database, outbox=False)
    know_places(original.metadata, original.engine)
    live = original.own()
    assert original.run("sweep") == []
    copy = original.restored(second)
    storages.register_backend(f"file://{tmp_path}/new", key="new", fsync=False)
    with pytest.raises(MaintenanceRefusedError) as caught:
        list(migrate(copy.metadata, copy.engine, "paper.file", to="new"))
    assert caught.value.code in {"another-database", "another-server"}
    assert live in there()
    list(migrate(original.metadata, original.engine, "paper.file", to="new"))
    assert live not in there()


@SQLITE
@LOCAL
def test_indistinguishable_copy_gets_the_original_refused(database: EmptyDatabase, bucket: Watched) -> None:
    """What P13 cannot guard: hints alike (in memory there are none), and the copy is the first to sweep."""
    original = Deployment(database, engine=create_engine("sqlite://", poolclass=StaticPool))
    know_places(original.metadata, original.engine)
    copy = original.restored(database, create_engine("sqlite://", poolclass=StaticPool))
    assert copy.run("sweep") == []
    refused(original, "sweep", "another-database")
    for deployment in (original, copy):
        deployment.engine.dispose()


@SQLITE
@LOCAL
def test_cloned_volume_belongs_to_the_clone_once_taken_over(
    database: EmptyDatabase, second: EmptyDatabase, bucket: Watched, tmp_path: Path
) -> None:
    original = Deployment(database)
    original.own()
    know_places(original.metadata, original.engine)
    clone = original.restored(second)
    shutil.copytree(tmp_path / "docs", tmp_path / "clone")
    storages.clear_backends()
    storages.register_backend(LocalBackend("docs", tmp_path / "clone", fsync=False))
    refused(clone, "sweep", "another-server")
    assert clone.run("sweep", take_over=True) == []
    refused(original, "sweep", "another-database")
    storages.clear_backends()
    storages.register_backend(bucket)
    refused(clone, "sweep", "another-database")
    assert original.run("sweep") == []


@SQLITE
@LOCAL
def test_a_server_that_moved_refuses_a_sweep_and_warns_a_drain(
    database: EmptyDatabase, bucket: Watched, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = Deployment(database)
    assert deployment.outbox is not None
    know_places(deployment.metadata, deployment.engine)
    deployment.engine.dispose()
    database.file.rename(tmp_path / "moved.db")
    moved = Deployment(database, engine=make_engine(f"sqlite:///{tmp_path / 'moved.db'}"))
    assert moved.outbox is not None
    refused(moved, "sweep", "another-server")
    for _ in range(2):
        lost = moved.lose("drain")
        moved.age()
        [warning] = moved.run("drain")
        assert (warning.code, warning.level, lost in there()) == ("another-server", "warning", False)
        moved.lose("drain")
        assert moved.outbox.drain(moved.engine).deleted == 1
    assert len([message for message in caplog.messages if "another server" in message]) == 1
    refused(moved, "sweep", "another-server")
    assert moved.run("sweep", take_over=True) == []
    assert moved.run("sweep") == []
    moved.engine.dispose()


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
@LOCAL
def test_another_connection_is_not_another_server(database: EmptyDatabase, bucket: Watched) -> None:
    deployment = Deployment(database)
    assert deployment.run("sweep") == []
    known = record()["hints"]
    assert known.keys() == ({"database", "server"} if database.name == "postgresql" else {"database"})
    other = Deployment(database, engine=create_engine(database.url))
    assert other.run("sweep") == []
    assert record()["hints"] == known
    other.run("sweep", take_over=True)
    assert not set(record()["hints"].values()) & set(known.values()), "they mean nothing elsewhere"
    other.engine.dispose()


@SQLITE
@LOCAL
@BOTH
def test_databases_that_share_a_place_name_each_other(
    database: EmptyDatabase, second: EmptyDatabase, bucket: Watched, work: str
) -> None:
    one, other = Deployment(database), Deployment(second)
    live = {one.own(), other.own()}
    know_places(one.metadata, one.engine, also=[other.engine])
    for deployment, partner in [(one, other), (other, one), (one, other)]:
        deployment.lose(work)
        deployment.age()
        assert deployment.run(work, also=[partner.engine]) == []
        assert there() == live
    other.age()
    one.lose(work)
    assert one.run(work, also=[other.engine]) == []
    other.lose("drain")
    refused(other, work, "another-database")


# -- crashes and years -----------------------------------------------------------------------------------------------------


@SQLITE
@LOCAL
@BOTH
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "first"])
def test_a_run_killed_at_its_record_leaves_a_place_to_go_on_with(
    database: EmptyDatabase, bucket: Watched, work: str, moment: str, *, known: bool
) -> None:
    deployment = Deployment(database)
    if known:
        know_places(deployment.metadata, deployment.engine)
    live, lost = deployment.own(), deployment.lose(work)
    for _ in range(3):
        if known:
            deployment.age()
        bucket.kill = moment
        with pytest.raises(Killed):
            deployment.run(work)
        bucket.kill = ""
        if not known and moment == "after":
            break  # it is known from now on
        assert there() == {live, lost}
    deployment.age()
    for _ in range(2):
        deployment.run(work)
    assert there() == {live}


@SQLITE
@LOCAL
def test_workers_that_write_in_any_order_raise_no_alarm(database: EmptyDatabase, bucket: Watched) -> None:
    deployment = Deployment(database)
    know_places(deployment.metadata, deployment.engine)
    deployment.age()
    bucket.hold["slow"] = threading.Event()
    before = record()["mark"]
    slow = threading.Thread(target=deployment.run, args=("sweep",), name="slow")
    slow.start()
    until(lambda: bucket.requests[-2:] == ["read", "put"])
    assert deployment.run("sweep") == []
    quick = record()["mark"]
    bucket.hold["slow"].set()
    slow.join(20)
    assert len({before, quick, record()["mark"]}) == 3, "the slow one wrote last"
    deployment.age()
    assert deployment.run("sweep") == []


@SQLITE
@LOCAL
def test_workers_of_one_database_take_over_side_by_side(database: EmptyDatabase, bucket: Watched) -> None:
    deployment = Deployment(database)
    deployment.run("sweep")
    start = threading.Barrier(2)
    put = bucket._put

    def together(*arguments: Any) -> ObjectInfo:
        info = put(*arguments)
        start.wait(20)  # both have written before one reads back
        return info

    bucket._put = together  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: deployment.run("sweep", take_over=True), range(2))) == [[], []]


@SQLITE
@LOCAL
@pytest.mark.parametrize("days", [140, pytest.param(365, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("outbox", [True, False], ids=["outbox", "plain"])
def test_daily_sweeps_raise_no_alarm(database: EmptyDatabase, bucket: Watched, days: int, *, outbox: bool) -> None:
    deployment = Deployment(database, outbox=outbox)
    deployment.run("sweep")
    for day in range(days):
        deployment.age()
        bucket.kill = {10: "before", 20: "after"}.get(day % 30, "")
        if bucket.kill:
            with pytest.raises(Killed):
                deployment.run("sweep")
            bucket.kill = ""
            if day % 60 > 30:
                continue  # nobody tries again on this day
        if day % 90 == 0:
            deployment.engine.dispose()
        lost = deployment.lose("drain" if outbox and day % 7 == 0 else "sweep")
        assert deployment.run("drain") == [] if outbox else True
        assert deployment.run("sweep") == []
        assert lost not in there()
    state = deployment.outbox.state.name if deployment.outbox is not None else TABLE
    with deployment.engine.connect() as connection:
        marks = connection.scalar(text(f"SELECT count(*) FROM {state} WHERE name LIKE 'place:%'"))
    assert 100 <= marks <= 110, "the oldest are forgotten"


# -- the drainer -----------------------------------------------------------------------------------------------------------


@SQLITE
@LOCAL
@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "task"])
def test_drainer_of_a_copy_deletes_nothing_and_says_so_once(
    database: EmptyDatabase, second: EmptyDatabase, bucket: Watched, caplog: pytest.LogCaptureFixture, *, is_async: bool
) -> None:
    original = Deployment(database)
    know_places(original.metadata, original.engine)
    copy = original.restored(second)
    assert copy.outbox is not None
    original.run("sweep")
    lost = copy.lose("drain")
    bucket.requests.clear()

    def has_looked() -> bool:
        return bucket.requests.count("read") > 3

    async def in_a_loop() -> None:
        engine = second.async_engine()
        async with copy.outbox.drainer(engine, interval=SOON):  # type: ignore[union-attr]
            while not has_looked():
                await asyncio.sleep(0.01)
        await engine.dispose()

    if is_async:
        asyncio.run(in_a_loop())
    else:
        with copy.outbox.drainer(copy.engine, interval=SOON):
            until(has_looked)
    assert lost in there()
    assert "put" not in bucket.requests
    assert [entry.levelno for entry in caplog.records if "take-over" in entry.message] == [logging.ERROR]
    with copy.engine.connect() as connection:
        assert "take-over" in (copy.outbox.read_state(connection, "drainer") or {})["error"]


@SQLITE
@LOCAL
def test_drainer_asks_the_store_only_when_something_is_due(
    database: EmptyDatabase, bucket: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = Deployment(database)
    assert deployment.outbox is not None
    with deployment.outbox.drainer(deployment.engine, interval=SOON):
        time.sleep(0.3)
        assert bucket.requests == []
        lost = deployment.lose("drain")
        until(lambda: lost not in there())
    assert "filerow" not in {entry.name for entry in caplog.records if entry.levelno >= logging.WARNING}


# -- cost, rights and names ------------------------------------------------------------------------------------------------


@SQLITE
@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
@BOTH
def test_a_run_costs_a_get_and_a_put(database: EmptyDatabase, bucket: Any, work: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("s3_server")
    with CountingProxy(server.endpoint) as proxy:
        storages.clear_backends()
        storages.register_backend(
            ObstoreBackend(
                "docs",
                f"s3://{server.shared_bucket}/{server.make_prefix()}",
                aws_endpoint=proxy.endpoint,
                aws_access_key_id=server.access_key,
                aws_secret_access_key=server.secret_key,
            )
        )
        deployment = Deployment(database)
        know_places(deployment.metadata, deployment.engine)
        deployment.lose(work)
        deployment.age()
        with proxy.record() as requests:
            deployment.run(work)
        assert sorted(str(one).split()[0] for one in requests if RECORD in str(one)) == ["GET", "PUT"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@LOCAL
def test_who_may_not_make_the_table_learns_the_statement(database: EmptyDatabase, bucket: Watched) -> None:
    owner = Deployment(database, outbox=False)
    lost = owner.lose("sweep")
    with owner.engine.begin() as connection:
        connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        connection.exec_driver_sql("DROP ROLE IF EXISTS filerow_janitor")
        connection.exec_driver_sql("CREATE ROLE filerow_janitor")
        connection.exec_driver_sql("GRANT SELECT ON paper TO filerow_janitor")
    janitor = create_engine(database.url, connect_args={"options": "-c role=filerow_janitor"})
    deployment = Deployment(database, outbox=False, engine=owner.engine)
    deployment.engine = janitor
    with ExitStack() as stack:
        stack.callback(janitor.dispose)
        with pytest.raises(MaintenanceRefusedError, match=f"CREATE TABLE {TABLE}") as caught:
            deployment.run("sweep")
        assert lost in there()
        statement = str(caught.value).rpartition("DELETE: ")[2]
        with owner.engine.begin() as connection:
            connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"GRANT SELECT, INSERT, DELETE ON {TABLE} TO filerow_janitor")
        deployment.run("sweep")
        assert deployment.run("sweep") == []
        assert lost not in there()
    with owner.engine.begin() as connection:
        connection.exec_driver_sql("DROP OWNED BY filerow_janitor")
        connection.exec_driver_sql("DROP ROLE filerow_janitor")


@SQLITE
@LOCAL
def test_an_outbox_that_comes_later_knows_the_place(database: EmptyDatabase, bucket: Watched) -> None:
    plain = Deployment(database, outbox=False)
    plain.run("sweep")
    assert inspect(plain.engine).has_table(TABLE)
    with_outbox = Deployment(database)
    assert with_outbox.run("sweep") == []


@SQLITE
@LOCAL
@pytest.mark.parametrize("content", [b"", b"{}", b'{"v": 2, "lineage": "a"}', b"[1]", b"\xff"])
def test_a_record_that_cannot_be_read_refuses(database: EmptyDatabase, bucket: Watched, content: bytes) -> None:
    deployment = Deployment(database)
    lost = deployment.lose("sweep")
    bucket.put(RECORD, content)
    refused(deployment, "sweep", "another-database")
    assert [found.code for found in deployment.run("sweep", delete=False)] == ["another-database"]
    assert lost in there()
    assert deployment.run("sweep", take_over=True) == []


@SQLITE
@LOCAL
def test_a_dry_run_writes_nothing_and_takes_nothing_over(database: EmptyDatabase, bucket: Watched) -> None:
    deployment = Deployment(database, outbox=False)
    deployment.lose("sweep")
    bucket.requests.clear()
    assert deployment.run("sweep", delete=False) == []
    assert "put" not in bucket.requests
    assert not inspect(deployment.engine).has_table(TABLE)
    with pytest.raises(ValueError, match="dry run"):
        deployment.run("sweep", delete=False, take_over=True)


@LOCAL
def test_nobody_chooses_the_path_of_the_record(bucket: Watched) -> None:
    with pytest.raises(InvalidPathError, match="Filerow's own"):
        FileObject(to_filename=RECORD, content=b"{}", backend="docs")


@SQLITE
@pytest.mark.one_in(1)
def test_async_sweep_obeys_the_record(database: EmptyDatabase, bucket: Any) -> None:
    deployment = Deployment(database)
    live, lost = deployment.own(), deployment.lose("sweep")

    async def run() -> list[str]:
        engine = database.async_engine()
        try:
            options = {"delete": True, "full": True, "grace": timedelta(0), "allow_many": True}
            return [one.code async for step in sweep_async(deployment.metadata, engine, **options) for one in step.findings]
        finally:
            await engine.dispose()

    assert sorted(asyncio.run(run())) == ["first-run", "orphan"]
    assert there() == {live, lost}
    assert asyncio.run(run()) == ["orphan"]
    assert there() == {live}
