"""The in-app drainer: drains the outbox in a thread or task of the application.

Both run one generator, which drains and yields how long to wait. Any number of processes may run a drainer.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Self, TypeAlias

from sqlalchemy import Engine

from filerow._execution.batch import iterate_async
from filerow._log import extras, logger
from filerow.exceptions import MaintenanceRefusedError
from filerow.outbox._census import Also
from filerow.outbox._drain import Drained, drain_steps, note_run
from filerow.outbox._settings import OutboxSettings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


_GATHER = 0.2
"""Seconds from a commit to the drain that it asks for, so that many commits share one bulk delete."""

_LONGEST_PAUSE = 300.0


OnWake: TypeAlias = Callable[[Callable[[], None]], Callable[[], None]]
"""Registers a callback for commits that dropped a file, and returns a function to remove it; see :meth:`Outbox.on_wake`."""


class Drainer:
    """Drains an outbox while the application runs: ``with`` or an ASGI lifespan.

    Made by :meth:`Outbox.drainer`. It can be entered again after it has ended, and in a forked child, where it does not run.
    """

    def __init__(
        self,
        settings: OutboxSettings,
        engine: Engine | AsyncEngine,
        *,
        on_wake: OnWake,
        interval: timedelta,
        batch: int,
        patience: timedelta,
        also: Also = (),
    ) -> None:
        if interval <= timedelta(0):
            raise ValueError(f"interval must be a positive time, not {interval}")
        self._settings = settings
        self._engine = engine
        self._on_wake = on_wake
        self._interval = interval.total_seconds()
        self._batch = batch
        self._also = also
        self._patience = patience.total_seconds()
        self._stopping = False
        self._pid = 0
        self._thread: _Thread | None = None
        self._task: _Task | None = None
        self._deaf: Callable[[], None] = _nothing

    # -- starting and stopping -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start a thread that drains.

        Raises:
            TypeError: The engine is asynchronous.
            RuntimeError: It is already running.
        """
        if not isinstance(self._engine, Engine):
            raise TypeError("a drainer of an AsyncEngine runs in the event loop: use 'async with'")
        self._begin()
        self._thread = _Thread(self._rounds(self._engine))
        self._listen(self._thread.wake)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop after the current batch, and wait for that."""
        thread = self._thread
        if thread is not None and self._pid == os.getpid():  # otherwise the parent runs it
            self._end()
            thread.end(self._patience)
            self._thread = None

    async def __aenter__(self) -> Self:
        """Start a task that drains, or a thread if the engine is synchronous.

        Raises:
            RuntimeError: It is already running.
        """
        if isinstance(self._engine, Engine):
            return self.__enter__()
        self._begin()
        self._task = _Task(self._rounds(self._engine.sync_engine))
        self._listen(self._task.wake)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop after the current batch, without blocking the event loop."""
        if self._task is not None:
            task, self._task = self._task, None
            self._end()
            await task.end(self._patience)
        elif self._thread is not None:
            thread, self._thread = self._thread, None
            self._end()
            await asyncio.to_thread(thread.end, self._patience)

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncGenerator[None]:
        """Run while an application does: ``FastAPI(lifespan=drainer.lifespan)``."""
        async with self:
            yield

    def _begin(self) -> None:
        if self._pid == os.getpid() and (self._thread is not None or self._task is not None):
            raise RuntimeError("this drainer is already running")
        self._deaf()  # in a forked child the parent's thread is still registered
        self._thread = self._task = None
        self._pid = os.getpid()
        self._stopping = False

    def _listen(self, wake: Callable[[], None]) -> None:
        # With a retention longer than the interval, nothing is due before the next look.
        soon = self._settings.retention.total_seconds() < self._interval
        here = os.getpid()

        def wake_here() -> None:
            if os.getpid() == here:  # a forked child has neither thread nor loop, and perhaps a lock that is never released
                wake()

        self._deaf = self._on_wake(wake_here) if soon else _nothing

    def _end(self) -> None:
        self._stopping = True
        self._deaf()

    # -- the work ------------------------------------------------------------------------------------------------------

    def _rounds(self, engine: Engine) -> Iterator[_Pause]:
        """Drain, yield how long to wait, repeat; failures are logged and retried."""
        failures = 0
        refusal = ""
        beat = _Heartbeat(self._settings, engine, self._interval)
        after_wake = _GATHER + self._settings.retention.total_seconds()
        while not self._stopping:
            try:
                self._drain(engine, beat)
                failures, refusal = 0, ""
            except MaintenanceRefusedError as error:
                beat.error = str(error)
                if refusal != (error.code or str(error)):  # the text says when the other database was last there
                    message = "the drainer was refused, which is logged once; it asks again when something is due: %s"
                    logger.error(message, error, extra=extras("drain", error=error.code))
                refusal = error.code or str(error)
            except Exception as error:  # noqa: BLE001 - it is logged, and the application goes on
                failures += 1
                beat.error = str(error)
                pause = self._pause_after(failures)
                logger.warning(
                    "the drainer could not drain the outbox (%d in a row); tombstones are kept; the next try is in %.0f s: %s",
                    failures,
                    pause,
                    error,
                    extra=extras("drain", error=type(error).__name__),
                )
                logger.debug("the drainer's error", exc_info=True)
            beat.beat()
            pause = self._pause_after(failures)
            yield _Pause(pause, pause if failures else min(after_wake, pause))

    def _pause_after(self, failures: int) -> float:
        return min(self._interval * 2.0 ** min(failures, 30), max(_LONGEST_PAUSE, self._interval))

    def _drain(self, engine: Engine, beat: _Heartbeat) -> None:
        before = Drained()
        for total in drain_steps(self._settings, engine, batch=self._batch, also=self._also):
            beat.deleted += total.deleted - before.deleted
            beat.failed += total.failed + total.dead - before.failed - before.dead
            before = total
            beat.beat()
            if self._stopping:
                return
        beat.error = None


def _nothing() -> None:
    """Do nothing: no callback was registered."""


class _Pause(NamedTuple):
    """How many seconds to wait for the next round: without, and after, a wake-up."""

    seconds: float
    after_wake: float


class _Heartbeat:
    """Records for ``filerow doctor`` that a drainer runs, at most once an interval."""

    def __init__(self, settings: OutboxSettings, engine: Engine, interval: float) -> None:
        self.deleted = 0
        self.failed = 0
        self.error: str | None = None
        self._settings = settings
        self._engine = engine
        self._interval = interval
        self._last = -float("inf")

    def beat(self) -> None:
        """Record it if it is time; a failure must not stop draining."""
        if monotonic() - self._last < self._interval * 0.9:  # each look comes a little earlier or later
            return
        self._last = monotonic()
        facts = {"interval": self._interval, "deleted": self.deleted, "failed": self.failed, "error": self.error}
        note_run(self._settings, self._engine, facts)


class _Thread:
    """Runs the rounds in a thread."""

    def __init__(self, rounds: Iterator[_Pause]) -> None:
        self._rounds = rounds
        self._woken = threading.Event()
        self._stopped = threading.Event()
        # in this context, which may have a registry of its own
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name="filerow-drainer", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Run the next round soon."""
        self._woken.set()

    def end(self, patience: float) -> None:
        """End after the current round, and wait for that."""
        self._stopped.set()
        self._woken.set()
        self._thread.join(patience)
        if self._thread.is_alive():
            message = "the drainer is still deleting after %s seconds; another will repeat that after the lease"
            logger.warning(message, patience, extra=extras("drain"))

    def _run(self) -> None:
        for pause in self._rounds:
            if self._woken.wait(pause.seconds):
                self._stopped.wait(pause.after_wake)
            self._woken.clear()


class _Task:
    """Runs the rounds in the event loop."""

    def __init__(self, rounds: Iterator[_Pause]) -> None:
        self._rounds = rounds
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._stopped = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())  # awaited by end()

    def wake(self) -> None:
        """Run the next round soon; may be called in any thread."""
        self._loop.call_soon_threadsafe(self._woken.set)

    async def end(self, patience: float) -> None:
        """End after the current round; a batch that takes too long is cancelled."""
        self._stopped.set()
        self._woken.set()
        try:
            await asyncio.wait([self._task], timeout=patience)
        finally:
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    async def _run(self) -> None:
        async for pause in iterate_async(self._rounds):
            if await _set_within(self._woken, pause.seconds):
                await _set_within(self._stopped, pause.after_wake)
            self._woken.clear()


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
