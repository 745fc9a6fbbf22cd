"""Applications that hand whole files to their server, and say what they have sent: one for each kind of server."""

from __future__ import annotations

import json
import os
from typing import Any

import flask
import litestar
from litestar.config.compression import CompressionConfig
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from filerow import FileObject, storages
from filerow.backends.local import LocalBackend
from filerow.ext import flask as with_flask
from filerow.ext import litestar as with_litestar
from filerow.ext import starlette as with_starlette

storages.register_backend(LocalBackend("docs", os.environ["FILEROW_TEST_ROOT"], fsync=False))
FILES = {
    name: FileObject.from_dict({"v": 1, "backend": "docs", "path": name, "filename": name, "content_type": kind, "size": size})
    for name, kind, size in json.loads(os.environ["FILEROW_TEST_FILES"])
}
HEADERS = {"X-Own": "yes", "Cross-Origin-Resource-Policy": "cross-origin"}


class Watched:
    """Notes the kinds of messages of each answer, which ``/sent`` returns."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.sent: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/sent":
            body = json.dumps(self.sent).encode()
            self.sent.clear()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
            await send({"type": "http.response.body", "body": body})
            return

        async def noting(message: Any) -> None:
            self.sent.append(message["type"])
            await send(message)

        await self.app(scope, receive, noting)


async def _starlette(request: Request) -> with_starlette.StoredFileResponse:
    return with_starlette.StoredFileResponse(FILES[request.path_params["name"]], headers=HEADERS)


def _app_of_starlette(*middleware: Middleware) -> Starlette:
    app = Starlette(routes=[Route("/{name}", _starlette)], middleware=middleware)
    with_starlette.install(app)
    return app


@litestar.get("/{name:str}")
async def _litestar(name: str) -> with_litestar.StoredFileResponse:
    return with_litestar.StoredFileResponse(FILES[name], headers=HEADERS)


def _app_of_litestar(compression: CompressionConfig | None = None) -> litestar.Litestar:
    return litestar.Litestar([_litestar], plugins=[with_litestar.install()], compression_config=compression)


def _compared() -> Any:
    """Return the application of ``benchmarks.handing_over``; where the path says "streamed", nothing is handed over."""

    async def theirs(request: Request) -> FileResponse:
        return FileResponse(os.path.join(os.environ["FILEROW_TEST_ROOT"], request.path_params["name"]))

    ways = {"handed": _starlette, "streamed": _starlette, "theirs": theirs, "theirs-streamed": theirs}
    app = Starlette(routes=[Route(f"/{way}/{{name}}", answer) for way, answer in ways.items()])

    async def compared(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "extensions": {}} if "streamed" in scope["path"] else scope, receive, send)

    return compared


compared = _compared()
starlette = Watched(_app_of_starlette())
gzipped = Watched(_app_of_starlette(Middleware(GZipMiddleware, minimum_size=1)))
plain_litestar = Watched(_app_of_litestar())
compressed = Watched(_app_of_litestar(CompressionConfig(backend="gzip", minimum_size=1)))

_flask = flask.Flask(__name__)
with_flask.install(_flask)
_sent: list[str] = []


@_flask.get("/<name>")
def _send(name: str) -> flask.Response:
    return with_flask.StoredFileResponse(FILES[name], headers=HEADERS)


def wsgi(environ: Any, start_response: Any) -> Any:
    """Note the kind of each answer's body, which ``/sent`` returns."""
    if environ["PATH_INFO"] == "/sent":
        start_response("200 OK", [("content-type", "application/json")])
        body = [json.dumps(_sent).encode()]
        _sent.clear()
        return body
    answer = _flask(environ, start_response)
    _sent.append("http.response.pathsend" if isinstance(answer, environ["wsgi.file_wrapper"]) else "http.response.body")
    return answer
