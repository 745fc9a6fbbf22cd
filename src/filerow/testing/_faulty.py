"""How a fault happens to a call: one course of events, which is either lived through or awaited."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from filerow.backends._driver import BUFFERS
from filerow.backends._types import Buffer, ObjectInfo, PutOptions, SignRequest, Unfinished
from filerow.backends.base import StorageBackend
from filerow.exceptions import StorageTimeoutError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from filerow.testing.faults import Fault

__all__ = ("FaultyHooks",)

T = TypeVar("T")


class _Wait(NamedTuple):
    """A pause.

    Attributes:
        seconds: How long.
        hangs: It may be ended before, and is an error when it is not.
    """

    seconds: float
    hangs: bool = False


def _raised(fault: Fault) -> BaseException | None:
    error = fault.error
    return error("injected by a FaultyBackend") if isinstance(error, type) else error


def _trouble(fault: Fault | None) -> Generator[_Wait]:
    if fault is not None and fault.hang is not None:
        yield _Wait(fault.hang, hangs=True)
    error = None if fault is None else _raised(fault)
    if error is not None:
        raise error


def _before(fault: Fault | None, *, late: bool = False) -> Generator[_Wait]:
    """Yield what comes before the operation; ``late`` says that the trouble is for the end."""
    if fault is not None and fault.delay:
        yield _Wait(fault.delay)
    if fault is not None and not fault.after and not late:
        yield from _trouble(fault)


def _after(fault: Fault | None, *, late: bool = False) -> Generator[_Wait]:
    if fault is not None and (fault.after or late):
        yield from _trouble(fault)


def _is_late(fault: Fault | None) -> bool:
    """Say whether trouble with a stream or a listing comes in its midst."""
    return fault is not None and fault.keep is not None


class FaultyHooks(StorageBackend):
    """The hooks of a backend that hands everything to another, with trouble on the way."""

    def __init__(self, backend: StorageBackend) -> None:
        super().__init__(backend.key)
        self._backend = backend
        self.protocol = backend.protocol
        self.capabilities = backend.capabilities
        self.own_urls = backend.own_urls
        self._hanging: set[Future[None]] = set()
        self._hanging_lock = threading.Lock()

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

    @abstractmethod
    def _struck(self, operation: str, paths: tuple[str, ...]) -> Fault | None:
        """Note a call, and return what goes wrong with it."""

    # -- pauses --------------------------------------------------------------------------------------------------------

    def _live(self, course: Generator[_Wait]) -> None:
        for wait in course:
            if not wait.hangs:
                time.sleep(wait.seconds)
                continue
            future = self._hang()
            try:
                future.result(None if math.isinf(wait.seconds) else wait.seconds)
            except TimeoutError:
                raise self._too_late(wait) from None
            finally:
                self._go_on(future)

    async def _live_async(self, course: Generator[_Wait]) -> None:
        for wait in course:
            if not wait.hangs:
                await asyncio.sleep(wait.seconds)
                continue
            future = self._hang()
            try:
                # asyncio.wait() leaves the future alone when it ends or is cancelled, so release() may still come
                released = asyncio.wrap_future(future)
                done, _ = await asyncio.wait([released], timeout=None if math.isinf(wait.seconds) else wait.seconds)
                if not done:
                    raise self._too_late(wait)
            finally:
                self._go_on(future)

    def _hang(self) -> Future[None]:
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # from here on it cannot be cancelled, only released
        with self._hanging_lock:
            self._hanging.add(future)
        return future

    def _go_on(self, future: Future[None]) -> None:
        with self._hanging_lock:
            self._hanging.discard(future)

    def _too_late(self, wait: _Wait) -> StorageTimeoutError:
        msg = f"the store did not answer within {wait.seconds:g} s (injected by a FaultyBackend)"
        return StorageTimeoutError(msg, backend=self._key)

    # -- calls with one answer -----------------------------------------------------------------------------------------

    def _call(self, fault: Fault | None, act: Callable[[], T]) -> T:
        self._live(_before(fault))
        answer = act()
        self._live(_after(fault))
        return answer

    async def _call_async(self, fault: Fault | None, act: Callable[[], Awaitable[T]]) -> T:
        await self._live_async(_before(fault))
        answer = await act()
        await self._live_async(_after(fault))
        return answer

    def _put(self, path: str, content: Buffer | Iterator[Buffer], options: PutOptions) -> ObjectInfo:
        fault = self._struck("put", (path,))
        return _lie(fault, self._call(fault, lambda: self._backend.put(path, _content(content, fault), options)))

    async def _put_async(
        self, path: str, content: Buffer | Iterator[Buffer] | AsyncIterator[Buffer], options: PutOptions
    ) -> ObjectInfo:
        fault = self._struck("put", (path,))
        body: Any = _awaited(content, fault) if isinstance(content, AsyncIterable) else _content(content, fault)
        return _lie(fault, await self._call_async(fault, lambda: self._backend.put_async(path, body, options)))

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        fault = self._struck("read", (path,))
        return _cut(fault, self._call(fault, lambda: self._backend.read(path, start, end)))

    async def _read_async(self, path: str, start: int, end: int | None) -> bytes:
        fault = self._struck("read", (path,))
        return _cut(fault, await self._call_async(fault, lambda: self._backend.read_async(path, start, end)))

    def _head(self, path: str) -> ObjectInfo:
        fault = self._struck("head", (path,))
        return _lie(fault, self._call(fault, lambda: self._backend.head(path)))

    async def _head_async(self, path: str) -> ObjectInfo:
        fault = self._struck("head", (path,))
        return _lie(fault, await self._call_async(fault, lambda: self._backend.head_async(path)))

    def _copy(self, source: str, target: str) -> ObjectInfo:
        fault = self._struck("copy", (source, target))
        return _lie(fault, self._call(fault, lambda: self._backend.copy(source, target)))

    async def _copy_async(self, source: str, target: str) -> ObjectInfo:
        fault = self._struck("copy", (source, target))
        return _lie(fault, await self._call_async(fault, lambda: self._backend.copy_async(source, target)))

    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        fault = self._struck("sign", tuple(paths))
        return self._call(fault, lambda: self._backend.sign_many(paths, request))

    async def _sign_async(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        fault = self._struck("sign", tuple(paths))
        return await self._call_async(fault, lambda: self._backend.sign_many_async(paths, request))

    def _upload_headers(self, request: SignRequest) -> Mapping[str, str]:
        return self._backend.upload_headers(request)

    # -- deletes, which may fail in part -------------------------------------------------------------------------------

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        fault = self._struck("delete", tuple(paths))
        if fault is None or fault.paths is None:
            return self._call(fault, lambda: self._backend.delete(paths))
        self._live(_pauses(fault))
        failed, tried = _in_part(fault, paths)
        return {**failed, **(self._backend.delete(tried) if tried else {})}

    async def _delete_async(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        fault = self._struck("delete", tuple(paths))
        if fault is None or fault.paths is None:
            return await self._call_async(fault, lambda: self._backend.delete_async(paths))
        await self._live_async(_pauses(fault))
        failed, tried = _in_part(fault, paths)
        return {**failed, **(await self._backend.delete_async(tried) if tried else {})}

    # -- streams and listings ------------------------------------------------------------------------------------------

    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        fault = self._struck("stream", (path,))
        self._live(_before(fault, late=_is_late(fault)))
        yield from _pass(self._backend.stream(path, start, end, chunk_size), fault)
        self._live(_after(fault, late=_is_late(fault)))

    async def _stream_async(self, path: str, start: int, end: int | None, chunk_size: int) -> AsyncIterator[bytes]:
        fault = self._struck("stream", (path,))
        await self._live_async(_before(fault, late=_is_late(fault)))
        async for chunk in _awaited(self._backend.stream_async(path, start, end, chunk_size), fault, stop=True):
            yield cast("bytes", chunk)
        await self._live_async(_after(fault, late=_is_late(fault)))

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        fault = self._struck("list", (prefix,))
        self._live(_before(fault, late=_is_late(fault)))
        for number, info in enumerate(self._backend.list(prefix, start_after)):
            if fault is not None and number == fault.keep:
                break
            time.sleep(fault.chunk_delay if fault else 0)
            yield _lie(fault, info)
        self._live(_after(fault, late=_is_late(fault)))

    async def _list_async(self, prefix: str, start_after: str) -> AsyncIterator[ObjectInfo]:
        fault = self._struck("list", (prefix,))
        await self._live_async(_before(fault, late=_is_late(fault)))
        number = 0
        async with aclosing(cast("AsyncGenerator[ObjectInfo]", self._backend.list_async(prefix, start_after))) as found:
            async for info in found:
                if fault is not None and number == fault.keep:
                    break
                number += 1
                await asyncio.sleep(fault.chunk_delay if fault else 0)
                yield _lie(fault, info)
        await self._live_async(_after(fault, late=_is_late(fault)))

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


def _content(content: Buffer | Iterator[Buffer], fault: Fault | None) -> Buffer | Iterator[Buffer]:
    """Return what of a put's content reaches the store; the rest is taken too, and lost."""
    if fault is None or (fault.keep is None and not fault.chunk_delay):
        return content
    if isinstance(content, BUFFERS):
        return content if fault.keep is None else bytes(content)[: fault.keep]
    return _pass(content, fault, stop=False)


def _pass(chunks: Iterable[Any], fault: Fault | None, *, stop: bool = True) -> Iterator[Any]:
    """Yield chunks slowly, or only their first bytes; ``stop`` says to read no further than these."""
    left = None if fault is None else fault.keep
    for chunk in chunks:
        time.sleep(fault.chunk_delay if fault else 0)
        if left is None:
            yield chunk
            continue
        if part := chunk[:left]:
            left -= len(part)
            yield part
        if stop and not left:
            return


async def _awaited(chunks: AsyncIterable[Any], fault: Fault | None, *, stop: bool = False) -> AsyncIterator[Any]:
    left = None if fault is None else fault.keep
    try:
        async for chunk in chunks:
            await asyncio.sleep(fault.chunk_delay if fault else 0)
            if left is None:
                yield chunk
                continue
            if part := chunk[:left]:
                left -= len(part)
                yield part
            if stop and not left:
                return
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


def _pauses(fault: Fault) -> Generator[_Wait]:
    if fault.delay:
        yield _Wait(fault.delay)
    if fault.hang is not None:
        yield _Wait(fault.hang, hangs=True)


def _in_part(fault: Fault, paths: Sequence[str]) -> tuple[dict[str, BaseException], list[str]]:
    """Return the paths of a delete that fail, each with its error, and those that are deleted all the same."""
    chosen = [path for path in paths if fault.paths is not None and fault.paths(path)]
    failed = {path: error for path in chosen if (error := _raised(fault)) is not None}
    return failed, [path for path in paths if fault.after or path not in failed]
