"""Requests without a client library."""

from collections.abc import Mapping
from typing import Any
from urllib.request import Request, urlopen


def fetch(url: str) -> bytes:
    """Return what an HTTP server on this machine answers."""
    with urlopen(Request(url), timeout=30) as answer:  # noqa: S310 - a URL that was signed here
        return bytes(answer.read())


def send(ticket: Mapping[str, Any], content: bytes) -> None:
    """Upload as a ticket says, in one request with the bytes as its body."""
    request = Request(ticket["url"], data=content, method=ticket["method"], headers=dict(ticket["headers"]))  # noqa: S310 - as above
    with urlopen(request, timeout=30):  # noqa: S310 - as above
        pass
