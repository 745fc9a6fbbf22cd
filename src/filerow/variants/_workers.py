"""The workers of a process: how many, who waits for one, their end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from importlib.util import find_spec
from types import TracebackType
from typing import Self, TypeVar

from filerow._execution.steps import Call, Steps, run, run_async, threaded
from filerow._requirements import needs
from filerow._validation.rules import parse_size
from filerow._variant_plan import VariantPlan
from filerow.exceptions import VariantBusyError, VariantError, WorkerError
from filerow.variants._process import Asked, Raw, WorkerProcess, WorkerVanishedError, output_too_large, start
from filerow.variants._source import Original
from filerow.variants._wire import Limits, UnmakableError

T = TypeVar("T")

_MOST_WORKERS = 4
_LEAST_MEMORY = 32 << 20
_MOST_BYTES = 1 << 40
_MOST_SECONDS = 100_000
_MOST_IMAGES = 1000


class WorkerSlot:
    """The right to run one worker, which may not have been started yet."""

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None


class _Promise(concurrent.futures.Future[WorkerSlot]):
    """A slot for whoever waits, in an event loop or in a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        super().__init__()
        self.loop = loop

    def is_vain(self) -> bool:
        """Return True if nobody can take it, since the event loop was closed."""
        return self.loop is not None and self.loop.is_closed()


class _Pool:
    """Slots, free and waited for, which end with their ``VariantWorkers``."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.reset()

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.slots = [WorkerSlot() for _ in range(self.size)]
        self.free = list(self.slots)
        self.waiting: deque[_Promise] = deque()
        self.dying: list[WorkerProcess] = []

    def ask(self, loop: asyncio.AbstractEventLoop | None = None) -> _Promise:
        """Return the promise of a slot.

        Args:
            loop: The event loop that awaits it.
        """
        promise = _Promise(loop)
        with self.lock:
            # a promise keeps its closed loop alive, whose tasks may have slots
            self.waiting = deque(one for one in self.waiting if not one.is_vain())
            if self.free:
                promise.set_result(self.free.pop())  # the one used last, so that few workers are started
            else:
                self.waiting.append(promise)
        return promise

    def withdraw(self, promise: _Promise) -> None:
        """Wait no more; a slot that has come meanwhile goes to the next."""
        with self.lock:
            with contextlib.suppress(ValueError):
                self.waiting.remove(promise)
            came = not promise.cancel()
        if came and promise.exception() is None:
            self.give_back(promise.result())

    def give_back(self, slot: WorkerSlot) -> None:
        with self.lock:
            known = slot in self.slots
        if not known:  # the process has forked, or the workers were closed
            self.discard(slot)
            return
        with self.lock:
            while self.waiting:
                if not self.waiting[0].is_vain() and self.waiting[0].set_running_or_notify_cancel():
                    self.waiting.popleft().set_result(slot)
                    return
                self.waiting.popleft()
            self.free.append(slot)

    def discard(self, slot: WorkerSlot) -> None:
        """Kill the worker of a slot; the next job gets another one."""
        worker, slot.worker = slot.worker, None
        with self.lock:
            if worker is not None:
                worker.kill()
                worker.close()
                self.dying.append(worker)
            self.dying = [one for one in self.dying if not one.is_reaped()]

    def end(self) -> None:
        """Kill all workers, and wait until they are gone."""
        with self.lock:
            workers = [slot.worker for slot in self.slots if slot.worker is not None] + self.dying
            idle = [slot.worker for slot in self.free if slot.worker is not None]
            waiting, self.waiting = self.waiting, deque()
            self.slots = [WorkerSlot() for _ in range(self.size)]
            self.free, self.dying = list(self.slots), []
        for promise in waiting:
            if promise.set_running_or_notify_cancel():
                promise.set_exception(WorkerError("the workers for variants were closed"))
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.is_reaped(wait=True)
        for worker in idle:  # whoever uses another one closes it
            worker.close()

    def forget(self) -> None:
        """Forget the parent's workers in a forked child."""
        for slot in self.slots:
            if slot.worker is not None:
                slot.worker.forget()
                slot.worker = None
        for worker in self.dying:
            worker.forget()
        self.reset()


_pools: weakref.WeakSet[_Pool] = weakref.WeakSet()


class VariantWorkers:
    """Processes that decode images, and what one image may take.

    Images are decoded in processes forked from a worker: without an environment, with limits for memory and time, and on Linux
    unable to open a file or a socket. One that does anything but make an image is killed. Workers start when they are needed, and
    end with :meth:`close`, a ``with`` block, or this process. A forked child starts its own.

    Args:
        workers: Maximum number of images at a time. Default: one for each processor, at most 4.
        memory: Maximum memory for one image, beyond what a worker has before it begins.
        seconds: Maximum processor time for one image; three times as much may pass by the clock.
        max_pixels: Maximum number of pixels of an original, width times height, and of all frames of a result.
        max_frames: Maximum number of frames of an animation.
        max_source: Maximum size of an original.
        max_output: Maximum size of a variant.
        queue_seconds: Seconds that a variant may wait for a worker.
        images_per_process: How many images a process makes, one after the other, before another takes its place; at most 1,000.
            1: each image has a process of its own, as for a function of yours, and where a system confines less than Linux.
        executable: The Python interpreter. Default: ``sys.executable``.
        inline: Decode in this process. Hostile files then meet its memory, secrets and network, and no limit of time or memory
            holds. It is the only way on Windows.
        svg: Make variants of SVG too (extra ``filerow[svg]``); never inline, and each image in a process of its own.

    Raises:
        ValueError: A limit makes no sense.
        ImportError: ``svg`` needs a package that is missing or too old.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        memory: int | str = "512 MB",
        seconds: float = 10.0,
        max_pixels: int = 100_000_000,
        max_frames: int = 1000,
        max_source: int | str = "100 MB",
        max_output: int | str = "32 MB",
        queue_seconds: float = 10.0,
        images_per_process: int = 20,
        executable: str | None = None,
        inline: bool = False,
        svg: bool = False,
    ) -> None:
        self.workers: int = min(os.cpu_count() or 1, _MOST_WORKERS) if workers is None else workers
        given = parse_size(memory, "memory") or 0
        self.limits: Limits = Limits(max_pixels, max_frames, given, seconds)
        self.max_source: int = parse_size(max_source, "max_source") or 0
        self.max_output: int = parse_size(max_output, "max_output") or 0
        self.queue_seconds = queue_seconds
        self.images_per_process: int = images_per_process
        self.executable: str = sys.executable if executable is None else executable
        self.inline = inline
        self.svg = svg
        counts = {
            "workers": self.workers, "max_pixels": max_pixels, "max_frames": max_frames, "images_per_process": images_per_process,
        }  # fmt: skip
        for name, count in counts.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ValueError(f"{name} must be a whole number above 0, not {count!r}")
        if images_per_process > _MOST_IMAGES:
            raise ValueError(f"images_per_process must be at most {_MOST_IMAGES:,}, not {images_per_process!r}")
        for name, value in {"seconds": seconds, "queue_seconds": queue_seconds}.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= _MOST_SECONDS:
                raise ValueError(f"{name} must be a number above 0 and at most {_MOST_SECONDS:,}, not {value!r}")
        for name, size, least, size_given in (
            ("memory", given, _LEAST_MEMORY, memory),
            ("max_source", self.max_source, 1, max_source),
            ("max_output", self.max_output, 1, max_output),
        ):
            if not least <= size <= _MOST_BYTES:
                raise ValueError(f"{name} must be at least {least:,} bytes and at most {_MOST_BYTES:,}, not {size_given!r}")
        if svg:
            _check_drawing(inline=inline)
            self.images_per_process = 1
        self._pool = _Pool(self.workers)
        _pools.add(self._pool)
        self._end = weakref.finalize(self, self._pool.end)  # also when this process ends

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<VariantWorkers {self.workers} {'inline' if self.inline else 'processes'}>"

    def close(self) -> None:
        """End all workers; the next variant starts them again.

        Whoever waits for one gets a ``WorkerError``.
        """
        self._pool.end()

    def protections(self) -> frozenset[str]:
        """Return what images are kept from here, as a worker has tried it.

        ``files``, ``network`` and ``processes`` cannot be reached; ``memory`` and ``time`` are limited. Empty when inline.

        Raises:
            WorkerError: No worker can be started.
        """
        return frozenset() if self.inline else run(self._ready())

    async def protections_async(self) -> frozenset[str]:
        """Return what images are kept from here; see :meth:`protections`."""
        return frozenset() if self.inline else await run_async(self._ready())

    def _ready(self) -> Steps[frozenset[str]]:
        slot: WorkerSlot = yield self._acquire()
        try:
            return (yield from self._started(slot)).protections
        finally:
            self._pool.give_back(slot)

    def _acquire(self) -> Call:
        return Call(self._take, self._take_async)

    def _take(self) -> WorkerSlot:
        promise = self._pool.ask()
        try:
            return promise.result(self.queue_seconds)
        except concurrent.futures.TimeoutError:
            self._pool.withdraw(promise)
            raise self._busy() from None
        except BaseException:
            self._pool.withdraw(promise)
            raise

    async def _take_async(self) -> WorkerSlot:
        promise = self._pool.ask(asyncio.get_running_loop())
        try:
            async with asyncio.timeout(self.queue_seconds):
                return await asyncio.shield(asyncio.wrap_future(promise))
        except TimeoutError:
            self._pool.withdraw(promise)
            raise self._busy() from None
        except BaseException:
            self._pool.withdraw(promise)
            raise

    def _busy(self) -> VariantBusyError:
        return VariantBusyError(
            f"all {self.workers} workers for variants were busy for {self.queue_seconds:g} seconds; try again later"
        )

    def _started(self, slot: WorkerSlot) -> Steps[WorkerProcess]:
        if slot.worker is not None and slot.worker.is_ready:
            return slot.worker
        self._pool.discard(slot)

        def begin() -> WorkerProcess:
            slot.worker = start(self.executable, svg=self.svg)  # here, since nobody gets the result when the caller is cancelled
            return slot.worker

        try:
            worker: WorkerProcess = yield threaded(begin)
            yield from worker.greet()
        except BaseException:
            self._pool.discard(slot)
            raise
        return worker

    def make(self, plan: VariantPlan, original: Original, prove: Callable[[Raw], T]) -> Steps[T]:
        """Have an image made of an original.

        Args:
            plan: What to make.
            original: Its bytes.
            prove: Returns what a worker has made if it is what it was to make; else it raises a ``VariantError``.

        Raises:
            UnmakableError: It cannot be made.
            VariantError: It took too much, or no worker was free or could be started.
        """
        if sys.platform == "win32" and not self.inline:
            msg = (
                "Windows has no processes that are confined enough to decode images of strangers; configure(inline=True) decodes "
                "them in this process, where a hostile one can do what this process can"
            )
            raise WorkerError(msg)
        slot: WorkerSlot = yield self._acquire()
        try:
            if self.inline:
                raw = yield from _inline(plan, self.limits, original)
                if len(raw.content) > self.max_output:
                    raise output_too_large(self.max_output)
                return prove(raw)
            return (yield from self._proven(slot, self._asked(plan, original), prove))
        finally:
            self._pool.give_back(slot)

    def _asked(self, plan: VariantPlan, original: Original) -> Asked:
        images = 1 if plan["function"] else self.images_per_process
        return Asked(plan, self.limits, original, self.max_output, images)

    def _proven(self, slot: WorkerSlot, asked: Asked, prove: Callable[[Raw], T]) -> Steps[T]:
        """Have an image made, at last by a process that has made no other.

        What other images have done to a process must not be what this one is refused for.
        """
        while True:
            worker = yield from self._started(slot)
            is_shared = worker.would_share(asked)
            try:
                return (yield from self._tried(slot, asked, prove))
            except WorkerError:
                raise
            except (UnmakableError, VariantError):  # after which no process goes on
                if not is_shared:
                    raise

    def _tried(self, slot: WorkerSlot, asked: Asked, prove: Callable[[Raw], T]) -> Steps[T]:
        for last in (False, True):
            worker = yield from self._started(slot)
            try:
                outcome = yield from worker.make(asked)
                if isinstance(outcome, Raw):
                    return prove(outcome)
            except WorkerVanishedError:
                self._pool.discard(slot)
                if last:
                    raise WorkerError("workers for variants end before they have begun") from None
                continue
            except BaseException:
                self._pool.discard(slot)
                raise
            raise outcome
        raise AssertionError  # pragma: no cover - the loop returns or raises


def _check_drawing(*, inline: bool) -> None:
    """Raise an error if this process can have no workers that draw SVG.

    The package is not imported: it would load the decoder into a process that decodes nothing.
    """
    if inline:
        raise ValueError("svg=True needs processes that are confined, and inline=True has none")
    with needs("svg", "configure(svg=True)"):
        if find_spec("pyvips") is None:
            raise ImportError("No module named 'pyvips'")


def _inline(plan: VariantPlan, limits: Limits, original: Original) -> Steps[Raw]:
    """Make an image in this process."""
    content = b""
    if original.size:
        content = yield original.read(0, original.size)

    def work() -> Raw:
        import io

        from filerow.variants import _pillow
        from filerow.variants._worker import find_function

        return Raw(*_pillow.make(io.BytesIO(content), plan, limits, find_function(plan["function"])))

    made: Raw = yield threaded(work)
    return made


_default: VariantWorkers | None = None
_lock = threading.Lock()


def configure(
    *,
    workers: int | None = None,
    memory: int | str = "512 MB",
    seconds: float = 10.0,
    max_pixels: int = 100_000_000,
    max_frames: int = 1000,
    max_source: int | str = "100 MB",
    max_output: int | str = "32 MB",
    queue_seconds: float = 10.0,
    images_per_process: int = 20,
    executable: str | None = None,
    inline: bool = False,
    svg: bool = False,
) -> VariantWorkers:
    """Set the workers of this process, and what one image may take.

    The arguments are those of :class:`VariantWorkers`, which is returned. Those that were set before are closed.

    Raises:
        ValueError: A limit makes no sense.
        ImportError: ``svg`` needs a package that is missing or too old.
    """
    global _default
    fresh = VariantWorkers(
        workers=workers,
        memory=memory,
        seconds=seconds,
        max_pixels=max_pixels,
        max_frames=max_frames,
        max_source=max_source,
        max_output=max_output,
        queue_seconds=queue_seconds,
        images_per_process=images_per_process,
        executable=executable,
        inline=inline,
        svg=svg,
    )
    with _lock:
        before, _default = _default, fresh
    if before is not None:
        before.close()
    return fresh


def default_workers() -> VariantWorkers:
    """Return the workers of this process."""
    global _default  # noqa: PLW0603 - as in configure()
    with _lock:
        if _default is None:
            _default = VariantWorkers()
        return _default


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.Lock()
    for pool in list(_pools):
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
