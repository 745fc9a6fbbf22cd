"""What the conformance kit needs to know of a backend."""

from __future__ import annotations

import http.client
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import ClassVar, NamedTuple
from urllib.parse import unquote, urlsplit

from filerow._registry import storages
from filerow.backends.base import StorageBackend
from filerow.http.route import answer, receive

_TIMEOUT = 60


class Answer(NamedTuple):
    """What came back for a request.

    Attributes:
        status: The HTTP status.
        headers: Its headers, names in lower case.
        body: Its body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Harness(ABC):
    """A backend under test: subclass it and make a backend; the rest is optional.

    Attributes:
        known_faults: Cases that this backend is known to fail, each with the reason. They run, must fail, and stand in the
            report; one that passes is an error, so that the list stays true. ``case`` or ``case_sync``, ``case_async``.
        large: Run the cases that move hundreds of megabytes, too.
        cleans: Remove what each case has made. Set it to ``False`` where the store itself is thrown away.
    """

    known_faults: ClassVar[Mapping[str, str]] = {}
    large: bool = False
    cleans: bool = True

    @abstractmethod
    def make(self) -> StorageBackend:
        """Return a backend to test; it may be the same one each time."""

    def make_missing(self) -> StorageBackend | None:
        """Return a backend on a missing bucket or folder; ``None`` without such."""
        return None

    def send(self, backend: StorageBackend, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send an HTTP request to a signed URL as it stands; return the answer.

        The default asks the URL's server; where the backend signs URLs of our own route, it asks the route in this process.

        Args:
            backend: The backend that has signed the URL.
            method: The request's method.
            url: The URL.
            body: The request's body, or none.
            headers: The request's headers.
        """
        if backend.own_urls is not None:
            return _ask_own_route(backend, method, url, body, headers)
        return _ask_server(method, url, body, headers)

    def close(self, backend: StorageBackend) -> None:  # noqa: B027 - most have nothing to give back
        """Give back what :meth:`make` or :meth:`make_missing` has opened."""


# -- signed URLs -----------------------------------------------------------------------------------------------------------


def _ask_server(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_TIMEOUT)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, dict(headers))
        got = connection.getresponse()
        return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
    finally:
        connection.close()


def _ask_own_route(backend: StorageBackend, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    parts = urlsplit(url)
    base = urlsplit((backend.own_urls and backend.own_urls.base_url) or "").path
    key, _, path = unquote(parts.path.removeprefix(f"{base}/")).partition("/")
    sent = {"content-length": str(len(body or b"")), **headers}
    with _registered(backend):
        if method in {"GET", "HEAD"}:
            reply = answer(method, key, path, parts.query, sent)
        else:
            reply = receive(method, key, path, parts.query, sent, [body or b""])
        data = reply.body if isinstance(reply.body, bytes) else b"".join(reply.body.stream())
    return Answer(reply.status, {name.lower(): value for name, value in reply.headers}, data)


@contextmanager
def _registered(backend: StorageBackend) -> Generator[None]:
    """Register the backend, for our own route to find it."""
    if storages.is_registered(backend.key) and storages.get_backend(backend.key) is backend:
        yield
        return
    storages.register_backend(backend)
    try:
        yield
    finally:
        storages.unregister_backend(backend.key)
