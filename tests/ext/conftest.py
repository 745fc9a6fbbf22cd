"""Each framework's application, served on a real socket."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, NamedTuple

import httpx
import pytest

from filerow import storages

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what Litestar's imports find wrong with each other is not our business
    import advanced_alchemy.extensions.litestar  # noqa: F401
    import litestar.plugins.pydantic  # noqa: F401

from tests.ext.running import serving_asgi, serving_wsgi
from tests.ext.world import World

FRAMEWORKS = ["litestar", "fastapi", "starlette", "flask"]


class Site(NamedTuple):
    """A running application.

    Attributes:
        framework: Its framework.
        app: The application.
        url: Where it is served.
        client: Asks it.
        world: Its rows and files.
    """

    framework: str
    app: Any
    url: str
    client: httpx.Client
    world: World


def serving(framework: str, app: Any) -> AbstractContextManager[str]:
    """Serve an application with the kind of server that its framework needs."""
    return serving_wsgi(app) if framework == "flask" else serving_asgi(app)


@pytest.fixture(scope="module", params=FRAMEWORKS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The application of each framework, started once per module."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    world = World.make(tmp_path_factory.mktemp(request.param))
    app = import_module(f"tests.ext.{request.param}_app").make(world)
    with serving(request.param, app) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield Site(request.param, app, url, client, world)
    world.engine.dispose()
    storages.clear_backends()


@pytest.fixture
def site(served: Site) -> Site:
    """The application, with the backend that its rows name."""
    storages.clear_backends()
    storages.register_backend(served.world.backend)
    return served
