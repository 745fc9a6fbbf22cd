"""Draining: what is due goes, what a row names stays, what fails is tried again."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine, delete

from filerow import storages
from filerow.backends.local import LocalBackend
from filerow.maintenance import Progress, drain_async
from filerow.maintenance import drain as drain_with_progress
from filerow.outbox import Drained
from tests.databases import EmptyDatabase
from tests.outbox.app import App, make_app, paths
from tests.places import know_places

SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


class Watched(LocalBackend):
    """A directory that can be out of order, and remembers what it was asked to delete."""

    def __init__(self, key: str, root: Path) -> None:
        super().__init__(key, root, fsync=False)
        self.broken = False
        self.refused: set[str] = set()
        self.calls: list[list[str]] = []
        self.look: Any = None

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        self.calls.append(list(paths))
        if self.look is not None:
            self.look()
        if self.broken:
            msg = "the directory is out of order"
            raise OSError(msg)
        refused = {path: PermissionError("no") for path in paths if path in self.refused}
        return {**super()._delete([path for path in paths if path not in refused]), **refused}


@pytest.fixture
def docs(tmp_path: Path) -> Watched:
    backend = Watched("docs", tmp_path / "docs")
    storages.register_backend(backend)
    return backend


@pytest.fixture
def app(database: EmptyDatabase, tmp_path: Path, docs: Watched) -> App:
    return make_app(database.engine(), tmp_path / "docs")


# -- on every database -----------------------------------------------------------------------------------------------------


def test_due_objects_go_and_kept_or_referenced_ones_stay(app: App) -> None:
    app.put(*paths(25), "paper/file/other.txt", "named/1", "named/2", "named/3", "kept")
    app.own("named/1")
    app.own("named/2", "named/3", column="pages")
    app.outbox.retention = timedelta(hours=1)
    app.add_tombstones(*paths(25), "named/1", "named/2", "named/3", age=3_601)
    app.add_tombstones("kept", age=3_500)
    steps = list(app.outbox.drain_steps(app.engine, batch=10))
    assert steps[-1] == Drained(deleted=25, taken_back=3)
    assert len(steps) == 3
    assert app.there() == {"paper/file/other.txt", "named/1", "named/2", "named/3", "kept"}
    assert app.tombstones() == ["kept"]


def test_an_object_that_cannot_be_deleted_is_tried_again_later(app: App, docs: Watched) -> None:
    app.put(*paths(5))
    app.add_tombstones(*paths(5))
    docs.broken = True
    assert app.outbox.drain(app.engine) == Drained(failed=5)
    assert app.outbox.drain(app.engine) == Drained()
    [(attempts, error, waits), *_] = app.tombstones("attempts", "last_error", "next_attempt")
    assert (attempts, "out of order" in error) == (1, True)
    assert waits is not None
    assert len(docs.calls) == 1
    docs.broken = False
    app.make_due()
    assert app.outbox.drain(app.engine) == Drained(deleted=5)
    assert app.there() == set()
    assert app.tombstones() == []


def test_async_engines_drain_as_well(database: EmptyDatabase, app: App) -> None:
    app.put(*paths(25), "named")
    app.own("named")
    app.add_tombstones(*paths(25), "named")

    async def drain() -> Drained:
        engine = database.async_engine()
        try:
            drained = await app.outbox.drain_async(engine, batch=10)
            app.put("later")
            await asyncio.to_thread(app.add_tombstones, "later")
            assert [one.done async for one in drain_async(app.outbox.metadata, engine)] == [0, 1]
            return drained
        finally:
            await engine.dispose()

    assert asyncio.run(drain()) == Drained(deleted=25, taken_back=1)
    assert app.there() == {"named"}


# -- the rules, which are the same everywhere ------------------------------------------------------------------------------


@SQLITE
def test_no_connection_is_held_while_objects_are_deleted(app: App, docs: Watched) -> None:
    pool: Any = app.engine.pool
    held: list[int] = []
    docs.look = lambda: held.append(pool.checkedout())
    app.add_tombstones(*paths(3))
    app.outbox.drain(app.engine)
    assert held == [0]


@SQLITE
def test_a_batch_is_one_bulk_delete_for_each_backend(app: App, docs: Watched, tmp_path: Path) -> None:
    other = Watched("other", tmp_path / "other")
    storages.register_backend(other)
    know_places(app.outbox.metadata, app.engine, ["other"])
    app.add_tombstones(*paths(6))
    app.add_tombstones(*paths(6), backend="other")
    assert app.outbox.drain(app.engine, batch=12) == Drained(deleted=12)
    assert (docs.calls, other.calls) == ([paths(6)], [paths(6)])


@SQLITE
def test_unregistered_backend_is_a_failure_that_says_so(app: App) -> None:
    app.add_tombstones("a", backend="elsewhere")
    assert app.outbox.drain(app.engine) == Drained(failed=1)
    [error] = app.tombstones("last_error")
    assert "no backend is registered as 'elsewhere'" in error


@SQLITE
def test_failures_are_reported_once_per_backend_with_advice(app: App, docs: Watched) -> None:
    app.put("a", "b")
    app.add_tombstones("a", "b")
    app.outbox.max_attempts = 2
    docs.broken = True

    def findings() -> list[tuple[str, str, str, bool]]:
        found = [one for step in drain_with_progress(app.outbox.metadata, app.engine) for one in step.findings]
        return [(one.code, one.level, one.path, "2 objects of backend 'docs'" in one.message) for one in found]

    assert findings() == [("not-deleted", "warning", "", True)]
    app.make_due()
    assert findings() == [("dead-letter", "error", "", True)]
    app.put("c")
    app.add_tombstones("c")
    assert findings() == [("not-deleted", "warning", "c", False)]


def test_models_without_an_outbox_have_nothing_to_drain() -> None:
    with pytest.raises(ValueError, match=r"no outbox to drain.*Outbox"):
        drain_with_progress(MetaData(), create_engine("sqlite://"))


@SQLITE
def test_object_is_given_up_after_many_attempts_until_revived(app: App, docs: Watched, caplog: pytest.LogCaptureFixture) -> None:
    app.put("a")
    app.add_tombstones("a")
    app.outbox.max_attempts = 3
    docs.broken = True
    outcomes = []
    for _ in range(4):
        outcomes.append(app.outbox.drain(app.engine))
        app.make_due()
    assert outcomes == [Drained(failed=1), Drained(failed=1), Drained(dead=1), Drained()]
    assert "gave up deleting" in caplog.text
    assert app.tombstones("dead", "attempts") == [(1, 3)]
    docs.broken = False
    with app.engine.begin() as connection:
        assert app.outbox.revive(connection) == 1
    assert app.tombstones("dead", "attempts") == [(0, 1)], "its deletion has begun, and that must not be forgotten"
    assert app.outbox.drain(app.engine) == Drained(deleted=1)


@SQLITE
def test_dead_letters_of_one_cause_are_one_line(app: App, docs: Watched, caplog: pytest.LogCaptureFixture) -> None:
    everything = paths(40)
    app.put(*everything)
    app.add_tombstones(*everything)
    app.outbox.max_attempts = 1
    docs.broken = True
    assert app.outbox.drain(app.engine) == Drained(dead=40)
    [line] = [record.getMessage() for record in caplog.records if record.name == "filerow"]
    assert "40 objects" in line
    assert "'docs'" in line
    assert 1 <= sum(repr(path) in line for path in everything) <= 10
    assert "outbox.revive(connection)" in line


@SQLITE
def test_wait_doubles_up_to_an_hour_with_jitter(app: App, docs: Watched) -> None:
    docs.broken = True
    app.outbox.max_attempts = 10_000
    for attempts, seconds in [(1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600), (5000, 3600)]:
        app.add_tombstones(*paths(50), attempts=attempts - 1)
        before = time.time()
        assert app.outbox.drain(app.engine) == Drained(failed=50)
        took = time.time() - before
        waits = {moment - before for moment in app.tombstones("next_attempt")}
        assert len(waits) > 10
        assert all(seconds * 0.75 - 0.1 <= wait <= seconds * 1.25 + took + 0.1 for wait in waits)
        with app.engine.begin() as connection:
            connection.execute(delete(app.outbox.table))


@SQLITE
def test_retries_take_half_a_batch_while_there_is_new_work(app: App, docs: Watched) -> None:
    app.put(*paths(20))
    docs.refused = set(paths(10))
    app.add_tombstones(*paths(20)[:11], age=60)
    assert app.outbox.drain(app.engine) == Drained(deleted=1, failed=10)
    app.make_due()
    app.add_tombstones(*paths(20)[11:])
    assert app.outbox.drain(app.engine, batch=4, limit=4) == Drained(deleted=2, failed=2)


@SQLITE
def test_repeated_failures_do_not_keep_the_rest_waiting(app: App) -> None:
    app.put(*paths(10))
    app.add_tombstones(*paths(30, "gone"), backend="elsewhere", age=60)
    app.add_tombstones(*paths(10))
    assert app.outbox.drain(app.engine, batch=4) == Drained(deleted=10, failed=4)
    app.make_due()
    app.put("new")
    app.add_tombstones("new")
    assert app.outbox.drain(app.engine, batch=2) == Drained(deleted=1, failed=2)
    assert app.there() == set()


@SQLITE
def test_a_store_that_is_down_is_asked_once_in_a_drain(app: App, docs: Watched) -> None:
    app.add_tombstones(*paths(50))
    docs.broken = True
    assert app.outbox.drain(app.engine, batch=10) == Drained(failed=10)
    assert len(docs.calls) == 1
    assert app.tombstones("attempts").count(0) == 40, "no attempt is spent on those behind it"


@SQLITE
def test_object_dropped_twice_is_kept_from_the_last_time_on(app: App) -> None:
    app.put("a", "b")
    app.add_tombstones("a", "a", "b", age=7_200)
    app.add_tombstones("a", age=60)
    app.outbox.retention = timedelta(hours=1)
    assert app.outbox.drain(app.engine) == Drained(deleted=1)
    assert app.there() == {"a"}
    assert app.tombstones() == ["a"]
    app.outbox.retention = timedelta(0)
    assert app.outbox.drain(app.engine) == Drained(deleted=1)


@SQLITE
def test_object_with_a_begun_deletion_stays_when_a_row_names_it(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.put("a")
    app.own("a")
    app.add_tombstones("a", attempts=1, next_attempt=1.0)
    with caplog.at_level(logging.WARNING, "filerow"):
        assert app.outbox.drain(app.engine) == Drained(taken_back=1)
    assert "whose deletion had begun" in caplog.text
    assert app.there() == {"a"}


@SQLITE
def test_a_drain_stops_at_its_limit(app: App) -> None:
    app.put(*paths(10))
    app.add_tombstones(*paths(10))
    assert app.outbox.drain(app.engine, batch=4, limit=6) == Drained(deleted=6)
    assert app.there() == set(paths(10)[6:])


@SQLITE
def test_a_batch_that_no_database_takes_is_refused(app: App) -> None:
    for batch in (0, 10_001):
        with pytest.raises(ValueError, match="1 to 10,000"):
            app.outbox.drain_steps(app.engine, batch=batch)


@SQLITE
def test_a_cancelled_drain_gives_its_batch_back_at_once(database: EmptyDatabase, app: App, docs: Watched) -> None:
    app.put(*paths(3))
    app.add_tombstones(*paths(3))
    entered, go_on = threading.Event(), threading.Event()

    def look() -> None:
        entered.set()
        go_on.wait(30)

    docs.look = look

    async def cancel() -> None:
        engine = database.async_engine()
        drain = asyncio.ensure_future(app.outbox.drain_async(engine))
        await asyncio.to_thread(entered.wait, 30)
        drain.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await drain
        await engine.dispose()

    asyncio.run(cancel())
    docs.look = None
    assert app.tombstones("attempts") == [1, 1, 1]
    assert app.outbox.drain(app.engine) == Drained(deleted=3), "nobody need wait for the lease to end"


@SQLITE
def test_maintenance_reports_progress_and_failures(app: App) -> None:
    app.put(*paths(6))
    app.add_tombstones(*paths(6), age=60)
    app.add_tombstones("a", "b", backend="elsewhere")
    steps = list(drain_with_progress(app.outbox.metadata, app.engine, batch=4))
    assert [(one.done, one.total, one.changed) for one in steps] == [(0, 8, 0), (4, 8, 4), (8, 8, 6)]
    [finding] = steps[-1].findings
    assert (finding.code, finding.backend, finding.level) == ("not-deleted", "elsewhere", "warning")
    assert steps[0] == Progress("drain", total=8)
    with app.engine.connect() as connection:
        state = app.outbox.read_state(connection, "drainer")
    assert state is not None
    assert state["deleted"] == 6


# -- many at once ----------------------------------------------------------------------------------------------------------


@POSTGRESQL
def test_without_skip_locked_each_tombstone_still_has_one_worker(app: App, docs: Watched) -> None:
    """As on a database without ``SKIP LOCKED``: PostgreSQL before 9.5, which this one claims to be."""
    with app.engine.connect():
        app.engine.dialect.server_version_info = (9, 4)
    app.put(*paths(200))
    app.add_tombstones(*paths(200))
    outcomes: list[Drained] = []
    start = threading.Barrier(3)

    def work() -> None:
        start.wait()
        outcomes.append(app.outbox.drain(app.engine, batch=20))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.deleted for one in outcomes) == 200
    asked = [path for call in docs.calls for path in call]
    assert sorted(asked) == paths(200), "each was asked for once"
    assert app.there() == set()
