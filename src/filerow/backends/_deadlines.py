"""How long a store may keep its caller waiting: one number of seconds, in the words of each client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from importlib import import_module
from typing import Any

__all__ = (
    "ATTEMPTS",
    "KEPT",
    "TIMEOUT",
    "botocore_limits",
    "fsspec_limits",
    "is_timeout",
    "obstore_limits",
    "obstore_retries",
    "seconds_of",
)

TIMEOUT = 60.0
"""Seconds of silence that a request may last, by default."""

ATTEMPTS = 2
"""How often a client that can be told asks, the first time included."""

KEPT = "_filerow_timeout"
"""Where filesystems, and connections of them, note the limit that they have got."""

_CONNECT = 5.0  # a server that is there takes the connection in a blink


def seconds_of(timeout: float | None) -> float:
    """Check a number of seconds; ``None`` stands for the default.

    Raises:
        ValueError: It is not positive, or not finite.
    """
    if timeout is None:
        return TIMEOUT
    if not 0 < timeout < float("inf"):
        msg = f"timeout= is a positive number of seconds, not {timeout!r}: an operation that may last forever hangs some day"
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
        "retries": {"total_max_attempts": ATTEMPTS},
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
    elif protocol == "smb":
        chosen = {"timeout": min(seconds, _CONNECT), "register_session_retries": -1, **chosen}  # it connects when it is used
    elif protocol in {"sftp", "ssh"}:
        chosen = {"timeout": min(seconds, _CONNECT), "banner_timeout": seconds, "auth_timeout": seconds, **chosen}
    return chosen


def is_timeout(error: BaseException) -> bool:
    """Return True if an error of some client means that its server did not answer; few of them are a ``TimeoutError``.

    Some clients say only that something went wrong, and what it was in the error's cause.
    """
    kinds = type(error).__mro__ + type(error.__cause__).__mro__
    return any(kind is TimeoutError or kind.__name__.endswith("TimeoutError") for kind in kinds)
