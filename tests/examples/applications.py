"""One interface to all applications: a client that speaks HTTP, and a raw look at rows and bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.examples.raw import Folder, Raw, Row, SQLite


@dataclass
class Application:
    """A running application.

    Attributes:
        client: Speaks HTTP with it; an ``httpx.Client``, or a framework's test client, which is one.
        raw: The table of documents and the store.
        unknown_id: An id that no document has.
        app: The framework's object.
    """

    client: Any
    raw: Raw
    unknown_id: str = "4711"
    app: Any = None

    def rows(self) -> list[Row]:
        """Return name and document of every row, asked from the database itself."""
        return self.raw.rows.all()

    def objects(self) -> dict[str, bytes]:
        """Return every stored object's bytes by its path, asked from the store itself."""
        return self.raw.objects.all()

    def empty(self) -> None:
        """Remove all documents behind the application's back."""
        self.raw.rows.remove()
        self.raw.objects.remove()

    def create(self, name: str = "cat", content: bytes = b"meow", filename: str = "cat.txt") -> dict[str, Any]:
        """Upload a document and return what was answered."""
        answer = self.client.post("/documents", data={"name": name}, files={"file": (filename, content)})
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    def fetch(self, url: str) -> Any:
        """Return the answer at a URL: of the application, or of the store it leads to."""
        if url.startswith("/"):
            return self.client.get(url)
        return httpx.get(url, trust_env=False)


class ASGI(httpx.BaseTransport):
    """Carries the requests of a synchronous client to an ASGI application, in one event loop."""

    def __init__(self, app: Any, runner: asyncio.Runner) -> None:
        self._inner = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._runner = runner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the whole response."""
        return self._runner.run(self._respond(request))

    async def _respond(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers.raw, content=content)


@contextmanager
def fastapi(folder: Path) -> Iterator[Application]:
    """Run the FastAPI application."""
    from fastapi_documents.app import create_app

    database, files = folder / "documents.sqlite", folder / "files"
    app = create_app(f"sqlite+aiosqlite:///{database}", files)
    with asyncio.Runner() as runner, httpx.Client(transport=ASGI(app, runner), base_url="http://testserver") as client:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        yield Application(client, Raw(SQLite(database), Folder(files)))
        runner.run(lifespan.__aexit__(None, None, None))


@contextmanager
def flask(folder: Path) -> Iterator[Application]:
    """Run the Flask application."""
    from flask_documents.app import create_app

    database, files = folder / "documents.sqlite", folder / "files"
    app = create_app(f"sqlite:///{database}", files)
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://testserver") as client:
        yield Application(client, Raw(SQLite(database), Folder(files)))
    app.extensions["engine"].dispose()


STARTS: dict[str, Callable[[Path], AbstractContextManager[Application]]] = {"fastapi": fastapi, "flask": flask}
