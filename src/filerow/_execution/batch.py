"""Runs batches of transfers from sync or async code, in threads or a greenlet.

SQLAlchemy's events are synchronous even under ``AsyncSession``, where they run inside a greenlet that can await. So a batch is
awaited through that greenlet when there is one, and run in a bounded pool of threads when there is none. Either way a batch
ends only when everything it started has ended: nothing is left running behind a hook's back.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from sqlalchemy.util.concurrency import await_only, greenlet_spawn

from filerow._execution.steps import Call, Steps, run, run_async
from filerow._execution.threads import in_thread

try:
    from sqlalchemy.util.concurrency import in_greenlet as _sa_in_greenlet
except ImportError:  # SQLAlchemy 2.0 hides the name when greenlet is not installed

    def _sa_in_greenlet() -> bool:
        return False


class Job(ABC):
    """One transfer. It cleans up after itself when it fails.

    Attributes:
        quick: It takes less time than to hand it to a thread, so several are done one after the other.
        crowd: This many of its kind, or more, are done sooner by threads than on the event loop; 0 for what must be awaited.
    """

    @property
    def quick(self) -> bool:
        """See the class."""
        return False

    @property
    def crowd(self) -> int:
        """See the class."""
        return 0

    @abstractmethod
    def run(self) -> None:
        """Do it, blocking."""

    @abstractmethod
    async def run_async(self) -> None:
        """Do it without blocking the event loop."""

    def stop(self) -> None:  # noqa: B027 - most transfers are one request
        """Make a transfer in flight fail soon, if it can; a sent request is finished."""

    @property
    def call(self) -> Call:
        """It as one of the steps of another operation."""
        return Call(self.run, self.run_async)

    def finish(self) -> None:
        """Run as a batch of its own, awaited if in a greenlet; raise what went wrong."""
        raise_if(run_all([self], 1).error)

    async def finish_async(self) -> None:
        """Run as a batch of its own, without blocking the event loop."""
        raise_if((await run_all_async([self], 1)).error)


class StepsJob(Job):
    """A transfer that is described once, by its steps."""

    def run(self) -> None:
        """Do it, blocking."""
        run(self._steps())

    async def run_async(self) -> None:
        """Do it without blocking the event loop."""
        await run_async(self._steps())

    @abstractmethod
    def _steps(self) -> Steps[None]: ...


J = TypeVar("J", bound=Job)
T = TypeVar("T")
_END: Any = object()

_PATIENCE = 0.5
"""Seconds after which a wait looks for itself whether a batch is over; a wake-up may be lost to a signal."""


class Batch(Generic[J]):
    """The outcome of a batch.

    Attributes:
        done: The jobs that succeeded, in the order they ended.
        error: The first failure or cancellation, ``None`` when all succeeded.
        failed: The job that failed first; ``None`` if none did, or something else ended the batch.
    """

    def __init__(self, jobs: Sequence[J]) -> None:
        self.done: list[J] = []
        self.error: BaseException | None = None
        self.failed: J | None = None
        self._waiting = iter(jobs)
        self._exhausted = False
        self._running: dict[int, J] = {}
        self._lock = threading.Lock()

    def take(self) -> J | None:
        """Return the next job to start; ``None`` if there is none, or one has failed."""
        with self._lock:
            job = None if self.error else next(self._waiting, None)
            if job is None:
                self._exhausted = True
            else:
                self._running[id(job)] = job
            return job

    def is_over(self) -> bool:
        """Return True if nothing is in flight and nothing more will start."""
        with self._lock:
            return not self._running and (self._exhausted or self.error is not None)

    def finish(self, job: J) -> None:
        """Note that a job succeeded."""
        with self._lock:
            self._running.pop(id(job), None)
            self.done.append(job)

    def fail(self, error: BaseException, job: J | None = None) -> None:
        """Record the first failure, and stop the jobs in flight."""
        with self._lock:
            if job is not None:
                self._running.pop(id(job), None)
            if self.error is None:
                self.error, self.failed = error, job
            running = list(self._running.values())
        for other in running:
            other.stop()

    @contextmanager
    def failing(self) -> Generator[None]:
        """Note what is raised meanwhile as the batch's failure."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - the caller raises it when everything has ended
            self.fail(error)


def raise_if(error: BaseException | None) -> None:
    """Raise what ended a batch, if anything did."""
    if error is not None:
        raise error


def in_greenlet() -> bool:
    """Return True inside SQLAlchemy's greenlet: awaiting works, blocking does not."""
    try:
        return bool(_sa_in_greenlet())
    except (ImportError, ValueError):  # SQLAlchemy 2.1, and 2.0, without greenlet
        return False


def run_all(jobs: Sequence[J], limit: int) -> Batch[J]:
    """Run jobs, at most ``limit`` at a time, until all have ended. Never raises."""
    if in_greenlet():
        awaited: Batch[J] = await_only(run_all_async(jobs, limit))
        return awaited
    batch = Batch(jobs)
    if len(jobs) == 1:  # as in most flushes
        _do(batch, jobs[0])
    elif limit <= 1 or _all_quick(jobs):
        _work(batch)
    else:
        _run_in_threads(batch, min(limit, len(jobs)))
    return batch


def _all_quick(jobs: Sequence[Job]) -> bool:
    return all(job.quick for job in jobs)


def _run_in_threads(batch: Batch[J], workers: int) -> None:
    """Have threads do the work, and only wait for them.

    A Ctrl-C is raised in the main thread, wherever that is: were it in the middle of a job, it might leave a lock behind (of an
    import, say) that the other threads then wait for, forever. Here it ends the batch, as a cancellation does.
    """
    woken: SimpleQueue[None] = SimpleQueue()

    def work() -> None:
        try:
            _work(batch)
        finally:
            woken.put(None)

    begun: list[threading.Thread] = []
    try:
        for number in range(workers):
            thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name=f"filerow-{number}")
            thread.start()
            begun.append(thread)
    except BaseException as error:  # noqa: BLE001 - also that there can be no more threads
        batch.fail(error)
    while _is_awaited(batch, woken):
        pass
    for thread in begun:
        with batch.failing():
            thread.join()


def _is_awaited(batch: Batch[J], woken: SimpleQueue[None]) -> bool:
    """Wait a little, and return True if anything of a batch is still to come.

    What counts is the batch's own state: an interrupted ``Thread.join()`` takes the thread for ended, and an interrupted
    ``get()`` may have swallowed what it got.
    """
    with batch.failing():
        if batch.is_over():
            return False
        with contextlib.suppress(Empty):
            woken.get(timeout=_PATIENCE)
    return True


def _work(batch: Batch[J]) -> None:
    while (job := batch.take()) is not None:
        _do(batch, job)


def _do(batch: Batch[J], job: J) -> None:
    try:
        job.run()
    except BaseException as error:  # noqa: BLE001 - the caller raises it, after it has cleaned up
        batch.fail(error, job)
    else:
        batch.finish(job)


async def run_all_async(jobs: Sequence[J], limit: int) -> Batch[J]:
    """Run jobs as tasks, at most ``limit`` at a time; never raises a cancellation.

    A request that is cancelled half-way may still reach the store later. The backends see to that: a cancelled put returns only
    when nothing of it can appear any more, so all that is left to do here is to wait for the tasks.
    """
    batch = Batch(jobs)
    if len(jobs) == 1:  # it needs no task of its own
        await _do_async(batch, jobs[0])
        return batch
    if _all_quick(jobs):
        tasks = {asyncio.ensure_future(in_thread(_work, batch))}
    elif all(0 < job.crowd <= len(jobs) for job in jobs):
        tasks = {asyncio.ensure_future(in_thread(_run_in_threads, batch, min(limit, len(jobs))))}
    else:
        tasks = {asyncio.ensure_future(_work_async(batch)) for _ in range(min(limit, len(jobs)))}
    while tasks:
        try:
            _, tasks = await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            batch.fail(error)
            for task in tasks:
                task.cancel()
    return batch


async def _work_async(batch: Batch[J]) -> None:
    while (job := batch.take()) is not None:
        await _do_async(batch, job)


async def _do_async(batch: Batch[J], job: J) -> None:
    try:
        await job.run_async()
    except BaseException as error:  # noqa: BLE001 - the caller raises it, after it has cleaned up
        batch.fail(error, job)
    else:
        batch.finish(job)


# -- programs of many steps: maintenance and outbox ------------------------------------------------------------------------


def call(blocking: Callable[..., T], native: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Make one call in the form that fits the caller: awaited or blocking."""
    if in_greenlet():
        result: T = await_only(native(*args))
        return result
    return blocking(*args)


def first(blocking: Callable[..., Iterable[T]], native: Callable[..., AsyncIterable[T]], *args: Any) -> T | None:
    """Return the first item of a listing, or ``None``; see :func:`call`."""

    def take() -> T | None:
        return next(iter(blocking(*args)), None)

    async def take_async() -> T | None:
        items = aiter(native(*args))
        try:
            return await anext(items, None)
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()

    return call(take, take_async)


async def spawn(function: Callable[..., T], *args: Any) -> T:
    """Run synchronous code inside SQLAlchemy's greenlet, where its calls can await."""
    result: T = await greenlet_spawn(function, *args)
    return result


async def iterate_async(steps: Iterator[T]) -> AsyncIterator[T]:
    """Run a generator step by step in SQLAlchemy's greenlet, and close it there.

    So a long piece of work is written once, on ``engine`` or ``async_engine.sync_engine``, and blocks no event loop.
    """

    def advance() -> T:
        return next(steps, _END)

    try:
        while (step := await spawn(advance)) is not _END:
            yield step
    finally:
        close = getattr(steps, "close", None)
        if close is not None:
            await greenlet_spawn(close)
