"""Many redeem one claim, over several processes: one gets the file, nothing is lost, and what was uploaded is gone."""

from __future__ import annotations

import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from filerow import storages
from filerow.backends.local import LocalBackend
from tests.databases import empty_database, make_engine
from tests.direct.redeemer import World, redeem
from tests.servers._s3 import S3Server

pytestmark = pytest.mark.servers

BODY = b"straight to the store " * 50
PROCESSES, THREADS = 4, 4


@pytest.fixture(params=["sqlite-local", "postgresql-s3", "mariadb-s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    name, store = request.param.split("-")
    with empty_database(name, tmp_path, request) as database:
        if store == "local":
            yield database.url, str(tmp_path / "store"), {}
        else:
            server: S3Server = request.getfixturevalue("s3_server")
            options = {
                "aws_endpoint": server.endpoint,
                "aws_access_key_id": server.access_key,
                "aws_secret_access_key": server.secret_key,
            }
            yield database.url, f"s3://{server.shared_bucket}/{server.make_prefix()}", options
    storages.clear_backends()


def upload(world: World) -> str:
    """Be a client; return the claim."""
    ticket = world.uploads.begin(filename="a.txt", content_type="text/plain", size=len(BODY))
    backend = storages.get_backend("direct")
    if isinstance(backend, LocalBackend):
        backend.put(ticket.url.partition("?")[0].removeprefix("/files/direct/"), BODY)
        return ticket.claim
    request = urllib.request.Request(ticket.url, BODY, dict(ticket.headers), method=ticket.method)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    return ticket.claim


@pytest.mark.one_in(4)
@pytest.mark.parametrize("rollbacks", [0, 1])
@pytest.mark.parametrize("with_outbox", [False, True], ids=["plain", "outbox"])
def test_of_sixteen_in_four_processes_one_gets_the_file(
    place: tuple[str, str, dict[str, str]], processes: ForkServerContext, with_outbox: bool, rollbacks: int
) -> None:
    world = World(*place, with_outbox)
    world.register()
    engine = make_engine(world.url)
    world.model.metadata.create_all(engine)
    claim = upload(world)
    with processes.Pool(PROCESSES) as pool:
        pool.map(abs, range(PROCESSES))  # they are there
        begin_at = time.time() + 0.5
        arguments = [(world, claim, THREADS, begin_at, rollbacks)] * PROCESSES
        ends = Counter(end for ends in pool.starmap(redeem, arguments, chunksize=1) for end in ends)
    with Session(engine) as session:
        files = [row.file for row in session.query(world.model)]
        assert ends["stored"] == len(files) == 1, ends
        assert sum(ends.values()) == PROCESSES * THREADS
        assert files[0] is not None
        assert files[0].get_content() == BODY
        paths = [info.path for info in storages.get_backend("direct").list() if not info.path.startswith("staged/claims/")]
        assert paths == [files[0].path]
    marks = list(storages.get_backend("direct").list("staged/claims"))
    assert len(marks) == (not with_outbox)
    engine.dispose()
