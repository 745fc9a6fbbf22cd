"""What tests need to know of a server that stands in for Google Cloud Storage."""

from __future__ import annotations

import json
import urllib.request
import uuid
from typing import TYPE_CHECKING

from tests.servers._process import HOST, RunningServer, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = "filerow-tests"

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class GCSServer(RunningServer):
    """A running stand-in.

    Args:
        process: Its process.
        port: Its port.
        make: Creates a bucket of a given name.
        keys: Returns the names of the objects in a bucket.
    """

    project = PROJECT

    def __init__(
        self,
        process: ServerProcess,
        port: int,
        make: Callable[[str, str], None],
        keys: Callable[[str, str], set[str]],
    ) -> None:
        super().__init__(process)
        self.port = port
        self.endpoint = f"http://{HOST}:{port}"
        self._make = make
        self._keys = keys

    def make_bucket(self, name: str | None = None) -> str:
        """Create a bucket, under a fresh name unless given one, and return its name."""
        name = name or f"test-{uuid.uuid4().hex[:20]}"
        self._make(self.endpoint, name)
        return name

    def keys(self, bucket: str) -> set[str]:
        """Return the names of all objects in ``bucket``, asked from the server itself."""
        return self._keys(self.endpoint, bucket)


def request(method: str, url: str, body: dict[str, str] | None = None) -> bytes:
    """Send one plain request, to loopback only, and return what comes back."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data else {}
    with _opener.open(urllib.request.Request(url, data=data, method=method, headers=headers), timeout=10) as response:
        answer: bytes = response.read()
    return answer
