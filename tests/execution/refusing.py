"""Two applications whose file route refuses uploads: by the URL, by the length, as taken, or as one too many."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread

from flask import Flask
from starlette.applications import Starlette

from filerow import storages
from filerow.ext import flask, starlette
from filerow.http import receive, upload_capacity
from tests.execution.refused import CROWDED, make_backend, signed


def occupy(size: int) -> None:
    """Begin an upload of that size, whose first byte never comes."""
    begun = Event()

    def body() -> Iterator[bytes]:
        begun.set()
        Event().wait()
        yield b""

    path, _, query = signed("other.txt", size).partition("?")
    request = "PUT", "docs", path.removeprefix("/files/docs/"), query, {"content-length": str(size)}, body()
    Thread(target=receive, args=request, daemon=True).start()
    assert begun.wait(10)


backend = make_backend()
backend.put("taken.txt", b"somebody's")
storages.register_backend(backend)
occupy(upload_capacity.staged_bytes - CROWDED + 1)

asgi = Starlette(routes=starlette.routes("/files"))
wsgi = Flask(__name__)
wsgi.register_blueprint(flask.routes("/files"))
