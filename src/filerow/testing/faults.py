"""A store that fails on purpose, for the tests of applications: what does yours do when S3 does not answer?

::

    store = FaultyBackend(MemoryBackend("docs"))
    storages.register_backend(store)
    with store.inject(Fault("put", error=ConnectionResetError, after=True)):  # stored, but the answer is lost
        ...

It wraps any backend and does nothing by itself, so a test may always use it. Each :class:`Fault` says which operations go wrong,
when, and how. Nothing here needs pytest.
"""

from __future__ import annotations

import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple, TypeAlias

from filerow.backends.base import StorageBackend
from filerow.testing._faulty import FaultyHooks

__all__ = ("Fault", "FaultyBackend", "FaultyCall", "Operation")

Operation: TypeAlias = Literal["put", "read", "stream", "head", "list", "copy", "delete", "sign"]

_OPERATIONS = frozenset({"put", "read", "stream", "head", "list", "copy", "delete", "sign"})
_CUT = frozenset({"put", "read", "stream", "list"})
_SIZED = frozenset({"put", "head", "list", "copy"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Args:
        operation: ``put``, ``read``, ``stream``, ``head`` (also asked by ``exists``), ``list``, ``copy``, ``delete`` or ``sign``;
            or several of them.
        error: What is raised: an exception, or a class of exceptions, of which each call gets one of its own. It is translated as
            a driver's would be: ``TimeoutError`` arrives as ``StorageTimeoutError``, any unknown one as ``StorageError``.
        hang: Seconds after which a hanging call ends in a ``StorageTimeoutError``, as one with that deadline would;
            ``math.inf`` for none. :meth:`FaultyBackend.release` lets it go on.
        after: ``error`` and ``hang`` strike when the operation has taken effect: the answer is lost.
        delay: Seconds that the call takes longer.
        chunk_delay: Seconds that each chunk takes longer, of a ``stream``, of a ``put`` from an iterator, and of a ``list``.
        keep: Bytes after which content is cut short without a word: of what is read or streamed, or of what a ``put`` stores. For
            a ``list`` it counts entries. A ``stream`` or ``list`` with an ``error`` or a ``hang`` has it then.
        size: What ``put``, ``copy``, ``head`` and ``list`` say the object's size is, in bytes.
        paths: Only calls with a path for which this is true. Of a bulk delete, only such paths fail with ``error``; the others
            are deleted.
        nth: Only the n-th of the calls that this fault is about, counted from 1 since it was added.
        rate: The share of those calls that it strikes, from 0 to 1, chosen by chance.
        seed: Of that chance; the same seed chooses the same calls.
        times: How often it strikes at most.

    Raises:
        ValueError: Nothing would go wrong, or not with this operation; or a number is out of range.
    """

    operation: Operation | Collection[Operation]
    _: KW_ONLY
    error: BaseException | type[BaseException] | None = None
    hang: float | None = None
    after: bool = False
    delay: float = 0.0
    chunk_delay: float = 0.0
    keep: int | None = None
    size: int | None = None
    paths: Callable[[str], bool] | None = None
    nth: int | None = None
    rate: float | None = None
    seed: int = 0
    times: int | None = None

    def __post_init__(self) -> None:
        operations = self.operations
        unknown = operations - _OPERATIONS
        if unknown or not operations:
            msg = f"a fault is about some of {', '.join(sorted(_OPERATIONS))}, not {sorted(unknown)}"
            raise ValueError(msg)
        effects = (self.error, self.hang, self.keep, self.size, self.delay or None, self.chunk_delay or None)
        if all(effect is None for effect in effects):
            msg = "nothing goes wrong here: give error=, hang=, delay=, chunk_delay=, keep= or size="
            raise ValueError(msg)
        for name, value, possible in (("keep", self.keep, _CUT), ("size", self.size, _SIZED)):
            if value is not None and not operations <= possible:
                msg = f"{name}= makes sense for {', '.join(sorted(possible))} only"
                raise ValueError(msg)
        _check_numbers(self)

    @property
    def operations(self) -> frozenset[str]:
        """The operations it is about."""
        return frozenset({self.operation} if isinstance(self.operation, str) else self.operation)

    def wants(self, operation: str, paths: Collection[str]) -> bool:
        """Say whether it is about such a call."""
        return operation in self.operations and (self.paths is None or any(map(self.paths, paths)))


def _check_numbers(fault: Fault) -> None:
    counted = (fault.nth, fault.times)
    amounts = (fault.hang, fault.delay, fault.chunk_delay, fault.keep, fault.size)
    if any(number is not None and number < 1 for number in counted):
        msg = "nth= and times= count from 1"
        raise ValueError(msg)
    if any(amount is not None and (amount < 0 or math.isnan(amount)) for amount in amounts):
        msg = "seconds, bytes and entries cannot be negative"
        raise ValueError(msg)
    if fault.rate is not None and not 0 <= fault.rate <= 1:
        msg = f"rate= is a share from 0 to 1, not {fault.rate}"
        raise ValueError(msg)


class FaultyCall(NamedTuple):
    """One call that a :class:`FaultyBackend` has got.

    Attributes:
        operation: As in :class:`Fault`.
        paths: The paths; of a copy source and target, of a list its folder.
        fault: What went wrong with it, if anything.
    """

    operation: str
    paths: tuple[str, ...]
    fault: Fault | None


class _Armed:
    """A fault, and how often it was asked and has struck."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._asked = 0
        self._struck = 0
        self._chance = random.Random(fault.seed)  # noqa: S311 - chosen to be repeated, not to be secret

    def strikes(self, operation: str, paths: Collection[str]) -> bool:
        """Count a call, and say whether it goes wrong."""
        fault = self.fault
        if not fault.wants(operation, paths):
            return False
        self._asked += 1
        struck = (
            (fault.nth is None or fault.nth == self._asked)
            and (fault.rate is None or self._chance.random() < fault.rate)
            and (fault.times is None or self._struck < fault.times)
        )
        self._struck += struck
        return struck


class FaultyBackend(FaultyHooks):
    """A backend that goes wrong where it is told to, and hands everything else to another.

    It has the key, the protocol and the capabilities of the other one, counts all calls and is safe for threads. Of several
    faults that strike the same call, the one added first is taken. ``unfinished`` and ``abort`` are handed on as they are.

    Args:
        backend: Any backend.
        *faults: What goes wrong from the start.
    """

    def __init__(self, backend: StorageBackend, *faults: Fault) -> None:
        super().__init__(backend)
        self._lock = threading.Lock()
        self._armed = [_Armed(fault) for fault in faults]
        self._log: list[FaultyCall] = []

    @property
    def log(self) -> Sequence[FaultyCall]:
        """All calls so far, in the order they began."""
        with self._lock:
            return tuple(self._log)

    @property
    def calls(self) -> Counter[str]:
        """How many calls of each operation there were."""
        return Counter(call.operation for call in self.log)

    def add(self, *faults: Fault) -> None:
        """Let more go wrong from now on."""
        with self._lock:
            self._armed += map(_Armed, faults)

    def clear(self) -> None:
        """Let nothing go wrong any more, and let hanging calls go on. The log stays."""
        with self._lock:
            self._armed.clear()
        self.release()

    @contextmanager
    def inject(self, *faults: Fault) -> Generator[None]:
        """Let these go wrong inside the ``with`` block; at its end hanging calls go on."""
        armed = [_Armed(fault) for fault in faults]
        with self._lock:
            self._armed += armed
        try:
            yield
        finally:
            with self._lock:
                self._armed = [one for one in self._armed if one not in armed]
            self.release()

    def _struck(self, operation: str, paths: tuple[str, ...]) -> Fault | None:
        with self._lock:
            striking = [armed.fault for armed in self._armed if armed.strikes(operation, paths)]  # every one of them counts
            fault = striking[0] if striking else None
            self._log.append(FaultyCall(operation, paths, fault))
            return fault
