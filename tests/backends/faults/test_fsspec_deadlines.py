"""No operation of gcsfs, adlfs, SFTP or SMB hangs, even where their own limits do not help: at a server that stops reading."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import uuid
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from subprocess import PIPE, Popen
from typing import Any

import pytest

from filerow.backends.base import StorageBackend
from filerow.backends.fsspec import FSSpecBackend
from filerow.exceptions import StorageError, StorageTimeoutError
from tests.backends.faults.operations import BIG, OPERATIONS, PATIENCE, SECONDS, check, tried, warmed_up
from tests.backends.stores import LARGE_BODY, bucket_of, s3fs_options
from tests.servers import samba
from tests.servers._process import ROOT
from tests.servers.faulty import FaultyRelay, Mode

pytestmark = [pytest.mark.usefixtures("frozen_heap"), LARGE_BODY]


class _Renaming(asyncio.StreamReader):
    """Reads answers that name the server, and names another one."""

    def __init__(self, answers: asyncio.StreamReader, old: bytes, new: bytes) -> None:
        self._answers, self._names = answers, (old, new)

    async def read(self, n: int = -1) -> bytes:
        return (await self._answers.read(n)).replace(*self._names)


class Named(FaultyRelay):
    """Where the server says where to send the parts of an upload, it says: through here."""

    async def to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        old, new = f":{self._target[1]}/".encode(), f":{self.port}/".encode()
        assert len(old) == len(new)
        await super().to_client(_Renaming(reader, old, new), writer)


@pytest.fixture(autouse=True)
def what_failed_is_gone() -> Iterator[None]:
    """Have what the failures left behind collected here: what it then complains of fails the test that left it."""
    yield
    gc.collect()


@dataclass
class Place:
    """A folder on a server with one large object.

    Attributes:
        target: The server's endpoint.
        options: Returns the arguments of a backend there, by an endpoint and a timeout.
        relay: Makes a relay in front of it.
        connections: How many backends the operations of a test share.
        alone: Operations through one relay wait for each other, so each gets a relay.
        patience: What the slowest operation may take, in seconds.
    """

    target: str
    options: Callable[[str, float], dict[str, Any]]
    relay: Callable[..., FaultyRelay] = FaultyRelay
    connections: int = 1
    alone: bool = False
    patience: float = PATIENCE

    def make(self, endpoint: str, timeout: float) -> StorageBackend:
        return FSSpecBackend("docs", **self.options(endpoint, timeout))

    def through(self, relay: FaultyRelay) -> StorageBackend:
        return self.make(relay.endpoint, SECONDS)

    def tried(self, mode: Mode, after: int, names: list[str]) -> list[Any]:
        if self.alone and len(names) > 1:
            with ThreadPoolExecutor(len(names)) as pool:
                return [outcome for each in pool.map(lambda name: self.tried(mode, after, [name]), names) for outcome in each]
        return tried(self.target, self.through, mode, after, names, connections=self.connections, relay_of=self.relay)


def gcsfs(request: pytest.FixtureRequest) -> Place:
    server, bucket = bucket_of(request, "gcs_server")
    root = f"{bucket}/{uuid.uuid4().hex}"

    def options(endpoint: str, timeout: float) -> dict[str, Any]:
        server_options = {"project": server.project, "token": "anon", "endpoint_url": endpoint}
        return {"fs": f"gs://{root}", "timeout": timeout, **server_options}

    # content is asked for six times, with half a minute of pauses
    return Place(server.endpoint, options, relay=Named, patience=PATIENCE + 60)


def adlfs(request: pytest.FixtureRequest) -> Place:
    server, container = bucket_of(request, "azurite_server")
    root = f"{container}/{uuid.uuid4().hex}"
    at, _, account = server.endpoint.rpartition("/")

    def options(endpoint: str, timeout: float) -> dict[str, Any]:
        reached = server.connection_string.replace(server.endpoint, f"{endpoint}/{account}")
        return {"fs": f"az://{root}", "timeout": timeout, "connection_string": reached}

    return Place(at, options)


def by_port(request: pytest.FixtureRequest, fs: str, root: str = "", **how: Any) -> Place:
    """Return a new folder on a server whose address is a port of this machine."""
    server = request.getfixturevalue(f"{fs}_server")
    prefix = f"{root}/{uuid.uuid4().hex}"

    def options(endpoint: str, timeout: float) -> dict[str, Any]:
        port = int(endpoint.rpartition(":")[2])
        return {"fs": fs, "prefix": prefix, "timeout": timeout, **server.options, "port": port}

    return Place(f"tcp://127.0.0.1:{server.port}", options, **how)


def sftp(request: pytest.FixtureRequest) -> Place:
    return by_port(request, "sftp", connections=len(OPERATIONS))


def ftp(request: pytest.FixtureRequest) -> Place:
    return by_port(request, "ftp", connections=len(OPERATIONS))


def smb(request: pytest.FixtureRequest) -> Place:
    return by_port(request, "smb", f"/{samba.SHARE}", alone=True)


def s3fs(request: pytest.FixtureRequest) -> Place:
    server, bucket = bucket_of(request, "s3_server")
    root = f"{bucket}/{uuid.uuid4().hex}"

    def options(endpoint: str, timeout: float) -> dict[str, Any]:
        return {"fs": f"s3://{root}", "timeout": timeout, **s3fs_options(server), "endpoint_url": endpoint}

    return Place(server.endpoint, options)


PLACES = {"gcsfs": gcsfs, "adlfs": adlfs, "sftp": sftp}
ALSO_SMB = {**PLACES, "smb": smb}
ALSO_FTP = {**ALSO_SMB, "ftp": ftp}
"""Its content goes by connections of its own, past the relay, so it is there where the first answer does not come."""
FORKED = {**ALSO_SMB, "s3fs": s3fs}


def with_big(made: Place) -> Place:
    made.make(made.target, 60).put("big", BIG)
    return made


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    return with_big(ALSO_FTP[request.param](request))


def chosen(*operations: str) -> list[str]:
    return [name for name in OPERATIONS if name.rpartition(",")[0] in operations]


UPLOADS = chosen("put, one request", "put, many parts")
READS = chosen("read", "stream")


def quick_on(place: Place) -> list[str]:
    """The operations that need not be seen twice: gcsfs takes 40 seconds for a read to fail, in whichever way."""
    return [name for name in OPERATIONS if place.relay is not Named or name not in READS]


@pytest.fixture
def places(request: pytest.FixtureRequest) -> list[Place]:
    return [with_big(make(request)) for make in PLACES.values()]


@pytest.mark.thorough
@pytest.mark.servers
def test_an_upload_ends_when_any_store_stops_reading(places: list[Place]) -> None:
    """The others are ``thorough``; this is the one that none of the three filesystems ends by itself."""
    with ThreadPoolExecutor(len(places)) as pool:
        outcomes = pool.map(lambda place: place.tried("stalled-upload", 20_000, UPLOADS[:1] + UPLOADS[-1:]), places)
        for each in outcomes:
            check(each, StorageTimeoutError)


@pytest.mark.one_in(2)
@pytest.mark.servers
@pytest.mark.parametrize("place", ["smb"], indirect=True)
@pytest.mark.parametrize(("mode", "after"), [("silent", 0), ("stalled-upload", 20_000)])
def test_nothing_waits_forever_for_smb(place: Place, mode: Mode, after: int) -> None:
    check(place.tried(mode, after, UPLOADS if after else chosen("put", "read", "head", "delete")), StorageTimeoutError)


@pytest.mark.thorough
@pytest.mark.parametrize("place", ALSO_SMB, indirect=True)
def test_an_upload_ends_when_the_store_stops_reading(place: Place) -> None:
    check(place.tried("stalled-upload", 20_000, UPLOADS), StorageTimeoutError)


@pytest.mark.thorough
@pytest.mark.parametrize("place", ALSO_FTP, indirect=True)
def test_every_operation_ends_when_the_store_falls_silent(place: Place) -> None:
    check(place.tried("silent", 0, quick_on(place)), StorageTimeoutError)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("place", "after"),
    [("gcsfs", 20_000), ("adlfs", 60), ("adlfs", 20_000), ("sftp", 60), ("sftp", 20_000), ("smb", 60), ("smb", 20_000)],
    indirect=["place"],
)
def test_a_read_ends_when_the_answer_stops_coming(place: Place, after: int) -> None:
    check(place.tried("stalled-answer", after, READS), StorageTimeoutError, patience=place.patience)


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["reset", "cut-answer"])
@pytest.mark.parametrize("place", ALSO_FTP, indirect=True)
def test_every_operation_ends_when_the_connection_is_cut(place: Place, mode: Mode) -> None:
    check(place.tried(mode, 0, quick_on(place)), StorageError)


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["silent", "reset"])
@pytest.mark.parametrize("place", ALSO_FTP, indirect=True)
def test_the_store_is_used_again_when_the_network_is_back(place: Place, mode: Mode) -> None:
    with place.relay(place.target) as relay:
        store = place.through(relay)
        warmed_up(store)
        relay.mode = mode
        with pytest.raises(StorageError):
            store.head("big")
        relay.mode = "pass"
        for _ in range(20):  # half a second may be too short on a machine that is busy
            with suppress(StorageError):
                assert store.read("big") == BIG
                return
        pytest.fail("the store is not used again")


# -- after a fork ------------------------------------------------------------------------------------------------------


@contextmanager
def ending(program: Popen[str]) -> Generator[None]:
    """End a program, and what it has forked, whatever becomes of the test."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", FORKED)
def test_a_forked_child_has_the_same_deadlines(request: pytest.FixtureRequest, kind: str) -> None:
    """The child builds a filesystem of its own, and its parent's limits are not among its options."""
    place = FORKED[kind](request)
    with place.relay(place.target) as relay:
        described = json.dumps(place.options(relay.endpoint, 1.0))
        program = Popen(
            [sys.executable, "-m", "tests.backends.faults.forked", described],
            stdin=PIPE,
            stdout=PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        with program, ending(program):
            assert program.stdin is not None
            assert program.stdout is not None
            assert program.stdout.readline() == "the child has used the store\n"
            relay.after, relay.mode = 20_000, "stalled-upload"
            output, _ = program.communicate("go on\n", timeout=2 * PATIENCE)
        assert output == "StorageTimeoutError\n"
        assert relay.struck
