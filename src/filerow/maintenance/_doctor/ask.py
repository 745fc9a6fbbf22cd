"""How doctor asks: each call blocks, or is awaited where doctor is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from email.message import Message
from functools import partial
from typing import Any, NamedTuple

from filerow._execution.batch import call
from filerow._execution.threads import in_thread
from filerow.backends._foreign import clean_message
from filerow.backends.base import StorageBackend
from filerow.maintenance._listing import pages

_PAGE = 1_000
_SECONDS = 10.0
_MOST = 4_000
_SHOWN = 300


def ask(backend: StorageBackend, method: str, *args: Any, **options: Any) -> Any:
    """Call a method of a backend, or await its twin."""
    twins = (partial(getattr(backend, name), **options) for name in (method, f"{method}_async"))
    return call(*twins, *args)


def listed(backend: StorageBackend, method: str, folder: str, most: int = 0) -> list[Any]:
    """Return what a method yields for a folder, or the first ``most`` items."""
    found = pages(getattr(backend, method), getattr(backend, f"{method}_async"), folder, size=most or _PAGE)
    with closing(found):
        return next(found, []) if most else [item for page in found for item in page]


def in_a_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that blocks, in a thread where doctor is awaited."""
    return call(function, partial(in_thread, function), *args)


class HttpAnswer(NamedTuple):
    """What a client got; status 0 when nothing came."""

    status: int
    headers: Message = Message()
    body: bytes = b""
    text: str = ""


def fetched(url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> HttpAnswer:
    """Send a request as a client does, and return its answer's first bytes."""
    import urllib.error
    import urllib.request  # not needed to import the package

    try:
        request = urllib.request.Request(url, method=method, headers=dict(headers or {}))  # noqa: S310 - of the backend itself
        with closing(urllib.request.urlopen(request, timeout=_SECONDS)) as response:  # noqa: S310
            return HttpAnswer(response.status, response.headers, response.read(_MOST))
    except urllib.error.HTTPError as error:
        with error:
            text = clean_message(error.read(_MOST).decode(errors="replace"))  # without the signature, which some answers quote
            return HttpAnswer(error.code, error.headers, text=text[:_SHOWN])
    except (OSError, ValueError) as error:
        return HttpAnswer(0, text=str(error))
