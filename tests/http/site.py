"""A web site in a thread, by the standard library's server: our route, files streamed by an application, and pages of its own."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

from filerow.http import Body, Reply, answer, receive, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from filerow import FileObject


class Site:
    """Answers ``/files/{backend}/{path}`` by our route, ``/app/{name}`` by streaming a file, and pages as they are given.

    Attributes:
        files: What ``/app/{name}`` serves.
        pages: What else there is, by path: media type and content, with no header that would make it safe but those given.
        beacons: The query strings with which ``/beacon`` was asked.
        asked: Method and path of every request.
    """

    def __init__(self) -> None:
        self.files: dict[str, FileObject] = {}
        self.pages: dict[str, tuple[str, bytes, Sequence[tuple[str, str]]]] = {}
        self.beacons: list[str] = []
        self.asked: list[tuple[str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                site.handle(self)

            do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _handle  # noqa: N815 - called so by the standard library

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="site")

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        url = urlsplit(handler.path)
        self.asked.append((handler.command, url.path))
        reply = self._reply(handler, unquote(url.path), url.query)
        handler.send_response(reply.status)
        for name, value in reply.headers:
            handler.send_header(name, value)
        unread = handler.command in {"PUT", "POST"} and reply.status >= 400
        if unread:  # what of the body was not read would be taken for the next request
            handler.send_header("connection", "close")
        handler.end_headers()
        for chunk in reply.body.stream() if isinstance(reply.body, Body) else [reply.body]:
            handler.wfile.write(chunk)

    def wait_for(self, *beacons: str) -> None:
        """Wait until these beacons have been asked for; half a minute at most."""
        until = time.monotonic() + 30
        while not set(beacons) <= set(self.beacons):
            assert time.monotonic() < until, f"expected {beacons}, and only {self.beacons} came"
            time.sleep(0.02)

    def _reply(self, handler: BaseHTTPRequestHandler, path: str, query: str) -> Reply:
        kind, _, rest = path[1:].partition("/")
        if kind == "app" and rest in self.files:
            return serve(self.files[rest], handler.command, handler.headers.items())
        if kind == "files":
            key, _, place = rest.partition("/")
            if handler.command == "PUT":
                return receive("PUT", key, place, query, handler.headers.items(), _body(handler))
            return answer(handler.command, key, place, query, handler.headers.items())
        if kind == "beacon":
            self.beacons.append(query)
        media_type, content, headers = self.pages.get(path, ("text/plain", b"nothing here", ()))
        status = 200 if path in self.pages or kind == "beacon" else 404
        return Reply(status, (("content-type", media_type), ("content-length", str(len(content))), *headers), content)

    def __enter__(self) -> Self:
        """Start answering."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _body(handler: BaseHTTPRequestHandler) -> Iterator[bytes]:
    if handler.headers.get("transfer-encoding") == "chunked":
        while size := int(handler.rfile.readline().split(b";")[0], 16):
            yield handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
        return
    left = int(handler.headers.get("content-length", "0"))
    while left and (chunk := handler.rfile.read(min(left, 65536))):
        left -= len(chunk)
        yield chunk
