"""An application that mounts direct upload and the route of our own URLs, on the standard library's server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from filerow.direct import DirectUploads
from filerow.exceptions import FilerowError
from filerow.http import problem, receive

PAGE = b"""<!doctype html><meta charset=utf-8><title>ready</title>
<form><input type=hidden name=claim id=claim></form>
<script type=module>import { upload } from "/filerow.js"; window.upload = upload;</script>"""


class Site:
    """The running application.

    Attributes:
        url: Its address.
        uploads: What is mounted at ``/uploads/{name}``.
        actions: What clients have asked ``/uploads`` for, in order.
        pause: Seconds to wait before each 64 KiB of an upload are read.
    """

    def __init__(self) -> None:
        self.uploads: dict[str, DirectUploads] = {}
        self.actions: list[str] = []
        self.refused: list[int] = []
        self.pause = 0.0
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, site: Site) -> None:
        self.site = site
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _site(self) -> Site:
        assert isinstance(self.server, _Server)
        return self.server.site

    def do_GET(self) -> None:
        if self.path == "/filerow.js":
            script = resources.files("filerow").joinpath("static/filerow.js").read_bytes()
            self._answer(200, [("content-type", "text/javascript")], script)
        else:
            self._answer(200, [("content-type", "text/html")], PAGE)

    def do_POST(self) -> None:
        _, _, name, action = self.path.split("/")
        self._site.actions.append(action)
        payload = json.loads(b"".join(self._body()))
        try:
            answer = self._site.uploads[name].handle(action, payload)
        except FilerowError as error:
            reply = problem(error)
            self._answer(reply.status, reply.headers, reply.body)
        else:
            self._answer(200, [("content-type", "application/json")], json.dumps(answer).encode())

    def do_PUT(self) -> None:
        parts = urlsplit(self.path)
        _, _, key, path = unquote(parts.path).split("/", 3)
        reply = receive("PUT", key, path, parts.query, list(self.headers.items()), self._body())
        if reply.status >= 400:
            self._site.refused.append(reply.status)
            self.close_connection = True
        self._answer(reply.status, reply.headers, reply.body)

    def _body(self) -> Iterator[bytes]:
        left = int(self.headers.get("content-length", 0))
        while left and (chunk := self.rfile.read(min(left, 1 << 16))):
            left -= len(chunk)
            time.sleep(self._site.pause)
            yield chunk

    def _answer(self, status: int, headers: Any, body: Any) -> None:
        self.send_response(status)
        names = {name.lower() for name, _ in headers}
        for name, value in headers:
            self.send_header(name, value)
        content = body if isinstance(body, bytes) else b""
        if "content-length" not in names:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
