"""A signal at every step of a file's life, in real processes: no committed row is ever dangling, every orphan is found (P8)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import Any

import pytest

from filerow import storages
from filerow.maintenance import check
from filerow.outbox import outbox_of
from tests.databases import empty_database, make_engine
from tests.servers._s3 import S3Server
from tests.soak.crash.child import KillPoint, World, live, register
from tests.soak.crash.conftest import Table
from tests.soak.crash.models import KEYS, LEASE, Plain, model
from tests.soak.crash.recovery import owned, prepare, recover, stored, unfinished

WRITE = {
    "before the first upload": KillPoint("write", "put"),
    "in the middle of an upload in parts": KillPoint("stream", "chunk", 13),
    "between uploads": KillPoint("write", "put", 2, after=True),
    "after the last upload": KillPoint("write", "put", 6, after=True),
    "before the first INSERT": KillPoint("write", "insert"),
    "before COMMIT": KillPoint("write", "COMMIT"),
    "after COMMIT": KillPoint("write", "committed"),
}
DELETE = {
    "after COMMIT, before the bulk delete": KillPoint("write", "delete"),
    "after the bulk delete": KillPoint("write", "delete", after=True),
}
DRAIN = {
    "drain, before its mark is in the place": KillPoint("drain", "put"),
    "drain, after its mark is in the place": KillPoint("drain", "put", after=True),
    "drain, before its claim is committed": KillPoint("drain", "COMMIT"),
    "drain, before the bulk delete": KillPoint("drain", "delete"),
    "drain, after the bulk delete": KillPoint("drain", "delete", after=True),
    "drain, before its last COMMIT": KillPoint("drain", "COMMIT", 2),
}
SWEEP = {
    "sweep, before its mark is in the database": KillPoint("sweep", "COMMIT"),
    "sweep, before its mark is in the place": KillPoint("sweep", "put"),
    "sweep, after its mark is in the place": KillPoint("sweep", "put", after=True),
    "sweep, before the bulk delete": KillPoint("sweep", "delete"),
    "sweep, after the bulk delete": KillPoint("sweep", "delete", after=True),
}
MIGRATE = {
    "migrate, between copies": KillPoint("migrate", "put", 1, after=True),
    "migrate, before compare-and-set": KillPoint("migrate", "put", 3, after=True),
    "migrate, before its COMMIT": KillPoint("migrate", "COMMIT"),
}
LIFE = {
    "at the first byte of an upload in parts": KillPoint("stream", "chunk"),
    "before the last part of an upload": KillPoint("stream", "chunk", 16),
    "share, before the copy": KillPoint("share", "copy"),
    "share, between copies": KillPoint("share", "copy", after=True),
    "share, before COMMIT": KillPoint("share", "COMMIT"),
    "savepoint, at its beginning": KillPoint("savepoint", "savepoint"),
    "savepoint, at its release": KillPoint("savepoint", "release"),
    "savepoint, before the undo of its rollback": KillPoint("savepoint", "delete"),
    "savepoint, after the undo of its rollback": KillPoint("savepoint", "delete", after=True),
    "savepoint, before COMMIT": KillPoint("savepoint", "COMMIT"),
    "savepoint, after COMMIT": KillPoint("savepoint", "committed"),
    "rollback, before its undo": KillPoint("rollback", "delete"),
    "rollback, after its undo": KillPoint("rollback", "delete", after=True),
    "bulk, before COMMIT": KillPoint("bulk", "COMMIT"),
    "bulk, after COMMIT": KillPoint("bulk", "committed"),
    "save, before any row": KillPoint("save", "put", after=True),
    "save, before COMMIT": KillPoint("save", "COMMIT"),
    "adopt, after a copy": KillPoint("adopt", "copy", after=True),
    "adopt, before its COMMIT": KillPoint("adopt", "COMMIT"),
}
CLAIM = {
    "claim, before anything is stored": KillPoint("claim", "put"),
    "claim, after its mark or its bytes are stored": KillPoint("claim", "put", after=True),
    "claim, before COMMIT": KillPoint("claim", "COMMIT"),
    "claim, after COMMIT": KillPoint("claim", "committed"),
}
MARKED = {"claim, after mark and bytes are stored": KillPoint("claim", "put", 2, after=True)}
UNDELETE = {"undelete, before its COMMIT": KillPoint("undelete", "COMMIT")}

PLAIN = WRITE | DELETE | SWEEP | MIGRATE | LIFE | {"migrate, after compare-and-set": KillPoint("migrate", "delete")}
KEPT = WRITE | DRAIN | UNDELETE | MIGRATE | LIFE | {"migrate, after compare-and-set": KillPoint("migrate", "COMMIT", 2)}

DIRECTORY, BUCKET = "sqlite-local", "postgresql-s3"


def _cases(
    place: str, steps: dict[str, KillPoint], signal: Signals, *marks: pytest.MarkDecorator, with_outbox: bool
) -> Iterator[Any]:
    for step, moment in steps.items():
        name = f"{place}-{step}-{'outbox' if with_outbox else 'plain'}-{signal.name}"
        yield pytest.param(place, step, moment._replace(signal=signal), with_outbox, id=name, marks=marks)


CASES = [
    *_cases(DIRECTORY, KEPT, SIGKILL, with_outbox=True),
    *_cases(DIRECTORY, PLAIN, SIGKILL, pytest.mark.thorough, with_outbox=False),
    *_cases(DIRECTORY, WRITE, SIGINT, with_outbox=True),
    *_cases(DIRECTORY, LIFE, SIGINT, pytest.mark.thorough, with_outbox=True),
    *_cases(DIRECTORY, KEPT, SIGTERM, pytest.mark.thorough, with_outbox=True),
    *_cases(BUCKET, PLAIN | CLAIM | MARKED, SIGKILL, with_outbox=False),
    *_cases(BUCKET, KEPT | CLAIM, SIGKILL, pytest.mark.thorough, with_outbox=True),
    *_cases(BUCKET, PLAIN | CLAIM | MARKED, SIGINT, pytest.mark.thorough, with_outbox=False),
]
"""Each step with and without an outbox, in both places; that a step is thorough means that its like has run."""


@pytest.fixture(scope="module")
def second_bucket(s3_server: S3Server) -> str:
    return s3_server.make_bucket()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """A database and a store."""
    database_name, store = request.param.split("-")
    with empty_database(database_name, tmp_path, request) as database:
        if store == "local":
            yield database.url, {key: str(tmp_path / "store" / key) for key in KEYS}, {}
        else:
            server = request.getfixturevalue("s3_server")
            options = {
                "aws_endpoint": server.endpoint,
                "aws_access_key_id": server.access_key,
                "aws_secret_access_key": server.secret_key,
            }
            # two buckets, or the store itself would copy from one to the other and no process could die in the middle
            buckets = zip(KEYS, (server.shared_bucket, request.getfixturevalue("second_bucket")), strict=True)
            yield database.url, {key: f"s3://{bucket}/{server.make_prefix()}" for key, bucket in buckets}, options


@pytest.mark.one_in(5)
@pytest.mark.parametrize(("place", "step", "moment", "with_outbox"), CASES, indirect=["place"])
def test_process_killed_at_any_step_can_be_put_right(
    place: tuple[str, dict[str, str], dict[str, str]],
    processes: ForkServerContext,
    table: Table,
    step: str,
    moment: KillPoint,
    with_outbox: bool,
) -> None:
    world = World(*place, with_outbox)
    register(world)
    engine = make_engine(world.url)
    try:
        world = prepare(world, engine, moment)
        process = processes.Process(target=live, args=(world, moment))
        process.start()
        process.join(60)
        assert process.exitcode == (1 if moment.signal == SIGINT else -moment.signal), "it was to end in the middle of its work"

        rows, objects = owned(world, engine), stored()
        if world.options and moment == WRITE["in the middle of an upload in parts"]:  # a directory may keep nothing of it
            assert unfinished(world), "an upload in parts is not an object yet"
        assert rows <= objects, "a row without its object"
        if moment.work == "drain":
            time.sleep(LEASE.total_seconds())  # until then the killed process's tombstones are not taken by another
        recover(world, engine, moment)
        if moment.work in {"migrate", "adopt"}:
            assert len(owned(world, engine)) == len(rows) + (moment.work == "adopt"), "a row has lost its file"
        else:
            assert owned(world, engine) == rows
        assert stored() == owned(world, engine)
        assert not unfinished(world)
        metadata = model(with_outbox=with_outbox).metadata
        assert [found for progress in check(metadata, engine, deep=True) for found in progress.findings] == []
        where = f"{engine.dialect.name}, {'S3' if world.options else 'directory'}, {'outbox' if with_outbox else 'no outbox'}"
        table.add(step, where, moment.signal.name, len(rows), len(objects), len(stored()))
    finally:
        storages.clear_backends()
        engine.dispose()


def test_the_models_differ_by_their_outbox_alone() -> None:
    assert outbox_of(Plain.metadata) is None
    assert outbox_of(model(with_outbox=True).metadata) is not None
