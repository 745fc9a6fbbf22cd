"""OpenTelemetry: spans and metrics of stores, and the state of an outbox.

::

    from filerow.ext import opentelemetry

    opentelemetry.install()  # once, when the application starts; after the SDK is configured, or before
    opentelemetry.observe_outbox(outbox, engine)

A span is called after the operation and the backend's key (``put docs``) and is a child of the current span, in threads and
from ``AsyncSession`` too. Its attributes, and those of the metrics, are:

==========================  ===============================================================================================
``filerow.operation``       ``put``, ``read``, ``copy``, ``delete``, ``head``, ``list`` or ``limits``
``filerow.backend.key``     the backend's key
``filerow.backend.kind``    the kind of store: ``s3``, ``gs``, ``az``, ``file``, …
``filerow.outcome``         ``success``, ``missing`` (no object), ``exists`` (the path is taken), ``refused`` (by a column's
                            rules), ``cancelled``, ``stopped`` (a reader has stopped early) or ``failure``
``error.type``              of a failure, the class of the error
``filerow.io.size``         of spans: the bytes sent or received
``filerow.objects``         of spans of ``delete``: the number of objects; ``filerow.objects.failed`` of them were not deleted
``filerow.path``            of spans, and only with ``install(paths=True)``: the object's path
==========================  ===============================================================================================

Metrics: ``filerow.storage.operation.duration`` (histogram, seconds), whose count is that of the operations, and
``filerow.storage.io`` (counter, bytes) by ``filerow.io.direction``, ``read`` or ``write``. Signing a URL is not observed, since
it makes no request as a rule.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from filerow._log import extras, logger
from filerow._requirements import needs
from filerow.backends._observers import Observation, observers
from filerow.exceptions import FileValidationError, ObjectExistsError, ObjectNotFoundError
from filerow.maintenance._stats import OutboxStats, outbox_stats

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from filerow.outbox import Outbox

with needs("opentelemetry", "filerow.ext.opentelemetry"):
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from opentelemetry.metrics import Observation as Measured
    from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

__all__ = ("install", "observe_outbox", "uninstall")

_SCOPE = "filerow"
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60)
_HERE = {"file", "memory"}
_PATIENCE = 5.0
"""Seconds that a reader of metrics waits for the event loop to count an outbox."""


def install(
    *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None, paths: bool = False
) -> None:
    """Observe the operations of all backends from now on.

    Calling it again replaces what was installed.

    Args:
        tracer_provider: Who makes the tracer. Default: the global one.
        meter_provider: Who makes the meter. Default: the global one.
        paths: Let spans have the paths of objects, and the messages of errors, which name them. They are often private.
    """
    uninstall()
    tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
    observers.append(_Tracing(tracer, _meter(meter_provider), paths=paths))


def uninstall() -> None:
    """Stop observing the operations of backends."""
    observers[:] = [one for one in observers if not isinstance(one, _Tracing)]


def _meter(provider: MeterProvider | None) -> metrics.Meter:
    return metrics.get_meter(_SCOPE, meter_provider=provider)


class _Tracing:
    """Makes a span and measurements of each operation."""

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter, *, paths: bool) -> None:
        self.tracer = tracer
        self.paths = paths
        self.duration = meter.create_histogram(
            "filerow.storage.operation.duration",
            unit="s",
            description="Duration of operations of a store.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.moved = meter.create_counter("filerow.storage.io", unit="By", description="Bytes sent to and received from a store.")

    def begin(self, backend: str, protocol: str, operation: str, path: str, *, streams: bool) -> Observation:
        """Begin a span.

        That of a generator is not made the current one, since other code runs before it ends.
        """
        known = {"filerow.operation": operation, "filerow.backend.key": backend, "filerow.backend.kind": protocol}
        kind = SpanKind.INTERNAL if protocol in _HERE else SpanKind.CLIENT
        given = {**known, "filerow.path": path} if self.paths and path else known
        span = self.tracer.start_span(f"{operation} {backend}", kind=kind, attributes=given)
        return _Operation(self, span, known, streams=streams)


class _Operation:
    """One span, with what is measured until it ends."""

    __slots__ = ("_known", "_more", "_since", "_size", "_span", "_token", "_tracing")

    def __init__(self, tracing: _Tracing, span: trace.Span, known: dict[str, str], *, streams: bool) -> None:
        self._tracing = tracing
        self._span = span
        self._known = known
        self._more: dict[str, Any] = {}
        self._size = 0
        self._token = None if streams else context.attach(trace.set_span_in_context(span))
        self._since = time.perf_counter()

    def moved(self, size: int) -> None:
        """Count bytes."""
        self._size += size

    def answered(self, count: int, failed: Mapping[str, BaseException]) -> None:
        """Note how many objects a delete was about, and whether one is left."""
        self._more["filerow.objects"] = count
        if failed:
            self._more["filerow.objects.failed"] = len(failed)
            self._known |= {"filerow.outcome": "failure", "error.type": type(next(iter(failed.values()))).__qualname__}

    def end(self, error: BaseException | None) -> None:
        """End the span, and measure it."""
        seconds = time.perf_counter() - self._since
        if self._token is not None:
            context.detach(self._token)
        known, span, tracing = self._known, self._span, self._tracing
        place = {name: known[name] for name in ("filerow.backend.key", "filerow.backend.kind")}
        direction = "write" if known["filerow.operation"] == "put" else "read"
        known.setdefault("filerow.outcome", _outcome(error))
        if error is not None and known["filerow.outcome"] == "failure":
            known["error.type"] = type(error).__qualname__
        tracing.duration.record(seconds, known)
        if self._size:
            tracing.moved.add(self._size, {**place, "filerow.io.direction": direction})
        if span.is_recording():
            self._describe(error)
        span.end()

    def _describe(self, error: BaseException | None) -> None:
        known, span = self._known, self._span
        span.set_attributes({**known, **self._more, **({"filerow.io.size": self._size} if self._size else {})})
        if known["filerow.outcome"] == "failure":  # the message would name the object
            span.set_status(Status(StatusCode.ERROR, known["error.type"]))
            if error is not None and self._tracing.paths:
                span.record_exception(error)


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "success"
    kinds: tuple[tuple[Any, str], ...] = (
        (ObjectNotFoundError, "missing"),
        (ObjectExistsError, "exists"),
        (FileValidationError, "refused"),
        (GeneratorExit, "stopped"),
        ((asyncio.CancelledError, KeyboardInterrupt, SystemExit), "cancelled"),
    )
    return next((name for kind, name in kinds if isinstance(error, kind)), "failure")


# -- the outbox ------------------------------------------------------------------------------------------------------------


def observe_outbox(outbox: Outbox, engine: Engine | AsyncEngine, *, meter_provider: MeterProvider | None = None) -> None:
    """Measure an outbox whenever metrics are read.

    ``filerow.outbox.objects`` is the number of objects by ``filerow.outbox.state``: ``due``, ``waiting`` for the retention or
    the next attempt, and ``dead`` after too many. ``filerow.outbox.age`` is the seconds since the oldest of those that are not
    dead lost its row; it is a little more than the retention where drains keep up. Both have ``filerow.outbox.table``.

    The database counts the table's rows each time, so let one process do it. An ``AsyncEngine`` is asked in the event loop that
    calls this. If that loop itself reads the metrics, it cannot wait for the answer, and gets that of the time before.

    Args:
        outbox: The outbox.
        engine: Its database.
        meter_provider: Who makes the meter. Default: the global one.

    Raises:
        RuntimeError: An ``AsyncEngine`` was given, and no event loop is running.
    """
    read: Callable[[], OutboxStats | None] = _Reading(outbox, engine) if isinstance(engine, Engine) else _InLoop(outbox, engine)
    table = {"filerow.outbox.table": outbox.table.fullname}

    def objects(_: CallbackOptions) -> Iterable[Measured]:
        found = read()
        counts = {} if found is None else {"due": found.due, "waiting": found.waiting, "dead": found.dead}
        return [Measured(count, {**table, "filerow.outbox.state": state}) for state, count in counts.items()]

    def age(_: CallbackOptions) -> Iterable[Measured]:
        found = read()
        return [] if found is None else [Measured(found.oldest or 0.0, table)]

    meter = _meter(meter_provider)
    meter.create_observable_gauge("filerow.outbox.objects", [objects], unit="{object}", description="Objects to delete.")
    meter.create_observable_gauge("filerow.outbox.age", [age], unit="s", description="Age of the oldest object to delete.")


_AT_ONCE = 1.0
"""Seconds for which a count stands: two instruments are read one after the other."""


class _Reading:
    """Counts an outbox; never raises, since a reader of metrics has more to read."""

    def __init__(self, outbox: Outbox, engine: Engine) -> None:
        self._outbox = outbox
        self._engine = engine
        self._lock = threading.Lock()
        self._known: OutboxStats | None = None
        self._since = -_AT_ONCE

    def __call__(self) -> OutboxStats | None:
        with self._lock:
            if time.monotonic() - self._since >= _AT_ONCE:
                try:
                    self._known = self._read()
                except Exception as error:  # noqa: BLE001 - it is logged
                    self._known = None
                    _log(self._outbox, error)
                self._since = time.monotonic()
            return self._known

    def _read(self) -> OutboxStats | None:
        with self._engine.connect() as connection:
            return outbox_stats(connection, self._outbox)


class _InLoop(_Reading):
    """Counts an outbox in the event loop that an ``AsyncEngine`` belongs to."""

    def __init__(self, outbox: Outbox, engine: AsyncEngine) -> None:
        super().__init__(outbox, engine.sync_engine)
        self._async_engine = engine
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "observe_outbox() with an AsyncEngine is called inside the event loop that uses the engine, as in the "
                "application's lifespan; or pass an Engine"
            ) from None

    def __call__(self) -> OutboxStats | None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not self._loop:
            return super().__call__()
        asyncio.run_coroutine_threadsafe(self._count(), self._loop).add_done_callback(self._keep)
        return self._known

    def _read(self) -> OutboxStats | None:
        if not self._loop.is_running():
            return None
        return asyncio.run_coroutine_threadsafe(self._count(), self._loop).result(_PATIENCE)

    async def _count(self) -> OutboxStats:
        async with self._async_engine.connect() as connection:
            return await connection.run_sync(outbox_stats, self._outbox)

    def _keep(self, counted: Future[OutboxStats]) -> None:
        error = None if counted.cancelled() else counted.exception()
        if isinstance(error, Exception):
            _log(self._outbox, error)
        self._known = None if error is not None or counted.cancelled() else counted.result()


def _log(outbox: Outbox, error: Exception) -> None:
    logger.warning(
        "the outbox %s could not be counted for its metrics, which are left out this time: %s: %s",
        outbox.table.fullname,
        type(error).__name__,
        error,
        extra=extras("observe", error=type(error).__qualname__),
    )
