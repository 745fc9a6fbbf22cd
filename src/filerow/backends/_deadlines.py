"""How long a store may keep its caller waiting, as options of each client."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

TIMEOUT = 60.0
"""Seconds of silence that a request may last, by default."""

ATTEMPTS = 2
"""How often a client sends a request, the first time included, where it takes that option."""

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
    """Return obstore's client options, without a limit on a whole transfer."""
    silence = timedelta(seconds=seconds)
    return {"timeout": "12 h", "read_timeout": silence, "connect_timeout": min(silence, timedelta(seconds=_CONNECT))}


def obstore_retries(seconds: float) -> dict[str, Any]:
    """Return obstore's retry options, with this limit instead of three minutes."""
    return {"retry_timeout": timedelta(seconds=seconds)}


def botocore_limits(seconds: float) -> dict[str, Any]:
    """Return options of botocore's ``Config``."""
    return {"connect_timeout": connect_within(seconds), "read_timeout": seconds, "retries": {"total_max_attempts": ATTEMPTS}}


def connect_within(seconds: float) -> float:
    """Return how long a connection may take, of seconds that a request may."""
    return min(seconds, _CONNECT)


def is_timeout(error: BaseException) -> bool:
    """Return True if a client's error means that its server did not answer.

    Some clients say only that something went wrong, and what it was in the error's cause.
    """
    kinds = type(error).__mro__ + type(error.__cause__).__mro__
    return any(kind is TimeoutError or kind.__name__.endswith("TimeoutError") for kind in kinds)
