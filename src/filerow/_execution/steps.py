"""Operations described once: generators yield calls, runners make or await them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from filerow._execution.threads import in_thread

T = TypeVar("T")

_GRACE = 10.0
"""Seconds a cancelled write may take to end by itself before its request is dropped."""


class Call(NamedTuple):
    """One call of the store, in both its forms."""

    sync: Callable[..., Any]
    native: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - read only


def threaded(function: Callable[..., T], *args: Any) -> Call:
    """Return the call of a blocking function; awaited, it runs in a thread."""
    return Call(function, partial(in_thread, function), args)


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


async def run_to_the_end(steps: Steps[T], undo: Callable[[], Awaitable[object]]) -> T:
    """Await a write, and never return before it has ended, cancelled or not.

    A request that is dropped may still be carried out by the store, after the caller has removed what it knew of. So a
    cancellation waits for the answer, undoes what was done and is raised then.

    Args:
        steps: The calls of the write.
        undo: Removes what it wrote; called when it succeeds in spite of the cancellation.
    """
    try:
        call = next(steps)
        while True:
            # the store's own future is shielded: a task for each write would cost half as much as the write itself
            answer = asyncio.ensure_future(call.native(*call.args, **call.options))
            try:
                await asyncio.shield(answer)
            except asyncio.CancelledError:
                if not answer.cancelled():
                    await _finish(steps, answer, undo)
                    raise
            except BaseException:
                if not answer.done():  # it is not an answer: the coroutine was closed, for instance
                    raise
            call = _answered(steps, answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _answered(steps: Steps[T], answer: asyncio.Future[Any]) -> Call:
    """Hand an operation the result of its last call, and return its next one."""
    try:
        result = answer.result()
    except BaseException as error:  # noqa: BLE001
        return steps.throw(error)
    return steps.send(result)


async def _finish(steps: Steps[T], answer: asyncio.Future[Any], undo: Callable[[], Awaitable[object]]) -> None:
    """See a cancelled write to its end, and undo it."""
    task = asyncio.ensure_future(_rest(steps, answer))
    await _end(task)
    if not task.cancelled() and task.exception() is None:
        with contextlib.suppress(Exception):
            await undo()


async def _rest(steps: Steps[T], answer: asyncio.Future[Any]) -> T:
    try:
        while True:
            with contextlib.suppress(BaseException):  # it is the answer
                await answer
            call = _answered(steps, answer)
            answer = asyncio.ensure_future(call.native(*call.args, **call.options))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def _end(task: asyncio.Task[T]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _GRACE
    while not task.done() and loop.time() < deadline:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task], timeout=deadline - loop.time())
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
