"""The application of one framework from ``tests/ext``, for any server; it also reports how late its event loop has run."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")  # what the frameworks find wrong with each other

from filerow import FileObject  # noqa: E402
from filerow.http import upload_capacity  # noqa: E402
from tests.ext.world import World  # noqa: E402

BIG = 8 << 20
LAG = "/lag"
TICK = 0.01

_worst = 0.0


def _waited() -> float:
    """Return the seconds that this thread was ready and had no processor, for which others on the machine are to blame."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


async def _watch() -> None:
    global _worst  # noqa: PLW0603 - one loop a process
    while True:
        began, waited = time.perf_counter(), _waited()
        await asyncio.sleep(TICK)
        late = time.perf_counter() - began - TICK
        _worst = max(_worst, late - (_waited() - waited))


def _measured() -> bytes:
    """Return this process's id and the worst lag since the last call, in seconds, as JSON."""
    global _worst
    worst, _worst = _worst, 0.0
    return json.dumps({"pid": os.getpid(), "lag": worst}).encode()


def _asgi(app: Any) -> Any:
    tasks: list[asyncio.Task[None]] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != LAG:
            return await app(scope, receive, send)
        if not tasks:
            tasks.append(asyncio.create_task(_watch()))
        body = _measured()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        return await send({"type": "http.response.body", "body": body})

    return watched


def _wsgi(app: Any) -> Any:
    def watched(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != LAG:
            return app(environ, start_response)
        body = _measured()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    return watched


def _made(framework: str) -> Any:
    world = World.make(Path(os.environ["FILEROW_TEST_FOLDER"]))
    for name in ("concurrent", "idle"):
        setattr(upload_capacity, name, type(getattr(upload_capacity, name))(os.environ[f"FILEROW_TEST_{name.upper()}"]))
    world.stored(file=FileObject(filename="small.txt", content=b"content"))
    world.stored(big=FileObject(filename="big.bin", content=bytes(BIG)))
    app = import_module(f"tests.ext.{framework}_app").make(world)
    return _wsgi(app) if framework == "flask" else _asgi(app)


if framework := os.environ.get("FILEROW_TEST_FRAMEWORK"):
    app = _made(framework)


if __name__ == "__main__":  # where a WSGI server is wanted that has a thread for each connection
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True).serve_forever()
