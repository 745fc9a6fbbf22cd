"""The storage backend: a portable layer over hooks that a driver implements.

Callers use :class:`StorageBackend`'s public methods. They check paths, wrap errors, keep the caller's own exceptions and
give every backend an asynchronous side. A driver subclasses it and implements the underscored hooks, whose contracts are in
``filerow.backends._driver``. A backend exchanges paths, bytes, options and :class:`ObjectInfo`; it does not know
``FileObject``, columns or sessions.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import cast

from filerow._buffers import BUFFERS, Buffer
from filerow._execution.threads import AsyncGuard, Guard, counted
from filerow.backends._driver import Driver
from filerow.backends._errors import Observed, OurErrors, by_builtin_type
from filerow.backends._observers import observers
from filerow.backends._paths import are_plain, check_known_path, check_path, check_prefix, part_known
from filerow.backends._sign_request import check_request
from filerow.backends._types import AsyncBody, Body, Capabilities, ObjectInfo, PutOptions, SignRequest, Unfinished
from filerow.exceptions import ContentError, InvalidPathError, ObjectNotFoundError, StorageError, UnsupportedOperationError

__all__ = ("Capabilities", "ObjectInfo", "PutOptions", "SignRequest", "StorageBackend", "Unfinished")

_DEFAULT_OPTIONS = PutOptions()


class StorageBackend(Driver):
    """A configured place for bytes.

    Args:
        key: The name that documents and columns refer to. It is stored in every row, so choose it once and for all.
    """

    protocol: str = ""
    """The kind of store, as in its URL: ``s3``, ``gs``, ``az``, ``file``, ``memory``, …"""

    capabilities: Capabilities = Capabilities()
    """What this backend can do."""

    def __init__(self, key: str) -> None:
        if not isinstance(key, str) or not key or key != key.strip():
            raise ValueError(f"a backend's key must be a non-empty string without spaces around it, not {key!r}")
        self._key = key

    @property
    def key(self) -> str:
        """The key this backend is registered and stored under."""
        return self._key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} key={self._key!r} protocol={self.protocol!r}>"

    # -- writing -------------------------------------------------------------------------------------------------------

    def put(self, path: str, content: Body, options: PutOptions = _DEFAULT_OPTIONS) -> ObjectInfo:
        """Store an object durably, and return what the store reports of it.

        Args:
            path: Where: relative, with ``/`` between its parts, none of which is empty, ``.`` or ``..``.
            content: All bytes at once, or an iterable of chunks that is read once and in bounded memory.
            options: Type, headers and whether the path must be free.

        Returns:
            What the store reported of the new object; the size is left to the caller, who has counted the bytes.

        Raises:
            ObjectExistsError: The path is taken and ``options.create_only`` is set.
            UnsupportedOperationError: ``options.create_only`` is set, and the store cannot enforce it; see :meth:`limits`.
            ContentError: ``content`` is text, which some stores would take for the name of a local file.
            StorageError: The store failed otherwise. An exception of the ``content`` iterator is raised unchanged.
        """
        check_path(path, self._key, "put")
        _check_content(content)
        body = _guarded(content)
        with self._errors("put", path, body):
            return self._put(path, iter(body) if isinstance(body, Guard) else body, options)

    async def put_async(self, path: str, content: AsyncBody, options: PutOptions = _DEFAULT_OPTIONS) -> ObjectInfo:
        """Store an object, also from asynchronous iterables; see :meth:`put`."""
        check_path(path, self._key, "put")
        _check_content(content)
        if not isinstance(content, BUFFERS) and isinstance(content, AsyncIterable):  # which takes longer to find out
            guarded = AsyncGuard(content)
            with self._errors("put", path, guarded):
                return await self._put_async(path, aiter(guarded), options)
        body = _guarded(content)
        with self._errors("put", path, body):
            return await self._put_async(path, iter(body) if isinstance(body, Guard) else body, options)

    def copy(self, source: str, target: str, *, create_only: bool = True) -> ObjectInfo:
        """Copy an object inside the backend, on the server's side if the store can.

        Args:
            source: The path to copy from.
            target: The path to copy to.
            create_only: Never overwrite. Pass ``False`` only for a path that nothing else can have.

        Raises:
            ObjectNotFoundError: There is nothing at ``source``.
            ObjectExistsError: ``target`` is taken and ``create_only`` is set.
            UnsupportedOperationError: ``create_only`` is set, and the store cannot enforce it; see :meth:`limits`.
        """
        check_known_path(source, self._key, "copy")
        check_path(target, self._key, "copy")
        with self._errors("copy", source, target=target):
            return self._copy(source, target) if create_only else self._copy_over(source, target)

    async def copy_async(self, source: str, target: str, *, create_only: bool = True) -> ObjectInfo:
        """Copy an object; see :meth:`copy`."""
        check_known_path(source, self._key, "copy")
        check_path(target, self._key, "copy")
        with self._errors("copy", source, target=target):
            return await (self._copy_async(source, target) if create_only else self._copy_over_async(source, target))

    def delete(self, paths: str | Sequence[str]) -> dict[str, StorageError]:
        """Delete objects in few requests; a path without one counts as deleted.

        Returns:
            The paths that could not be deleted, each with its error; empty when all are gone.
        """
        return self._remove([paths] if isinstance(paths, str) else paths, self._delete)

    async def delete_async(self, paths: str | Sequence[str]) -> dict[str, StorageError]:
        """Delete objects; see :meth:`delete`."""
        return await self._remove_async([paths] if isinstance(paths, str) else paths, self._delete_async)

    def purge(self, versions: Mapping[str, str | None]) -> dict[str, StorageError]:
        """Delete objects and, if the store allows it, the versions that it keeps.

        Args:
            versions: The version of each path, as reported by ``put()`` or ``head()``; ``None`` if there is none.

        Returns:
            The paths that could not be deleted, each with its error; empty when all are gone.
        """
        return self._remove(list(versions), lambda wanted: self._purge({path: versions[path] for path in wanted}))

    async def purge_async(self, versions: Mapping[str, str | None]) -> dict[str, StorageError]:
        """Delete objects and their versions; see :meth:`purge`."""
        return await self._remove_async(
            list(versions), lambda wanted: self._purge_async({path: versions[path] for path in wanted})
        )

    def _remove(self, paths: Sequence[str], hook: Callable[[list[str]], Mapping[str, BaseException]]) -> dict[str, StorageError]:
        wanted, refused = part_known(paths, self._key)
        if not wanted:
            return refused
        try:
            with self._errors("delete", wanted[0] if len(wanted) == 1 else "") as observed:
                failed = hook(wanted)
                if observed is not None:
                    observed.answered(len(wanted), failed)
        except StorageError as error:
            return refused | dict.fromkeys(wanted, error)
        return refused | self._failures(failed)

    async def _remove_async(
        self, paths: Sequence[str], hook: Callable[[list[str]], Awaitable[Mapping[str, BaseException]]]
    ) -> dict[str, StorageError]:
        wanted, refused = part_known(paths, self._key)
        if not wanted:
            return refused
        try:
            with self._errors("delete", wanted[0] if len(wanted) == 1 else "") as observed:
                failed = await hook(wanted)
                if observed is not None:
                    observed.answered(len(wanted), failed)
        except StorageError as error:
            return refused | dict.fromkeys(wanted, error)
        return refused | self._failures(failed)

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """Read an object or its bytes ``[start, end)``; as a slice, cut at the end.

        Raises:
            ObjectNotFoundError: There is nothing at ``path``.
        """
        if _is_empty(start, end):
            return b""
        check_known_path(path, self._key, "read")
        with self._errors("read", path) as observed:
            found = self._read(path, start, end)
            if observed is not None:
                observed.moved(len(found))
            return found

    async def read_async(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """Read an object or a range of it; see :meth:`read`."""
        if _is_empty(start, end):
            return b""
        check_known_path(path, self._key, "read")
        with self._errors("read", path) as observed:
            found = await self._read_async(path, start, end)
            if observed is not None:
                observed.moved(len(found))
            return found

    def stream(self, path: str, start: int = 0, end: int | None = None, chunk_size: int = 1 << 20) -> Iterator[bytes]:
        """Yield the bytes ``[start, end)`` in chunks, in bounded memory."""
        if _is_empty(start, end, chunk_size):
            return
        check_known_path(path, self._key, "read")
        with self._errors("read", path, streams=True) as observed:
            chunks = self._stream(path, start, end, chunk_size)
            yield from chunks if observed is None else counted(chunks, observed.moved)

    async def stream_async(
        self, path: str, start: int = 0, end: int | None = None, chunk_size: int = 1 << 20
    ) -> AsyncIterator[bytes]:
        """Iterate over an object's bytes; see :meth:`stream`."""
        if _is_empty(start, end, chunk_size):
            return
        check_known_path(path, self._key, "read")
        chunks = self._stream_async(path, start, end, chunk_size)
        try:
            with self._errors("read", path, streams=True) as observed:
                async for chunk in chunks:
                    if observed is not None:
                        observed.moved(len(chunk))
                    yield chunk
        finally:  # a reader who stops early must not leave a connection or file open until garbage collection
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    def head(self, path: str) -> ObjectInfo:
        """Return what the store knows of an object, without reading it.

        Raises:
            ObjectNotFoundError: There is nothing at ``path``.
        """
        check_known_path(path, self._key, "head")
        with self._errors("head", path):
            return self._head(path)

    async def head_async(self, path: str) -> ObjectInfo:
        """Return what the store knows of an object; see :meth:`head`."""
        check_known_path(path, self._key, "head")
        with self._errors("head", path):
            return await self._head_async(path)

    def exists(self, path: str) -> bool:
        """Return True if there is an object at the path."""
        try:
            self.head(path)
        except ObjectNotFoundError:
            return False
        return True

    async def exists_async(self, path: str) -> bool:
        """Return True if there is an object at the path."""
        try:
            await self.head_async(path)
        except ObjectNotFoundError:
            return False
        return True

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """List the objects in a folder and below it, in bounded memory.

        Args:
            prefix: A folder: ``a/b`` lists ``a/b/c`` but neither ``a/bc`` nor ``a/b`` itself. Empty for everything.
            start_after: Only paths greater than this, compared as UTF-8 bytes.

        Returns:
            One :class:`ObjectInfo` per object, with path, size and time; in ascending order where
            ``capabilities.ordered_list`` says so.
        """
        check_prefix(prefix, self._key)
        with self._errors("list", prefix, streams=True):
            yield from self._list(prefix, start_after)

    async def list_async(self, prefix: str = "", start_after: str = "") -> AsyncIterator[ObjectInfo]:
        """List objects; see :meth:`list`."""
        check_prefix(prefix, self._key)
        objects = self._list_async(prefix, start_after)
        try:
            with self._errors("list", prefix, streams=True):
                async for info in objects:
                    yield info
        finally:
            if isinstance(objects, AsyncGenerator):
                await objects.aclose()

    def unfinished(self, prefix: str = "") -> Iterator[Unfinished]:
        """Yield unfinished uploads in a folder, of all clients; often there are none.

        Raises:
            UnsupportedOperationError: The store keeps such uploads, but cannot list them.
        """
        check_prefix(prefix, self._key)
        with self._errors("list", prefix, streams=True):
            yield from self._unfinished(prefix)

    async def unfinished_async(self, prefix: str = "") -> AsyncIterator[Unfinished]:
        """Yield the uploads that have not ended; see :meth:`unfinished`."""
        check_prefix(prefix, self._key)
        with self._errors("list", prefix, streams=True):
            async for upload in self._unfinished_async(prefix):
                yield upload

    def abort(self, upload: Unfinished) -> None:
        """Discard an upload of :meth:`unfinished`; if it has ended, its object stays."""
        check_known_path(upload.path, self._key, "delete")
        with self._errors("delete", upload.path):
            self._abort(upload)

    async def abort_async(self, upload: Unfinished) -> None:
        """Discard what was sent for an upload; see :meth:`abort`."""
        check_known_path(upload.path, self._key, "delete")
        with self._errors("delete", upload.path):
            await self._abort_async(upload)

    def limits(self) -> Mapping[str, str]:
        """Return what this store cannot do, by name, each with the consequences.

        Stores that speak the same protocol differ without saying so. So this tries it, with objects of its own that it removes.
        ``create-only``: a chosen path cannot be kept free; ``bulk-delete``: each object takes its own delete request;
        ``versions``: the bucket keeps deleted objects. Empty if nothing is missing.

        Raises:
            StorageError: The store could not be tested.
        """
        with self._errors("limits", ""):
            return self._limits()

    async def limits_async(self) -> Mapping[str, str]:
        """Return what this store cannot do; see :meth:`limits`."""
        with self._errors("limits", ""):
            return await self._limits_async()

    def sign(self, path: str, request: SignRequest) -> str:
        """Return a URL that allows exactly what ``request`` says until it expires.

        Raises:
            UnsupportedOperationError: The store cannot sign this; the message says which one can.
            InvalidPathError: The path could escape the backend, or nothing may be stored under it.
            InvalidOptionError: No store accepts the request, or it lasts longer than this one allows.
            SecretError: The backend signs URLs of our own route and has no secret.
        """
        return self._sign_plainly(path, request, offline=False) or self.sign_many([path], request)[0]

    async def sign_async(self, path: str, request: SignRequest) -> str:
        """Return a signed URL; see :meth:`sign`."""
        return self._sign_plainly(path, request, offline=True) or (await self.sign_many_async([path], request))[0]

    def sign_many(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        """Return one signed URL per path, in order; see :meth:`sign`."""
        self._check_sign(paths, request)
        with self._errors("sign", paths[0] if len(paths) == 1 else ""):
            return self._sign(paths, request)

    async def sign_many_async(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        """Return one signed URL per path, in order; see :meth:`sign`."""
        self._check_sign(paths, request)
        with self._errors("sign", paths[0] if len(paths) == 1 else ""):
            return await self._sign_async(paths, request)

    def url(self, path: str) -> str:
        """Return the permanent URL of a public object, without a request.

        Raises:
            UnsupportedOperationError: The backend is private: it has neither ``public_url=`` nor a ``cdn=`` template.
            InvalidPathError: The path could escape the backend.
        """
        check_known_path(path, self._key, "url")
        if path.startswith("/"):  # behind a base of '/' it would name another host
            raise InvalidPathError("a path is relative to its backend", operation="url", backend=self._key, path=path)
        if self.public_urls is None or not self.public_urls.permanent:
            msg = "this backend is private: use sign(), or give it public_url= if everybody may read its files"
            raise UnsupportedOperationError(msg, operation="url", backend=self._key, path=path)
        return self.public_urls.url(path)

    def _check_sign(self, paths: Sequence[str], request: SignRequest) -> None:
        check_request(request, self._key)
        if request.cache_control is not None and (self.own_urls is None or request.method != "GET"):
            msg = (
                "only URLs of our own to read are bound to a Cache-Control; a store answers with what an object is stored with: "
                "StoredObject(stored_with=StoredWith(cache_control=...))"
            )
            raise UnsupportedOperationError(msg, operation="sign", backend=self._key)
        # a cloud's library would sign '..', and with it an object beside the backend's prefix
        if request.method == "PUT":
            for path in paths:
                check_path(path, self._key, "sign")
        elif not are_plain(paths):
            for path in paths:
                check_known_path(path, self._key, "sign")

    def upload_headers(self, request: SignRequest) -> dict[str, str]:
        """Return the headers, as they are sent, for an upload URL of ``request``.

        A bound ``content_length`` is left out if it is the ``Content-Length`` itself (RFC 9110, section 8.6), which every client
        sends and no script in a browser may set.

        Raises:
            InvalidOptionError: No store accepts the request.
        """
        check_request(request, self._key)
        if request.method != "PUT":
            return {}
        bound = {} if request.content_type is None else {"Content-Type": request.content_type}
        return {**bound, **self._upload_headers(request)}

    # -- errors --------------------------------------------------------------------------------------------------------

    def _errors(self, operation: str, path: str, body: object = None, target: str = "", *, streams: bool = False) -> OurErrors:
        if observers and operation != "sign":  # most signatures are calculated, without a request
            return Observed(self._key, self.protocol, self._wrap, operation, path, body, target, streams=streams)
        return OurErrors(self._wrap, operation, path, body, target)

    def _wrap(self, error: BaseException, operation: str, path: str) -> StorageError:
        wrapped = self._translate(error, operation, path)
        if wrapped is not None:
            return wrapped
        return by_builtin_type(error, operation, self._key, path, self._place())

    def _failures(self, failed: Mapping[str, BaseException]) -> dict[str, StorageError]:
        return {
            path: error if isinstance(error, StorageError) else self._wrap(error, "delete", path)
            for path, error in failed.items()
        }


def _guarded(content: Body) -> Buffer | Guard:
    return cast("Buffer", content) if isinstance(content, BUFFERS) else Guard(content)


def _check_content(content: object) -> None:
    if isinstance(content, str):
        raise ContentError("content is bytes, not str: encode text first, and open a file to store its content")


def _is_empty(start: int, end: int | None, chunk_size: int = 1) -> bool:
    if chunk_size < 1:
        raise ValueError(f"chunk_size is a number of bytes, at least 1, not {chunk_size}")
    if start < 0 or (end is not None and end < 0):
        raise ValueError(f"a range counts bytes from the start of the object, so it cannot be negative: start={start}, end={end}")
    return end is not None and end <= start
