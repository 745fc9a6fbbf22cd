"""What errors mean whose type does not say: filesystems that nobody here knows, and SMB's, may say it by a number only."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import Any, Self

__all__ = ("ByNumber", "by_number")


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
