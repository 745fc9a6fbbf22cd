"""A store that fails on purpose, for the tests of applications.

::

    store = FaultyBackend(MemoryBackend("docs"))
    storages.register_backend(store)
    with store.inject(Fault("put", error=ConnectionResetError, after=True)):  # stored, but the answer is lost
        ...

It wraps any backend and does nothing by itself, so a test may always use it. Each :class:`Fault` says which operations go wrong,
when, and how. Nothing here needs pytest.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast

from filerow._buffers import BUFFERS, Buffer
from filerow._execution.steps import Call, Steps, run, run_async
from filerow.backends._own_urls import OwnUrls
from filerow.backends._public import PublicUrls
from filerow.backends._types import Capabilities, ObjectInfo, PutOptions, SignRequest, Unfinished
from filerow.backends.base import StorageBackend
from filerow.exceptions import StorageTimeoutError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ("Fault", "FaultyBackend", "FaultyCall", "Operation")

Operation: TypeAlias = Literal["put", "read", "stream", "head", "list", "copy", "delete", "sign"]
"""What a backend does for its caller."""

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
        keep: Bytes after which content is silently cut short: of what is read or streamed, or of what a ``put`` stores. For
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
            raise ValueError(f"a fault is about some of {', '.join(sorted(_OPERATIONS))}, not {sorted(unknown)}")
        effects = (self.error, self.hang, self.keep, self.size, self.delay or None, self.chunk_delay or None)
        if all(effect is None for effect in effects):
            raise ValueError("nothing goes wrong here: give error=, hang=, delay=, chunk_delay=, keep= or size=")
        for name, value, possible in (("keep", self.keep, _CUT), ("size", self.size, _SIZED)):
            if value is not None and not operations <= possible:
                raise ValueError(f"{name}= makes sense for {', '.join(sorted(possible))} only")
        _check_numbers(self)

    @property
    def operations(self) -> frozenset[str]:
        """The operations it is about."""
        return frozenset({self.operation} if isinstance(self.operation, str) else self.operation)

    def wants(self, operation: str, paths: Collection[str]) -> bool:
        """Return True if it is about such a call."""
        return operation in self.operations and (self.paths is None or any(map(self.paths, paths)))


def _check_numbers(fault: Fault) -> None:
    counted = (fault.nth, fault.times)
    amounts = (fault.hang, fault.delay, fault.chunk_delay, fault.keep, fault.size)
    if any(number is not None and number < 1 for number in counted):
        raise ValueError("nth= and times= count from 1")
    if any(amount is not None and (amount < 0 or math.isnan(amount)) for amount in amounts):
        raise ValueError("seconds, bytes and entries cannot be negative")
    if fault.rate is not None and not 0 <= fault.rate <= 1:
        raise ValueError(f"rate= is a share from 0 to 1, not {fault.rate}")


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
        """Count a call, and return True if it goes wrong."""
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


def _raised(fault: Fault) -> BaseException | None:
    error = fault.error
    return error("injected by a FaultyBackend") if isinstance(error, type) else error


def _is_late(fault: Fault | None) -> bool:
    """Return True if trouble with a stream or a listing comes in its midst."""
    return fault is not None and fault.keep is not None


class FaultyBackend(StorageBackend):
    """A backend that fails on purpose, and hands everything else to another.

    It has the key, the protocol and the capabilities of the other one, counts all calls and is safe for threads. Of several
    faults that strike the same call, the one added first is taken. ``unfinished`` and ``abort`` are handed on as they are.

    Args:
        backend: Any backend.
        *faults: What goes wrong from the start.
    """

    def __init__(self, backend: StorageBackend, *faults: Fault) -> None:
        super().__init__(backend.key)
        self._backend = backend
        self.protocol: str = backend.protocol
        self.capabilities: Capabilities = backend.capabilities
        self._quick, self._crowd = backend._quick, backend._crowd  # noqa: SLF001 - it is put in the place of that backend
        self.own_urls: OwnUrls | None = backend.own_urls
        self.public_endpoint: str | None = backend.public_endpoint
        self.public_urls: PublicUrls | None = backend.public_urls
        self._hanging: set[Future[None]] = set()
        self._hanging_lock = threading.Lock()
        self._lock = threading.Lock()
        self._armed = [_Armed(fault) for fault in faults]
        self._log: list[FaultyCall] = []

    @property
    def backend(self) -> StorageBackend:
        """The backend that does the work."""
        return self._backend

    @property
    def hanging(self) -> int:
        """How many calls hang now."""
        with self._hanging_lock:
            return len(self._hanging)

    def release(self) -> None:
        """Let the calls that hang now go on."""
        with self._hanging_lock:
            for future in self._hanging:
                if not future.done():
                    future.set_result(None)

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

    # -- trouble -------------------------------------------------------------------------------------------------------

    def _before(self, fault: Fault | None, *, late: bool = False) -> Steps[None]:
        """Do what comes before the operation; ``late`` keeps the trouble for the end."""
        if fault is not None and fault.delay:
            yield Call(time.sleep, asyncio.sleep, (fault.delay,), {})
        if fault is not None and not fault.after and not late:
            yield from self._trouble(fault)

    def _after(self, fault: Fault | None, *, late: bool = False) -> Steps[None]:
        if fault is not None and (fault.after or late):
            yield from self._trouble(fault)

    def _trouble(self, fault: Fault) -> Steps[None]:
        if fault.hang is not None:
            yield Call(self._hang, self._hang_async, (fault.hang,), {})
        error = _raised(fault)
        if error is not None:
            raise error

    def _hang(self, seconds: float) -> None:
        with self._hung() as future:
            try:
                future.result(None if math.isinf(seconds) else seconds)
            except TimeoutError:
                raise self._too_late(seconds) from None

    async def _hang_async(self, seconds: float) -> None:
        with self._hung() as future:
            # asyncio.wait() leaves the future alone when it ends or is cancelled, so release() may still come
            done, _ = await asyncio.wait([asyncio.wrap_future(future)], timeout=None if math.isinf(seconds) else seconds)
            if not done:
                raise self._too_late(seconds)

    @contextmanager
    def _hung(self) -> Generator[Future[None]]:
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # from here on it cannot be cancelled, only released
        with self._hanging_lock:
            self._hanging.add(future)
        try:
            yield future
        finally:
            with self._hanging_lock:
                self._hanging.discard(future)

    def _too_late(self, seconds: float) -> StorageTimeoutError:
        msg = f"the store did not answer within {seconds:g} s (injected by a FaultyBackend)"
        return StorageTimeoutError(msg, backend=self._key)

    # -- calls with one answer -----------------------------------------------------------------------------------------

    def _steps(self, fault: Fault | None, method: str, *args: Any, **options: Any) -> Steps[Any]:
        yield from self._before(fault)
        answer = yield self._ask(method, *args, **options)
        yield from self._after(fault)
        return answer

    def _ask(self, method: str, *args: Any, **options: Any) -> Call:
        return Call(getattr(self._backend, method), getattr(self._backend, f"{method}_async"), args, options)

    def _put_steps(self, path: str, content: Any, options: PutOptions) -> Steps[ObjectInfo]:
        fault = self._struck("put", (path,))
        return _lie(fault, (yield from self._steps(fault, "put", path, _content(content, fault), options)))

    def _put(self, path: str, content: Buffer | Iterator[Buffer], options: PutOptions) -> ObjectInfo:
        return run(self._put_steps(path, content, options))

    async def _put_async(
        self, path: str, content: Buffer | Iterator[Buffer] | AsyncIterator[Buffer], options: PutOptions
    ) -> ObjectInfo:
        return await run_async(self._put_steps(path, content, options))

    def _read_steps(self, path: str, start: int, end: int | None) -> Steps[bytes]:
        fault = self._struck("read", (path,))
        return _cut(fault, (yield from self._steps(fault, "read", path, start, end)))

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        return run(self._read_steps(path, start, end))

    async def _read_async(self, path: str, start: int, end: int | None) -> bytes:
        return await run_async(self._read_steps(path, start, end))

    def _facts_steps(self, operation: str, *paths: str, **options: bool) -> Steps[ObjectInfo]:
        fault = self._struck(operation, paths)
        return _lie(fault, (yield from self._steps(fault, operation, *paths, **options)))

    def _head(self, path: str) -> ObjectInfo:
        return run(self._facts_steps("head", path))

    async def _head_async(self, path: str) -> ObjectInfo:
        return await run_async(self._facts_steps("head", path))

    def _copy(self, source: str, target: str) -> ObjectInfo:
        return run(self._facts_steps("copy", source, target))

    async def _copy_async(self, source: str, target: str) -> ObjectInfo:
        return await run_async(self._facts_steps("copy", source, target))

    def _copy_over(self, source: str, target: str) -> ObjectInfo:
        return run(self._facts_steps("copy", source, target, create_only=False))

    async def _copy_over_async(self, source: str, target: str) -> ObjectInfo:
        return await run_async(self._facts_steps("copy", source, target, create_only=False))

    def _limits(self) -> Mapping[str, str]:
        return self._backend.limits()

    async def _limits_async(self) -> Mapping[str, str]:
        return await self._backend.limits_async()

    def _sign_steps(self, paths: Sequence[str], request: SignRequest) -> Steps[Sequence[str]]:
        urls: Sequence[str] = yield from self._steps(self._struck("sign", tuple(paths)), "sign_many", paths, request)
        return urls

    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        return run(self._sign_steps(paths, request))

    async def _sign_async(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        return await run_async(self._sign_steps(paths, request))

    def _upload_headers(self, request: SignRequest) -> Mapping[str, str]:
        return self._backend.upload_headers(request)

    # -- deletes, which may fail in part -------------------------------------------------------------------------------

    def _purge_steps(self, versions: Mapping[str, str | None]) -> Steps[Mapping[str, BaseException]]:
        failed: Mapping[str, BaseException] = yield from self._steps(self._struck("delete", tuple(versions)), "purge", versions)
        return failed

    def _purge(self, versions: Mapping[str, str | None]) -> Mapping[str, BaseException]:
        return run(self._purge_steps(versions))

    async def _purge_async(self, versions: Mapping[str, str | None]) -> Mapping[str, BaseException]:
        return await run_async(self._purge_steps(versions))

    def _delete_steps(self, paths: Sequence[str]) -> Steps[Mapping[str, BaseException]]:
        fault = self._struck("delete", tuple(paths))
        if fault is None or fault.paths is None:
            failed: dict[str, BaseException] = yield from self._steps(fault, "delete", paths)
            return failed
        yield from self._before(fault, late=True)
        if fault.hang is not None:
            yield Call(self._hang, self._hang_async, (fault.hang,), {})
        failed, tried = _in_part(fault, paths)
        return {**failed, **((yield self._ask("delete", tried)) if tried else {})}

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        return run(self._delete_steps(paths))

    async def _delete_async(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        return await run_async(self._delete_steps(paths))

    # -- streams and listings ------------------------------------------------------------------------------------------

    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        fault = self._struck("stream", (path,))
        run(self._before(fault, late=_is_late(fault)))
        yield from _pass(self._backend.stream(path, start, end, chunk_size), fault)
        run(self._after(fault, late=_is_late(fault)))

    async def _stream_async(self, path: str, start: int, end: int | None, chunk_size: int) -> AsyncIterator[bytes]:
        fault = self._struck("stream", (path,))
        await run_async(self._before(fault, late=_is_late(fault)))
        async for chunk in _pass_async(self._backend.stream_async(path, start, end, chunk_size), fault, stop=True):
            yield cast("bytes", chunk)
        await run_async(self._after(fault, late=_is_late(fault)))

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        fault = self._struck("list", (prefix,))
        run(self._before(fault, late=_is_late(fault)))
        for number, info in enumerate(self._backend.list(prefix, start_after)):
            if fault is not None and number == fault.keep:
                break
            time.sleep(fault.chunk_delay if fault else 0)
            yield _lie(fault, info)
        run(self._after(fault, late=_is_late(fault)))

    async def _list_async(self, prefix: str, start_after: str) -> AsyncIterator[ObjectInfo]:
        fault = self._struck("list", (prefix,))
        await run_async(self._before(fault, late=_is_late(fault)))
        number = 0
        async with aclosing(cast("AsyncGenerator[ObjectInfo]", self._backend.list_async(prefix, start_after))) as found:
            async for info in found:
                if fault is not None and number == fault.keep:
                    break
                number += 1
                await asyncio.sleep(fault.chunk_delay if fault else 0)
                yield _lie(fault, info)
        await run_async(self._after(fault, late=_is_late(fault)))

    # -- handed on -----------------------------------------------------------------------------------------------------

    def _unfinished(self, prefix: str) -> Iterator[Unfinished]:
        return self._backend.unfinished(prefix)

    def _unfinished_async(self, prefix: str) -> AsyncIterator[Unfinished]:
        return self._backend.unfinished_async(prefix)

    def _abort(self, upload: Unfinished) -> None:
        self._backend.abort(upload)

    async def _abort_async(self, upload: Unfinished) -> None:
        await self._backend.abort_async(upload)


# -- what a fault does to bytes and facts --------------------------------------------------------------------------------------


def _lie(fault: Fault | None, info: ObjectInfo) -> ObjectInfo:
    return info if fault is None or fault.size is None else info._replace(size=fault.size)


def _cut(fault: Fault | None, data: bytes) -> bytes:
    return data if fault is None or fault.keep is None else data[: fault.keep]


def _content(content: Any, fault: Fault | None) -> Any:
    """Return what of a put's content reaches the store; the rest is lost."""
    if fault is None or (fault.keep is None and not fault.chunk_delay):
        return content
    if isinstance(content, AsyncIterable):
        return _pass_async(content, fault)
    if isinstance(content, BUFFERS):
        return content if fault.keep is None else bytes(content)[: fault.keep]
    return _pass(content, fault, stop=False)


def _pass(chunks: Iterable[Any], fault: Fault | None, *, stop: bool = True) -> Iterator[Any]:
    """Yield chunks slowly, or their first bytes; ``stop`` ends reading there."""
    left = _Allowance(fault)
    for chunk in chunks:
        time.sleep(left.pause)
        if part := left.of(chunk):
            yield part
        if stop and left.is_none:
            return


async def _pass_async(chunks: AsyncIterable[Any], fault: Fault | None, *, stop: bool = False) -> AsyncIterator[Any]:
    left = _Allowance(fault)
    try:
        async for chunk in chunks:
            await asyncio.sleep(left.pause)
            if part := left.of(chunk):
                yield part
            if stop and left.is_none:
                return
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


class _Allowance:
    """How many bytes of some chunks may still pass."""

    def __init__(self, fault: Fault | None) -> None:
        self.pause = fault.chunk_delay if fault else 0
        self._bytes = None if fault is None else fault.keep

    @property
    def is_none(self) -> bool:
        return self._bytes == 0

    def of(self, chunk: Any) -> Any:
        """Return what of a chunk may pass."""
        if self._bytes is None:
            return chunk
        part = chunk[: self._bytes]
        self._bytes -= len(part)
        return part


def _in_part(fault: Fault, paths: Sequence[str]) -> tuple[dict[str, BaseException], list[str]]:
    """Return the paths of a delete that fail, with errors, and those deleted."""
    chosen = [path for path in paths if fault.paths is not None and fault.paths(path)]
    failed = {path: error for path in chosen if (error := _raised(fault)) is not None}
    return failed, [path for path in paths if fault.after or path not in failed]
