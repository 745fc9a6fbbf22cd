"""How long a store may keep its caller waiting, as options of each client."""

from __future__ import annotations

import re
from collections.abc import Mapping
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


def with_types(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return options of obstore with the types that it takes.

    Files have numbers of seconds where it wants a ``timedelta``, and the environment has text everywhere.

    Args:
        options: ``client_options`` or ``retry_config``.
        where: Which of both, for errors.

    Raises:
        ValueError: A duration or a number is none.
    """
    if not isinstance(options, Mapping):
        raise ValueError(f"{where} must be a table of options, not {type(options).__name__}")  # noqa: TRY004 - as below
    found: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping) and name == "backoff":
            found[name] = with_types(value, f"{where}.{name}")
        elif _DURATION_NAME.search(name):
            found[name] = _duration(value, f"{where}.{name}")
        elif name in _NUMBERS and isinstance(value, str):
            found[name] = _number(value, _NUMBERS[name], f"{where}.{name}")
        elif name not in _NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = str(value)
        else:
            found[name] = value
    return found


_DURATION_NAME = re.compile(r"(?:timeout|backoff|interval)\Z")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|s|m|h|)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "": 1}
_NUMBERS: Mapping[str, type[int | float]] = {"max_retries": int, "base": float}


def _duration(value: Any, where: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value  # a timedelta, or obstore says what is wrong
    match = _DURATION.fullmatch(str(value).strip())
    if match is None and where.startswith("client_options"):
        return value  # obstore reads more texts there, such as "1h 30min"
    if match is None:
        raise ValueError(f"{where} must be a duration, such as 20, '20s' or '500ms', not {value!r}")
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])


def _number(text: str, kind: type[int | float], where: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{where} must be a number, not {text!r}") from None


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
