"""How long a store may keep its caller waiting: one number of seconds, in the words of each client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any

__all__ = (
    "TIMEOUT",
    "botocore_limits",
    "fsspec_limits",
    "is_timeout",
    "limit_attempts",
    "obstore_limits",
    "obstore_retries",
    "seconds_of",
)

TIMEOUT = 60.0
"""Seconds of silence that a request may last, by default."""

_CONNECT = 5.0  # a server that is there takes the connection in a blink
_ATTEMPTS = 2
_AT_ONCE = 32 << 20  # bytes that any network in use sends in the time that several attempts may take


def seconds_of(timeout: float | None) -> float:
    """Check a number of seconds; ``None`` stands for the default.

    Raises:
        ValueError: It is not positive, or not finite.
    """
    if timeout is None:
        return TIMEOUT
    if not 0 < timeout < float("inf"):
        msg = f"timeout= is a positive number of seconds, not {timeout!r}: an operation that may last for ever hangs some day"
        raise ValueError(msg)
    return float(timeout)


def obstore_limits(seconds: float) -> dict[str, Any]:
    """Return obstore's client options. Its ``timeout`` limits a whole transfer, the body included, so that one is lifted."""
    silence = timedelta(seconds=seconds)
    return {"timeout": "12 h", "read_timeout": silence, "connect_timeout": min(silence, timedelta(seconds=_CONNECT))}


def obstore_retries(seconds: float) -> dict[str, Any]:
    """Return obstore's retry options: it asks again for that long, and not for its own three minutes."""
    return {"retry_timeout": timedelta(seconds=seconds)}


def botocore_limits(seconds: float) -> dict[str, Any]:
    """Return options of botocore's ``Config``."""
    return {
        "connect_timeout": min(seconds, _CONNECT),
        "read_timeout": seconds,
        "retries": {"total_max_attempts": _ATTEMPTS},
    }


def fsspec_limits(protocol: str, options: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return options of a filesystem with its limits added, where they do not say any; others keep the limits of their own.

    Args:
        protocol: As in URLs.
        options: What is given.
        seconds: The limit.
    """
    chosen = dict(options)
    if protocol in {"s3", "s3a"}:
        chosen["config_kwargs"] = {**botocore_limits(seconds), **(chosen.get("config_kwargs") or {})}
    elif protocol in {"gs", "gcs"} and "requests_timeout" not in chosen:
        silence = import_module("aiohttp").ClientTimeout(total=None, sock_connect=min(seconds, _CONNECT), sock_read=seconds)
        chosen["requests_timeout"] = silence
    elif protocol in {"az", "abfs", "abfss", "adl"}:
        chosen = {"connection_timeout": max(1, round(min(seconds, _CONNECT))), "read_timeout": max(1, round(seconds)), **chosen}
    elif protocol == "ftp":
        chosen = {"timeout": seconds, **chosen}
    elif protocol in {"sftp", "ssh"}:
        chosen = {"timeout": min(seconds, _CONNECT), "banner_timeout": seconds, "auth_timeout": seconds, **chosen}
    return chosen


def limit_attempts(fs: Any, protocol: str, seconds: float) -> None:
    """Set what a filesystem takes no option for: how often s3fs asks again, and how long SFTP waits for an answer.

    aiohttp limits how long an answer may take only when the request is sent, and botocore waits to be told to send it: a server
    that stops reading would hold an upload for ever. So s3fs's uploads get a limit for all their attempts together.
    """
    if protocol in {"s3", "s3a"}:
        fs.retries = _ATTEMPTS
        fs.call_s3 = partial(fs.call_s3, timeout=2 * _ATTEMPTS * seconds)
        fs.pipe_file = _in_time(fs.pipe_file, 2 * _ATTEMPTS * seconds)
    elif protocol in {"sftp", "ssh"}:
        fs.ftp.get_channel().settimeout(seconds)


def _in_time(pipe_file: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    def limited(path: str, value: bytes, **options: Any) -> Any:
        return pipe_file(path, value, timeout=seconds * (1 + len(value) // _AT_ONCE), **options)

    return limited


def is_timeout(error: BaseException) -> bool:
    """Say whether an error of some client means that its server did not answer; few of them are a ``TimeoutError``."""
    return isinstance(error, TimeoutError) or any(kind.__name__.endswith("TimeoutError") for kind in type(error).__mro__)
