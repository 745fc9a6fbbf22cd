"""``FaultyBackend`` fails as configured, through its synchronous and its asynchronous methods alike."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from filerow.backends.base import PutOptions, SignRequest, StorageBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import ObjectNotFoundError, StorageError, StorageTimeoutError
from filerow.testing.faults import Fault, FaultyBackend

CONTENT = bytes(range(100))
GET = SignRequest("GET", 60)


class Side:
    """One way to call a backend: blocking, or awaited."""

    def __init__(self, store: FaultyBackend, *, awaited: bool) -> None:
        self.store = store
        self._awaited = awaited

    def __call__(self, operation: str, *args: Any) -> Any:
        if not self._awaited:
            answer = getattr(self.store, operation)(*args)
            return list(answer) if operation in {"stream", "list"} else answer
        return asyncio.run(self._await(operation, *args))

    async def _await(self, operation: str, *args: Any) -> Any:
        answer = getattr(self.store, f"{operation}_async")(*args)
        return [item async for item in answer] if operation in {"stream", "list"} else await answer


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def side(request: pytest.FixtureRequest) -> Side:
    store = FaultyBackend(MemoryBackend("docs", base_url="/files", secret="6eCm2wFPrp-RDgdtIEudJKmH0zOwNXXT"))
    store.put("a/there", CONTENT)
    return Side(store, awaited=request.param)


CALLS: dict[str, tuple[Any, ...]] = {
    "put": ("a/new", b"new"),
    "read": ("a/there",),
    "stream": ("a/there",),
    "head": ("a/there",),
    "list": ("a",),
    "copy": ("a/there", "a/copy"),
    "delete": ("a/there",),
    "sign": ("a/there", GET),
}


@pytest.mark.parametrize("operation", CALLS)
def test_without_a_fault_it_does_what_the_other_backend_does(side: Side, operation: str) -> None:
    plain = MemoryBackend("docs", base_url="/files", secret="6eCm2wFPrp-RDgdtIEudJKmH0zOwNXXT")
    plain.put("a/there", CONTENT)
    plain_side = Side(FaultyBackend(plain), awaited=False)
    before = side.store.calls
    want, got = plain_side(operation, *CALLS[operation]), side(operation, *CALLS[operation])
    if operation in {"read", "stream", "delete"}:
        assert got == want
    assert side.store.calls - before == {operation: 1}
    assert {info.path: info.size for info in side.store.list()} == {info.path: info.size for info in plain.list()}


def test_it_shows_itself_as_the_other_backend(tmp_path: Any) -> None:
    for backend in (MemoryBackend("docs"), LocalBackend("local", tmp_path, fsync=False, base_url="/f", development=True)):
        store = FaultyBackend(backend)
        assert (store.key, store.protocol, store.capabilities) == (backend.key, backend.protocol, backend.capabilities)
        assert store.own_urls is backend.own_urls
        assert store.backend is backend


@pytest.mark.parametrize("operation", CALLS)
def test_every_operation_fails_before_or_after_it_took_effect(side: Side, operation: str) -> None:
    for after in (False, True):
        before = {info.path for info in side.store.backend.list()}
        with side.store.inject(Fault(operation, error=ConnectionResetError("cut"), after=after)):  # type: ignore[arg-type]
            if operation == "delete":
                [(path, error)] = side(operation, *CALLS[operation]).items()
                assert path == "a/there"
                assert isinstance(error, StorageError)
            else:
                with pytest.raises(StorageError, match="ConnectionResetError: cut"):
                    side(operation, *CALLS[operation])
        changed = before != {info.path for info in side.store.backend.list()}
        assert changed == (after and operation in {"put", "copy", "delete"})


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError])
def test_other_errors_than_the_store_s_come_through_unchanged(error: type[BaseException]) -> None:
    store = FaultyBackend(MemoryBackend("docs"), Fault("put", error=error))
    with pytest.raises(error):
        store.put("a", b"")


def test_it_raises_what_the_error_means(side: Side) -> None:
    meanings = {TimeoutError: StorageTimeoutError, FileNotFoundError: ObjectNotFoundError, ValueError: StorageError}
    for error, kind in meanings.items():
        with side.store.inject(Fault("read", error=error)), pytest.raises(kind) as caught:
            side("read", "a/there")
        assert (caught.value.operation, caught.value.backend, caught.value.path) == ("read", "docs", "a/there")


def outcomes(store: FaultyBackend, calls: int) -> list[int]:
    """Return the numbers of the calls that failed."""
    failed = []
    for number in range(1, calls + 1):
        try:
            store.head("a")
        except StorageError:
            failed.append(number)
    return failed


def test_the_nth_every_and_a_random_call() -> None:
    plain = MemoryBackend("docs")
    plain.put("a", b"")
    assert outcomes(FaultyBackend(plain, Fault("head", error=OSError, nth=3)), 5) == [3]
    assert outcomes(FaultyBackend(plain, Fault("head", error=OSError)), 3) == [1, 2, 3]
    assert outcomes(FaultyBackend(plain, Fault("head", error=OSError, times=2)), 4) == [1, 2]
    by_chance = [outcomes(FaultyBackend(plain, Fault("head", error=OSError, rate=0.3, seed=seed)), 200) for seed in (1, 1, 2)]
    assert by_chance[0] == by_chance[1] != by_chance[2]
    assert 30 < len(by_chance[0]) < 90
    assert outcomes(FaultyBackend(plain, Fault("read", error=OSError)), 3) == []


def test_a_fault_may_be_about_some_paths_and_several_operations() -> None:
    store = FaultyBackend(MemoryBackend("docs"), Fault(("put", "read"), error=OSError, paths=lambda path: path.endswith(".png")))
    store.put("a.txt", b"text")
    for call in (lambda: store.put("a.png", b""), lambda: store.read("a.png")):
        with pytest.raises(StorageError, match="OSError"):
            call()
    assert store.read("a.txt") == b"text"


def test_some_paths_of_a_bulk_delete_fail(side: Side) -> None:
    paths = [f"b/{number}" for number in range(6)]
    for path in paths:
        side.store.put(path, b"")
    odd = Fault("delete", error=OSError("no"), paths=lambda path: path[-1] in "135")
    with side.store.inject(odd):
        failed = side("delete", paths)
    assert sorted(failed) == ["b/1", "b/3", "b/5"]
    assert all(isinstance(error, StorageError) and error.path == path for path, error in failed.items())
    assert [info.path for info in side.store.list("b")] == ["b/1", "b/3", "b/5"]
    with side.store.inject(Fault("delete", error=OSError("no"), paths=lambda path: path == "b/1", after=True)):
        assert list(side("delete", paths)) == ["b/1"]
    assert not list(side.store.list("b"))


def test_a_read_a_stream_and_a_listing_are_cut_short(side: Side) -> None:
    with side.store.inject(Fault(("read", "stream"), keep=10)):
        assert side("read", "a/there") == CONTENT[:10]
        assert b"".join(side("stream", "a/there", 0, None, 7)) == CONTENT[:10]
    side.store.put("a/to", b"")
    with side.store.inject(Fault("list", keep=1)):
        assert [info.path for info in side("list", "a")] == ["a/there"]


def test_a_stream_fails_in_its_midst() -> None:
    store = FaultyBackend(MemoryBackend("docs"))
    store.put("a", CONTENT)
    seen = []
    with store.inject(Fault("stream", keep=10, error=ConnectionResetError)), pytest.raises(StorageError):
        seen.extend(store.stream("a", chunk_size=4))
    assert b"".join(seen) == CONTENT[:10]


def chunks() -> Iterator[bytes]:
    for at in range(0, 100, 30):
        yield CONTENT[at : at + 30]


async def chunks_async() -> AsyncIterator[bytes]:
    for chunk in chunks():
        yield chunk


@pytest.mark.parametrize("body", [lambda: CONTENT, chunks, chunks_async], ids=["bytes", "chunks", "async-chunks"])
def test_an_upload_is_cut_short_and_said_to_be_whole(side: Side, body: Callable[[], Any]) -> None:
    if body is chunks_async and not side._awaited:
        with pytest.raises(TypeError):
            side("put", "a/cut", body())
        return
    with side.store.inject(Fault("put", keep=50)):
        side("put", "a/cut", body(), PutOptions())
    assert side.store.read("a/cut") == CONTENT[:50]


def test_sizes_are_lied_about(side: Side) -> None:
    with side.store.inject(Fault(("put", "head", "copy", "list"), size=7)):
        assert side("put", "a/new", b"new").size == 7
        assert side("copy", "a/new", "a/copy").size == 7
        assert side("head", "a/new").size == 7
        assert {info.size for info in side("list", "a")} == {7}
    assert side("head", "a/new").size == 3


def test_calls_and_chunks_are_slow(side: Side) -> None:
    began = time.monotonic()
    with side.store.inject(Fault("head", delay=0.05)):
        side("head", "a/there")
    assert time.monotonic() - began >= 0.05
    began = time.monotonic()
    with side.store.inject(Fault("stream", chunk_delay=0.02)):
        side("stream", "a/there", 0, None, 25)
    assert time.monotonic() - began >= 0.08


def test_a_hanging_call_ends_at_its_deadline(side: Side) -> None:
    for after in (False, True):
        with side.store.inject(Fault("put", hang=0.05, after=after)), pytest.raises(StorageTimeoutError, match=r"within 0\.05 s"):
            side("put", "a/late", b"")
        assert side.store.exists("a/late") == after


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_release_lets_hanging_calls_of_threads_and_loops_go_on() -> None:
    store = FaultyBackend(MemoryBackend("docs"), Fault("put", hang=math.inf))
    threads = [
        threading.Thread(target=lambda: store.put("sync", b"1")),
        threading.Thread(target=lambda: asyncio.run(store.put_async("async", b"2"))),
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: store.hanging == 2)
    assert not list(store.list())
    store.release()
    for thread in threads:
        thread.join(30)
    assert {info.path for info in store.list()} == {"sync", "async"}
    assert store.hanging == 0


def test_a_hanging_call_can_be_cancelled_and_nothing_is_stored() -> None:
    async def cancelled() -> None:
        task = asyncio.ensure_future(store.put_async("a", b""))
        while not store.hanging:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    store = FaultyBackend(MemoryBackend("docs"), Fault("put", hang=math.inf))
    asyncio.run(cancelled())
    store.clear()
    assert store.hanging == 0
    assert not list(store.list())


def test_the_end_of_the_block_and_clear_take_faults_back() -> None:
    store = FaultyBackend(MemoryBackend("docs"))
    with store.inject(Fault("put", error=OSError)), pytest.raises(StorageError):
        store.put("a", b"")
    store.put("a", b"")
    store.add(Fault("read", error=OSError))
    store.clear()
    assert store.read("a") == b""


def test_it_counts_and_logs_every_call_of_many_threads() -> None:
    store = FaultyBackend(MemoryBackend("docs"), fault := Fault("head", error=OSError, nth=100))
    store.put("a", b"")

    def work() -> None:
        for _ in range(25):
            store.exists("a")

    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except StorageError as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 1
    heads = [call for call in store.log if call.operation == "head"]
    assert [number for number, call in enumerate(heads, 1) if call.fault is fault] == [100]
    assert store.calls["put"] == 1
    assert heads[0].paths == ("a",)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"operation": "put"}, "nothing goes wrong"),
        ({"operation": "move", "error": OSError}, "not \\['move'\\]"),
        ({"operation": (), "error": OSError}, "a fault is about"),
        ({"operation": "head", "keep": 3}, "keep= makes sense for"),
        ({"operation": ("put", "read"), "size": 3}, "size= makes sense for"),
        ({"operation": "put", "error": OSError, "nth": 0}, "count from 1"),
        ({"operation": "put", "delay": -1.0}, "negative"),
        ({"operation": "put", "error": OSError, "rate": 2.0}, "share from 0 to 1"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fault(**wrong)


def test_importing_it_needs_no_pytest_nor_is_it_imported() -> None:
    code = (
        "import sys, filerow; assert not [m for m in sys.modules if m.startswith('filerow.testing')];"
        "sys.modules['pytest'] = None;"
        "from filerow.testing import Fault, FaultyBackend"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_it_can_wrap_itself() -> None:
    inner = FaultyBackend(MemoryBackend("docs"), Fault("put", delay=0.001))
    outer: StorageBackend = FaultyBackend(inner, Fault("put", error=OSError, nth=2))
    outer.put("a", b"")
    with pytest.raises(StorageError):
        outer.put("b", b"")
    assert inner.calls["put"] == 1
