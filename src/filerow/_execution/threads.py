"""Bridges between threads and the event loop, and guards that keep exceptions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TypeAlias, TypeVar

from typing_extensions import ParamSpec

from filerow._buffers import Buffer

T = TypeVar("T")
B = TypeVar("B", bound=Buffer)
P = ParamSpec("P")

_Batch: TypeAlias = tuple[list[Buffer], bool]
"""Some chunks, and whether they were the last."""

_BATCH_BYTES = 1 << 20
_BATCH_SECONDS = 0.05


class Guard:
    """Chunks on their way to a store; keeps the exception of the caller's iterator.

    A driver may wrap or rename what it sees; the layer above wants the caller's own exception back.
    """

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self.error: BaseException | None = None
        self._chunks = chunks

    def count(self, note: Callable[[int], None]) -> None:
        """Note the size of each chunk from now on."""
        self._chunks = counted(self._chunks, note)

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

    def count(self, note: Callable[[int], None]) -> None:
        """Note the size of each chunk from now on."""
        self._chunks = _counted_async(self._chunks, note)

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        try:
            async for chunk in self._chunks:
                yield chunk
        except GeneratorExit:  # the driver stopped reading; that is not the caller's failure
            raise
        except BaseException as error:
            self.error = error
            raise


def counted(chunks: Iterable[B], note: Callable[[int], None]) -> Iterator[B]:
    """Yield chunks, and note the size of each."""
    for chunk in chunks:
        note(len(chunk))
        yield chunk


async def _counted_async(chunks: AsyncIterable[Buffer], note: Callable[[int], None]) -> AsyncIterator[Buffer]:
    async for chunk in chunks:
        note(len(chunk))
        yield chunk


def following(chunks: Iterator[bytes]) -> bytes:
    """Return the next chunk with bytes in it; empty at the end."""
    return next(filter(None, chunks), b"")


class Feed:
    """Chunks for a worker thread, which the event loop can cut off.

    Asynchronous chunks are awaited in the caller's own task, so that its context and its cancellation reach the source.
    The worker is a thread of its own, never one of the loop's executor: the source may need that executor for its next
    chunk, and enough uploads waiting for their sources inside it would wait forever.

    Args:
        chunks: What to read, once.
    """

    def __init__(self, chunks: Iterator[Buffer] | AsyncIterator[Buffer]) -> None:
        self._chunks = chunks
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._wanted = asyncio.Event()
        from queue import SimpleQueue  # not needed to import the package

        self._batches: SimpleQueue[_Batch | BaseException] = SimpleQueue()

    async def run(self, call: Callable[[Iterator[Buffer]], T]) -> T:
        """Run ``call`` with the chunks in a thread; a cancellation waits for the thread."""
        future = self._start(call)
        try:
            if isinstance(self._chunks, AsyncIterator):
                await self._serve(self._chunks, future)
        except BaseException as error:
            self._batches.put(error)
            await until_ended(future)
            raise
        await until_ended(future, self._stop)
        return future.result()

    def _start(self, call: Callable[[Iterator[Buffer]], T]) -> asyncio.Future[T]:
        context = contextvars.copy_context()
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def work() -> None:
            try:
                done.set_result(context.run(call, self._read()))
            except BaseException as error:  # noqa: BLE001 - it is raised in the event loop
                done.set_exception(error)

        future = asyncio.wrap_future(done)
        future.add_done_callback(lambda _: self._wanted.set())
        threading.Thread(target=work, name="filerow-put", daemon=True).start()
        return future

    def _stop(self) -> None:
        self._stopped = True

    async def _serve(self, chunks: AsyncIterator[Buffer], future: asyncio.Future[T]) -> None:
        """Hand over one batch whenever the worker asks, until it has ended."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if future.done():
                return
            self._batches.put(await _batch(chunks))

    def _read(self) -> Iterator[Buffer]:
        if isinstance(self._chunks, AsyncIterator):
            yield from self._drain()
            return
        for chunk in self._chunks:
            if self._stopped:
                raise asyncio.CancelledError
            yield chunk

    def _drain(self) -> Iterator[Buffer]:
        ended = False
        while not ended:
            self._loop.call_soon_threadsafe(self._wanted.set)
            batch = self._batches.get()
            if isinstance(batch, BaseException):
                raise batch
            chunks, ended = batch
            yield from chunks


async def _batch(chunks: AsyncIterator[Buffer]) -> _Batch:
    """Await about a megabyte of chunks: a change of thread costs as much as a write."""
    batch: list[Buffer] = []
    size = 0
    async for chunk in chunks:
        # the source may fill the same buffer again while this one waits for its turn
        batch.append(bytes(chunk) if isinstance(chunk, (bytearray, memoryview)) else chunk)
        size += len(batch[-1])
        if size >= _BATCH_BYTES:
            return batch, False
    return batch, True


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a thread, and never return before it has ended.

    A thread cannot be cancelled. If we returned at once on cancellation, it could still create an object after the
    caller has cleaned up; so the cancellation waits for the thread and is raised then.
    """
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(None, lambda: context.run(call, *args, **kwargs))
    await until_ended(future)
    return future.result()


async def until_ended(future: asyncio.Future[T], on_cancel: Callable[[], None] = lambda: None) -> None:
    """Wait until a future has ended; raise a cancellation only afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
            on_cancel()
    if not future.cancelled():
        future.exception()  # retrieved, so that asyncio does not report it as lost
    if cancelled is not None:
        raise cancelled


async def aiterate(items: Iterable[T], most: int = 1) -> AsyncIterator[T]:
    """Iterate a blocking iterable from the event loop.

    Args:
        items: What to iterate.
        most: How many items one thread hop may fetch; it fetches fewer when they take their time.
    """
    iterator = await in_thread(iter, items)
    try:
        while batch := await in_thread(_take, iterator, most):
            for item in batch:
                yield item
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            await in_thread(close)


def _take(iterator: Iterator[T], most: int) -> list[T]:
    until = time.monotonic() + _BATCH_SECONDS
    batch: list[T] = []
    for item in iterator:
        batch.append(item)
        if len(batch) >= most or time.monotonic() >= until:
            break
    return batch
