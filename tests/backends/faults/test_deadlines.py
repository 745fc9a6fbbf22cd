"""No operation of a store hangs: a network that is silent, cut or slow ends each one with an error of ours, in time."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from filerow.backends.base import PutOptions, StorageBackend
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import ObjectNotFoundError, StorageError, StoragePermissionError, StorageTimeoutError
from tests.backends.faults.operations import ASYNC, BIG, MIB, OPERATIONS, SECONDS, SYNC, check, tried, warmed_up
from tests.backends.stores import bucket_of
from tests.servers.faulty import FaultyRelay, Mode


def obstore(server: Any, endpoint: str, root: str, timeout: float = SECONDS) -> StorageBackend:
    return ObstoreBackend(
        "docs",
        f"s3://{root}",
        aws_endpoint=endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        aws_region=server.region,
        timeout=timeout,
    )


def s3fs(server: Any, endpoint: str, root: str, timeout: float = SECONDS) -> StorageBackend:
    return FSSpecBackend(
        "docs",
        f"s3://{root}",
        storage_options={"key": server.access_key, "secret": server.secret_key},
        endpoint_url=endpoint,
        client_kwargs={"region_name": server.region},
        timeout=timeout,
    )


CLIENTS: dict[str, Callable[..., StorageBackend]] = {"obstore": obstore, "s3fs": s3fs}


BOTH = ["obstore", pytest.param("s3fs", marks=pytest.mark.thorough)]


@dataclass
class Bucket:
    """A place on the server with one large object."""

    server: Any
    root: str

    def through(self, relay: FaultyRelay, client: str) -> StorageBackend:
        return CLIENTS[client](self.server, relay.endpoint, self.root)

    def names(self) -> set[str]:
        bucket, _, prefix = self.root.partition("/")
        return {key.removeprefix(f"{prefix}/") for key in self.server.keys(bucket, prefix)}


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> Bucket:
    server, name = bucket_of(request, "s3_server")
    made = Bucket(server, f"{name}/{uuid.uuid4().hex}")
    obstore(server, server.endpoint, made.root, 60).put("big", BIG)
    return made


STALLS: list[tuple[Mode, int, list[str] | None]] = [
    ("silent", 0, None),
    ("silent", 0, ["put", "head"]),
    ("stalled-answer", 60, None),  # in its headers
    ("stalled-answer", 20_000, ["read", "stream"]),  # in its body
    ("stalled-upload", 20_000, ["put, many parts"]),
]
CUTS: list[tuple[Mode, int, list[str] | None]] = [
    ("reset", 0, None),
    ("lost", 0, ["put", "put, many parts", "copy", "delete"]),
    ("cut-answer", 20_000, ["read", "stream"]),
    ("cut-upload", 20_000, ["put, many parts"]),
]


def chosen(names: list[str] | None) -> list[str]:
    return [name for name in OPERATIONS if names is None or name.rpartition(",")[0] in names]


def cases(*modes: tuple[Mode, int, list[str] | None]) -> list[Any]:
    """One client and the cheaper half of its cases in each run; the others are ``thorough``."""
    found = []
    for client in CLIENTS:
        for mode, after, names in modes:
            quick = (
                client == "obstore" and mode in {"silent", "stalled-upload", "reset", "cut-answer"} and names != ["put", "head"]
            )
            marks = () if quick else pytest.mark.thorough
            found.append(
                pytest.param(
                    client,
                    mode,
                    after,
                    names,
                    marks=marks,
                    id=f"{client}-s3-{mode}-{after}-{'all' if names is None else len(names)}",
                )
            )
    return found


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("client", "mode", "after", "names"), cases(*STALLS))
def test_every_operation_ends_when_the_store_falls_silent(
    bucket: Bucket, client: str, mode: Mode, after: int, names: list[str] | None
) -> None:
    check(tried(bucket.server.endpoint, partial(bucket.through, client=client), mode, after, chosen(names)), StorageTimeoutError)
    if mode != "stalled-answer":  # then the store has done what it was asked, as with "lost"
        assert bucket.names() == {"big"}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("client", "mode", "after", "names"), cases(*CUTS))
def test_every_operation_ends_when_the_connection_is_cut(
    bucket: Bucket, client: str, mode: Mode, after: int, names: list[str] | None
) -> None:
    check(tried(bucket.server.endpoint, partial(bucket.through, client=client), mode, after, chosen(names)), StorageError)
    if mode != "lost":
        assert bucket.names() == {"big"}


@pytest.mark.parametrize("client", BOTH)
@pytest.mark.servers
def test_an_upload_cut_in_its_midst_makes_no_object(bucket: Bucket, client: str) -> None:
    """HTTP sends the length before the bytes, and a multipart upload is completed after its last part: nothing can be short."""
    for after in (20_000, 3 * MIB):
        with FaultyRelay(bucket.server.endpoint, "cut-upload", after=after) as relay:
            # s3fs gives up a connection that is cut at once, and takes its time to build a client
            store = CLIENTS[client](bucket.server, relay.endpoint, bucket.root, timeout=SECONDS if client == "obstore" else 20)
            with pytest.raises(StorageError):
                store.put("new/one request", b"x" * (4 * MIB), PutOptions(create_only=False))
            assert relay.struck
    assert bucket.names() == {"big"}


RETOLD: dict[str, type[StorageError]] = {
    "404 Not Found": ObjectNotFoundError,
    "403 Forbidden": StoragePermissionError,
}
"""What a store may answer when a body broke off and the rest is asked for: the object was deleted, or a token has expired."""


@pytest.mark.one_in(2)
@pytest.mark.parametrize("client", BOTH)
@pytest.mark.parametrize("status", RETOLD)
@pytest.mark.servers
def test_a_body_that_cannot_be_continued_says_why(bucket: Bucket, client: str, status: str) -> None:
    for operation in (SYNC["read"], ASYNC["stream"]):
        with FaultyRelay(bucket.server.endpoint) as relay:
            store = CLIENTS[client](bucket.server, relay.endpoint, bucket.root, timeout=10)
            store.head("big")
            relay.retold = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            relay.after, relay.mode = 20_000, "cut-answer"
            with pytest.raises(RETOLD[status]) as raised:
                operation(store)
            assert raised.value.path == "big"


@pytest.mark.one_in(2)
@pytest.mark.parametrize("client", BOTH)
@pytest.mark.parametrize(("mode", "after"), [("silent", 0), ("stalled-answer", 20_000)])
@pytest.mark.servers
def test_a_timeout_says_that_the_store_was_silent(bucket: Bucket, client: str, mode: Mode, after: int) -> None:
    with FaultyRelay(bucket.server.endpoint) as relay:
        store = bucket.through(relay, client)
        warmed_up(store)
        relay.after, relay.mode = after, mode
        with pytest.raises(StorageTimeoutError, match="the store did not answer in time"):
            store.read("big")


@pytest.mark.thorough
@pytest.mark.parametrize("client", CLIENTS)
def test_a_slow_store_is_not_a_dead_one(bucket: Bucket, client: str) -> None:
    with FaultyRelay(bucket.server.endpoint, delay=0.02) as relay:  # each chunk of 64 KiB: about twice the limit for the whole
        store = CLIENTS[client](bucket.server, relay.endpoint, bucket.root, timeout=5.0)
        assert b"".join(store.stream("big")) == BIG


@pytest.mark.parametrize("client", BOTH)
@pytest.mark.servers
def test_the_store_is_used_again_when_the_network_is_back(bucket: Bucket, client: str) -> None:
    with FaultyRelay(bucket.server.endpoint, "silent") as relay:
        store = bucket.through(relay, client)
        with pytest.raises(StorageTimeoutError):
            store.head("big")
        relay.mode = "pass"
        for _ in range(20):  # half a second may be too short on a machine that is busy
            with suppress(StorageTimeoutError):
                assert store.head("big").size == len(BIG)
                return
        pytest.fail("the store is not used again")


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan")])
def test_a_timeout_is_a_number_of_seconds(wrong: float) -> None:
    for build in (
        lambda: ObstoreBackend("docs", "s3://bucket", timeout=wrong),
        lambda: FSSpecBackend("docs", "s3://b", timeout=wrong),
    ):
        with pytest.raises(ValueError, match="positive number of seconds"):
            build()


def test_a_store_that_is_given_keeps_its_own_limits() -> None:
    import fsspec
    from obstore.store import MemoryStore

    with pytest.raises(TypeError, match="options belong to the store"):
        ObstoreBackend("docs", MemoryStore(), timeout=3)
    with pytest.raises(TypeError, match="options belong to the filesystem"):
        FSSpecBackend("docs", fsspec.filesystem("memory"), timeout=3)


def test_what_the_options_say_themselves_wins() -> None:
    store = ObstoreBackend(
        "docs", "s3://bucket", client_options={"read_timeout": "7s"}, retry_config={"max_retries": 1}, timeout=3
    ).store
    assert store.client_options["read_timeout"] == "7s"
    assert store.client_options["connect_timeout"] == "3s"
    assert store.retry_config["max_retries"] == 1
    assert store.retry_config["retry_timeout"].total_seconds() == 3
