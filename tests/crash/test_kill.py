"""SIGKILL at every step, in real processes: no committed row is ever dangling, and drain and sweep find every orphan (P8)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import boto3
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow._changes import Ref
from filerow._references import column_named
from filerow.maintenance import check, migrate, sweep
from filerow.outbox import outbox_of
from tests.crash.child import KEYS, NO_TIME, Moment, World, live, register
from tests.crash.conftest import Table
from tests.crash.models import LEASE, FormerPaper, Plain, model
from tests.databases import empty_database, make_engine
from tests.servers._s3 import S3Server

WRITE = {
    "before the first upload": Moment("write", "put"),
    "in the middle of an upload in parts": Moment("stream", "chunk", 13),
    "between uploads": Moment("write", "put", 2, after=True),
    "after the last upload": Moment("write", "put", 6, after=True),
    "before the first INSERT": Moment("write", "insert"),
    "before COMMIT": Moment("write", "COMMIT"),
    "after COMMIT": Moment("write", "committed"),
}
DELETE = {
    "after COMMIT, before the bulk delete": Moment("write", "delete"),
    "after the bulk delete": Moment("write", "delete", after=True),
}
DRAIN = {
    "drain, before its claim is committed": Moment("drain", "COMMIT"),
    "drain, before the bulk delete": Moment("drain", "delete"),
    "drain, after the bulk delete": Moment("drain", "delete", after=True),
    "drain, before its last COMMIT": Moment("drain", "COMMIT", 2),
}
SWEEP = {
    "sweep, before the bulk delete": Moment("sweep", "delete"),
    "sweep, after the bulk delete": Moment("sweep", "delete", after=True),
}
MIGRATE = {
    "migrate, between copies": Moment("migrate", "put", 1, after=True),
    "migrate, before compare-and-set": Moment("migrate", "put", 3, after=True),
    "migrate, before its COMMIT": Moment("migrate", "COMMIT"),
}
PLAIN = {**WRITE, **DELETE, **SWEEP, **MIGRATE, "migrate, after compare-and-set": Moment("migrate", "delete")}
KEPT = {**WRITE, **DRAIN, **MIGRATE, "migrate, after compare-and-set": Moment("migrate", "COMMIT", 2)}

CASES = [(name, moment, False) for name, moment in PLAIN.items()] + [(name, moment, True) for name, moment in KEPT.items()]


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Starts children from a process that has imported everything and used no network."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.crash.child"])
    return context


@pytest.fixture(scope="module")
def second_bucket(s3_server: S3Server) -> str:
    return s3_server.make_bucket()


@pytest.fixture(params=["sqlite-local", "postgresql-s3"])
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


@pytest.mark.parametrize(("step", "moment", "with_outbox"), CASES, ids=[f"{n}-{'outbox' if k else 'plain'}" for n, _, k in CASES])
def test_a_process_killed_at_any_step_leaves_nothing_that_is_not_put_right(
    place: tuple[str, dict[str, str], dict[str, str]],
    processes: ForkServerContext,
    table: Table,
    step: str,
    moment: Moment,
    with_outbox: bool,
) -> None:
    world = World(*place, with_outbox)
    register(world)
    engine = make_engine(world.url)
    try:
        prepare(world, engine, moment)
        process = processes.Process(target=live, args=(world, moment))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, "the process was to die in the middle of its work"

        rows, objects = owned(world, engine), stored()
        assert unfinished(world) or moment.work != "stream", "an upload in parts is no object yet"
        assert rows <= objects, "a row without its object"
        if moment.work == "drain":
            time.sleep(LEASE.total_seconds())  # until then the killed process's tombstones are not taken by another
        recover(world, engine)
        assert owned(world, engine) == rows if moment.work != "migrate" else len(owned(world, engine)) == len(rows)
        assert stored() == owned(world, engine)
        assert not unfinished(world)
        metadata = model(with_outbox=with_outbox).metadata
        assert [found for progress in check(metadata, engine, deep=True) for found in progress.findings] == []
        where = f"{engine.dialect.name}, {'S3' if world.options else 'directory'}, {'outbox' if with_outbox else 'no outbox'}"
        table.add(step, where, len(rows), len(objects), len(stored()))
    finally:
        storages.clear_backends()
        engine.dispose()


def prepare(world: World, engine: Engine, moment: Moment) -> None:
    """Make four rows, and whatever there must be to do."""
    paper = model(with_outbox=world.with_outbox)
    paper.metadata.create_all(engine)
    kind = FormerPaper if moment.work == "migrate" else paper
    with Session(engine) as session:
        for number in range(1, 5):
            file, *pages = (FileObject(content=b"%d-%d" % (number, n)) for n in range(3))
            session.add(kind(id=number, file=file, pages=pages))
        session.commit()
    if moment.work == "drain":
        with Session(engine) as session:
            session.delete(session.get(paper, 4))
            session.commit()
    if moment.work == "sweep":
        for number in range(5):
            FileObject(content=b"orphan %d" % number, backend="docs").save()


def owned(world: World, engine: Engine) -> set[Ref]:
    """Return what the rows name."""
    metadata = model(with_outbox=world.with_outbox).metadata
    found: set[Ref] = set()
    with Session(engine) as session:
        for row in session.query(model(with_outbox=world.with_outbox)):
            found |= {Ref(file.backend_key, file.path) for file in [row.file, *row.pages] if file is not None}
    assert column_named(metadata, "paper.file")
    return found


def stored() -> set[Ref]:
    """Return all objects of both backends."""
    return {Ref(key, info.path) for key in KEYS for info in storages.get_backend(key).list()}


def unfinished(world: World) -> list[str]:
    """Return the uploads that have begun and are no objects yet, seen from outside."""
    if not world.options:
        found = set()
        for key, top in world.stores.items():
            files = (Path(folder) / name for folder, _, names in os.walk(top) for name in names)
            found |= {Ref(key, file.relative_to(top).as_posix()) for file in files}
        return sorted(path for _, path in found - stored())
    places = [store.removeprefix("s3://").partition("/") for store in world.stores.values()]
    client = boto3.client(
        "s3",
        endpoint_url=world.options["aws_endpoint"],
        aws_access_key_id=world.options["aws_access_key_id"],
        aws_secret_access_key=world.options["aws_secret_access_key"],
        region_name="us-east-1",
    )
    try:
        uploads = [(client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()), prefix) for bucket, _, prefix in places]
    finally:
        client.close()
    return [upload["Key"] for found, prefix in uploads for upload in found if upload["Key"].startswith(prefix)]


def recover(world: World, engine: Engine) -> None:
    """Do what an operator does after a crash: run the same again, drain, sweep."""
    metadata = model(with_outbox=world.with_outbox).metadata
    for name in ("paper.file", "paper.pages"):
        for _ in migrate(metadata, engine, name):
            pass
    outbox = outbox_of(metadata)
    if outbox is not None:
        outbox.drain(engine)
    for _ in sweep(metadata, engine, grace=NO_TIME, delete=True, full=True, allow_many=True, backends=KEYS):
        pass


def test_the_models_differ_by_their_outbox_alone() -> None:
    assert outbox_of(Plain.metadata) is None
    assert outbox_of(model(with_outbox=True).metadata) is not None
