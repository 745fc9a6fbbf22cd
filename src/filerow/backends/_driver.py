"""The hooks that a driver fills in.

Subclass :class:`filerow.StorageBackend`, not this: it adds the portable layer that callers use.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from filerow._buffers import BUFFERS, Buffer
from filerow._execution.threads import Feed, aiterate, in_thread
from filerow.backends._types import ObjectInfo, PutOptions, Rewritten, SignRequest, Unfinished
from filerow.exceptions import StorageError, UnsupportedOperationError

if TYPE_CHECKING:
    from filerow.backends._own_urls import OwnUrls
    from filerow.backends._public import PublicUrls

_LIST_BATCH = 500
_QUICKLY_SIGNED = 50


class Driver(ABC):
    """What one kind of store can do, below the portable layer."""

    _key: str

    own_urls: OwnUrls | None = None
    """Who signs and checks URLs of our own route, for a store without a server; ``None`` where the store signs by itself."""

    public_endpoint: str | None = None
    """The scheme and host that signed URLs are made for, where clients reach the store by another name than this process."""

    public_urls: PublicUrls | None = None
    """Permanent URLs, and a CDN that signs; ``None`` where there are neither. Such a CDN signs all reads."""

    _quick: bool = False
    """A small put ends before another thread could have begun it, so several are done one after the other."""

    _crowd: int = 0
    """At least this many puts of small content at once are done sooner by threads than awaited; 0 for never.

    Only for ``native_async``, because without it threads are the only way.
    """

    _deletes_unseen: bool = False
    """Deleting many objects takes one request, or nearly no time, however many of them are missing."""

    def _cdn_for(self, request: SignRequest) -> PublicUrls | None:
        """Return the CDN that signs a request to read, where one is set up."""
        urls = self.public_urls
        return urls if urls is not None and urls.signs and request.method == "GET" else None

    # -- hooks a driver must fill in -----------------------------------------------------------------------------------

    @abstractmethod
    def _put(self, path: str, content: Buffer | Iterator[Buffer], options: PutOptions) -> ObjectInfo:
        """Store an object.

        Guaranteed: ``path`` passed ``check_path``; an iterator yields non-empty or empty buffers and may raise anything.
        You must: read an iterator once, in bounded memory; make the object appear whole or not at all, durable when you
        return; leave nothing behind when you raise; refuse a taken path when ``options.create_only``, race-free.
        Errors: ``FileExistsError`` for a taken path; an exception of the iterator as it is; others see ``_translate``.
        """

    @abstractmethod
    def _read(self, path: str, start: int, end: int | None) -> bytes:
        """Return the bytes ``[start, end)``.

        Guaranteed: ``0 <= start`` and ``end`` is ``None`` or greater than ``start``.
        You must: cut a range short at the end of the object; return ``b""`` when it starts there or later.
        Errors: ``FileNotFoundError`` when there is no object.
        """

    @abstractmethod
    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        """Yield the bytes ``[start, end)`` in bounded memory; as :meth:`_read`."""

    @abstractmethod
    def _head(self, path: str) -> ObjectInfo:
        """Return the object's facts, or raise ``FileNotFoundError``."""

    @abstractmethod
    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        """Delete objects, in bulk where the store can.

        Guaranteed: at least one path, each passed ``check_known_path``.
        You must: treat a missing object as deleted; try every path even when some fail.
        Returns: the paths that failed, each with its error. Raise only when none was tried.
        """

    def _purge(self, versions: Mapping[str, str | None]) -> Mapping[str, BaseException]:
        """Delete objects, with all versions that their bucket keeps.

        The default deletes, which in such a bucket leaves the version behind.
        """
        return self._delete(list(versions))

    @abstractmethod
    def _copy(self, source: str, target: str) -> ObjectInfo:
        """Copy one object.

        You must: refuse a taken ``target``; leave ``target`` whole or absent.
        Errors: ``FileNotFoundError`` for a missing source, ``FileExistsError`` for a taken target.
        """

    def _copy_over(self, source: str, target: str) -> ObjectInfo:
        """Copy one object to a path that Filerow made, and nothing else can have.

        You need not look whether ``target`` is free. The default asks :meth:`_copy`; override this one and its twin where a
        condition costs requests, or where the store may know none.
        """
        return self._copy(source, target)

    def _rewrite(self, upload: ObjectInfo, target: str, options: PutOptions) -> Rewritten | None:
        """Copy a client's upload inside the store, with the headers of ``options`` only.

        Guaranteed: ``upload`` has an etag; nothing else can have ``target``.
        You must: copy these very bytes or raise ``ClaimError``; look at the copy afterwards; delete it and raise
        ``KeptHeadersError`` if the store has kept something.
        Returns: what was made, or ``None``, and then nothing is there and the bytes are read and written. The default does that.
        """
        return None

    @abstractmethod
    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        """Yield the objects below ``prefix`` after ``start_after``; see :meth:`list`."""

    def _unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Yield unfinished uploads below the folder ``prefix``, of all clients.

        The default is for stores where an upload that does not end leaves nothing.
        """
        return iter(())

    def _abort(self, upload: Unfinished) -> None:  # noqa: B027 - most stores have nothing to throw away
        """Discard an upload of :meth:`_unfinished`, unless it has ended since."""

    def _limits(self) -> Mapping[str, str]:
        """Return what this store cannot do, with the consequences; see :meth:`limits`."""
        return {}

    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        """Return a URL per path; by default one of our own route, if there is one.

        Guaranteed: ``request`` makes sense and its headers are printable ASCII.
        You must: raise ``UnsupportedOperationError`` for what the store cannot bind into a signature.
        """
        if self.own_urls is not None:
            return [self.own_urls.sign(path, request) for path in paths]
        msg = f"{type(self).__name__} cannot sign URLs"
        raise UnsupportedOperationError(msg, operation="sign", backend=self._key, path=paths[0] if paths else "")

    def _sign_plainly(self, path: str, request: SignRequest, *, offline: bool) -> str | None:
        """Return a URL that binds path and expiry only; ``None`` to use :meth:`_sign`.

        It is what most URLs are, so it is worth a way without detours.

        Guaranteed: nothing; path and request are as they were given.
        You must: answer only what :func:`~filerow.backends._sign_request.plain_read` has made, for a path that is plain; raise
        storage errors only; and where ``offline`` is set, answer only if nobody has to be asked, for the event loop waits.
        """
        return None

    def _upload_headers(self, request: SignRequest) -> Mapping[str, str]:
        """Return the headers of a signed upload besides its ``Content-Type``."""
        return {}

    def _place(self) -> str:
        """Return the directory or bucket of the objects, for errors that name it."""
        return ""

    def _translate(self, error: BaseException, operation: str, path: str) -> StorageError | None:
        """Return our error for a store's own; ``None`` to go by its builtin type.

        You are given everything a hook raised, even ``BaseException`` from native code, but never cancellation.
        """
        return None

    # -- hooks with a default: the asynchronous side -------------------------------------------------------------------

    async def _put_async(
        self, path: str, content: Buffer | Iterator[Buffer] | AsyncIterator[Buffer], options: PutOptions
    ) -> ObjectInfo:
        """Store an object as :meth:`_put`; by default in a thread, fed from the loop.

        You must: leave nothing behind when you are cancelled, at whatever moment.
        """
        stored = False

        def work(body: Buffer | Iterator[Buffer]) -> ObjectInfo:
            nonlocal stored
            info = self._put(path, body, options)
            stored = True
            return info

        try:
            if isinstance(content, BUFFERS):
                return await in_thread(work, content)
            return await Feed(content).run(work)
        except asyncio.CancelledError:
            if stored:  # the thread was faster than the cancellation
                with suppress(Exception):
                    await in_thread(self._delete, [path])
            raise

    async def _read_async(self, path: str, start: int, end: int | None) -> bytes:
        return await in_thread(self._read, path, start, end)

    def _stream_async(self, path: str, start: int, end: int | None, chunk_size: int) -> AsyncIterator[bytes]:
        return aiterate(self._stream(path, start, end, chunk_size))

    async def _head_async(self, path: str) -> ObjectInfo:
        return await in_thread(self._head, path)

    async def _delete_async(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        return await in_thread(self._delete, paths)

    async def _purge_async(self, versions: Mapping[str, str | None]) -> Mapping[str, BaseException]:
        return await self._delete_async(list(versions))

    async def _copy_async(self, source: str, target: str) -> ObjectInfo:
        return await in_thread(self._copy, source, target)

    async def _copy_over_async(self, source: str, target: str) -> ObjectInfo:
        return await self._copy_async(source, target)

    async def _rewrite_async(self, upload: ObjectInfo, target: str, options: PutOptions) -> Rewritten | None:
        return await in_thread(self._rewrite, upload, target, options)

    async def _limits_async(self) -> Mapping[str, str]:
        return await in_thread(self._limits)

    def _list_async(self, prefix: str, start_after: str) -> AsyncIterator[ObjectInfo]:
        return aiterate(self._list(prefix, start_after), _LIST_BATCH)

    def _unfinished_async(self, prefix: str) -> AsyncIterator[Unfinished]:
        return aiterate(self._unfinished(prefix), _LIST_BATCH)

    async def _abort_async(self, upload: Unfinished) -> None:
        await in_thread(self._abort, upload)

    async def _sign_async(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        if self.own_urls is not None and len(paths) <= _QUICKLY_SIGNED:
            return self._sign(paths, request)  # a calculation of microseconds, less than the way to a thread
        return await in_thread(self._sign, paths, request)
