"""A cancelled upload leaves nothing, at whatever moment the cancellation comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from filerow.testing._case import async_case, ensure, equal, none_unfinished
from filerow.testing._driver import LARGE, SMALL, AsyncDriver, split

_MIB = 1 << 20
_DELAYS = (0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03)
_LINGERING = 0.1  # seconds in which a store may still work on a request
_HANG = 60


@async_case
def a_cancelled_put_leaves_nothing(d: AsyncDriver) -> None:
    """Bytes, few bytes and chunks, cancelled after 0 to 30 ms."""
    cancelled: list[str] = []
    fresh = d.fresh

    async def attempt(path: str, content: Any, delay: float) -> None:
        task = asyncio.ensure_future(d.backend.put_async(path, content, fresh))
        await asyncio.sleep(delay)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            ensure(not await d.backend.exists_async(path), f"{path} is there after its upload was cancelled at {delay} s")
            cancelled.append(path)
        else:
            ensure(await d.backend.exists_async(path), f"{path} is not there, though its upload was not cancelled")

    for number, delay in enumerate(_DELAYS):
        d.run(attempt(d.at(f"bytes{number}"), LARGE, delay))
        d.run(attempt(d.at(f"small{number}"), SMALL, delay))
        d.run(attempt(d.at(f"chunks{number}"), d.feeds(lambda: split(LARGE, 1 << 16))[-1], delay))
    d.run(asyncio.sleep(_LINGERING))
    appeared = [path for path in cancelled if d.call("exists", path)]
    equal(appeared, [], "what appeared after its upload had been cancelled")


@async_case
def a_put_waiting_for_its_source_can_be_cancelled(d: AsyncDriver) -> None:
    """The source is cancelled and the upload discarded; nothing keeps waiting."""
    closed: list[type] = []
    fresh = d.fresh

    async def stalled(before: int, reached: asyncio.Event) -> AsyncIterator[bytes]:
        try:
            for _ in range(before):
                yield LARGE[:_MIB]
            reached.set()
            await asyncio.sleep(3600)
        except BaseException as error:
            closed.append(type(error))
            raise

    async def attempt(before: int) -> None:
        reached = asyncio.Event()
        task = asyncio.ensure_future(d.backend.put_async(d.at("stalled"), stalled(before, reached), fresh))
        await reached.wait()
        task.cancel()
        (result,) = await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), _HANG)
        ensure(isinstance(result, asyncio.CancelledError), f"a cancelled put_async() ended with {result!r}")
        await asyncio.sleep(_LINGERING / 2)
        ensure(not await d.backend.exists_async(d.at("stalled")), f"the object is there, {before} MiB before the cancellation")

    for before in (0, 1, 7):
        d.run(attempt(before))
    equal(closed, [asyncio.CancelledError] * 3, "what was raised in the sources")
    equal(d.paths(d.folder), [], "what is stored after uploads that were cancelled")


@async_case
def a_cancelled_upload_leaves_no_unfinished_one(d: AsyncDriver) -> None:
    """No listing shows them, and stores bill for them."""
    fresh = d.fresh

    async def endless(begun: asyncio.Event) -> AsyncIterator[bytes]:
        for number in range(3600):
            yield LARGE[:_MIB]
            if number > 11:  # noqa: PLR2004 - MiB: two parts of S3, and a part that fills
                begun.set()
                await asyncio.sleep(1)

    async def attempt() -> None:
        begun = asyncio.Event()
        task = asyncio.ensure_future(d.backend.put_async(d.at("endless"), endless(begun), fresh))
        await begun.wait()
        task.cancel()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), _HANG)

    d.run(attempt())
    none_unfinished(d)
