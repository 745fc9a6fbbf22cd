"""A backend seen through its sync or its async side, to write each case once."""

from __future__ import annotations

import asyncio
import threading
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from filerow.backends.base import ObjectInfo, PutOptions, StorageBackend
from filerow.exceptions import UnsupportedOperationError
from filerow.testing._errors import DoesNotApplyError
from filerow.testing._harness import Harness

T = TypeVar("T")

SMALL = bytes(range(256)) * 40
LARGE = array("Q", range(6 << 17)).tobytes()  # 6 MiB, no two places alike: more than one part of S3
OVERWRITE = PutOptions(create_only=False)
CREATE_ONLY = "create-only"
_BULK = 500


class SyncDriver:
    """A backend seen through its synchronous methods.

    Args:
        backend: The backend under test.
        harness: Where it comes from.
        folder: The folder that is this case's own; cases share a bucket.

    Attributes:
        backend: The backend under test.
        harness: Where it comes from.
        folder: The case's own folder.
    """

    side = "sync"

    def __init__(self, backend: StorageBackend, harness: Harness, folder: str) -> None:
        self.backend = backend
        self.harness = harness
        self.folder = folder
        self._written: set[str] = set()
        self._limits: Mapping[str, str] | None = None

    def close(self) -> None:
        """Give back what the driver has opened."""

    def at(self, name: str) -> str:
        """Return a path in the case's folder."""
        return f"{self.folder}/{name}"

    def needs(self, *capabilities: str) -> None:
        """End the case here unless the backend declares these capabilities."""
        for name in capabilities:
            if not getattr(self.backend.capabilities, name):
                raise DoesNotApplyError(name)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the backend, or its twin."""
        self._note(method, args)
        return getattr(self.backend, method)(*args, **options)

    def items(self, method: str, *args: Any) -> list[Any]:
        """Return all that a method yields."""
        return list(getattr(self.backend, method)(*args))

    def first(self, method: str, *args: Any) -> Any:
        """Take one item and abandon the rest."""
        iterator = getattr(self.backend, method)(*args)
        item = next(iterator)
        iterator.close()
        return item

    def together(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Make all the calls at once; return results and errors in order."""
        start = threading.Barrier(len(calls))

        def one(method: str, *args: Any) -> Any:
            start.wait()
            try:
                return self.call(method, *args)
            except Exception as error:  # noqa: BLE001 - it is the result
                return error

        with ThreadPoolExecutor(len(calls)) as pool:
            return [future.result() for future in [pool.submit(one, *call) for call in calls]]

    def feeds(self, chunks: Callable[[], Iterator[bytes]]) -> list[Any]:
        """Return the kinds of iterables a put takes, each giving these chunks."""
        return [chunks(), ChunkSource(chunks)]

    def put(self, path: str, content: Any, options: PutOptions = PutOptions()) -> ObjectInfo:  # noqa: B008 - frozen
        """Store an object; create-only, unless nothing keeps a path on this store."""
        info: ObjectInfo = self._anyhow(
            "put", path, content, options, unkept=(path, content, options._replace(create_only=False))
        )
        return info

    def copy(self, source: str, target: str) -> ObjectInfo:
        """Copy an object; create-only, unless nothing keeps a path on this store."""
        info: ObjectInfo = self._anyhow("copy", source, target, unkept=(source, target), create_only=False)
        return info

    def _anyhow(self, method: str, *args: Any, unkept: tuple[Any, ...], **options: Any) -> Any:
        try:
            return self.call(method, *args)
        except UnsupportedOperationError:
            if CREATE_ONLY not in self.limits:
                raise
            return self.call(method, *unkept, **options)

    @property
    def limits(self) -> Mapping[str, str]:
        """What the store under the backend cannot do, found out once."""
        known = self._limits
        if known is None:
            known = self._limits = self.call("limits")
        return known

    @property
    def fresh(self) -> PutOptions:
        """Options to store where nothing is: create-only, where the store can."""
        return PutOptions(create_only=CREATE_ONLY not in self.limits)

    def read(self, path: str, *bounds: int | None) -> bytes:
        """Read an object, or a range of it."""
        data: bytes = self.call("read", path, *bounds)
        return data

    def paths(self, *args: str) -> list[str]:
        """Return the paths of a listing."""
        return [info.path for info in self.items("list", *args)]

    # -- leaving nothing behind ----------------------------------------------------------------------------------------

    def clean(self) -> None:
        """Remove all that the case has made, unfinished uploads included.

        Raises:
            StorageError: Something could not be removed.
        """
        wanted = sorted({*(info.path for info in self.backend.list(self.folder)), *self._written})
        failed = [error for at in range(0, len(wanted), _BULK) for error in self.backend.delete(wanted[at : at + _BULK]).values()]
        try:
            for upload in list(self.backend.unfinished(self.folder)):
                self.backend.abort(upload)
        except UnsupportedOperationError:
            pass  # the store keeps none, or does not list them
        if failed:
            raise failed[0]

    def _note(self, method: str, args: Sequence[Any]) -> None:
        written = {"put": 0, "copy": 1}.get(method)
        if written is not None and isinstance(args[written], str) and args[written].startswith(f"{self.folder}/"):
            self._written.add(args[written])


class AsyncDriver(SyncDriver):
    """The same backend seen through its asynchronous methods."""

    side = "async"

    def __init__(self, backend: StorageBackend, harness: Harness, folder: str) -> None:
        super().__init__(backend, harness, folder)
        self._runner = asyncio.Runner()

    def close(self) -> None:
        """End the event loop."""
        self._runner.close()

    def run(self, awaitable: Awaitable[T]) -> T:
        """Run something to its end in the case's event loop."""

        async def main() -> T:
            return await awaitable

        return self._runner.run(main())

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Await the twin of a method."""
        self._note(method, args)
        return self.run(getattr(self.backend, f"{method}_async")(*args, **options))

    def items(self, method: str, *args: Any) -> list[Any]:
        """Return all that the twin of a method yields."""

        async def collect() -> list[Any]:
            return [item async for item in getattr(self.backend, f"{method}_async")(*args)]

        return self.run(collect())

    def first(self, method: str, *args: Any) -> Any:
        """Take one item and abandon the rest."""

        async def take() -> Any:
            iterator = getattr(self.backend, f"{method}_async")(*args)
            item = await anext(iterator)
            await iterator.aclose()
            return item

        return self.run(take())

    def together(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Await all the calls at once; return results and errors in order."""

        async def gather() -> list[Any]:
            awaitables = [getattr(self.backend, f"{method}_async")(*args) for method, *args in calls]
            return await asyncio.gather(*awaitables, return_exceptions=True)

        for method, *args in calls:
            self._note(method, args)
        return self.run(gather())

    def feeds(self, chunks: Callable[[], Iterator[bytes]]) -> list[Any]:
        """Return the kinds of iterables a put takes, async generators included."""

        async def generate() -> AsyncIterator[bytes]:
            for chunk in chunks():
                await asyncio.sleep(0)
                yield chunk

        return [*super().feeds(chunks), generate()]


class ChunkSource:
    """An iterable that is not an iterator."""

    def __init__(self, chunks: Callable[[], Iterator[bytes]]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks()


def split(data: bytes, size: int) -> Iterator[bytes]:
    """Return data in chunks of a size."""
    return (data[i : i + size] for i in range(0, len(data), size))
