"""FTP through ftplib: a connection is useless after an answer not fully read.

Commands and answers of FTP (RFC 959) have no numbers. After a timeout, or a content cut short, the next command would read the
answer to the one before; and fsspec's ``exists()`` and ``isdir()`` say no to every error. So a connection that may be out of step
is closed at once, and each later call on it raises what happened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from ftplib import error_perm, error_temp
from functools import cache
from typing import Any
from weakref import ref

from filerow.backends._deadlines import is_timeout
from filerow.backends.fsspec.remote.one_connection import OneConnection

_LOST = "_filerow_ftp_lost"
_LOOKS_FOR = frozenset({"cat_file", "info", "ls", "read", "rm_file"})
"""Calls whose 550 most likely means that there is no such file; it stands for what is forbidden, too."""

_IN_STEP = "TransferDone"  # fsspec's own, raised when it has enough of a content; it then asks to abort it


class _RefusedError(OSError):
    """The server answered 4xx, so not now: fsspec would take it for a missing file."""


class FTP(OneConnection):
    """Files by FTP, of which ftplib makes the requests."""

    opens_blindly = True
    one_refusal = True
    cuts_short = True

    def client_options(self) -> Collection[str]:
        return ()

    def with_limits(self, options: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        return {"timeout": seconds, **options}

    def set_up(self, fs: Any, seconds: float | None) -> None:
        """Guard the filesystem's connection, and those that it makes after an abort."""
        super().set_up(fs, seconds)
        this = ref(fs)

        def connect() -> None:
            fs = this()
            if fs is None:  # its finalizer would not connect
                return
            fs.ftp.close()
            type(fs)._connect(fs)  # noqa: SLF001 - there is no public place
            _guard(fs.ftp)

        fs._connect = connect  # noqa: SLF001 - as above
        _guard(fs.ftp)

    def is_lost(self, fs: Any) -> bool:
        return getattr(fs.ftp, _LOST, None) is not None

    def check(self, fs: Any) -> None:
        """Check the connection: fsspec's ``exists()`` returns False when it is lost."""
        lost = getattr(fs.ftp, _LOST, None)
        if lost is not None:
            raise _closed(lost) from lost

    def meaning(self, error: Exception, name: str) -> Exception:
        is_missing = name in _LOOKS_FOR and isinstance(error, error_perm) and str(error).startswith("550")
        return FileNotFoundError(str(error)) if is_missing else error

    def end(self, fs: Any) -> None:
        fs.ftp.close()


def _closed(lost: Exception) -> OSError:
    kind = TimeoutError if is_timeout(lost) else ConnectionError
    return kind(f"the connection is closed, because of {type(lost).__name__}: {lost}")


def _guard(ftp: Any) -> None:
    kind: Any = type(ftp)
    if not hasattr(kind, _LOST):
        ftp.__class__ = _guarded(kind)


@cache
def _guarded(kind: Any) -> Any:
    """Return a subclass of one of ftplib's classes, whose calls are guarded."""
    calls = ("abort", "getmultiline", "getresp", "ntransfercmd", "putline", "retrbinary", "retrlines", "storbinary")
    return type(f"Guarded{kind.__name__}", (kind,), {_LOST: None, **{name: _in_step(getattr(kind, name)) for name in calls}})


def _in_step(ask: Callable[..., Any]) -> Callable[..., Any]:
    def call(ftp: Any, *args: Any, **options: Any) -> Any:
        lost = getattr(ftp, _LOST)
        if lost is not None:
            raise _closed(lost) from lost
        try:
            return ask(ftp, *args, **options)
        except error_temp as error:
            if not str(error).startswith("421"):  # the answer to a client that was idle, after which the server hangs up
                raise _RefusedError(str(error)) from error
            _lose(ftp, error)
            raise ConnectionError(str(error)) from error
        except (error_perm, _RefusedError):
            raise
        except Exception as error:
            if type(error).__name__ != _IN_STEP:
                _lose(ftp, error)
            raise

    return call


def _lose(ftp: Any, error: Exception) -> None:
    if getattr(ftp, _LOST) is None:
        setattr(ftp, _LOST, error.with_traceback(None))
        ftp.close()
