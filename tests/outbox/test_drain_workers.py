"""Real processes drain one outbox: side by side, killed in the middle, and with a store that is away for a while."""

from __future__ import annotations

import json
import signal
import time
from asyncio import StreamReader, StreamWriter
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from filerow import storages
from filerow.backends.obstore import ObstoreBackend
from filerow.outbox import Drained
from tests.databases import EmptyDatabase
from tests.outbox import worker
from tests.outbox.app import App, make_app, paths
from tests.places import RECORD, know_places
from tests.servers._relay import Relay
from tests.servers._s3 import S3Server

POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
WORKERS = 4


@pytest.fixture
def app(database: EmptyDatabase, tmp_path: Path) -> App:
    return make_app(database.engine(), tmp_path / "docs")


@POSTGRESQL
def test_four_workers_delete_every_object_and_lose_no_tombstone(
    database: EmptyDatabase, app: App, processes: ForkServerContext, tmp_path: Path
) -> None:
    count = 1_000
    live = paths(50, "live")
    app.put(*paths(count), *live)
    app.own(*live)
    app.add_tombstones(*paths(count), *live)
    start = processes.Barrier(WORKERS + 1)
    reports = [tmp_path / f"{number}.json" for number in range(WORKERS)]
    workers = [processes.Process(target=worker.drain, args=(database.url, app.folder, 100, start, file)) for file in reports]
    for one in workers:
        one.start()
    start.wait(60)
    began = time.perf_counter()
    for one in workers:
        one.join(60)
        assert one.exitcode == 0
    seconds = time.perf_counter() - began
    outcomes = [json.loads(file.read_text()) for file in reports]
    print(f"{WORKERS} workers deleted {count} objects in {seconds:.2f} s: {count / seconds:,.0f} a second")  # noqa: T201 - shown by -rP
    asked = [path for outcome in outcomes for path in outcome["asked"]]
    assert sorted(asked) == paths(count), "each was asked for by one worker, once"
    assert sum(outcome["deleted"] for outcome in outcomes) == count
    assert sum(bool(outcome["deleted"]) for outcome in outcomes) > 1, "they shared the work"
    assert app.there() == set(live)
    assert app.tombstones() == []


@POSTGRESQL
@pytest.mark.parametrize("after", [False, True], ids=["before-the-delete", "after-the-delete"])
def test_work_of_a_killed_drain_is_finished_after_its_lease(
    database: EmptyDatabase, app: App, processes: ForkServerContext, tmp_path: Path, after: bool
) -> None:
    app.put(*paths(20))
    app.add_tombstones(*paths(20))
    reached = tmp_path / "reached"
    process = processes.Process(target=worker.halt, args=(database.url, app.folder, reached, after))
    process.start()
    ends = time.monotonic() + 60
    while not reached.exists():
        assert process.is_alive()
        assert time.monotonic() < ends
        time.sleep(0.01)
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(app.there()) == (0 if after else 20)
    assert app.tombstones("attempts") == [1] * 20
    assert app.outbox.drain(app.engine) == Drained(), "they are the other's until its lease is over"
    app.make_due()
    assert app.outbox.drain(app.engine) == Drained(deleted=20)
    assert app.there() == set()
    assert app.tombstones() == []


class Gate(Relay):
    """A network that can be switched off."""

    down = False

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self.down:
            writer.transport.abort()
        else:
            super()._accept(reader, writer)

    async def to_server(self, reader: StreamReader, writer: StreamWriter) -> None:
        while (chunk := await reader.read(65_536)) and not self.down:
            writer.write(chunk)
            await writer.drain()
        writer.transport.abort()


@SQLITE
def test_store_that_is_down_is_retried_until_all_is_gone(app: App, s3_server: S3Server) -> None:
    with Gate(s3_server.endpoint) as gate:
        away = ObstoreBackend(
            "away",
            f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix()}",
            aws_endpoint=gate.endpoint,
            aws_access_key_id=s3_server.access_key,
            aws_secret_access_key=s3_server.secret_key,
            retry_config={"max_retries": 0},
        )
        storages.register_backend(away)
        know_places(app.outbox.metadata, app.engine, ["away"])
        for path in paths(10):
            away.put(path, b"content")
        app.add_tombstones(*paths(10), backend="away")
        gate.down = True
        for attempt in (1, 2):
            assert app.outbox.drain(app.engine) == Drained(failed=10)
            assert app.outbox.drain(app.engine) == Drained(), "not before its time"
            assert app.tombstones("attempts") == [attempt] * 10
            app.make_due()
        assert all(app.tombstones("last_error"))
        gate.down = False
        assert app.outbox.drain(app.engine) == Drained(deleted=10)
        assert [info.path for info in away.list()] == [RECORD]
        assert app.tombstones() == []
