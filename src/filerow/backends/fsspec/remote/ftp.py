"""What ftplib leaves to its callers: a connection is of no more use when an answer was not read to its end.

Commands and answers of FTP (RFC 959) have no numbers. After a timeout, or a content cut short, the next command would read the
answer to the one before; and fsspec's ``exists()`` and ``isdir()`` say no to every error. So a connection that may be out of step
is closed at once, and each later call on it says what happened.
"""

from __future__ import annotations

from collections.abc import Callable
from ftplib import error_perm, error_temp
from functools import cache
from typing import Any
from weakref import ref

from filerow.backends._deadlines import is_timeout

__all__ = ("check_in_step", "guard", "lost_by")

_LOST = "_filerow_ftp_lost"
_IN_STEP = "TransferDone"  # fsspec's own, thrown in the midst of a content of which it has enough; it then asks to abort it


class _RefusedError(OSError):
    """The server said 4xx, so not now: fsspec would take it for a file that is not there."""


def guard(fs: Any) -> None:
    """Guard the connection of fsspec's FTP filesystem, and those that it makes later."""
    this = ref(fs)

    def connect() -> None:
        fs = this()
        if fs is None:  # its finalizer would not connect
            return
        fs.ftp.close()
        type(fs)._connect(fs)  # noqa: SLF001 - there is no public place
        _guard_connection(fs.ftp)

    fs._connect = connect  # noqa: SLF001 - it also does so by itself, after an abort that it did not understand
    _guard_connection(fs.ftp)


def lost_by(fs: Any) -> Exception | None:
    """Return what made a filesystem's connection useless, if something did."""
    lost: Exception | None = getattr(getattr(fs, "ftp", None), _LOST, None)
    return lost


def check_in_step(fs: Any) -> None:
    """Check that a filesystem's connection was not lost in a call that says nothing of it.

    Raises:
        TimeoutError: It was, by one.
        ConnectionError: It was, by anything else.
    """
    lost = lost_by(fs)
    if lost is not None:
        raise _closed(lost) from lost


def _closed(lost: Exception) -> OSError:
    kind = TimeoutError if is_timeout(lost) else ConnectionError
    return kind(f"the connection is closed, because of {type(lost).__name__}: {lost}")


def _guard_connection(ftp: Any) -> None:
    kind: Any = type(ftp)
    if not hasattr(kind, _LOST):
        ftp.__class__ = _guarded(kind)


@cache
def _guarded(kind: Any) -> Any:
    """Return a class like one of ftplib's, with or without TLS, whose calls are guarded."""
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
            if not str(error).startswith("421"):  # the server's word for a client that was idle, after which it hangs up
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
