"""What errors of filesystems mean: by their type, by the store's own answer below them, or by a number only."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import Any, Self

from filerow.backends._answers import code_in, meaning_of_answer
from filerow.backends._deadlines import is_timeout
from filerow.backends._foreign import is_portable
from filerow.backends.fsspec.answers import answer_in, code_of, status_of
from filerow.exceptions import (
    ForkedProcessError,
    InvalidPathError,
    ObjectExistsError,
    StorageError,
    StoragePermissionError,
    StorageTimeoutError,
)

__all__ = ("ByNumber", "by_number", "meaning_of", "words_of")


_OF_SMB: Mapping[object, int] = {
    0xC0000022: errno.EACCES,  # STATUS_ACCESS_DENIED
    0xC0000056: errno.ENOENT,  # STATUS_DELETE_PENDING: deleted, and somebody has it open still
}
"""Statuses (MS-ERREF, 2.3) that smbprotocol has no number for."""


def by_number(call: Callable[..., Any], lock: AbstractContextManager[Any]) -> Callable[..., Any]:
    """Return a call that raises the builtin error of an error's ``errno``: ``FileNotFoundError`` for ``ENOENT``, and so on."""

    def called(*args: Any, **options: Any) -> Any:
        try:
            with lock:
                return call(*args, **options)
        except OSError as error:
            number = _OF_SMB.get(getattr(error, "ntstatus", None), error.errno)
            meant = OSError(number, str(error))  # Python chooses the subclass
            if isinstance(error, type(meant)):
                raise
            raise meant from error

    return called


class ByNumber:
    """A filesystem, or an open file of one, whose calls do so.

    Args:
        wrapped: The filesystem or file.
        lock: What each call holds; between two chunks of a source, which may itself read from the same filesystem, it is free.
    """

    def __init__(self, wrapped: Any, lock: AbstractContextManager[Any]) -> None:
        self._wrapped = wrapped
        self._lock = lock

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._wrapped, name)
        if not callable(value):
            return value
        call = by_number(value, self._lock)
        return (lambda *args, **options: ByNumber(call(*args, **options), self._lock)) if name == "open" else call

    def __enter__(self) -> Self:
        by_number(self._wrapped.__enter__, self._lock)()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with nullcontext() if error is None else suppress(Exception):  # what was wrong first is told
            by_number(self._wrapped.__exit__, self._lock)(kind, error, trace)


# -- in words ----------------------------------------------------------------------------------------------------------


def words_of(error: BaseException) -> str:
    """Return what an error says; of one that stands for a store's answer, what the answer says."""
    answer = answer_in(error)
    if answer is None or not code_of(error):
        said, status = f"{type(error).__name__}: {error}", status_of(error)
        return said if status is None else f"{said} (HTTP status {status}; a proxy may have answered)"
    return f"{type(error).__name__}: {answer}"


_AS_THEY_ARE = (FileNotFoundError, FileExistsError, TimeoutError, NotImplementedError)
_TAKEN = frozenset({304, 412})
_UNREACHABLE = ("EndpointConnectionError", "ClientConnectorError", "ServiceRequestError", "Cannot connect to host")


def meaning_of(error: BaseException, text: str, operation: str, path: str) -> tuple[type[StorageError] | None, str]:
    """Return which of our errors an error is, ``None`` where its builtin type says it all, and its message.

    Args:
        error: What the filesystem raised.
        text: What it says, without secrets.
        operation: What was asked for.
        path: Of which object; empty where there is none.
    """
    known = meaning_of_answer(code_of(error) or code_in(str(error)), status_of(error))
    if known is not None:
        return known.kind, f"{known.advice}: {text}"
    if isinstance(error, _AS_THEY_ARE):
        return None, ""
    if isinstance(error, PermissionError) or status_of(error) in {401, 403}:
        what = "they may not delete it, or a lock keeps it" if operation == "delete" else "they may not do this"
        return StoragePermissionError, f"the store refused the credentials, or {what}: {text}"
    if is_timeout(error):
        return StorageTimeoutError, f"the store did not answer in time, which is what timeout= of the backend allows: {text}"
    if "not fork-safe" in text:
        return ForkedProcessError, "this filesystem was used before os.fork(); build it after the fork"
    if operation in {"put", "copy"} and isinstance(error, IsADirectoryError):
        return ObjectExistsError, "a folder is at this path"
    if isinstance(error, IsADirectoryError):
        return None, ""
    return _by_words(error, text, operation, path)


def _by_words(error: BaseException, text: str, operation: str, path: str) -> tuple[type[StorageError], str]:
    if status_of(error) in _TAKEN or "pre-condition" in text or "PreconditionFailed" in text:
        return ObjectExistsError, "an object is at this path already; it was not overwritten"
    if isinstance(error, ConnectionError) or any(name in text for name in _UNREACHABLE):
        return StorageError, (
            f"the store could not be reached; is its endpoint right, host, port and http or https, and does it run? {text}"
        )
    if path and not is_portable(path) and operation not in {"put", "list"}:
        return InvalidPathError, f"the filesystem cannot have a file under such a name: {text}"
    return StorageError, text
