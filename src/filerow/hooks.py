"""Report to the application what has happened to files, after it has happened.

::

    from filerow import hooks


    @hooks.subscribe("stored", "replaced")
    def index(event: hooks.Event) -> None:
        search.add(event.table, event.row, event.file)

``stored``, ``replaced`` and ``removed`` say what a committed transaction has changed in its rows. What was rolled back is not
reported, and neither is anything of a COMMIT whose answer was lost. ``deleted`` follows when the bytes are gone: after the
commit, or with an outbox when a drain has deleted them. ``served`` says that a response has sent all it had to send, and
``failed`` that bytes could not be stored, deleted or sent.

Subscribers may be functions or coroutine functions, and the code that reports may be synchronous or asynchronous:

============================  ====================================  =================================================
subscriber                    synchronous session                   ``AsyncSession``
============================  ====================================  =================================================
``def``                       called in the committing thread       called in a thread; the event loop goes on
``async def``                 run by ``asyncio.run`` in a thread    awaited in the application's own event loop
============================  ====================================  =================================================

They are called one after the other, once the connection has returned to its pool, and ``commit()`` returns when all of them
have: hand long work to a queue. An exception is logged with the subscriber's name and changes nothing. An event is reported at
most once, since a process may die before it does: what must not be missed belongs into the database.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, get_args, overload

from filerow._execution.batch import Job, raise_if, run_all, run_all_async
from filerow._execution.threads import in_thread
from filerow._log import extras, logger

__all__ = ("Event", "Kind", "Subscriber", "subscribe", "unsubscribe")

Kind: TypeAlias = Literal["stored", "replaced", "removed", "deleted", "failed", "served"]
"""What has happened."""

_KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that has happened to a file.

    Attributes:
        kind: ``stored``: a row has got a file. ``replaced``: it has got another one in place of the one it had. ``removed``: it
            has lost one, or the row is gone. ``deleted``: the bytes are gone. ``served``: they were sent. ``failed``: they
            could not be stored, deleted or sent.
        backend: Key of the backend.
        path: The object's path; empty if it was not stored.
        table: The row's table, with its schema; ``None`` where the row is not known, as for ``served``.
        column: The column's name.
        row: The values of the row's primary key; ``None`` where only the database knows them, as after a bulk INSERT.
        file: What clients may see of the file: filename, type, size, time and metadata; ``None`` where it is not known.
        former: Of ``replaced``, the backend and path of the object that the row had.
        sent: Of ``served``, the first byte sent and the one after the last.
        operation: Of ``failed``: ``store``, ``delete`` or ``serve``.
        error: Of ``failed``, the reason.
        time: When it was reported, in UTC.
    """

    kind: Kind
    backend: str
    path: str
    table: str | None = None
    column: str | None = None
    row: tuple[Any, ...] | None = None
    file: Mapping[str, Any] | None = field(default=None, hash=False)
    former: tuple[str, str] | None = None
    sent: tuple[int, int] | None = None
    operation: str | None = None
    error: Exception | None = None
    time: datetime = field(default_factory=lambda: datetime.now(UTC))


Subscriber: TypeAlias = Callable[[Event], Awaitable[object] | object]
"""A function or coroutine function; its result is not used."""

S = TypeVar("S", bound=Subscriber)


class _Subscription(NamedTuple):
    call: Subscriber
    kinds: frozenset[Kind]
    name: str
    is_async: bool


subscriptions: list[_Subscription] = []
"""Empty while nobody listens; whoever reports asks that first."""


@overload
def subscribe(function: S, /) -> S: ...
@overload
def subscribe(*kinds: Kind) -> Callable[[S], S]: ...
def subscribe(*given: Any) -> Any:
    """Call a function after each event of some kinds; a decorator.

    ``@subscribe("stored", "deleted")`` names the kinds; ``@subscribe`` and ``@subscribe()`` mean all of them. It holds for the
    whole process, until :func:`unsubscribe`. A function that is subscribed again has the new kinds.

    Raises:
        ValueError: There is no such kind.
        TypeError: The subscriber cannot be called, or nothing of it would run: a class, or a generator.
    """
    if len(given) == 1 and callable(given[0]):
        return _add(given[0], _KINDS)
    for kind in given:
        if kind not in _KINDS:
            raise ValueError(f"there are no events of kind {kind!r}; the kinds are {', '.join(_KINDS)}")
    return lambda function: _add(function, given or _KINDS)


def unsubscribe(function: Subscriber) -> None:
    """Stop calling a function.

    Raises:
        LookupError: It is not subscribed.
    """
    found = [one for one in subscriptions if one.call == function]
    if not found:
        raise LookupError(f"{_name_of(function)} is not subscribed")
    for one in found:
        subscriptions.remove(one)


def _add(function: S, kinds: Iterable[Kind]) -> S:
    if not callable(function):
        raise TypeError(f"a subscriber is a function that takes an event, not {type(function).__name__}")
    ways = function, getattr(function, "__call__", None)  # noqa: B004
    if isinstance(function, type) or any(map(inspect.isgeneratorfunction, ways)) or any(map(inspect.isasyncgenfunction, ways)):
        what = "a class" if isinstance(function, type) else "a generator, of which nothing would run"
        raise TypeError(
            f"the subscriber {_name_of(function)} is {what}; write a function, or subscribe an object that can be called"
        )
    is_async = any(map(inspect.iscoroutinefunction, ways))
    one = _Subscription(function, frozenset(kinds), _name_of(function), is_async)
    subscriptions[:] = [*(other for other in subscriptions if other.call != function), one]
    return function


def _name_of(function: object) -> str:
    named = function if hasattr(function, "__qualname__") else getattr(function, "func", type(function))
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', repr(named))}"


# -- for the layers above: what reports ------------------------------------------------------------------------------------


def deliver(events: Iterable[Event]) -> BaseException | None:
    """Call the subscribers of events; return a cancellation that arrived meanwhile.

    Inside SQLAlchemy's greenlet they are awaited.
    """
    delivery = _Delivery(events)
    return run_all([delivery], 1).error if delivery else None


async def deliver_async(events: Iterable[Event]) -> None:
    """Call the subscribers of events without blocking the event loop."""
    delivery = _Delivery(events)
    if delivery:
        raise_if((await run_all_async([delivery], 1)).error)


class _Delivery(Job):
    """Calls each subscriber with each event of its kinds.

    None of their failures gets out.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        calls = [(one, event) for event in events for one in tuple(subscriptions) if event.kind in one.kinds]
        self._blocking = [(one, event) for one, event in calls if not one.is_async]
        self._awaited = [(one, event) for one, event in calls if one.is_async]

    def __bool__(self) -> bool:
        return bool(self._blocking or self._awaited)

    def run(self) -> None:
        self._call()
        if self._awaited:  # the application's loop, if there is one, is not ours to stop
            _in_a_loop_of_its_own(self._await)

    async def run_async(self) -> None:
        if self._blocking:
            await in_thread(self._call)
        await self._await()

    def _call(self) -> None:
        for one, event in self._blocking:
            try:
                result = one.call(event)
            except Exception as error:  # noqa: BLE001 - it is logged
                _log(one, event, error)
            else:
                if inspect.iscoroutine(result):
                    result.close()
                    _log(one, event, TypeError("it returned a coroutine, which nobody awaits; declare it with async def"))

    async def _await(self) -> None:
        for one, event in self._awaited:
            try:
                await one.call(event)  # type: ignore[misc] # it is a coroutine function
            except Exception as error:  # noqa: BLE001 - it is logged
                _log(one, event, error)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                _log(one, event, error)  # something that it waited for was cancelled, and not the commit


def _in_a_loop_of_its_own(function: Callable[[], Any]) -> None:
    """Run a coroutine function in a thread, and wait for it."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(function())
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="filerow-hooks")
    thread.start()
    thread.join()
    raise_if(failed[0] if failed else None)


def _log(one: _Subscription, event: Event, error: BaseException) -> None:
    logger.error(
        "the subscriber %s failed on a %s event, which changes nothing else: %s: %s",
        one.name,
        event.kind,
        type(error).__name__,
        error,
        exc_info=error,
        extra=extras("notify", event.backend, subscriber=one.name, event=event.kind),
    )
