"""A web server of the standard library that answers the signed URLs of a directory, as an application's framework would."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from filerow.http import Body
from filerow.http.route import answer

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("serving",)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer ``/files/{backend}/{path}?…``."""
        parts = urlsplit(self.path)
        _, _, key, path = parts.path.split("/", 3)
        reply = answer("GET", unquote(key), unquote(path), parts.query, tuple(self.headers.items()))
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        for chunk in reply.body.stream() if isinstance(reply.body, Body) else (reply.body,):
            self.wfile.write(chunk)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the demo prints a table."""


@contextmanager
def serving(port: int = 0) -> Iterator[str]:
    """Answer signed URLs on the loopback interface until the block ends.

    Yields:
        The server's scheme, host and port.
    """
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
