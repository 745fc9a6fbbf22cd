"""The examples on a real socket, for a browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.ext.running import serving_asgi, serving_wsgi


@contextmanager
def living(lifespan: AbstractAsyncContextManager[Any]) -> Iterator[None]:
    """Enter and leave a lifespan in one task, as frameworks want it."""
    entered, leaving = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with lifespan:
            entered.set()
            await leaving.wait()

    async def begin() -> asyncio.Task[None]:
        task = asyncio.ensure_future(live())
        await entered.wait()
        return task

    async def end(task: asyncio.Task[None]) -> None:
        leaving.set()
        await task

    with asyncio.Runner() as runner:
        task = runner.run(begin())
        yield
        runner.run(end(task))


@contextmanager
def fastapi(folder: Path) -> Iterator[str]:
    """Serve the FastAPI application."""
    from fastapi_documents.app import create_app

    app = create_app(f"sqlite+aiosqlite:///{folder / 'documents.sqlite'}", folder / "files")
    with living(app.router.lifespan_context(app)), serving_asgi(app) as url:
        yield url


@contextmanager
def litestar(folder: Path, template: Path) -> Iterator[str]:
    """Serve the guide application, whose tables are in a template."""
    from litestar_guide.app import create_app
    from litestar_guide.database import alchemy_of
    from litestar_guide.settings import Settings

    database = folder / "guide.sqlite"
    database.write_bytes(template.read_bytes())
    app = create_app(Settings(f"sqlite+aiosqlite:///{database}", (folder / "files").as_uri()))

    async def close() -> None:  # Advanced Alchemy does that for the first application of a process only
        await alchemy_of(app).get_engine().dispose()

    app.on_shutdown.append(close)
    with living(app.lifespan()), serving_asgi(app) as url:
        yield url


@contextmanager
def flask(folder: Path) -> Iterator[str]:
    """Serve the Flask application."""
    from flask_documents.app import create_app

    app = create_app(f"sqlite:///{folder / 'documents.sqlite'}", folder / "files")
    with serving_wsgi(app) as url:
        yield url
    app.extensions["engine"].dispose()


@contextmanager
def signed_in(url: str) -> Iterator[httpx.Client]:
    """Return a client that may upload."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        if client.get("/me").status_code == 401:  # only the guide has users
            from tests.examples.guide import log_in_with

            assert log_in_with(client).status_code == 200
        yield client
