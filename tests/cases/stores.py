"""The stores of the matrix: real backends that fail or are slow on request, and a look at them from outside."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import obstore.store

from filerow import StorageBackend, storages
from filerow.backends.base import ObjectInfo, PutOptions
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend
from tests.places import RECORD
from tests.servers._s3 import S3Server

KEYS = ("docs", "other", "later")


DERIVED = "_filerow/variants/"
PROBES = "staged/probes/"


def is_derived(path: str) -> bool:
    """Return True if a path is a variant's."""
    return path.startswith(DERIVED)


def _is_counted(path: str) -> bool:
    """Return True if a path is neither a variant's nor one that shows what the store can do."""
    return not path.startswith((DERIVED, PROBES))


class Faults:
    """Makes a real backend fail or slow where a test wants it; by default it is neither.

    Attributes:
        failing: Operations that raise: ``put``, ``put-late`` (the bytes arrive, the answer does not), ``copy``, ``copy-late``,
            ``delete``.
        delay: Seconds each request takes longer, half before and half after.
        puts: How many objects were sent; variants do not count.
        deletes: The paths of each delete call; of variants likewise.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.failing: set[str] = set()
        self.delay = 0.0
        self.puts = 0
        self.deletes: list[list[str]] = []

    def _wait(self, seconds: float) -> None:
        if seconds:  # even a sleep of no time gives the processor away
            time.sleep(seconds)

    def _fail(self, operation: str) -> None:
        if operation in self.failing:
            msg = f"injected: {operation} failed"
            raise OSError(msg)

    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        self.puts += _is_counted(path)
        self._fail("put")
        self._wait(self.delay / 2)
        info: ObjectInfo = super()._put(path, content, options)  # type: ignore[misc]
        self._wait(self.delay / 2)
        self._fail("put-late")
        return info

    def _copy(self, source: str, target: str) -> ObjectInfo:
        self._fail("copy")
        info: ObjectInfo = super()._copy(source, target)  # type: ignore[misc]
        self._fail("copy-late")
        return info

    def _copy_over(self, source: str, target: str) -> ObjectInfo:
        self._fail("copy")
        info: ObjectInfo = super()._copy_over(source, target)  # type: ignore[misc]
        self._fail("copy-late")
        return info

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        self.deletes += [list(paths)] if any(map(_is_counted, paths)) else []
        self._fail("delete")
        self._wait(self.delay)
        return super()._delete(paths)  # type: ignore[misc, no-any-return]


class AsyncFaults(Faults):
    """The same for a backend whose asynchronous side is not made of its synchronous one."""

    async def _put_async(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        self.puts += _is_counted(path)
        self._fail("put")
        await asyncio.sleep(self.delay / 2)
        info: ObjectInfo = await super()._put_async(path, content, options)  # type: ignore[misc]
        await asyncio.sleep(self.delay / 2)
        self._fail("put-late")
        return info

    async def _copy_async(self, source: str, target: str) -> ObjectInfo:
        self._fail("copy")
        info: ObjectInfo = await super()._copy_async(source, target)  # type: ignore[misc]
        self._fail("copy-late")
        return info

    async def _copy_over_async(self, source: str, target: str) -> ObjectInfo:
        self._fail("copy")
        info: ObjectInfo = await super()._copy_over_async(source, target)  # type: ignore[misc]
        self._fail("copy-late")
        return info

    async def _delete_async(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        self.deletes += [list(paths)] if any(map(_is_counted, paths)) else []
        self._fail("delete")
        await asyncio.sleep(self.delay)
        return await super()._delete_async(paths)  # type: ignore[misc, no-any-return]


class FaultyLocal(Faults, LocalBackend):
    """A local directory."""


class FaultyS3(AsyncFaults, ObstoreBackend):
    """A bucket."""


class Store:
    """All backends of one case, and what is really in them."""

    backends: dict[str, Any]

    def register(self, *keys: str) -> None:
        """Register backends with the library."""
        for key in keys:
            storages.register_backend(self.backends[key])

    def objects(self) -> set[tuple[str, str]]:
        """Return backend key and path of every object, seen from outside; but for variants and the place's record."""
        return {(key, path) for key, path in self.everything() if not is_derived(path)}

    def derived(self) -> set[tuple[str, str]]:
        """Return those of variants."""
        return {(key, path) for key, path in self.everything() if is_derived(path)}

    def everything(self) -> set[tuple[str, str]]:
        """Return both."""
        raise NotImplementedError

    def read(self, key: str, path: str) -> bytes:
        """Return an object's bytes, read from outside."""
        raise NotImplementedError

    def write(self, key: str, path: str, content: bytes) -> None:
        """Make an object that the library knows nothing of."""
        raise NotImplementedError

    def close(self) -> None:
        """Remove everything."""


class LocalStore(Store):
    """Directories, looked at with ``os.walk``: a temporary file left behind counts as an object too many."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.backends = {key: FaultyLocal(key, root / key, fsync=False) for key in KEYS}

    def everything(self) -> set[tuple[str, str]]:
        found = set()
        for key in KEYS:
            top = self._root / key
            for folder, _, names in os.walk(top):
                found |= {(key, (Path(folder) / name).relative_to(top).as_posix()) for name in names}
        return {(key, path) for key, path in found if path != RECORD}

    def read(self, key: str, path: str) -> bytes:
        return (self._root / key / path).read_bytes()

    def write(self, key: str, path: str, content: bytes) -> None:
        target = self._root / key / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def close(self) -> None:
        shutil.rmtree(self._root)


class Backends(dict[str, Any]):
    """Makes each backend when it is first asked for: a connection to S3 costs milliseconds, and there are many cases."""

    def __init__(self, make: Callable[[str], StorageBackend]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: str) -> Any:
        self[key] = self._make(key)
        return self[key]


class S3Store(Store):
    """One prefix of a bucket, looked at with a client of its own.

    Args:
        server: The server.
        limited: What stands before it for the library, and can do less.
    """

    def __init__(self, server: S3Server, limited: S3Server | None = None) -> None:
        self.is_limited = limited is not None
        self._server = limited or server
        self._prefix = server.make_prefix()
        self._client = _client(server.endpoint, server.shared_bucket, server.access_key, server.secret_key)
        self.backends = Backends(self._backend)

    def _backend(self, key: str) -> StorageBackend:
        return FaultyS3(
            key,
            f"s3://{self._server.shared_bucket}/{self._prefix}{key}/",
            aws_endpoint=self._server.endpoint,
            aws_access_key_id=self._server.access_key,
            aws_secret_access_key=self._server.secret_key,
        )

    def everything(self) -> set[tuple[str, str]]:
        paths = [item["path"] for batch in self._client.list(self._prefix) for item in batch]
        return {tuple(path.removeprefix(self._prefix).split("/", 1)) for path in paths if not path.endswith(RECORD)}  # type: ignore[misc]

    def read(self, key: str, path: str) -> bytes:
        return self._client.get(f"{self._prefix}{key}/{path}").bytes().to_bytes()

    def write(self, key: str, path: str, content: bytes) -> None:
        self._client.put(f"{self._prefix}{key}/{path}", content)


@functools.cache
def _client(endpoint: str, bucket: str, access_key: str, secret_key: str) -> obstore.store.S3Store:
    """Return a client for the check, which shares nothing with the library's."""
    return obstore.store.S3Store(
        bucket,
        endpoint=endpoint,
        access_key_id=access_key,
        secret_access_key=secret_key,
        region="us-east-1",
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )
