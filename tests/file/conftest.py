"""Every test here has a registry of its own, with one memory backend in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from inspect import isawaitable
from typing import Any

import pytest

from filerow import FileObject, storages
from filerow.backends.base import PutOptions
from filerow.backends.memory import MemoryBackend


class WatchedBackend(MemoryBackend):
    """A memory backend that remembers what it was asked.

    Attributes:
        puts: What arrived to be stored: "buffer" or "stream".
        reads: The ranges that were read.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.puts: list[str] = []
        self.reads: list[tuple[int, int | None]] = []

    def _put(self, path: str, content: Any, options: PutOptions) -> Any:
        self.puts.append("buffer" if isinstance(content, bytes | bytearray | memoryview) else "stream")
        return super()._put(path, content, options)

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        self.reads.append((start, end))
        return super()._read(path, start, end)

    @property
    def paths(self) -> set[str]:
        """What is stored, by path."""
        return {info.path for info in self.list()}


@pytest.fixture(autouse=True)
def docs() -> Iterator[WatchedBackend]:
    """The only backend, registered as "docs"."""
    storages.clear_backends()
    backend = WatchedBackend("docs")
    storages.register_backend(backend)
    yield backend
    storages.clear_backends()


Call = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method of a file by its name, blocking or awaited: one table of cases for both."""

    async def run(file: FileObject, method: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            result = getattr(file, method)(*args, **kwargs)
            return list(result) if method == "stream" else result
        result = getattr(file, f"{method}_async")(*args, **kwargs)
        if isinstance(result, AsyncIterator):
            return [chunk async for chunk in result]
        return await result if isawaitable(result) else result

    return run
