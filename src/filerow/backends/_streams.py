"""Bridges between threads and the event loop, and a guard that remembers whose exception it was."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TypeVar

from typing_extensions import ParamSpec

from filerow.backends._types import Buffer

__all__ = ("AsyncGuard", "Guard", "aiterate", "drain_in_loop", "in_thread")

T = TypeVar("T")
P = ParamSpec("P")


class Guard:
    """Chunks on their way into a store; keeps the exception the caller's iterator raised.

    A driver may wrap or rename what it sees; the layer above wants the caller's own exception back.
    """

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self.error: BaseException | None = None
        self._chunks = chunks

    def __iter__(self) -> Iterator[Buffer]:
        try:
            yield from self._chunks
        except GeneratorExit:  # the driver stopped reading; that is not the caller's failure
            raise
        except BaseException as error:
            self.error = error
            raise


class AsyncGuard:
    """The same for asynchronous chunks."""

    def __init__(self, chunks: AsyncIterable[Buffer]) -> None:
        self.error: BaseException | None = None
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        try:
            async for chunk in self._chunks:
                yield chunk
        except GeneratorExit:  # the driver stopped reading; that is not the caller's failure
            raise
        except BaseException as error:
            self.error = error
            raise


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a thread, and never return before it has ended.

    A thread cannot be cancelled. If we returned at once on cancellation, it could still create an object after the caller has
    cleaned up; so the cancellation waits for the thread and is raised then.
    """
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(None, lambda: context.run(call, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not future.cancelled():
            future.exception()  # retrieved, so that asyncio does not report it as lost
        raise cancelled
    return future.result()


async def aiterate(chunks: Iterable[T]) -> AsyncIterator[T]:
    """Iterate a blocking iterable from the event loop, one thread hop per item."""
    iterator = await in_thread(iter, chunks)
    end = object()
    try:
        while True:
            item = await in_thread(next, iterator, end)
            if item is end:
                return
            yield item  # type: ignore[misc]
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            await in_thread(close)


def drain_in_loop(chunks: AsyncIterable[T], loop: asyncio.AbstractEventLoop) -> Iterator[T]:
    """Iterate an asynchronous iterable from a worker thread while ``loop`` keeps running."""
    iterator = aiter(chunks)
    while True:
        try:
            yield asyncio.run_coroutine_threadsafe(_next(iterator), loop).result()
        except StopAsyncIteration:
            return


async def _next(iterator: AsyncIterator[T]) -> T:
    return await anext(iterator)
