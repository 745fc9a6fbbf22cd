"""One call at a time, for filesystems whose one connection cannot bear several: paramiko and ftplib would mix up the answers."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

__all__ = ("OneAtATime", "one_at_a_time")


class OneAtATime:
    """A filesystem, or an open file of one, whose calls wait for each other.

    The lock is held for a call only: between two chunks of a source, which may itself read from the same filesystem, it is free.

    Args:
        wrapped: The filesystem or file.
        lock: The lock of its connection.
    """

    def __init__(self, wrapped: Any, lock: Any) -> None:
        self._wrapped = wrapped
        self._lock = lock

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._wrapped, name)
        if not callable(value):
            return value

        def call(*args: Any, **options: Any) -> Any:
            with self._lock:
                result = value(*args, **options)
            return OneAtATime(result, self._lock) if name == "open" else result

        return call

    def __enter__(self) -> Self:
        with self._lock:
            self._wrapped.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._wrapped.__exit__(kind, error, trace)


def one_at_a_time(fs: Any) -> OneAtATime:
    """Return a filesystem whose calls wait for each other, also those of other backends on the same one."""
    return OneAtATime(fs, vars(fs).setdefault("_filerow_lock", threading.RLock()))
