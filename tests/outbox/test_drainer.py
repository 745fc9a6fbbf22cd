"""The drainer inside an application: a thread or a task that wakes, waits, survives and stops."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session, registry
from starlette.applications import Starlette

from filerow import FileObject, storages
from filerow.backends.local import LocalBackend
from filerow.testing.faults import Fault, FaultyBackend
from tests.databases import EmptyDatabase
from tests.outbox.app import App, make_app, paths

SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
SOON = timedelta(seconds=0.05)
NEVER = timedelta(hours=1)
PATIENCE = 30.0


class Slow(LocalBackend):
    """A directory whose deletes wait until they are released."""

    def __init__(self, key: str, root: Path) -> None:
        super().__init__(key, root, fsync=False)
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        self.entered.set()
        self.go_on.wait(PATIENCE)
        return super()._delete(paths)


@pytest.fixture
def app(database: EmptyDatabase, tmp_path: Path) -> App:
    return make_app(database.engine(), tmp_path / "docs")


def until(true: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    ends = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.01)


def heartbeat(app: App) -> dict[str, Any] | None:
    with app.engine.connect() as connection:
        return app.outbox.read_state(connection, "drainer")


def drainers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "filerow-drainer"]


@SQLITE
def test_a_thread_drains_what_is_due_and_what_comes_later(app: App) -> None:
    app.put(*paths(5), "later")
    app.add_tombstones(*paths(5))
    with app.outbox.drainer(app.engine, interval=SOON, batch=2):
        until(lambda: app.there() == {"later"})
        app.add_tombstones("later")
        until(lambda: not app.there())
    assert drainers() == []


@SQLITE
def test_it_wakes_after_a_commit_that_dropped_a_file(app: App) -> None:
    with app.outbox.drainer(app.engine, interval=NEVER):
        until(lambda: heartbeat(app) is not None)
        app.put("a")
        app.add_tombstones("a")
        app.outbox.wake()
        until(lambda: not app.there())


@SQLITE
def test_a_session_s_commit_wakes_it(app: App) -> None:
    class Paper:
        def __init__(self, file: FileObject) -> None:
            self.file = file

    registry(metadata=app.outbox.metadata).map_imperatively(Paper, app.paper)
    with app.outbox.drainer(app.engine, interval=NEVER), Session(app.engine) as session:
        until(lambda: heartbeat(app) is not None)
        paper = Paper(FileObject(content=b"a"))
        session.add(paper)
        session.commit()
        session.delete(paper)
        assert len(app.there()) == 1
        session.commit()
        until(lambda: not app.there())


@SQLITE
def test_it_sleeps_on_when_nothing_can_be_due(app: App) -> None:
    looks: list[str] = []
    event.listen(app.engine, "before_cursor_execute", lambda *args: "IS NULL" in args[2] and looks.append(args[2]))
    app.outbox.retention = 2 * NEVER
    with app.outbox.drainer(app.engine, interval=NEVER):
        until(lambda: bool(looks))
        for _ in range(20):
            app.outbox.wake()
        time.sleep(0.4)
    assert len(looks) == 1


@SQLITE
def test_it_stops_after_the_batch_at_hand(app: App, tmp_path: Path) -> None:
    slow = Slow("slow", tmp_path / "docs")
    storages.register_backend(slow)
    app.put(*paths(6))
    app.add_tombstones(*paths(6), backend="slow")
    drainer = app.outbox.drainer(app.engine, interval=SOON, batch=2)
    with drainer:
        assert slow.entered.wait(PATIENCE)
        threading.Timer(0.1, slow.go_on.set).start()
    assert len(app.there()) == 4, "one batch, and not all"
    assert app.tombstones("attempts") == [0, 0, 0, 0]
    with drainer:  # it can be entered again
        until(lambda: not app.there())


@SQLITE
def test_drainer_does_not_wait_forever_for_a_hanging_store(app: App, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow("slow", tmp_path / "docs")
    storages.register_backend(slow)
    app.add_tombstones("a", backend="slow")
    with app.outbox.drainer(app.engine, patience=timedelta(seconds=0.1)):
        assert slow.entered.wait(PATIENCE)
    assert "still deleting" in caplog.text
    slow.go_on.set()
    until(lambda: not drainers())


@SQLITE
def test_it_survives_a_database_and_a_store_that_fail(app: App, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app.put("a")
    app.add_tombstones("a")
    app.outbox.backoff = timedelta(seconds=0.05)
    name = app.outbox.table.name
    with app.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO elsewhere")
    shutil.move(tmp_path / "docs", tmp_path / "moved")
    (tmp_path / "docs").write_text("no directory")
    caplog.set_level(logging.WARNING, "filerow")
    with app.outbox.drainer(app.engine, interval=SOON):
        until(lambda: "(2 in a row)" in caplog.text)
        with app.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE elsewhere RENAME TO {name}")
        until(lambda: any(app.tombstones("last_error")))
        (tmp_path / "docs").unlink()
        shutil.move(tmp_path / "moved", tmp_path / "docs")
        until(lambda: not app.there())


@SQLITE
def test_store_that_refuses_every_delete_is_logged(app: App, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    everything = paths(40)
    app.put(*everything)
    app.add_tombstones(*everything)
    refusing = FaultyBackend(LocalBackend("refusing", tmp_path / "docs"), Fault("delete", error=PermissionError("AccessDenied")))
    storages.register_backend(refusing)
    app.add_tombstones(*everything, backend="refusing")
    with app.outbox.drainer(app.engine, interval=SOON):
        until(lambda: any("AccessDenied" in record.getMessage() for record in caplog.records))
    line = next(record.getMessage() for record in caplog.records if "AccessDenied" in record.getMessage())
    assert "40 objects" in line
    assert "'refusing'" in line
    assert 1 <= sum(repr(path) in line for path in everything) <= 10
    assert "tried again" in line


@SQLITE
def test_its_heartbeat_comes_once_an_interval_at_most(app: App) -> None:
    statements: list[str] = []
    event.listen(app.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with app.outbox.drainer(app.engine, interval=NEVER, batch=1):
        app.put(*paths(5))
        app.add_tombstones(*paths(5))
        app.outbox.wake()
        until(lambda: not app.there())
    assert len([one for one in statements if one.startswith("INSERT INTO filerow_outbox_state")]) == 1
    assert len([one for one in statements if one.startswith("UPDATE filerow_outbox_state")]) == 1, "which found no row"
    beat = heartbeat(app)
    assert beat is not None
    assert {"host", "pid", "interval", "deleted", "failed", "error"} <= set(beat)


@SQLITE
def test_it_says_what_it_cannot_do(database: EmptyDatabase, app: App) -> None:
    with pytest.raises(ValueError, match="interval"):
        app.outbox.drainer(app.engine, interval=timedelta(0))
    drainer = app.outbox.drainer(app.engine)
    with drainer, pytest.raises(RuntimeError, match="already running"), drainer:
        pass
    engine = database.async_engine()
    with pytest.raises(TypeError, match="async with"), app.outbox.drainer(engine):
        pass
    asyncio.run(engine.dispose())


# -- in an event loop ------------------------------------------------------------------------------------------------------


async def until_async(true: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, true)


@pytest.mark.one_in(3)
def test_a_task_drains_wakes_and_ends(database: EmptyDatabase, app: App) -> None:
    app.put(*paths(5))
    app.add_tombstones(*paths(5))

    async def work() -> None:
        engine = database.async_engine()
        before = asyncio.all_tasks()
        async with app.outbox.drainer(engine, interval=NEVER, batch=2):
            await until_async(lambda: not app.there())
            app.put("a", "b")
            await asyncio.to_thread(app.add_tombstones, "a")  # never in the event loop: the drainer may hold SQLite's lock there
            app.outbox.wake()
            await until_async(lambda: app.there() == {"b"})
            await asyncio.to_thread(app.add_tombstones, "b")
            threading.Timer(0.1, app.outbox.wake).start()  # a commit of another thread, while nothing else wakes the loop
            await until_async(lambda: not app.there())
        assert asyncio.all_tasks() == before
        await engine.dispose()

    asyncio.run(work())
    assert app.tombstones() == []


@SQLITE
def test_overlong_task_is_cancelled_and_returns_its_batch(database: EmptyDatabase, app: App, tmp_path: Path) -> None:
    slow = Slow("slow", tmp_path / "docs")
    storages.register_backend(slow)
    app.put("a")
    app.add_tombstones("a", backend="slow")

    async def work() -> None:
        engine = database.async_engine()
        async with app.outbox.drainer(engine, patience=timedelta(seconds=0.1)):
            await asyncio.to_thread(slow.entered.wait, PATIENCE)
            threading.Timer(0.5, slow.go_on.set).start()
        await engine.dispose()

    asyncio.run(work())
    assert app.outbox.drain(app.engine).deleted == 1, "nobody need wait for the lease to end"


@SQLITE
@pytest.mark.parametrize("asynchronous", [True, False], ids=["async-engine", "engine"])
def test_it_is_an_application_s_lifespan(database: EmptyDatabase, app: App, asynchronous: bool) -> None:
    engine: Any = database.async_engine() if asynchronous else app.engine
    web = Starlette(lifespan=app.outbox.drainer(engine, interval=SOON).lifespan)

    async def serve() -> None:
        for path in ("a", "b"):  # an application may start twice, in tests
            app.put(path)
            await asyncio.to_thread(app.add_tombstones, path)
            async with web.router.lifespan_context(web) as state:
                assert state is None, "a mapping would become the state of each request"
                await until_async(lambda: not app.there())
        if asynchronous:
            await engine.dispose()

    asyncio.run(serve())
    assert drainers() == []
