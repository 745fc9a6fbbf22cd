"""Files in object stores, a directory or memory, through obstore.

::

    ObstoreBackend(key="docs", fs="s3://static-files/", aws_access_key_id="…", aws_secret_access_key="…", aws_region="eu-west-1")
    ObstoreBackend(key="local", fs="s3://static-files/", aws_endpoint="http://localhost:9000", aws_access_key_id="…", …)
    ObstoreBackend(key="docs", fs=obstore.store.GCSStore("bucket"))

Each operation is described once, as a generator of calls (``_execution.steps``), and either made or awaited.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from weakref import WeakKeyDictionary

import obstore
from obstore import exceptions as native

from filerow._buffers import BUFFERS, Buffer
from filerow._execution.steps import Call, Steps, run, run_async, run_to_the_end
from filerow._execution.threads import in_thread
from filerow.backends._conditions import NO_BULK_DELETE, VERSIONS, Worth, hidden, probe_path
from filerow.backends._deadlines import seconds_of
from filerow.backends._foreign import (
    NOT_THERE,
    PART,
    check_exact,
    clean_message,
    contiguous,
    not_pickled,
    peek,
    secrets_of,
    staging_path,
)
from filerow.backends._headers import encode_metadata, headers_of
from filerow.backends._paths import is_plain
from filerow.backends._public import CDN, PublicUrls, public_urls
from filerow.backends._sign_request import plain_read
from filerow.backends._stored_with import Algorithm, Encryption
from filerow.backends._types import Capabilities, ObjectInfo, PutOptions, Rewritten, SignRequest, Unfinished
from filerow.backends._url_options import plain_options
from filerow.backends.base import StorageBackend
from filerow.backends.obstore.conditions import conditions_of
from filerow.backends.obstore.errors import is_refused_key, meaning_of, says_why
from filerow.backends.obstore.options import Tagged, write_options
from filerow.backends.obstore.public import public_endpoint_of, public_store
from filerow.backends.obstore.rewrite import OwnLibrary
from filerow.backends.obstore.sign import Signer
from filerow.backends.obstore.store import build_store, enter, kind_of, with_callable_provider
from filerow.backends.obstore.write import Copier, Deleter, look_steps, push
from filerow.exceptions import StorageError, UnsupportedOperationError

if TYPE_CHECKING:
    from filerow.backends.obstore.s3 import S3Direct

_IN_FLIGHT = 4  # parts of one upload at a time: 20 MiB, and no slower than more
_ONE_REQUEST = 32 << 20  # a create-only request carries all its bytes; larger content goes in parts and is then copied
_PAGE = 1000


class ObstoreBackend(StorageBackend):
    """A backend on one of obstore's stores.

    Args:
        key: The name that documents and columns refer to.
        fs: ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix``, ``file:///folder``, ``memory://``,
            ``https://host/path``; or an obstore store.
        timeout: Seconds of silence after which a request is given up; 60 by default. It is asked again where that is safe, but
            for no longer than this, so each request ends within twice the time. A request has to be sent and answered within
            it: a part of a stream has 5 MiB, content that comes at once up to 32 MiB. A body that is read may take as long as
            bytes flow. ``client_options=`` and ``retry_config=`` win. An obstore store that is given keeps its own limits.
        public_endpoint: The scheme and host by which clients reach an S3, Google or Azure store, where this process reaches it by
            another name: signed URLs and direct uploads are made for it. ``https://{bucket}.example.org`` on S3 addresses the
            bucket by the host. Nothing is sent to it from here.
        public_url: The URL of the backend's root (its prefix included), if everybody may read it; for ``file.url()``.
        cdn: A template for ``file.url()``, ``https://cdn.example.org/{path}``; or an object that signs URLs to read, such as
            :class:`filerow.backends.cloudfront.CloudFront`, which ``file.sign()`` then goes to.
        encryption: What the store is to encrypt objects with: ``"AES256"`` or ``"aws:kms"``, or an ``Encryption`` with a key. On
            S3; elsewhere the bucket or container has a default key.
        checksum: ``"sha256"`` sends a checksum with each write, as a bucket with object lock demands. On S3. Direct uploads are
            signed to bring what these two say.
        acl: Refused with a reason, for obstore sends none: ``FSSpecBackend`` does.
        **options: What obstore's store takes: ``aws_endpoint=``, ``aws_access_key_id=``, ``account_key=``, …, also
            ``config=``, ``client_options=``, ``retry_config=``, ``credential_provider=``. A plain-http endpoint is allowed by
            naming it; the region is ``us-east-1`` unless given here or in the environment. A ``file://`` folder is made when it
            is missing.

    Raises:
        ValueError: The URL or an option is not understood, or the timeout is not a positive number.
        UnsupportedOperationError: ``public_endpoint=`` for a store that signs no URLs; or the store takes no ``encryption``,
            ``checksum`` or ``acl``.
        TypeError: ``fs`` is neither a URL nor a store, or a store comes with options.

    A copy on S3 keeps the headers and refuses a taken target in one request where the store knows ``If-None-Match`` on
    copies (AWS does; others are asked once). Where it does not, the target is reserved with an empty object first.
    Objects over 5 GiB cannot be copied on S3, nor streams over 48 GiB stored: obstore copies in one request and uploads
    in 10,000 parts of 5 MiB.
    """

    def __init__(
        self,
        key: str,
        fs: Any,
        *,
        timeout: float | None = None,
        public_endpoint: str | None = None,
        public_url: str | None = None,
        cdn: str | CDN | None = None,
        encryption: Encryption | Algorithm | None = None,
        checksum: Literal["sha256"] | None = None,
        acl: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(key)
        options = plain_options(options) | write_options(key, fs, encryption, checksum, acl)
        if not isinstance(fs, str) and (options or timeout is not None):
            raise TypeError("options belong to the store: pass them where it is built, or give fs as a URL")
        self.timeout: float = seconds_of(timeout)
        self._store = build_store(fs, options, self.timeout) if isinstance(fs, str) else with_callable_provider(fs)
        self._kind = kind_of(self._store)
        self.protocol: str = self._kind.protocol
        self.capabilities: Capabilities = self._kind.capabilities
        self._crowd = self._kind.crowd
        self._secrets = secrets_of({**(getattr(self._store, "config", None) or {}), **options})
        self._deleter = Deleter(self._store, key, self.protocol)
        self._conditions = conditions_of(self._store, key, self.protocol, self._delete_call)
        self._copier = Copier(self._store, self.protocol, self._conditions)
        if self._conditions.is_off:
            self.capabilities = self.capabilities._replace(exclusive=False)
        self.public_urls: PublicUrls | None = public_urls(key, public_url, cdn)
        if self.public_urls is not None and self.public_urls.signs:
            self.capabilities = self.capabilities._replace(sign_get=True)
        self._signing_store = self._store
        if public_endpoint is not None:
            self.public_endpoint: str | None = public_endpoint_of(self._store, self.protocol, public_endpoint, key)
            self._signing_store = public_store(self._store, public_endpoint, self.public_endpoint)
        self._signer = Signer(self._signing_store, key, self.protocol)

    def __reduce__(self) -> NoReturn:
        raise not_pickled(self)

    @property
    def store(self) -> Any:
        """The obstore store. Do not log its ``config``: it holds the secrets."""
        return self._store

    @property
    def fs(self) -> Any:
        """The same store, by the name of the argument that gave it."""
        return self._store

    # -- writing -------------------------------------------------------------------------------------------------------

    def _put(self, path: str, content: Buffer | Iterator[Buffer], options: PutOptions) -> ObjectInfo:
        enter("put", self._key, path)
        if options.create_only:
            run(self._conditions.check_steps("put", path))  # before any content is taken
        body = contiguous(content) if isinstance(content, BUFFERS) else peek(content)
        if self.protocol == "memory" and isinstance(body, (bytearray, memoryview)):
            body = bytes(body)  # the memory store keeps the very buffer
        return run(self._put_steps(path, body, options))

    async def _put_async(
        self, path: str, content: Buffer | Iterator[Buffer] | AsyncIterator[Buffer], options: PutOptions
    ) -> ObjectInfo:
        enter("put", self._key, path)
        if not isinstance(content, BUFFERS):
            return await super()._put_async(path, content, options)  # the caller's iterator must run in a thread anyway
        steps = self._put_steps(path, bytes(content) if self.protocol == "memory" else contiguous(content), options)
        return await run_to_the_end(steps, partial(self._delete_async, [path]))

    def _put_steps(self, path: str, body: Buffer | Iterator[Buffer], options: PutOptions) -> Steps[ObjectInfo]:
        attributes = self._attributes(path, options)
        if options.tags:
            attributes = Tagged(attributes, dict(options.tags))
        if not options.create_only:
            return (yield from self._store_steps(path, body, attributes))
        yield from self._conditions.check_steps("put", path)
        worth = yield from self._conditions.put_steps()
        if worth is Worth.HONOURED and isinstance(body, BUFFERS) and len(body) <= _ONE_REQUEST:
            return (yield from self._store_steps(path, body, attributes, mode="create"))
        if worth is Worth.OFF and (yield from self._conditions.copy_steps()) is Worth.OFF:
            yield from look_steps(self._store, path)
            return (yield from self._store_steps(path, body, attributes))
        if options.tags or options.storage_class is not None:
            return (yield from self._reserve_steps(path, body, attributes, worth))
        return (yield from self._stage_steps(path, body, attributes))

    def _store_steps(self, path: str, body: Any, attributes: dict[str, str], mode: str = "overwrite") -> Steps[ObjectInfo]:
        put = obstore.put if isinstance(body, BUFFERS) else push
        options: dict[str, Any] = {"mode": mode, "chunk_size": PART, "max_concurrency": _IN_FLIGHT}
        if attributes:
            options["attributes"] = attributes
            if isinstance(attributes, Tagged):
                options["tags"] = attributes.tags
        stored = yield Call(put, obstore.put_async, (self._store, path, body), options)
        return ObjectInfo(path, etag=_etag(stored), version_id=_version(stored))

    def _reserve_steps(self, path: str, body: Any, attributes: dict[str, str], worth: Worth | None) -> Steps[ObjectInfo]:
        """Take the path with an empty object, then write over it: copies drop classes."""
        if worth is not Worth.HONOURED:
            msg = (
                "this store cannot keep a path free that somebody has chosen and store large content there with tags or a class; "
                "leave the path to Filerow, or stored_with= out"
            )
            raise UnsupportedOperationError(msg, operation="put", backend=self._key, path=path)
        yield Call(obstore.put, obstore.put_async, (self._store, path, b""), {"mode": "create"})
        try:
            return (yield from self._store_steps(path, body, attributes))
        except BaseException:
            with suppress(Exception):
                yield self._delete_call([path])
            raise

    def _stage_steps(self, path: str, body: Any, attributes: dict[str, str]) -> Steps[ObjectInfo]:
        """Upload beside the target, then move there: multipart is never create-only."""
        staging = staging_path(path)
        stored = yield from self._store_steps(staging, body, attributes)
        try:
            yield from self._copier.steps(staging, path)
        finally:
            with suppress(Exception):  # a sweep finds it; the object is where it belongs, or is not
                yield Call(self._purge, self._purge_async, ({staging: stored.version_id},), {})
        return (yield from self._written_steps("put", path))

    def _attributes(self, path: str, options: PutOptions) -> dict[str, str]:
        if not self._kind.headers and not options.metadata and options.content_disposition is options.cache_control is None:
            return {}
        headers = headers_of(options, backend=self._key, path=path)
        identifiers = self._kind.identifiers
        metadata = encode_metadata(options.metadata, backend=self._key, path=path, identifiers=identifiers)
        return {**metadata, **headers} if self._kind.headers else {}

    def _copy(self, source: str, target: str) -> ObjectInfo:
        enter("copy", self._key, source)
        return run(self._copy_steps(source, target))

    async def _copy_async(self, source: str, target: str) -> ObjectInfo:
        enter("copy", self._key, source)
        return await run_to_the_end(self._copy_steps(source, target), partial(self._delete_async, [target]))

    def _copy_over(self, source: str, target: str) -> ObjectInfo:
        enter("copy", self._key, source)
        return run(self._copy_steps(source, target, create_only=False))

    async def _copy_over_async(self, source: str, target: str) -> ObjectInfo:
        enter("copy", self._key, source)
        return await run_to_the_end(self._copy_steps(source, target, create_only=False), partial(self._delete_async, [target]))

    def _copy_steps(self, source: str, target: str, *, create_only: bool = True) -> Steps[ObjectInfo]:
        try:
            yield from self._copier.steps(source, target) if create_only else self._copier.over_steps(source, target)
        except native.PermissionDeniedError as error:
            raise (yield from self._forbidden_steps(error, "copy", source)) from error
        return (yield from self._written_steps("copy", target))

    def _written_steps(self, operation: str, path: str) -> Steps[ObjectInfo]:
        """Return the facts of an object that was just written."""
        try:
            return (yield from self._head_steps(path))
        except FileNotFoundError as error:
            raise StorageError(NOT_THERE, operation=operation, backend=self._key, path=path) from error

    def _rewrite(self, upload: ObjectInfo, target: str, options: PutOptions) -> Rewritten | None:
        if self.protocol == "s3":
            return direct_of(self).rewrite(upload, target, options)
        if self.protocol == "az":
            return OwnLibrary(self._key, self._store, self.timeout).on_azure(upload, target, options)
        if self.protocol != "gs":
            return None
        found = OwnLibrary(self._key, self._store, self.timeout).on_gcs(upload, target, options)
        if found is None:
            return None
        info = self._head(target)  # for its etag, as obstore knows it
        return Rewritten(info.etag, info.version_id, None)

    @property
    def _deletes_unseen(self) -> bool:  # type: ignore[override] # which it finds out
        return self.protocol == "s3" and self._deleter.is_bulk

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        enter("delete", self._key, "")
        return run(self._deleter.steps(paths))

    async def _delete_async(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        enter("delete", self._key, "")
        return await run_async(self._deleter.steps(paths))

    def _purge(self, versions: Mapping[str, str | None]) -> Mapping[str, BaseException]:
        enter("delete", self._key, "")
        return run(self._purge_steps(versions))

    async def _purge_async(self, versions: Mapping[str, str | None]) -> Mapping[str, BaseException]:
        enter("delete", self._key, "")
        return await run_async(self._purge_steps(versions))

    def _purge_steps(self, versions: Mapping[str, str | None]) -> Steps[Mapping[str, BaseException]]:
        left = dict(versions)
        if self.protocol == "s3":
            for path, version in versions.items():
                if version is None:
                    continue
                try:
                    direct = direct_of(self)
                    yield direct.call(direct.remove_version, path, version)
                except StorageError:
                    continue  # without the extra, or the permission: then it is deleted, and its version stays
                del left[path]
        return (yield from self._deleter.steps(list(left))) if left else {}

    def _delete_call(self, paths: Sequence[str]) -> Call:
        return Call(self._delete, self._delete_async, (paths,), {})

    # -- what this store cannot do -------------------------------------------------------------------------------------

    def _limits(self) -> Mapping[str, str]:
        enter("limits", self._key, "")
        return run(self._limits_steps())

    async def _limits_async(self) -> Mapping[str, str]:
        enter("limits", self._key, "")
        return await run_async(self._limits_steps())

    def _limits_steps(self) -> Steps[Mapping[str, str]]:
        found: dict[str, str] = {}
        if self.protocol not in {"s3", "az"}:
            return found
        probes = [probe_path(), probe_path()]
        try:
            stored = yield Call(obstore.put, obstore.put_async, (self._store, probes[0], b"?"), {})
        finally:
            failed = yield self._delete_call(probes)
        if _version(stored) is not None:
            found["versions"] = VERSIONS
        if not failed and not self._deleter.is_bulk:
            found["bulk-delete"] = NO_BULK_DELETE
        reason = yield from self._conditions.reason_steps()
        return {**found, "create-only": reason} if reason else found

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        enter("read", self._key, path)
        found = run(self._get_steps(path, start, end))
        return b"" if found is None else bytes(found.bytes())

    async def _read_async(self, path: str, start: int, end: int | None) -> bytes:
        enter("read", self._key, path)
        found = await run_async(self._get_steps(path, start, end))
        return b"" if found is None else bytes(await found.bytes_async())

    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        enter("read", self._key, path)
        found = run(self._get_steps(path, start, end))
        if found is not None:
            for chunk in found.stream(min_chunk_size=chunk_size):
                yield from _pieces(chunk, chunk_size)

    async def _stream_async(self, path: str, start: int, end: int | None, chunk_size: int) -> AsyncIterator[bytes]:
        enter("read", self._key, path)
        found = await run_async(self._get_steps(path, start, end))
        if found is not None:
            async for chunk in found.stream(min_chunk_size=chunk_size):
                for piece in _pieces(chunk, chunk_size):
                    yield piece

    def _get_steps(self, path: str, start: int, end: int | None) -> Steps[Any]:
        """Return the answer to a read; ``None`` if the range starts past the end."""
        check_exact(path, self.protocol)
        wanted: Any = {"offset": start} if end is None else (start, end)
        options = {} if start == 0 and end is None else {"options": {"range": wanted}}
        try:
            return (yield Call(obstore.get, obstore.get_async, (self._store, path), options))
        except native.PermissionDeniedError as error:
            raise (yield from self._forbidden_steps(error, "read", path)) from error
        except native.GenericError:
            if not options:
                raise
            info = yield from self._head_steps(path)  # every store refuses that range, each with another error
            if info.size is None or start < info.size:
                raise
            return None

    def _head(self, path: str) -> ObjectInfo:
        enter("head", self._key, path)
        return run(self._head_steps(path))

    async def _head_async(self, path: str) -> ObjectInfo:
        enter("head", self._key, path)
        return await run_async(self._head_steps(path))

    def _head_steps(self, path: str) -> Steps[ObjectInfo]:
        # get() with head=True is the same request as head(), and returns the content type, too.
        check_exact(path, self.protocol)
        call = Call(obstore.get, obstore.get_async, (self._store, path), {"options": {"head": True}})
        try:
            found = yield call
        except native.PermissionDeniedError as error:
            raise (yield from self._forbidden_steps(error, "head", path)) from error
        return _info(found.meta, found.attributes.get("Content-Type"), path)

    def _forbidden_steps(self, error: Exception, operation: str, path: str) -> Steps[Exception]:
        """Return the error of a forbidden read: the object may be missing."""
        if self.protocol not in {"s3", "gs"} or says_why(error):
            return error
        try:
            yield Call(_first_page, _first_page_async, (self._store,), {})
        except Exception as refused:  # noqa: BLE001
            if is_refused_key(refused):
                return error
            return hidden(operation, self._key, path, google=self.protocol == "gs")
        return error

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        enter("list", self._key, prefix)
        first = start_after.encode()
        for page in self._pages(prefix, start_after):
            for meta in page:
                if meta["path"].encode() > first:
                    yield _info(meta)

    async def _list_async(self, prefix: str, start_after: str) -> AsyncIterator[ObjectInfo]:
        enter("list", self._key, prefix)
        first = start_after.encode()
        async for page in self._pages(prefix, start_after):
            for meta in page:
                if meta["path"].encode() > first:
                    yield _info(meta)

    def _pages(self, prefix: str, start_after: str) -> Any:
        offset = _offset(prefix, start_after)
        return obstore.list(self._store, prefix or None, offset=offset or None, chunk_size=_PAGE)

    def _unfinished(self, prefix: str) -> Iterator[Unfinished]:
        if (
            self.protocol == "s3"
        ):  # GCS speaks S3's language for this only to HMAC keys; Azure drops what is not committed in a week
            yield from direct_of(self).unfinished(prefix)

    def _abort(self, upload: Unfinished) -> None:
        direct_of(self).abort(upload.path, upload.id)

    # -- signing -------------------------------------------------------------------------------------------------------

    def _sign_plainly(self, path: str, request: SignRequest, *, offline: bool) -> str | None:
        seconds = request.expires_in
        try:
            # what is public may be signed by others; and a store would sign '..', too
            if request is not plain_read(seconds) or self.public_urls is not None or not is_plain(path):
                return None
        except (TypeError, ValueError):  # the other way reports it
            return None
        enter("sign", self._key, path)
        try:
            return self._signer.plainly(path, seconds, offline=offline)
        except BaseException:
            with self._errors("sign", path):
                raise

    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        if (cdn := self._cdn_for(request)) is not None:
            return cdn.sign(paths, request)
        enter("sign", self._key, "")
        return run(self._signer.steps(paths, request))

    async def _sign_async(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        if (cdn := self._cdn_for(request)) is not None:
            return await in_thread(cdn.sign, paths, request)
        enter("sign", self._key, "")
        return await run_async(self._signer.steps(paths, request))

    def _upload_headers(self, request: SignRequest) -> Mapping[str, str]:
        return self._signer.upload_headers(request)

    # -- errors --------------------------------------------------------------------------------------------------------

    def _place(self) -> str:
        config: Mapping[str, Any] = getattr(self._store, "config", None) or {}
        bucket = str(config.get("bucket") or config.get("container_name") or "")
        prefix = str(getattr(self._store, "prefix", None) or "")
        if not bucket:
            return f"the directory {prefix!r}" if self.protocol == "file" else f"the {self.protocol} store"
        kind = "container" if self.protocol == "az" else "bucket"
        folder = f", folder {prefix!r}" if prefix else ""
        return f"the {kind} {bucket!r}{folder} (or the {kind} does not exist)"

    def _translate(self, error: BaseException, operation: str, path: str) -> StorageError | None:
        raw = str(error)
        text = clean_message(raw, self._secrets)
        if isinstance(error, (native.BaseError, OSError)):
            error.args = (text,)  # it stays on as the cause, and is printed with every traceback
        kind, message = meaning_of(error, raw, text, operation, path)
        return kind(message, operation=operation, backend=self._key, path=path) if kind else None


def _first_page(store: Any) -> None:
    next(iter(obstore.list(store, chunk_size=1)), None)


async def _first_page_async(store: Any) -> None:
    async for _ in obstore.list(store, chunk_size=1):
        return


_known: WeakKeyDictionary[ObstoreBackend, S3Direct] = WeakKeyDictionary()


def direct_of(backend: StorageBackend) -> S3Direct:
    """Return the direct uploads of a backend, made once.

    Raises:
        UnsupportedOperationError: It is not an S3 store of obstore, or botocore is not installed.
    """
    from filerow.backends.obstore.s3 import S3Direct  # loaded with the first direct upload

    if not isinstance(backend, ObstoreBackend) or backend.protocol != "s3":
        msg = "multipart and POST uploads need ObstoreBackend('s3://…')"
        raise UnsupportedOperationError(msg, operation="sign", backend=backend.key)
    found = _known.get(backend)
    if found is None:
        found = _known[backend] = S3Direct(backend.key, backend.store, backend.timeout, backend._signing_store)
    return found


def _pieces(chunk: Buffer, size: int) -> Iterator[bytes]:
    """Cut what a store returns in one piece; ``size`` is a minimum to obstore."""
    view = memoryview(chunk)
    if len(view) <= 2 * size:
        yield bytes(view)
        return
    for start in range(0, len(view), size):
        yield bytes(view[start : start + size])


def _etag(meta: Mapping[str, Any]) -> str | None:
    etag = meta.get("e_tag")
    return etag.strip('"') or None if isinstance(etag, str) else None


def _version(meta: Mapping[str, Any]) -> str | None:
    version = meta.get("version")
    return version if version and version != "null" else None  # "null" is how S3 names the absence of versions


def _info(meta: Mapping[str, Any], content_type: str | None = None, path: str | None = None) -> ObjectInfo:
    return ObjectInfo(
        path=path or meta["path"],
        size=meta["size"],
        etag=_etag(meta),
        version_id=_version(meta),
        last_modified=meta["last_modified"].timestamp(),
        content_type=content_type,
    )


def _offset(prefix: str, start_after: str) -> str:
    """Return where a listing may start, to be filtered, without missing anything.

    Stores that list folder by folder put ``a/c`` before ``a-b``, against byte order, and skip it in a listing after ``a-b``. The
    two orders differ only from a character below ``/`` on, so the offset ends before the first one below the listed folder. They
    also skip a folder in a listing after its name, so the offset ends a little below that.
    """
    folder = f"{prefix}/" if prefix else ""
    if not start_after.startswith(folder):
        folder = ""
    below = start_after[len(folder) :]
    cut = next((at for at, character in enumerate(below) if character < "/"), len(below))
    below = _before(below[:cut])
    return folder + below if below else ""


def _before(name: str) -> str:
    """Return a name a little below ``name``, which is not a folder around it either."""
    while name:
        last = chr(ord(name[-1]) - 1)
        if name[-1] != "/" and last.isascii() and last.isalnum():
            return name[:-1] + last
        name = name[:-1]
    return ""
