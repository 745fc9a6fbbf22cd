"""One backend in several event loops: one after the other, at once in two threads, uvloop's, and beside synchronous code."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from filerow import FileObject, storages
from filerow.exceptions import StorageError
from tests.execution.running import DEADLINE
from tests.execution.stores import KINDS, registered, settings_of
from tests.execution.work import attach, attach_async, left, make_tables

PLAIN = {"s3"}


@pytest.fixture(params=[pytest.param(kind, marks=() if kind in PLAIN else pytest.mark.thorough) for kind in KINDS])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in settings_of(request.param, tmp_path, request).items():
        monkeypatch.setenv(name, value)
    make_tables()
    yield registered()
    assert left() == 0
    storages.clear_backends()


async def many() -> None:
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(attach_async(b"%d" % number) for number in range(3)))


def uvloop_run(coroutine: Any) -> None:
    if sys.platform == "win32":
        pytest.skip("there is no uvloop here")
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(coroutine)


def test_one_loop_after_the_other(store: Any) -> None:
    asyncio.run(many())
    attach()
    asyncio.run(many())
    uvloop_run(many())
    attach()


def test_a_file_of_one_loop_is_read_in_another(store: Any) -> None:
    file = FileObject("docs", "a.txt", content=b"content")
    asyncio.run(file.save_async())
    assert asyncio.run(file.get_content_async()) == b"content"
    opened: Any = file.open()
    with contextlib.closing(opened):
        assert opened.read(3) == b"con"
        assert asyncio.run(file.exists_async())
        assert opened.read() == b"tent"
    uvloop_run(file.delete_async())


def test_two_loops_at_once_beside_a_thread_without_one(store: Any) -> None:
    runs: list[Callable[[], Any]] = [lambda: asyncio.run(many()), lambda: uvloop_run(many()), attach, lambda: asyncio.run(many())]
    at_once = threading.Barrier(len(runs))

    def begin(run: Callable[[], Any]) -> None:
        at_once.wait(DEADLINE)
        run()

    with ThreadPoolExecutor(len(runs)) as pool:
        for done in [pool.submit(begin, run) for run in runs]:
            done.result(DEADLINE)


def test_synchronous_code_works_in_the_thread_of_a_running_loop(store: Any) -> None:
    async def handler() -> None:
        attach()  # it blocks the loop, as any synchronous code does, and nothing worse
        await attach_async()
        attach()

    asyncio.run(handler())


def test_loop_closed_during_an_upload_does_not_spoil_the_next(store: Any) -> None:
    begun = asyncio.Event()

    async def content() -> Any:
        yield b"x" * (6 << 20)
        begun.set()
        await asyncio.sleep(3600)
        yield b"y"

    async def abandoned() -> None:
        upload = asyncio.ensure_future(FileObject("docs", "big", content=content()).save_async())
        await begun.wait()
        assert not upload.done()  # the end of the loop cancels it

    asyncio.run(abandoned())
    asyncio.run(many())
    assert left() == 0


def test_without_asyncio_a_coroutine_says_so(store: Any) -> None:
    if store.protocol == "memory":  # which awaits nothing
        with contextlib.closing(store.exists_async("a")) as coroutine, pytest.raises(StopIteration):
            coroutine.send(None)
        return
    with contextlib.closing(store.exists_async("a")) as coroutine, pytest.raises(StorageError, match="no running event loop"):
        coroutine.send(None)  # as under trio, say
    attach()
