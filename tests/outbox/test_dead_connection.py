"""A pooled connection has died when maintenance wants it: one error of SQLAlchemy's, and the next try gets a new one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from filerow import FileObject, storages
from filerow.backends.base import ObjectInfo
from filerow.backends.memory import MemoryBackend
from filerow.maintenance import drain as drain_with_progress
from filerow.maintenance import migrate, sweep
from tests.databases import EmptyDatabase
from tests.outbox.app import App, make_app

SERVERS = pytest.mark.parametrize("database", ["mariadb", pytest.param("postgresql", marks=pytest.mark.thorough)], indirect=True)

pytestmark = [
    pytest.mark.usefixtures("frozen_heap"),
    # SQLAlchemy does not close the cursors of a connection that it finds dead, and psycopg warns when they are collected
    pytest.mark.filterwarnings("ignore:.*ServerCursor.*was deleted while still open:ResourceWarning"),
]

_WHO = {"postgresql": "SELECT pg_backend_pid()", "mariadb": "SELECT connection_id()"}
_KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mariadb": "KILL {}"}


@pytest.fixture(autouse=True)
def _collect_cursors_of_dead_connections() -> Iterator[None]:
    """Have psycopg warn within the test that made them, where the warning is expected."""
    yield
    gc.collect()


@pytest.fixture
def app(database: EmptyDatabase, tmp_path: Path) -> App:
    """A database with one file to delete."""
    app = make_app(database.engine(pool_size=1, max_overflow=0, pool_timeout=2), tmp_path / "docs")
    app.put("a")
    app.add_tombstones("a")
    return app


def kill(connection: Connection, kind: str, pid: int) -> None:
    connection.execute(text(_KILL[kind].format(pid)))


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Have only those connections given back that somebody gives back."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def killed(app: App, database: EmptyDatabase) -> None:
    """End the server's side of the one connection that the pool holds."""
    with app.engine.connect() as connection:
        pid = connection.scalar(text(_WHO[database.name]))
    other = database.engine()
    with other.connect() as connection:
        kill(connection, database.name, pid)


def drained(app: App) -> None:
    app.outbox.drain(app.engine)


def drained_step_by_step(app: App) -> None:
    list(drain_with_progress(app.outbox.metadata, app.engine))


def swept(app: App) -> None:
    list(sweep(app.outbox.metadata, app.engine, grace=timedelta(0), full=True))


def migrated(app: App) -> None:
    if not storages.is_registered("far"):
        storages.register_backend(MemoryBackend("far"))
    list(migrate(app.outbox.metadata, app.engine, "paper.file", to="far"))


@SERVERS
@pytest.mark.parametrize("work", [drained, drained_step_by_step, swept, migrated])
def test_dead_connection_goes_back_to_its_pool(app: App, database: EmptyDatabase, work: Callable[[App], None]) -> None:
    pool = app.engine.pool
    assert isinstance(pool, QueuePool)
    with without_garbage_collection():
        killed(app, database)
        with pytest.raises(DBAPIError) as failed:
            work(app)
        assert failed.value.connection_invalidated
        assert pool.checkedout() == 0, "given back at once, not when it is collected"
        work(app)


@SERVERS
def test_dead_connection_between_the_batches_of_a_drain(app: App, database: EmptyDatabase) -> None:
    pool = app.engine.pool
    assert isinstance(pool, QueuePool)
    app.put("b")
    app.add_tombstones("b")
    with without_garbage_collection():
        steps = app.outbox.drain_steps(app.engine, batch=1)
        next(steps)
        killed(app, database)
        with pytest.raises(DBAPIError) as failed:
            next(steps)
        assert failed.value.connection_invalidated
        assert pool.checkedout() == 0
        app.outbox.drain(app.engine)
    assert app.there() == set()


class Killing(MemoryBackend):
    """A store that takes so long to list, once, that the server has closed the pool's connection meanwhile."""

    meanwhile: Callable[[], None] | None = None

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        if self.meanwhile is not None and "staged" not in prefix:
            self.meanwhile()
            self.meanwhile = None
        return super()._list(prefix, start_after)


@SERVERS
def test_dead_connection_in_the_middle_of_a_sweep(app: App, database: EmptyDatabase) -> None:
    pool = app.engine.pool
    assert isinstance(pool, QueuePool)
    storages.clear_backends()
    store = Killing("docs")
    storages.register_backend(store)
    path = FileObject("docs", "a.txt", content=b"nobody's").save().path.replace("staged/files", "paper/file")
    store.put(path, b"nobody's")
    with without_garbage_collection():
        store.meanwhile = lambda: killed(app, database)
        with pytest.raises(DBAPIError) as failed:
            swept(app)
        assert failed.value.connection_invalidated
        assert pool.checkedout() == 0
        swept(app)


@SERVERS
def test_async_drain_gives_a_dead_connection_back(app: App, database: EmptyDatabase) -> None:
    async def work() -> None:
        engine = database.async_engine(pool_size=1, max_overflow=0, pool_timeout=2)
        try:
            async with engine.connect() as connection:
                pid = await connection.scalar(text(_WHO[database.name]))
            with app.engine.connect() as connection:
                kill(connection, database.name, pid)
            with pytest.raises(DBAPIError) as failed:
                await app.outbox.drain_async(engine)
            assert failed.value.connection_invalidated
            assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
            await app.outbox.drain_async(engine)
        finally:
            await engine.dispose()

    with without_garbage_collection():
        asyncio.run(work())
    assert app.there() == set()


@SERVERS
def test_drain_leaves_the_isolation_of_connections_alone(app: App, database: EmptyDatabase) -> None:
    def level(engine: Engine) -> Any:
        with engine.connect() as connection:
            return connection.get_isolation_level()

    engine = database.engine(pool_size=1, max_overflow=0, isolation_level="REPEATABLE READ")
    assert level(engine) == "REPEATABLE READ"
    app.outbox.drain(engine)
    assert level(engine) == "REPEATABLE READ"
    assert app.there() == set()
