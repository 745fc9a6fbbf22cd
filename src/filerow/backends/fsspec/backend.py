"""Files on any fsspec filesystem: s3fs, gcsfs, adlfs, sftp, hdfs, smb and others.

::

    FSSpecBackend(key="docs", fs="s3://static-files/docs", storage_options={"key": "…", "secret": "…"})
    FSSpecBackend(key="docs", fs="sftp://files.example.org/srv/files", username="app")
    FSSpecBackend(key="docs", fs=S3FileSystem(…), prefix="static-files/docs")

Needs the extra ``filerow[fsspec]``, or ``filerow[s3fs]``, ``filerow[gcsfs]``, ``filerow[adlfs]`` for the filesystem of a cloud.
For S3, GCS and Azure ``ObstoreBackend`` is faster; for a directory ``LocalBackend`` promises more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from filerow._buffers import BUFFERS, Buffer
from filerow._execution.steps import run
from filerow._execution.threads import in_thread
from filerow._requirements import needs
from filerow.backends._conditions import AT_ONCE, NO_BULK_DELETE, VERSIONS, Worth, hidden, note_single_deletes, probe_path
from filerow.backends._deadlines import is_timeout
from filerow.backends._foreign import (
    NOT_THERE,
    PART,
    check_exact,
    clean_message,
    contiguous,
    is_portable,
    not_pickled,
    own,
    peek,
    secrets_of,
    staging_path,
)
from filerow.backends._headers import encode_metadata, headers_of
from filerow.backends._public import CDN, PublicUrls, checked_endpoint, moved, public_urls, with_bucket
from filerow.backends._sign_request import check_bound
from filerow.backends._status import code_of, status_of
from filerow.backends._stored_with import Algorithm, Encryption
from filerow.backends._types import Capabilities, ObjectInfo, PutOptions, Rewritten, SignRequest, Unfinished
from filerow.backends._url_options import plain_options
from filerow.backends.base import StorageBackend
from filerow.backends.fsspec.errors import meaning_of, not_connected, words_of
from filerow.exceptions import InvalidOptionError, InvalidPathError, StorageError, UnsupportedOperationError

with needs("fsspec", "FSSpecBackend"):
    from filerow.backends.fsspec.files import is_folder, is_taken, put_file, remove_file, remove_folders
    from filerow.backends.fsspec.flavour import first_of, info_of
    from filerow.backends.fsspec.flavours import flavour_of, protocol_of
    from filerow.backends.fsspec.open import opened, reopened, root_of, scheme_of
    from filerow.backends.fsspec.remote.one_connection import InTurn

_NO_PLACE = "the bucket or container does not exist"
_RANGE = 4 << 20  # bytes of one range request while streaming
_WEEK = 7 * 24 * 3600
_BUCKET = "{bucket}."
_memory = threading.Lock()  # fsspec's memory filesystem is one dictionary for the process, without a lock of its own
if hasattr(os, "register_at_fork"):  # a child could wait forever for a thread that it does not have
    os.register_at_fork(before=_memory.acquire, after_in_parent=_memory.release, after_in_child=_memory.release)


class FSSpecBackend(StorageBackend):
    """A backend on an fsspec filesystem.

    Args:
        key: The name that documents and columns refer to.
        fs: A protocol (``memory``), a URL (``s3://bucket/prefix``, ``sftp://host/folder``) or a filesystem.
        prefix: The folder in the filesystem that is the root of this backend; below the URL's, if that has one. Needed for
            ``file``, whose root would else be the whole machine.
        storage_options: Options of the filesystem whose names mean something else here, such as s3fs's ``key``.
        timeout: Seconds of silence after which one attempt at a request is given up; 60 by default. All attempts together take
            no longer than four times that, but for reading on gcsfs, which makes six. Options of the filesystem that say more
            win for one attempt. A filesystem that is given keeps its own limits, and so does one that is not s3fs, gcsfs, adlfs,
            sftp, ftp or smb.
        conditional_put: ``"disabled"`` where the store knows no conditions: then a path that somebody chose is looked at and
            then written, and of two writers at the same moment both may succeed (``capabilities.exclusive``).
        public_endpoint: The scheme and host by which clients reach the store of s3fs or adlfs, where this process reaches it by
            another name: signed URLs are made for it. ``https://{bucket}.example.org`` on S3 addresses the bucket by the host.
            Nothing is sent to it from here.
        public_url: The URL of the backend's root (its prefix included), if everybody may read it; for ``file.url()``.
        cdn: A template for ``file.url()``, ``https://cdn.example.org/{path}``; or an object that signs URLs to read, such as
            :class:`filerow.backends.cloudfront.CloudFront`, which ``file.sign()`` then goes to.
        encryption: What the store is to encrypt objects with: ``"AES256"`` or ``"aws:kms"``, or an ``Encryption`` with a key, on
            s3fs; ``Encryption("gcp:kms", key=...)`` on gcsfs. Elsewhere the bucket or container has a default key.
        acl: Canned ACL of each object, on s3fs: ``"bucket-owner-full-control"``. One that makes objects public is not sent with
            direct uploads, which nobody has looked at yet.
        checksum: Refused with a reason; ``ObstoreBackend`` takes it.
        **options: Other options of the filesystem: ``secret=``, ``endpoint_url=``, ``token=``, ``connection_string=``, …

    Raises:
        ValueError: ``file`` without a prefix, or a prefix with ``..``; a timeout that is not a positive number.
        TypeError: Options with a filesystem that is built already, or that neither it nor its client has.
        StorageError: The server of ``ftp`` or ``sftp``, to which fsspec connects at once, cannot be reached or refuses the login.
        UnsupportedOperationError: ``public_endpoint=`` for a filesystem whose URLs cannot be made for another host; or the
            filesystem takes no ``encryption``, ``acl`` or ``checksum``.

    How create-only works depends on the filesystem. s3fs, gcsfs and adlfs hand it to the store, which decides; ``file`` and
    ``sftp`` take the name exclusively, ``smb`` moves to a free one only; ``memory`` locks. Others only look whether the name is
    free, then write: two writers at the same moment may both succeed (``capabilities.exclusive``). A copy is refused by the store
    on S3 (up to 5 GB), GCS and Azure, and as any writer on others. Filesystems that are not object stores get a temporary file
    beside the target, then moved; what they flush to disk is up to them. Reads bypass fsspec's caches. Work runs in threads, so a
    filesystem must be thread-safe; the one connection of ``sftp``, ``ftp`` and ``smb`` is not, so their calls wait for each
    other. An FTP server must know ``MLSD`` (RFC 3659), or objects have no time. An SMB server has no names with
    ``"*:<>?|`` or a dot or space at the end, and replaces no file that somebody reads; to it, a process is one user.
    """

    def __init__(
        self,
        key: str,
        fs: Any,
        prefix: str | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        conditional_put: str | None = None,
        public_endpoint: str | None = None,
        public_url: str | None = None,
        cdn: str | CDN | None = None,
        encryption: Encryption | Algorithm | None = None,
        acl: str | None = None,
        checksum: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(key)
        options = plain_options({**(storage_options or {}), **options})
        asked_of = encryption, acl, checksum
        if isinstance(fs, str):
            self._flavour = flavour_of(scheme_of(fs))
            options = _merged(options, self._flavour.write_options(key, *asked_of))
            try:
                self._fs, root = opened(fs, self._flavour, options, timeout)
            except (ImportError, TypeError, ValueError):
                raise
            except Exception as error:  # some connect at once, by clients with errors of their own
                raise not_connected(error, key, fs, options) from error
            if not isinstance(self._flavour, type(known := flavour_of(protocol_of(self._fs)))):
                self._flavour = known  # a filesystem may be registered under names that it does not know
                known.set_up(self._fs, None)
        else:
            self._fs, root = opened(fs, None, options, timeout)
            self._flavour = flavour_of(protocol_of(self._fs))
            if self._flavour.write_options(key, *asked_of):
                raise TypeError("encryption= and acl= need a URL; give a filesystem of s3fs its own s3_additional_kwargs=")
        self._pid = os.getpid()
        self.protocol: str = protocol_of(self.fs)
        self._root = root_of(self.protocol, root, prefix)
        self.capabilities: Capabilities = self._flavour.capabilities_of(self.fs)
        off = conditional_put == "disabled"
        self._conditions = self._flavour.conditions(self.fs, key, self._at, self._delete, off=off)
        if off:
            self.capabilities = self.capabilities._replace(exclusive=False)
        self._bulk = self._flavour.bulk_delete
        self._secrets = secrets_of({**getattr(self.fs, "storage_options", {}), **options})
        self._outside: tuple[Any, Any] | None = None
        self._virtual = isinstance(public_endpoint, str) and f"://{_BUCKET}" in public_endpoint and self._flavour.objects
        if public_endpoint is not None:
            self.public_endpoint: str | None = self._checked_public(public_endpoint)
        self.public_urls: PublicUrls | None = public_urls(key, public_url, cdn)
        if self.public_urls is not None and self.public_urls.signs:
            self.capabilities = self.capabilities._replace(sign_get=True)

    def _checked_public(self, given: str) -> str:
        if not self._flavour.public_host:
            text = (
                f"public_endpoint= cannot be done for fsspec's {self.protocol} filesystem, which signs for its own host or not "
                "at all; ObstoreBackend does it for S3, Google and Azure"
            )
            raise UnsupportedOperationError(text, operation="sign", backend=self._key)
        if self._virtual and self._flavour.public_host == "signed":
            given = with_bucket(given, self._root.partition("/")[0], self._key)
        return checked_endpoint(given, self._key)

    def __reduce__(self) -> NoReturn:
        raise not_pickled(self)

    @property
    def fs(self) -> Any:
        """The fsspec filesystem; a forked child gets its own, with threads of its own."""
        if self._pid != os.getpid():
            self._fs, self._pid = reopened(self._fs, self._flavour), os.getpid()
        return self._fs

    @property
    def _client(self) -> Any:
        fs = self.fs
        return InTurn(fs, partial(self._flavour.turn, fs)) if self._flavour.takes_turns else fs

    def _at(self, path: str) -> str:
        check_exact(path, self.protocol)
        if self._flavour.misread and self._flavour.misread.search(path):
            text = f"fsspec's {self.protocol} filesystem would take this path for another one"
            raise InvalidPathError(text, operation="path", backend=self._key, path=path)
        return f"{self._root}/{path}" if self._root else path

    # -- writing -------------------------------------------------------------------------------------------------------

    def _put(self, path: str, content: Buffer | Iterator[Buffer], options: PutOptions) -> ObjectInfo:
        if not options.create_only:
            return self._store(path, content, options)
        run(self._conditions.check_steps("put", path))  # before any content is taken
        worth = run(self._conditions.put_steps())
        if worth is Worth.HONOURED:
            return self._store(path, content, options)
        if worth is Worth.OFF:
            if self._looks_taken(path):
                raise FileExistsError(path)
            return self._store(path, content, options._replace(create_only=False))
        if options.tags or options.storage_class is not None:
            text = (
                "this store cannot keep a path free that somebody has chosen and store an object there with tags or a storage "
                "class; leave the path to Filerow, or stored_with= out"
            )
            raise UnsupportedOperationError(text, operation="put", backend=self._key, path=path)
        staging = staging_path(path)  # only its copies honour conditions
        self._store(staging, content, options._replace(create_only=False))
        try:
            return self._copy(staging, path)
        finally:
            with suppress(Exception):  # a sweep finds it
                self._delete([staging])

    def _store(self, path: str, content: Buffer | Iterator[Buffer], options: PutOptions) -> ObjectInfo:
        headers = headers_of(options, backend=self._key, path=path)
        azure = self.protocol in {"az", "abfs"}
        metadata = encode_metadata(options.metadata, backend=self._key, path=path, identifiers=azure)
        body = contiguous(content) if isinstance(content, BUFFERS) else peek(content)
        stored: Any = None
        if self.protocol == "memory":
            self._put_in_memory(path, body, options)
        elif not self._flavour.objects:
            self._put_file(path, body, create_only=options.create_only)
        elif isinstance(body, BUFFERS) and not (azure and metadata) and self._flavour.kms_key is None:  # taken by open() alone
            chosen = {**self._flavour.pipe_options(headers, metadata), **self._flavour.tag_options(options.tags)}
            mode = "create" if options.create_only else "overwrite"
            stored = self._client.pipe_file(self._at(path), bytes(body), mode=mode, **chosen)
        else:
            chosen = {**self._flavour.open_options(headers, metadata), **self._flavour.tag_options(options.tags)}
            self._put_stream(path, [body] if isinstance(body, BUFFERS) else body, options, chosen)
        if options.tags or options.storage_class is not None:
            self._finish(path, options)
        etag = first_of(stored, "ETag", "etag") if isinstance(stored, Mapping) else None
        return ObjectInfo(path, etag=etag, version_id=first_of(stored, "VersionId")) if etag else self._written("put", path)

    def _finish(self, path: str, options: PutOptions) -> None:
        """Add to an object what its filesystem takes of none that it writes."""
        try:
            self._flavour.finish(self.fs, self._at(path), options)
        except BaseException:
            with suppress(Exception):
                self._delete([path])
            raise

    def _put_in_memory(self, path: str, body: Buffer | Iterator[Buffer], options: PutOptions) -> None:
        data = bytes(body) if isinstance(body, BUFFERS) else b"".join(map(own, body))
        with _memory:
            self._client.pipe_file(self._at(path), data, mode="create" if options.create_only else "overwrite")

    def _put_stream(self, path: str, chunks: Iterable[Buffer], options: PutOptions, chosen: Mapping[str, Any]) -> None:
        if options.create_only and self._looks_taken(path):
            raise FileExistsError(path)  # before gigabytes are sent; the store decides again when they are
        mode = "xb" if options.create_only else "wb"
        file = self._client.open(self._at(path), mode, block_size=PART, **chosen)
        self._flavour.prepare_file(file)
        try:
            for chunk in chunks:
                file.write(own(chunk))
            file.close()
        except BaseException:
            with suppress(Exception):
                file.discard()
            file.closed = True  # or its finalizer would complete the upload
            raise

    def _put_file(self, path: str, body: Buffer | Iterator[Buffer], *, create_only: bool) -> None:
        chunks = [body] if isinstance(body, BUFFERS) else body
        target, staging = self._at(path), self._at(staging_path(path))
        put_file(self._client, self._flavour, target, staging, chunks, create_only=create_only)

    def _copy(self, source: str, target: str) -> ObjectInfo:
        origin = self._look(source, "copy").path
        if self._looks_taken(target):
            raise FileExistsError(target)
        if self.protocol == "memory":
            with _memory:
                self._client.pipe_file(self._at(target), self._client.cat_file(self._at(origin)), mode="create")
        elif self._flavour.objects:
            self._copy_object(origin, target)
        else:
            self._put_file(target, self._stream(origin, 0, None, _RANGE), create_only=True)
        return self._written("copy", target)

    def _looks_taken(self, path: str) -> bool:
        """Return True if something is at a path; the store decides again, where it can."""
        try:
            return is_taken(self._client, self._at(path))
        except PermissionError:
            if self._conditions.is_off:
                raise
            return False  # what is missing is forbidden to those who may not list

    def _copy_object(self, origin: str, target: str) -> None:
        names = self._at(origin), self._at(target)
        if run(self._conditions.copy_steps()) is Worth.HONOURED:
            self._flavour.copy(self.fs, *names)
        elif run(self._conditions.put_steps()) is Worth.HONOURED:
            self._client.pipe_file(names[1], b"", mode="create")  # takes the target, and is copied over
            try:
                self._flavour.copy_over(self.fs, *names)
            except BaseException:
                with suppress(Exception):
                    self._delete([target])
                raise
        else:
            run(self._conditions.check_steps("copy", origin))
            self._flavour.copy_over(self.fs, *names)

    def _copy_over(self, source: str, target: str) -> ObjectInfo:
        if not self._flavour.objects:
            return self._copy(source, target)
        try:
            self._flavour.copy_over(self.fs, self._at(source), self._at(target))
        except PermissionError as error:
            self._expect_there(error, "copy", source)
            raise
        return self._written("copy", target)

    def _written(self, operation: str, path: str) -> ObjectInfo:
        """Return the facts of an object that was just written."""
        try:
            return self._head(path)
        except FileNotFoundError as error:
            raise StorageError(NOT_THERE, operation=operation, backend=self._key, path=path) from error

    async def _copy_over_async(self, source: str, target: str) -> ObjectInfo:
        return await in_thread(self._copy_over, source, target)

    def _rewrite(self, upload: ObjectInfo, target: str, options: PutOptions) -> Rewritten | None:
        return self._flavour.rewrite(self.fs, self._at(upload.path), self._at(target), upload, options)

    @property
    def _deletes_unseen(self) -> bool:  # type: ignore[override] # which it finds out
        return self._bulk and self.protocol in {"s3", "s3a"}

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        names: dict[str, str] = {}
        for path in paths:
            with suppress(FileNotFoundError):  # no such path is ever stored, so there is nothing to delete
                names[self._at(path)] = path
        paths = list(names.values())
        # In rm(), unlike rm_file(), '*' deletes other files too.
        plain = all(map(is_portable, paths)) and not any(character in name for name in names for character in "*?[")
        if not (self._bulk and len(paths) > 1 and plain):
            return self._delete_each(paths)
        try:
            return self._flavour.delete_many(self._client, names)
        except OSError as error:  # and now one by one, to know which
            return self._fall_back(paths, error)

    def _fall_back(self, paths: Sequence[str], refused: OSError) -> Mapping[str, BaseException]:
        """Delete one by one, unless the first delete fails as the bulk delete did."""
        failed = self._delete_each(paths[:1])
        if any(status_of(error) == status_of(refused) for error in failed.values()):
            return dict.fromkeys(paths, refused)
        failed |= self._delete_each(paths[1:])
        if not failed and self._flavour.is_refusal(refused):
            self._bulk = False
            note_single_deletes(self._key)
        return failed

    def _delete_each(self, paths: Sequence[str]) -> dict[str, BaseException]:
        if len(paths) == 1 or not self._flavour.objects:
            failed = {path: error for path in paths if (error := self._removed(path)) is not None}
            remove_folders(self._client, self._flavour, self._root, [self._at(path) for path in paths if path not in failed])
            return failed
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return {path: error for path, error in zip(paths, pool.map(self._removed, paths), strict=True) if error is not None}

    def _removed(self, path: str) -> BaseException | None:
        try:
            remove_file(self._client, self._flavour, self._at(path))
        except FileNotFoundError as error:
            return None if self._flavour.has_place(self.fs, self._root) else error
        except IsADirectoryError:
            return None
        except Exception as error:  # each path's failure is its own  # noqa: BLE001
            return error
        return None

    def _limits(self) -> Mapping[str, str]:
        if self.protocol not in {"s3", "s3a"}:
            return {}
        probes = [probe_path(), probe_path()]
        found: dict[str, str] = {}
        try:
            stored = [self._store(path, b"?", PutOptions(create_only=False)) for path in probes]
        finally:
            failed = self._delete(probes)
        if stored[0].version_id not in {None, "null"}:
            found["versions"] = VERSIONS
        if not failed and not self._bulk:
            found["bulk-delete"] = NO_BULK_DELETE
        reason = run(self._conditions.reason_steps())
        return {**found, "create-only": reason} if reason else found

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        name = self._at(path)
        limits = {} if start == 0 and end is None else {"start": start, "end": end}
        if limits and self._flavour.one_refusal:  # to read past the end is refused, too, and a folder is an empty file
            return b"".join(self._stream(path, start, end, _RANGE))
        try:
            found = bytes(self._client.cat_file(name, **limits))
        except FileNotFoundError:
            raise
        except PermissionError as error:
            self._expect_there(error, "read", path)
            raise
        except Exception as error:
            if is_timeout(error):
                raise  # a store that does not answer is not asked again
            info = self._head(path)  # a folder is not found; a range past the end is an error on some
            if limits and info.size is not None and start >= info.size:
                return b""
            raise
        self._expect_no_more(path, len(found), start, end)
        return found

    def _expect_no_more(self, path: str, got: int, start: int, end: int | None) -> None:
        """Refuse more bytes than a range has.

        s3fs takes a whole object for a range of it.
        """
        if end is not None and got > end - start:
            text = f"the store sent {got} bytes where {end - start} were asked for; does what stands before it know ranges?"
            raise StorageError(text, operation="read", backend=self._key, path=path)

    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        size = self._head(path).size or 0
        end = size if end is None else min(end, size)
        if self._flavour.objects or self.protocol == "memory":  # all its readers share one position in one file
            yield from self._stream_ranges(path, start, end, chunk_size)
            return
        with self._client.open(self._at(path), "rb") as file:
            file.seek(start)
            while start < end and (chunk := file.read(min(chunk_size, end - start))):
                start += len(chunk)
                yield bytes(chunk)

    def _stream_ranges(self, path: str, start: int, end: int, chunk_size: int) -> Iterator[bytes]:
        step = max(chunk_size, _RANGE)
        for first in range(start, end, step):
            last = min(first + step, end)
            block = self._client.cat_file(self._at(path), start=first, end=last)
            self._expect_no_more(path, len(block), first, last)
            for at in range(0, len(block), chunk_size):
                yield bytes(block[at : at + chunk_size])

    def _head(self, path: str) -> ObjectInfo:
        return self._look(path, "head")

    def _look(self, path: str, operation: str) -> ObjectInfo:
        name = self._at(path)
        self._client.invalidate_cache()  # a filesystem that was given to us may cache listings, and info() believes them
        try:
            info = self._client.info(name)
        except PermissionError as error:
            self._expect_there(error, operation, path)
            raise
        if info["type"] != "file":
            raise FileNotFoundError(path)
        return info_of(info, path)

    def _expect_there(self, error: PermissionError, operation: str, path: str) -> None:
        """Check that a forbidden object exists: S3 reports that to those who may list.

        Raises:
            ObjectHiddenError: It may be missing.
        """
        reason = code_of(error) not in {"", "403", "AccessDenied", "Forbidden"}  # of its own, so the object is there
        if not reason and not self._flavour.may_list(self.fs, self._root):
            raise hidden(operation, self._key, path) from error

    def _unfinished(self, prefix: str) -> Iterator[Unfinished]:
        return self._flavour.unfinished(self.fs, self._root, prefix)

    def _abort(self, upload: Unfinished) -> None:
        self._flavour.abort(self.fs, self._root, upload)

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        self._client.invalidate_cache()
        if self._flavour.one_refusal and prefix and not is_folder(self._client, self._at(prefix)):
            return  # it lists a file as what is in it
        found = False
        for info in self._walk(prefix, start_after.encode()):
            found = True
            yield info
        if not found and not self._flavour.has_place(self.fs, self._root):
            raise StorageError(_NO_PLACE, operation="list", backend=self._key, path=prefix)

    def _walk(self, folder: str, after: bytes) -> Iterator[ObjectInfo]:
        """Yield a folder's objects in byte order; skip folders before ``after``."""
        for name, info in sorted(self._entries(folder), key=lambda entry: entry[0].encode("utf-8", "surrogateescape")):
            if name.endswith("/"):
                # everything below begins with the name; '0' follows '/', so this is greater than all of it
                if f"{name[:-1]}0".encode("utf-8", "surrogateescape") > after:
                    yield from self._walk(name[:-1], after)
            elif name.encode("utf-8", "surrogateescape") > after:
                yield info_of(info, name)

    def _entries(self, folder: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the content of one folder by its path; folders end with a slash."""
        root = self._root.strip("/")
        base = f"{root}/{folder}".strip("/") if folder else root
        where = self._at(folder) if folder else self._root
        try:
            found = self._client.ls(where, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if not is_timeout(error) and self._client.info(where)["type"] == "file":  # SFTP reports it as any failure
                return
            raise
        for info in found:
            name = str(info["name"]).strip("/")
            if base and not name.startswith(f"{base}/"):
                continue  # some list a file, or the folder itself, as its own content
            inside = name[len(root) :].lstrip("/") if root else name
            if info["type"] == "directory":
                yield f"{inside}/", info
            elif not str(info["name"]).endswith("/"):  # else the marker of an empty folder
                yield inside, info

    # -- signing -------------------------------------------------------------------------------------------------------

    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        if (cdn := self._cdn_for(request)) is not None:
            return cdn.sign(paths, request)
        if request.expires_in > _WEEK:
            text = f"expires_in must be 1 to {_WEEK} seconds, not {request.expires_in}"
            raise InvalidOptionError(text, operation="sign", backend=self._key)
        name = f"fsspec's {self.protocol} filesystem"
        able = self.capabilities.sign_get if request.method == "GET" else self.capabilities.sign_put
        if not able:
            raise UnsupportedOperationError(f"{name} cannot sign a {request.method}", operation="sign", backend=self._key)
        check_bound(request, self._flavour.binds, name, self._key, "ObstoreBackend may")
        fs = self._signing_fs()
        urls = [self._flavour.sign(fs, self._at(path), request) for path in paths]
        if self.public_endpoint is None or self._flavour.public_host == "signed":
            return urls
        return [moved(url, self.public_endpoint) for url in urls]

    def _signing_fs(self) -> Any:
        """Return the filesystem that signs: another one for a public endpoint."""
        fs, origin = self.fs, self.public_endpoint
        if origin is None:
            return fs
        if self._outside is None or self._outside[0] is not fs:  # in a forked child that, too, is a new one
            host = origin.replace(f"://{self._root.partition('/')[0]}.", "://", 1) if self._virtual else origin
            self._outside = fs, self._flavour.outside(fs, host, virtual=self._virtual)
        return self._outside[1]

    def _upload_headers(self, request: SignRequest) -> Mapping[str, str]:
        return self._flavour.upload_headers(self._fs, request)

    # -- errors --------------------------------------------------------------------------------------------------------

    def _place(self) -> str:
        place = f"{self.protocol}://{self._root}"
        return f"{place!r} (or that does not exist)"

    def _translate(self, error: BaseException, operation: str, path: str) -> StorageError | None:
        kind, text = meaning_of(error, clean_message(words_of(error), self._secrets), operation, path)
        return None if kind is None else kind(text, operation=operation, backend=self._key, path=path)


def _merged(options: dict[str, Any], asked: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options of a filesystem with what it is asked to add to each write."""
    return {**options, **{name: {**(options.get(name) or {}), **more} for name, more in asked.items()}}
