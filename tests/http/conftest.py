"""Every test here has a registry of its own, with a memory backend and a directory that sign URLs of our route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import tests.frameworks  # noqa: F401 - tests import them too, and what they say of each other is not our business
from filerow import storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.http import Body, Reply
from tests.http.site import Site

SECRET = "a secret that only the tests know"


@pytest.fixture(autouse=True)
def docs() -> Iterator[MemoryBackend]:
    """The default backend, registered as "docs"."""
    storages.clear_backends()
    backend = MemoryBackend("docs", base_url="/files", secret=SECRET)
    storages.register_backend(backend)
    storages.set_default_backend("docs")
    yield backend
    storages.clear_backends()


@pytest.fixture
def folder(docs: MemoryBackend, tmp_path: Path) -> LocalBackend:
    """A directory, registered as "folder"."""
    backend = LocalBackend("folder", tmp_path / "root", fsync=False, base_url="/files", secret=SECRET)
    storages.register_backend(backend)
    return backend


@pytest.fixture
def site(docs: MemoryBackend, folder: LocalBackend) -> Iterator[Site]:
    """A web site that serves both."""
    with Site() as running:
        yield running


def parts(url: str) -> tuple[str, str, str]:
    """Return backend, path and query of a URL of our route, as a framework hands them over."""
    split = urlsplit(url)
    _, _, key, path = split.path.split("/", 3)
    return unquote(key), unquote(path), split.query


def read(reply: Reply) -> bytes:
    """Return the bytes of an answer."""
    return b"".join(reply.body.stream()) if isinstance(reply.body, Body) else reply.body


async def arriving(*chunks: Any) -> AsyncIterator[bytes]:
    """Give chunks as an asynchronous body; an exception among them is raised."""
    for chunk in chunks:
        if isinstance(chunk, BaseException):
            raise chunk
        yield chunk
