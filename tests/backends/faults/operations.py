"""The operations of a store, run side by side while the network goes wrong, and how each must end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from filerow.backends.base import PutOptions, StorageBackend
from filerow.exceptions import StorageError, StorageTimeoutError
from tests.servers.faulty import FaultyRelay, Mode

SECONDS = 0.5
PATIENCE = 30.0
"""What an operation may take on a machine that does ten other things; without a deadline it would take minutes, or forever."""

MIB = 1 << 20
BIG = bytes(range(256)) * (6 * MIB // 256)
ONE_REQUEST = bytes(7 * MIB)


def parts() -> Iterator[bytes]:
    for _ in range(7):
        yield b"z" * MIB


Operation: TypeAlias = Callable[[StorageBackend], object]


async def _all(items: Any) -> list[Any]:
    return [item async for item in items]


def deleted(failed: dict[str, StorageError]) -> None:
    for error in failed.values():
        raise error


SYNC: dict[str, Operation] = {
    "put": lambda store: store.put("new/small", b"small"),
    "put, many parts": lambda store: store.put("new/large", parts(), PutOptions(create_only=False)),
    "put, one request": lambda store: store.put("new/one", ONE_REQUEST, PutOptions(create_only=False)),
    "read": lambda store: store.read("big"),
    "stream": lambda store: list(store.stream("big")),
    "head": lambda store: store.head("big"),
    "list": lambda store: list(store.list()),
    "copy": lambda store: store.copy("big", "new/copy"),
    "delete": lambda store: deleted(store.delete(["gone", "gone too"])),
}
ASYNC: dict[str, Operation] = {
    "put": lambda store: asyncio.run(store.put_async("new/small", b"small")),
    "put, many parts": lambda store: asyncio.run(store.put_async("new/large", parts(), PutOptions(create_only=False))),
    "put, one request": lambda store: asyncio.run(store.put_async("new/one", ONE_REQUEST, PutOptions(create_only=False))),
    "read": lambda store: asyncio.run(store.read_async("big")),
    "stream": lambda store: asyncio.run(_all(store.stream_async("big"))),
    "head": lambda store: asyncio.run(store.head_async("big")),
    "list": lambda store: asyncio.run(_all(store.list_async())),
    "copy": lambda store: asyncio.run(store.copy_async("big", "new/copy")),
    "delete": lambda store: deleted(asyncio.run(store.delete_async(["gone", "gone too"]))),
}
OPERATIONS = {f"{name}, sync": call for name, call in SYNC.items()} | {f"{name}, async": call for name, call in ASYNC.items()}
NAMED = {"stream": "read"}


@dataclass
class Outcome:
    """How one operation ended."""

    name: str
    error: BaseException | None
    seconds: float


def tried(
    target: str,
    make: Callable[[FaultyRelay], StorageBackend],
    mode: Mode,
    after: int,
    names: list[str],
    *,
    connections: int = 1,
    relay_of: Callable[[str], FaultyRelay] = FaultyRelay,
) -> list[Outcome]:
    """Run operations side by side, over a network that works until they begin.

    Args:
        target: The server's endpoint.
        make: Makes a backend that reaches the server through a relay.
        mode: What the relay then does.
        after: Bytes until it does so.
        names: The operations.
        connections: How many backends share the operations, where calls of one wait for each other.
        relay_of: Makes the relay.
    """
    with relay_of(target) as relay:
        relay.after = after
        stores = [make(relay) for _ in range(connections)]
        for store in stores:
            warmed_up(store)
        relay.mode = mode

        def run(name: str) -> Outcome:
            store = stores[names.index(name) % connections]
            began = time.monotonic()
            try:
                OPERATIONS[name](store)
            except Exception as error:  # noqa: BLE001 - looked at below
                return Outcome(name, error, time.monotonic() - began)
            return Outcome(name, None, time.monotonic() - began)

        with ThreadPoolExecutor(len(names)) as pool:
            outcomes = list(pool.map(run, names))
        assert relay.struck
        return outcomes


def warmed_up(store: StorageBackend) -> None:
    """Let a backend connect: building a client may take longer than the limit on a machine that is busy."""
    for _ in range(5):
        with suppress(StorageTimeoutError):
            store.head("big")
            return


def check(outcomes: list[Outcome], *kinds: type[StorageError], patience: float = PATIENCE) -> None:
    """Check that each ended in time, with an error that says where."""
    for name, error, seconds in ((one.name, one.error, one.seconds) for one in outcomes):
        assert isinstance(error, kinds), (name, error)
        operation = name.partition(",")[0]
        assert error.operation == NAMED.get(operation, operation), name
        assert error.backend == "docs"
        assert error.operation in {"list", "delete"} or error.path in {"big", "new/small", "new/large", "new/one"}, error
        assert str(error).startswith(error.operation)
        assert seconds < patience, (name, seconds)
