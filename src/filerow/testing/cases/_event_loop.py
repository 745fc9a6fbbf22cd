"""The asynchronous side keeps the event loop free, and its callers apart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

from filerow.testing._case import async_case, ensure, equal
from filerow.testing._driver import LARGE, SMALL, AsyncDriver

_MIB = 1 << 20
_HANG = 60
_PAUSE = 0.15  # seconds that a slow source takes for a chunk
_LONGEST = 0.1  # seconds that the event loop may stand still; a busy machine takes some of them


@async_case
def uploads_fed_by_downloads_do_not_wait_for_each_other(d: AsyncDriver) -> None:
    """16 at once: no upload holds a thread or connection that its source needs."""
    data = LARGE[: 3 * _MIB]
    d.put(d.at("source"), data)
    fresh = d.fresh

    async def main() -> None:
        await asyncio.gather(
            *(
                d.backend.put_async(d.at(f"{number}"), d.backend.stream_async(d.at("source"), 0, None, _MIB), fresh)
                for number in range(16)
            )
        )

    d.run(asyncio.wait_for(main(), _HANG))
    equal(len(d.paths(d.folder)), 17, "how many objects there are")
    equal(d.read(d.at("15")), data, "what an upload fed by a download has stored")


@async_case
def the_source_runs_in_the_callers_task(d: AsyncDriver) -> None:
    """So that its timeouts and context variables work."""
    tasks: set[Any] = set()
    fresh = d.fresh

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(8):
            tasks.add(asyncio.current_task())
            yield LARGE[:_MIB]

    async def main() -> None:
        await d.backend.put_async(d.at("x"), chunks(), fresh)
        equal(tasks, {asyncio.current_task()}, "the tasks that the source ran in")

    d.run(main())


@async_case
def asynchronous_calls_do_not_block_the_event_loop(d: AsyncDriver) -> None:
    """Neither a slow source that blocks, nor 6 MiB written and read."""

    def slow() -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(_PAUSE)
            yield SMALL

    async def longest_gap(awaitable: Awaitable[Any]) -> float:
        task = asyncio.ensure_future(awaitable)
        longest, last = 0.0, time.perf_counter()
        while not task.done():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        await task
        return longest

    # a machine with other work may stand still by itself: one of several attempts without a gap is proof enough
    gaps, fresh = [], d.fresh
    for number in range(3):
        gaps.append(d.run(longest_gap(d.backend.put_async(d.at(f"slow{number}"), slow(), fresh))))
        if gaps[-1] < _PAUSE:
            break
    ensure(min(gaps) < _PAUSE, f"the event loop stood still for {min(gaps):.3f} s while a source was slow")
    gaps = [d.run(longest_gap(d.backend.put_async(d.at(f"{number}"), LARGE, fresh))) for number in range(5)]
    gaps += [d.run(longest_gap(d.backend.read_async(d.at(f"{number}")))) for number in range(5)]
    ensure(sorted(gaps)[5] < _LONGEST, f"the event loop stood still for {[round(gap, 3) for gap in gaps]} s")  # half of them
