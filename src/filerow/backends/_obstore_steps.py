"""One description of each operation for both worlds: a generator yields calls, and a runner makes or awaits them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

__all__ = ("Call", "Steps", "run", "run_async", "run_to_the_end")

T = TypeVar("T")

_GRACE = 10.0
"""Seconds a cancelled write may take to end by itself before its request is dropped."""


class Call(NamedTuple):
    """One call of the store, in both its forms."""

    sync: Callable[..., Any]
    native: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    options: dict[str, Any]


Steps: TypeAlias = Generator[Call, Any, T]
"""The calls of one operation, each answered with its result, and the operation's result in the end."""


def run(steps: Steps[T]) -> T:
    """Make the calls of an operation in this thread."""
    try:
        call = next(steps)
        while True:
            try:
                answer = call.sync(*call.args, **call.options)
            except BaseException as error:  # the operation decides what an error means and cleans up  # noqa: BLE001
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def run_async(steps: Steps[T]) -> T:
    """Await the calls of an operation."""
    try:
        call = next(steps)
        while True:
            try:
                answer = await call.native(*call.args, **call.options)
            except BaseException as error:  # noqa: BLE001
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def run_to_the_end(write: Coroutine[Any, Any, T], undo: Callable[[], Awaitable[object]]) -> T:
    """Await a write, and never return before it has ended, cancelled or not.

    A request that is dropped may still be carried out by the store, after the caller has removed what it knew of. So a
    cancellation waits for the answer, undoes what was done and is raised then.

    Args:
        write: The write.
        undo: Removes what it wrote; called when it succeeds in spite of the cancellation.
    """
    task = asyncio.ensure_future(write)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _end(task)
        if not task.cancelled() and task.exception() is None:
            with contextlib.suppress(Exception):
                await undo()
        raise


async def _end(task: asyncio.Task[T]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _GRACE
    while not task.done() and loop.time() < deadline:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task], timeout=deadline - loop.time())
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
