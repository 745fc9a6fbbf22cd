"""Files move while the application writes and reads, and the process that moves them dies once: nothing is lost, ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from filerow import storages
from filerow.maintenance import migrate
from tests.databases import EmptyDatabase
from tests.maintenance.live_migration import Base, MigratingProcess, Place, Traffic, fill, left_behind, named, objects, settle
from tests.maintenance.papers import codes
from tests.servers._s3 import S3Server

FILES = 160


@pytest.fixture
def place(database: EmptyDatabase, s3_server: S3Server, tmp_path: Path) -> Iterator[Place]:
    options = {
        "aws_endpoint": s3_server.endpoint,
        "aws_access_key_id": s3_server.access_key,
        "aws_secret_access_key": s3_server.secret_key,
    }
    place = Place(database.url, str(tmp_path / "old"), f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix()}", options)
    place.register()
    yield place
    storages.clear_backends()


@pytest.mark.thorough
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_rows_stay_readable_at_every_moment_and_nothing_is_lost(database: EmptyDatabase, place: Place) -> None:
    engine = database.engine(pool_size=8)
    with MigratingProcess(place) as process, ExitStack() as alive:
        fill(place, engine, FILES)
        traffic = Traffic(place, engine, dict.fromkeys(range(FILES), 0))
        alive.enter_context(traffic.running())
        cursor = process.kill_after(1)
        assert left_behind(engine) > place.batch
        progress = list(migrate(Base.metadata, engine, "document.file", batch=place.batch, resume=cursor))
        progress += list(migrate(Base.metadata, engine, "document.file", batch=place.batch))
    assert traffic.errors == []
    assert traffic.writes > 10
    assert traffic.reads > 10
    assert codes(progress) == []
    assert left_behind(engine) == 0
    _, swept = settle(place, engine)
    assert swept <= place.batch, "at most the copies of the batch in which the process died"
    assert objects() == named(engine)
    assert len(named(engine)) == len(traffic.expected)
    assert {ref.backend for ref in objects()} == {"new"}
