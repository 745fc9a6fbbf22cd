"""One call at a time, for filesystems whose one connection cannot bear several: paramiko and ftplib would mix up the answers.

They would also mix them up after a timeout, when the answer comes late, and they never connect again. So a connection that has
failed is closed here, and the next call gets a new one.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from ftplib import error_perm
from types import TracebackType
from typing import Any, Self

from filerow.backends._deadlines import is_timeout
from filerow.backends.fsspec.deadlines import limited_again
from filerow.backends.fsspec.remote.ftp import check_in_step, lost_by

__all__ = ("OneAtATime", "one_at_a_time")


class OneAtATime:
    """A filesystem, or an open file of one, whose calls wait for each other.

    The lock is held for a call only: between two chunks of a source, which may itself read from the same filesystem, it is free.

    Args:
        wrapped: The filesystem or file.
        fs: The filesystem.
    """

    def __init__(self, wrapped: Any, fs: Any) -> None:
        self._wrapped = wrapped
        self._fs = fs
        self._lock = vars(fs).setdefault("_filerow_lock", threading.RLock())

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._wrapped, name)
        if not callable(value):
            return value

        def call(*args: Any, **options: Any) -> Any:
            with self._lock:
                if self._wrapped is self._fs and (vars(self._fs).pop(_LOST, False) or lost_by(self._fs)):
                    _connect_again(self._fs)
                try:
                    result = value(*args, **options)
                    check_in_step(self._fs)  # fsspec's exists() and isdir() just say no when it was lost
                except Exception as error:
                    if _is_lost(error):
                        _close(self._fs)
                    if name in _LOOKS_FOR and isinstance(error, error_perm) and str(error).startswith("550"):
                        raise FileNotFoundError(str(error)) from error
                    raise
            return OneAtATime(result, self._fs) if name == "open" else result

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
    return OneAtATime(fs, fs)


_LOST = "_filerow_lost"
_LOOKS_FOR = frozenset({"cat_file", "info", "ls", "read", "rm_file"})
"""Calls whose 550 of FTP most likely means that there is no such file; it says as well that something is forbidden."""


def _is_lost(error: Exception) -> bool:
    """Return True if an error means that the connection is of no more use."""
    return str(error) == "Socket is closed" or is_timeout(error) or isinstance(error, (ConnectionError, EOFError))


def _close(fs: Any) -> None:
    setattr(fs, _LOST, True)
    with suppress(Exception):
        (fs.client if hasattr(fs, "client") else fs.ftp).close()


def _connect_again(fs: Any) -> None:
    try:
        fs._connect()  # noqa: SLF001 - as its __init__() does
        limited_again(fs)
    except Exception as error:
        _close(fs)
        if isinstance(error, OSError):
            raise
        msg = f"the connection was lost, and there is no new one: {error}"  # paramiko's errors are not of one tree
        raise ConnectionError(msg) from error
