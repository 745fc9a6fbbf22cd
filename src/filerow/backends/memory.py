"""Objects in a dictionary: the reference implementation, useful in tests.

Use it where nothing needs to outlive the process::

    storages.register_backend(MemoryBackend("docs"))
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from filerow._buffers import BUFFERS, Buffer
from filerow._execution.threads import in_thread
from filerow._tokens import Secret
from filerow.backends._own_urls import OwnUrls
from filerow.backends._public import PublicUrls, public_urls
from filerow.backends._types import Capabilities, ObjectInfo, PutOptions
from filerow.backends.base import StorageBackend

__all__ = ("MemoryBackend",)

_QUICK = 1 << 20  # copying this many bytes takes no longer than one step of the event loop may


@dataclass(frozen=True, slots=True)
class _Stored:
    data: bytes
    info: ObjectInfo


def _frozen(chunk: Buffer) -> Buffer:
    """Copy a chunk that the source could change while it waits for others."""
    return bytes(chunk) if isinstance(chunk, (bytearray, memoryview)) else chunk


class MemoryBackend(StorageBackend):
    """Keeps objects in the memory of this process; safe for threads and event loops.

    Every change is one operation on one dictionary, which Python makes atomic. So there is no lock that a fork could copy while
    it is held.

    Args:
        key: The name that documents and columns refer to.
        base_url: Where the application mounts Filerow's file route, with or without scheme and host; needed for ``sign()``.
        secret: Signs URLs; at least 16 characters, or several secrets for rotation. Default: ``FILEROW_SECRET``.
        development: Without a secret, make a random one for this process.
        public_url: The URL of the backend's root, if a web server lets everybody read it; for ``file.url()``.
    """

    protocol = "memory"
    capabilities: Capabilities = Capabilities(
        native_async=True,
        ordered_list=True,
        keeps_content_type=True,
        stored_with=frozenset({"cache_control"}),  # by the row, for URLs of our own
    )
    _quick = True
    _deletes_unseen = True

    def __init__(
        self,
        key: str,
        *,
        base_url: str | None = None,
        secret: Secret | None = None,
        development: bool = False,
        public_url: str | None = None,
    ) -> None:
        super().__init__(key)
        self.own_urls: OwnUrls | None = OwnUrls(key, base_url, secret, development=development)
        self.public_urls: PublicUrls | None = public_urls(key, public_url)
        if base_url is not None:
            self.capabilities = self.capabilities._replace(sign_get=True, sign_put=True)
        self._objects: dict[str, _Stored] = {}
        self._versions = itertools.count(1)

    # -- writing -------------------------------------------------------------------------------------------------------

    def _place(self) -> str:
        return "this process's memory"

    def _put(self, path: str, content: Buffer | Iterator[Buffer], options: PutOptions) -> ObjectInfo:
        data = bytes(content) if isinstance(content, BUFFERS) else b"".join(map(_frozen, content))
        return self._keep(path, data, options.content_type, create_only=options.create_only)

    def _copy(self, source: str, target: str) -> ObjectInfo:
        stored = self._get(source)
        return self._keep(target, stored.data, stored.info.content_type, create_only=True)

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        for path in paths:
            self._objects.pop(path, None)
        return {}

    def _keep(self, path: str, data: bytes, content_type: str | None, *, create_only: bool) -> ObjectInfo:
        version = str(next(self._versions))
        info = ObjectInfo(
            path,
            size=len(data),
            etag=f"{version}-{len(data):x}",
            version_id=version,
            last_modified=time.time(),
            content_type=content_type,
        )
        stored = _Stored(data, info)
        if not create_only:
            self._objects[path] = stored
        elif self._objects.setdefault(path, stored) is not stored:
            raise FileExistsError(path)
        return info

    # -- reading -------------------------------------------------------------------------------------------------------

    def _get(self, path: str) -> _Stored:
        try:
            return self._objects[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        return self._get(path).data[start:end]

    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        data = self._get(path).data
        stop = len(data) if end is None else min(end, len(data))
        for position in range(start, stop, chunk_size):
            yield data[position : min(position + chunk_size, stop)]

    def _head(self, path: str) -> ObjectInfo:
        return self._get(path).info

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        for path in self._below(prefix, start_after):
            stored = self._objects.get(path)
            if stored is not None:  # not deleted meanwhile
                yield stored.info

    def _below(self, prefix: str, start_after: str) -> list[str]:
        folder = f"{prefix}/" if prefix else ""
        # list(dict) is one atomic step. Code points sort like the UTF-8 bytes that stand for them.
        return sorted(path for path in list(self._objects) if path.startswith(folder) and path > start_after)

    # -- the asynchronous side: direct where nothing can block, for a thread hop costs more than the work --------------

    async def _put_async(
        self, path: str, content: Buffer | Iterator[Buffer] | AsyncIterator[Buffer], options: PutOptions
    ) -> ObjectInfo:
        if isinstance(content, AsyncIterator):
            chunks = [_frozen(chunk) async for chunk in content]
            if sum(map(len, chunks)) > _QUICK:
                return await super()._put_async(path, iter(chunks), options)
            return self._put(path, iter(chunks), options)
        if isinstance(content, bytes) or (isinstance(content, (bytearray, memoryview)) and len(content) <= _QUICK):
            return self._put(path, content, options)
        return await super()._put_async(path, content, options)

    async def _read_async(self, path: str, start: int, end: int | None) -> bytes:
        return self._read(path, start, end)

    async def _stream_async(self, path: str, start: int, end: int | None, chunk_size: int) -> AsyncIterator[bytes]:
        for chunk in self._stream(path, start, end, chunk_size):
            yield chunk

    async def _head_async(self, path: str) -> ObjectInfo:
        return self._head(path)

    async def _delete_async(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        return self._delete(paths)

    async def _copy_async(self, source: str, target: str) -> ObjectInfo:
        return self._copy(source, target)

    async def _list_async(self, prefix: str, start_after: str) -> AsyncIterator[ObjectInfo]:
        for path in await in_thread(self._below, prefix, start_after):  # sorting a million paths takes its time
            stored = self._objects.get(path)
            if stored is not None:
                yield stored.info
