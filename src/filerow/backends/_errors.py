"""Raise only our own errors; an untranslated one goes by its builtin type."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from types import TracebackType

from filerow._buffers import BUFFERS
from filerow._execution.threads import AsyncGuard, Guard
from filerow.backends._observers import Observation, observers
from filerow.exceptions import (
    FilerowError,
    InvalidPathError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StoragePermissionError,
    StorageTimeoutError,
    UnsupportedOperationError,
)

_SAME_MEANING: tuple[tuple[type[Exception], type[StorageError]], ...] = (
    (FileNotFoundError, ObjectNotFoundError),
    (FileExistsError, ObjectExistsError),
    (PermissionError, StoragePermissionError),
    (TimeoutError, StorageTimeoutError),
    (NotImplementedError, UnsupportedOperationError),
)
_MEANING: Mapping[type[StorageError], str] = {
    ObjectExistsError: "an object is at this path already; it was not overwritten",
}
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def by_builtin_type(error: BaseException, operation: str, backend: str, path: str, place: str = "") -> StorageError:
    """Return our error for the same builtin, or a plain :class:`StorageError`.

    Args:
        error: What a driver raised.
        operation: What was asked.
        backend: The backend's key.
        path: The object's path.
        place: The directory or bucket of the backend, for a missing object.
    """
    if isinstance(error, UnicodeEncodeError) and _SURROGATE.search(path):  # a row may hold what no request can
        return InvalidPathError(f"the store has no word for this path: {error}", operation=operation, backend=backend, path=path)
    kind = next((ours for theirs, ours in _SAME_MEANING if isinstance(error, theirs)), StorageError)
    said = str(error) or "the store did not answer in time" if kind is StorageTimeoutError else str(error)
    message = _MEANING.get(kind) or f"{type(error).__name__}: {said}"
    if kind is ObjectNotFoundError:
        message = f"there is no object at this path in {place or 'the store'}"
    return kind(message, operation=operation, backend=backend, path=path)


class OurErrors:
    """Lets only our own errors, cancellation and the caller's own exceptions out.

    A class and no generator: it stands around every call of a store, and costs a third.
    """

    __slots__ = ("_body", "_operation", "_path", "_target", "_wrap")

    def __init__(
        self, wrap: Callable[[BaseException, str, str], StorageError], operation: str, path: str, body: object, target: str
    ) -> None:
        self._wrap = wrap
        self._operation = operation
        self._path = path
        self._body = body
        self._target = target

    def __enter__(self) -> Observation | None:
        """Return who wants to know more of the operation; nobody here."""
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)):
            return
        own = self._body.error if isinstance(self._body, (Guard, AsyncGuard)) else None
        if own is not None and own is not error:
            raise own from own.__cause__  # its own cause, not what the driver made of it
        if own is not None or isinstance(error, FilerowError):
            return
        wrapped = self._wrap(error, self._operation, self._path)  # native code raises panics that are not an Exception
        if self._target and isinstance(wrapped, ObjectExistsError):
            wrapped.path = self._target
        raise wrapped from error


class Observed(OurErrors):
    """The same, watched by the observers.

    Args:
        backend: The backend's key.
        protocol: The kind of store.
        errors: What :class:`OurErrors` takes.
        streams: See :class:`~filerow.backends._observers.Observer`.
    """

    __slots__ = ("_backend", "_observations", "_protocol", "_streams")

    def __init__(
        self,
        backend: str,
        protocol: str,
        *errors: *tuple[Callable[[BaseException, str, str], StorageError], str, str, object, str],
        streams: bool,
    ) -> None:
        super().__init__(*errors)
        self._backend = backend
        self._protocol = protocol
        self._streams = streams
        self._observations: list[Observation] = []

    def __enter__(self) -> Observation:
        begin, body = (self._backend, self._protocol, self._operation, self._path), self._body
        self._observations = [one.begin(*begin, streams=self._streams) for one in observers]
        if isinstance(body, (Guard, AsyncGuard)):
            body.count(self.moved)
        elif isinstance(body, BUFFERS):
            self.moved(memoryview(body).nbytes)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            super().__exit__(kind, error, trace)
        except BaseException as raised:
            self.end(raised)
            raise
        self.end(error)

    def moved(self, size: int) -> None:
        """Note how many bytes were sent or received."""
        for one in self._observations:
            one.moved(size)

    def answered(self, count: int, failed: Mapping[str, BaseException]) -> None:
        """Note the answer to a bulk operation."""
        for one in self._observations:
            one.answered(count, failed)

    def end(self, error: BaseException | None) -> None:
        """Note the end."""
        for one in reversed(self._observations):
            one.end(error)
