"""Requests that no client library would send, handed to an application as a server hands them over."""

from __future__ import annotations

import asyncio
import io
from functools import cache
from typing import Any
from urllib.parse import unquote_to_bytes

import tests.frameworks  # noqa: F401 - imports them, with what they say of each other

Got = tuple[int, list[tuple[bytes, bytes]], bytes]


def request(framework: str, method: str, raw_path: str, query: bytes = b"", body: bytes = b"") -> Got:
    """Return status, headers and body of an application's answer.

    Args:
        framework: ``starlette``, ``fastapi``, ``litestar`` or ``flask``.
        method: The method.
        raw_path: The path as it stands in the request, percent-encoded.
        query: The query string.
        body: The request's body.
    """
    if framework == "flask":
        return _wsgi(_application(framework), method, raw_path, query, body)
    return asyncio.run(_asgi(_application(framework), method, raw_path, query, body))


@cache
def _application(framework: str) -> Any:
    if framework == "flask":
        from flask import Flask

        from filerow.ext.flask import routes

        app = Flask(__name__)
        app.register_blueprint(routes("/files"))
        return app
    if framework == "litestar":
        from litestar import Litestar

        from filerow.ext.litestar import routes

        return Litestar([routes("/files")])
    if framework == "fastapi":
        from fastapi import FastAPI

        from filerow.ext.fastapi import routes

        fast = FastAPI()
        fast.include_router(routes("/files"))
        return fast
    from starlette.applications import Starlette

    from filerow.ext.starlette import routes

    return Starlette(routes=routes("/files"))


async def _asgi(app: Any, method: str, raw_path: str, query: bytes, body: bytes) -> Got:
    sent: list[Any] = []
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if waiting:
            return waiting.pop()
        await asyncio.sleep(3600)
        return None

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"),
        "raw_path": raw_path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"testserver"), (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
        "state": {},
    }
    await app(scope, receive, send)
    return (
        sent[0]["status"],
        [(bytes(name), bytes(value)) for name, value in sent[0]["headers"]],
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


def _wsgi(app: Any, method: str, raw_path: str, query: bytes, body: bytes) -> Got:
    answer: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
        answer.append((int(status[:3]), [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]))

    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(raw_path).decode("latin-1"),
        "SCRIPT_NAME": "",
        "QUERY_STRING": query.decode("latin-1"),
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    chunks = app(environ, start)
    try:
        content = b"".join(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    return (*answer[0], content)
