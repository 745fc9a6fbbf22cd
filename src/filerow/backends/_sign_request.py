"""What a signed URL may bind, and what one kind of store can bind.

A request that a store would not hold its holder to is refused: a limit that is asked for and not bound is worse than none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from filerow.backends._headers import check_header
from filerow.backends._types import SignRequest
from filerow.exceptions import InvalidOptionError, UnsupportedOperationError

Bound = Mapping[str, frozenset[str]]
"""By method, the fields of a :class:`SignRequest` that a store binds, beyond the method, the path and the expiry."""

_OPTIONAL = ("content_disposition", "content_type", "content_length", "max_length", "signed_at", "cache_control")
_NOTHING = (None,) * 4
_METHODS = frozenset({"GET", "PUT"})


def whole_seconds(seconds: object) -> int:
    """Return a lifetime in whole seconds, rounded up; raise at the caller's line.

    Raises:
        TypeError: It is not a number, but a ``timedelta`` perhaps.
        ValueError: It is not positive, or not finite.
    """
    if type(seconds) is int and seconds > 0:
        return seconds
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        msg = f"expires_in is a number of seconds, not {type(seconds).__name__}; of a timedelta: int(delta.total_seconds())"
        raise TypeError(msg)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"expires_in is a number of seconds, so it must be positive and finite, not {seconds}")
    return math.ceil(seconds)


@lru_cache(maxsize=64)
def plain_read(seconds: float) -> SignRequest:
    """Return the shared request of most URLs: to read, with nothing else bound.

    Raises:
        TypeError: As :func:`whole_seconds`.
        ValueError: As :func:`whole_seconds`.
    """
    return SignRequest("GET", whole_seconds(seconds))


def check_request(request: SignRequest, backend: str) -> None:
    """Refuse what makes sense for no store.

    Raises:
        InvalidOptionError: The expiry or a length is none, a header has control or non-ASCII characters (RFC 9110, section
            5.5), or a download is asked to have a length.
        UnsupportedOperationError: Neither ``GET`` nor ``PUT``, or an upload that sets ``Content-Disposition``.
    """
    method, seconds = request[:2]
    if (
        method in _METHODS
        and isinstance(seconds, int)
        and seconds >= 1
        and request[2:6] == _NOTHING
        and request.cache_control is None
    ):
        return  # what most ask for
    where = {"operation": "sign", "backend": backend}
    if method not in _METHODS:
        raise UnsupportedOperationError(f"signed URLs are for GET or PUT, not {method}", **where)
    if not isinstance(seconds, int) or seconds < 1:
        raise InvalidOptionError(f"expires_in must be a whole number of seconds, at least 1, not {seconds}", **where)
    headers = {"Content-Disposition": request.content_disposition, "Content-Type": request.content_type}
    for name, value in {**headers, "Cache-Control": request.cache_control}.items():
        if value is not None:
            check_header(name, value, **where)
    if method == "PUT" and request.content_disposition is not None:
        msg = "a signed upload cannot set Content-Disposition; the store keeps what the client sends"
        raise UnsupportedOperationError(msg, **where)
    _check_lengths(request, where)


def _check_lengths(request: SignRequest, where: Mapping[str, str]) -> None:
    exact, most = request.content_length, request.max_length
    if request.method == "GET" and (exact is not None or most is not None):
        msg = "content_length and max_length limit an upload; a URL to read has none"
    elif any(length is not None and length < 0 for length in (exact, most)):
        msg = f"a length is a number of bytes, not {min(length for length in (exact, most) if length is not None)}"
    elif exact is not None and most is not None and exact > most:
        msg = f"content_length={exact} is more than max_length={most} allows"
    else:
        return
    raise InvalidOptionError(msg, **where)


def check_bound(request: SignRequest, bound: Bound, store: str, backend: str, hint: str = "") -> None:
    """Refuse what one kind of store cannot bind.

    Args:
        request: What is asked.
        bound: What the store binds.
        store: What the store is called, for the message.
        backend: Key of the backend, for errors.
        hint: What to do instead.

    Raises:
        UnsupportedOperationError: Something asked for would not be bound; the message names it.
    """
    known = bound.get(request.method, frozenset())
    missing = [name for name in _OPTIONAL if name not in known and getattr(request, name) is not None]
    if missing:
        msg = f"{store} cannot bind {' and '.join(missing)} into the URL of a {request.method}{hint and f'; {hint}'}"
        raise UnsupportedOperationError(msg, operation="sign", backend=backend)


def moment_of(request: SignRequest) -> datetime:
    """Return when a request's URL begins to work, which its lifetime counts from."""
    return datetime.fromtimestamp(time.time() if request.signed_at is None else request.signed_at, UTC)


def answer_parameters(request: SignRequest) -> dict[str, str]:
    """Return the parameters that set an answer's headers, on S3 and Google."""
    if request.method != "GET":
        return {}
    answer = {"response-content-type": request.content_type, "response-content-disposition": request.content_disposition}
    return {name: value for name, value in answer.items() if value is not None}


def length_range(request: SignRequest) -> dict[str, str]:
    """Return the header by which Google limits an upload's length."""
    if request.content_length is not None:
        return {"x-goog-content-length-range": f"{request.content_length},{request.content_length}"}
    return {} if request.max_length is None else {"x-goog-content-length-range": f"0,{request.max_length}"}
