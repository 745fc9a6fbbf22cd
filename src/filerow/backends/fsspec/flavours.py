"""What fsspec filesystems leave to each other to define: headers, exclusive writes, conditional copies, signatures."""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from filerow.backends._answers import NO_PLACE, meaning_of_answer
from filerow.backends._conditions import Conditions, heeded
from filerow.backends._sign_request import Bound, length_range
from filerow.backends._stored_with import encoded_tags, encryption_of
from filerow.backends._types import Capabilities, ObjectInfo, PutOptions, Rewritten, SignRequest, Unfinished
from filerow.backends.fsspec import s3fs
from filerow.backends.fsspec.answers import code_of
from filerow.backends.fsspec.errors import by_number
from filerow.backends.fsspec.remote import smb
from filerow.backends.fsspec.remote.ftp import guard
from filerow.backends.fsspec.rewrite import by_adlfs, by_gcsfs, by_s3fs
from filerow.exceptions import InvalidOptionError, UnsupportedOperationError

__all__ = ("Flavour", "copy_on_azure", "copy_on_gcs", "first_of", "flavour_of", "info_of", "protocol_of")

_ANSWER = frozenset({"content_disposition", "content_type"})


class Flavour:
    """A filesystem that promises nothing beyond fsspec's own interface, such as hdfs.

    Attributes:
        capabilities: What a backend on it can do.
        objects: It stores whole objects under keys, written at close or not at all. Others are files, which show while they are
            written and so are moved into place.
        bulk_delete: ``rm`` with a list is one request for many.
        exclusive_mode: The mode of ``open`` that takes a name which nothing has; ``None`` where there is none.
        one_at_a_time: Its one connection cannot bear several calls.
        opens_blindly: ``open`` for writing asks nothing of the server, so it does not say that a folder is missing.
        one_refusal: The server has one word for what is missing, forbidden or in the way, so what it meant must be looked at.
        cuts_short: A connection that is cut ends an upload as if it were whole, so its size must be looked at.
        removes_folders: ``rm_file`` removes an empty folder, too.
        binds: What the signed URLs bind; none where the filesystem signs nothing.
        by_number: Its errors may say what they mean by ``errno`` only.
        misread: Names that the filesystem takes for something else, and so for another object.
        defaults: Options for building one that reads are never stale with.
        public_host: How its URLs get to another host: ``signed`` for it by a filesystem of its own, or ``moved`` there, where
            no signature covers the host; empty where neither can be done.
        encryptions: The algorithms that it can be asked for.
        instead: What to do where it cannot be asked for something.
        kms_key: Google's key that it encrypts with, if it was asked to.
    """

    capabilities: Capabilities = Capabilities(ordered_list=True, exclusive=False)
    public_host: Literal["", "signed", "moved"] = ""
    objects = False
    bulk_delete = False
    exclusive_mode: str | None = None
    one_at_a_time = False
    opens_blindly = False
    one_refusal = False
    cuts_short = False
    removes_folders = True
    by_number = False
    binds: Bound = {}  # noqa: RUF012 - a Mapping
    misread: re.Pattern[str] | None = None
    defaults: ClassVar[Mapping[str, Any]] = {}
    encryptions: frozenset[str] = frozenset()
    instead: ClassVar[Mapping[str, str]] = {
        "acl": "leave it out, and let the store's own settings say who may read",
        "checksum": "leave it out",
        "encryption": "leave it out, and let the store itself encrypt: Azure's container has a default encryption scope",
    }
    kms_key: str | None = None

    def capabilities_of(self, fs: Any) -> Capabilities:  # noqa: ARG002 - for those that differ by it
        """Return what a backend on this very filesystem can do."""
        return self.capabilities

    def prepare(self, fs: Any) -> None:
        """Set up a filesystem that has just been made or given."""

    def lock(self, fs: Any) -> AbstractContextManager[Any]:  # noqa: ARG002 - most bear several calls
        """Return what each call holds, where errors are told by their number."""
        return nullcontext()

    def leave_behind(self) -> None:
        """Forget, in a forked child, what the filesystems of its parent have in common."""

    def replace(self, fs: Any, source: str, target: str) -> None:
        """Move a file to a name that may be taken."""
        fs.mv(source, target)

    def prepare_file(self, file: Any) -> None:
        """Set up a file that has just been opened for writing."""

    def write_options(self, key: str, encryption: object, acl: object, checksum: object) -> dict[str, dict[str, Any]]:
        """Return the options, of the filesystem itself, by which it encrypts and permits what it writes.

        Args:
            key: Key of the backend, for errors.
            encryption: See :class:`filerow.Encryption`.
            acl: A canned ACL.
            checksum: Refused.

        Raises:
            UnsupportedOperationError: The store cannot be told; the message says what to do.
        """
        if acl is not None:
            raise _not_told(key, self, "acl", self.instead["acl"])
        if checksum is not None:
            raise _not_told(key, self, "checksum", self.instead["checksum"])
        store = f"fsspec's filesystem ({type(self).__name__.lstrip('_')})"
        found = encryption_of(encryption, self.encryptions, backend=key, store=store, instead=self.instead["encryption"])
        if found is not None and found.algorithm == "gcp:kms":
            self.kms_key = found.key
        return {}

    def tag_options(self, tags: Mapping[str, str]) -> dict[str, Any]:
        """Return the options of ``pipe_file`` and ``open`` that store tags, where they take any."""
        del tags
        return {}

    def finish(self, fs: Any, path: str, options: PutOptions) -> None:
        """Add to an object that was just written what it could not be written with."""

    def pipe_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        """Return the options of ``pipe_file`` that store these headers; none where the filesystem keeps none."""
        del headers, metadata
        return {}

    def open_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        """Return the options of ``open`` for writing that do the same."""
        return self.pipe_options(headers, metadata)

    def copy(self, fs: Any, source: str, target: str) -> None:
        """Copy an object; refuse a target that is taken, where the store can be asked to."""
        fs.cp_file(source, target)

    def copy_over(self, fs: Any, source: str, target: str) -> None:
        """Copy an object to a name that nothing else can have."""
        self.copy(fs, source, target)

    def rewrite(self, fs: Any, source: str, target: str, upload: ObjectInfo, options: PutOptions) -> Rewritten | None:
        """Copy a client's upload with these headers alone; ``None`` where that cannot be done."""
        del fs, source, target, upload, options
        return None

    def conditions(self, fs: Any, backend: str, at: Callable[[str], str], remove: Callable[..., Any], *, off: bool) -> Conditions:
        """Return what the store's conditions are worth; all but S3 have one that heeds them, or none."""
        del fs, at, remove
        return heeded(backend, off=off)

    def delete_many(self, fs: Any, names: Mapping[str, str]) -> dict[str, BaseException]:
        """Delete the objects of some names, each with its path, in few requests; return the paths that failed.

        Raises:
            OSError: The request failed as a whole, and nobody knows which objects it has deleted.
        """
        try:
            fs.rm(list(names))
        except FileNotFoundError:  # said when none of them is there
            if not self.has_place(fs, next(iter(names))):
                raise
        return {}

    def is_refusal(self, error: BaseException) -> bool:
        """Return True if a bulk delete failed as one does that the store does not know."""
        del error
        return False

    def may_list(self, fs: Any, root: str) -> bool:  # noqa: ARG002 - for those that hide what is missing
        """Return False if the credentials may not list, so that what is missing is forbidden."""
        return True

    def has_place(self, fs: Any, root: str) -> bool:  # noqa: ARG002 - where files are, folders are made as they are needed
        """Return False if the bucket itself is missing, which looks as if all its objects were; asked where nothing was found."""
        return True

    def sign(self, fs: Any, path: str, request: SignRequest) -> str:
        """Return a URL that binds what is asked, which is among :attr:`binds`."""
        raise NotImplementedError

    def outside(self, fs: Any, origin: str, *, virtual: bool) -> Any:  # noqa: ARG002 - for those that sign the host
        """Return a filesystem that signs for the host by which clients reach the store, and is asked for nothing else.

        Args:
            fs: The filesystem of the backend.
            origin: Scheme and host, without the bucket.
            virtual: The host begins with the bucket.
        """
        return fs

    def upload_headers(self, fs: Any, request: SignRequest) -> dict[str, str]:
        """Return what a signed upload must come with besides its type."""
        del fs, request
        return {}

    def unfinished(self, fs: Any, root: str, prefix: str) -> Iterator[Unfinished]:  # noqa: ARG002 - most stores have none
        """Yield the uploads below a folder that were neither completed nor aborted, where the store keeps such."""
        return iter(())

    def abort(self, fs: Any, root: str, upload: Unfinished) -> None:
        """Throw away what came of an upload."""


class _Unknown(Flavour):
    """One that nobody here knows: what is said of it above is all that is known."""

    by_number = True


class _Memory(Flavour):
    """A dictionary of this process, which is locked here."""

    capabilities = Capabilities(ordered_list=True)
    removes_folders = False


class _Files(Flavour):
    """Local files."""

    capabilities = Capabilities(ordered_list=True)
    exclusive_mode = "xb"
    removes_folders = False
    defaults: ClassVar[Mapping[str, Any]] = {"auto_mkdir": True}


class _SFTP(Flavour):
    """What paramiko takes."""

    capabilities = Capabilities(ordered_list=True)
    exclusive_mode = "wxb"
    one_at_a_time = True

    def prepare(self, fs: Any) -> None:
        # a request is answered before the next one is sent, so waiting for more to send would cost 40 ms each
        fs.client.get_transport().sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _FTP(Flavour):
    """What ftplib takes."""

    one_at_a_time = True
    opens_blindly = True
    one_refusal = True
    cuts_short = True

    def prepare(self, fs: Any) -> None:
        guard(fs)


class _SMB(Flavour):
    """What smbprotocol takes, of which fsspec shows less."""

    capabilities = Capabilities(ordered_list=True)  # exclusive, for its mv() refuses a name that is taken
    by_number = True
    misread = re.compile(r'[\x01-\x1f"*:<>?|]|[. ](?:/|\Z)')  # Windows has no such names, or takes them for others
    defaults: ClassVar[Mapping[str, Any]] = {"share_access": "rwd"}  # or who reads a file keeps others from it

    def lock(self, fs: Any) -> AbstractContextManager[Any]:
        return smb.Turn(fs)

    def leave_behind(self) -> None:
        smb.leave_behind()

    def replace(self, fs: Any, source: str, target: str) -> None:
        names = (rf"\\{fs.host}{name}".replace("/", "\\") for name in (source, target))
        move = by_number(import_module("smbclient").replace, self.lock(fs))
        move(*names, port=fs._port)  # noqa: SLF001 - as its own mv(), which refuses


_WRITE_HEADERS = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "BucketKeyEnabled": "x-amz-server-side-encryption-bucket-key-enabled",
    "ACL": "x-amz-acl",
}
_ACL = re.compile(r"[a-z]+(?:-[a-z]+)*\Z")
_OPEN_ACL = re.compile(r"public-|authenticated-read")


def _demanded(fs: Any) -> dict[str, Any]:
    """Return what s3fs adds to whatever it writes and an upload must bring, too; nothing that would show it to everybody."""
    given = {name: value for name, value in (fs.s3_additional_kwargs or {}).items() if name in _WRITE_HEADERS and value}
    return {name: value for name, value in given.items() if name != "ACL" or not _OPEN_ACL.match(value)}


def _not_told(key: str, flavour: Flavour, name: str, instead: str) -> UnsupportedOperationError:
    what = type(flavour).__name__.lstrip("_")
    text = f"backend {key!r}: fsspec's filesystem ({what}) cannot be told {name}= with what it writes; {instead}"
    return UnsupportedOperationError(text, backend=key)


class _S3(Flavour):
    """What s3fs takes."""

    binds: Bound = {"GET": _ANSWER, "PUT": frozenset({"content_type", "content_length"})}  # noqa: RUF012
    misread = re.compile(r"\?versionId=")
    public_host = "signed"
    capabilities = Capabilities(
        ordered_list=True,
        keeps_content_type=True,
        sign_get=True,
        sign_put=True,
        keeps_metadata=True,
        stored_with=frozenset({"storage_class", "tags"}),
    )
    objects = True
    bulk_delete = True
    defaults: ClassVar[Mapping[str, Any]] = {"use_listings_cache": False}
    encryptions = frozenset({"AES256", "aws:kms", "aws:kms:dsse"})
    instead: ClassVar[Mapping[str, str]] = {
        "checksum": "botocore sends a CRC32 by itself, which satisfies object lock; ObstoreBackend has checksum='sha256'"
    }

    def write_options(self, key: str, encryption: object, acl: object, checksum: object) -> dict[str, dict[str, Any]]:
        if checksum is not None:
            raise _not_told(key, self, "checksum", self.instead["checksum"])
        if acl is not None and not (isinstance(acl, str) and _ACL.match(acl)):
            text = f"backend {key!r}: acl is a canned ACL such as 'bucket-owner-full-control', not {acl!r}"
            raise InvalidOptionError(text, backend=key)
        found = encryption_of(encryption, self.encryptions, backend=key, store="s3fs", instead="")
        asked: dict[str, Any] = {} if acl is None else {"ACL": acl}
        if found is not None:
            asked["ServerSideEncryption"] = found.algorithm
            asked |= {"SSEKMSKeyId": found.key} if found.key else {}
            asked |= {"BucketKeyEnabled": True} if found.bucket_key else {}
        return {"s3_additional_kwargs": asked} if asked else {}

    def tag_options(self, tags: Mapping[str, str]) -> dict[str, Any]:
        return {"Tagging": encoded_tags(tags)} if tags else {}

    def upload_headers(self, fs: Any, request: SignRequest) -> dict[str, str]:
        pays = {"x-amz-request-payer": "requester"} if fs.req_kw else {}
        asked = _demanded(fs) if request.method == "PUT" else {}
        return pays | {_WRITE_HEADERS[name]: "true" if value is True else str(value) for name, value in asked.items()}

    def pipe_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        named = {name.replace("-", ""): value for name, value in headers.items()}
        return {**named, "Metadata": dict(metadata)} if metadata else named

    def copy(self, fs: Any, source: str, target: str) -> None:
        fs.cp_file(source, target, IfNoneMatch="*")  # it drops the condition for more than 5 GB

    def copy_over(self, fs: Any, source: str, target: str) -> None:
        fs.cp_file(source, target)

    def rewrite(self, fs: Any, source: str, target: str, upload: ObjectInfo, options: PutOptions) -> Rewritten | None:
        return by_s3fs(fs, source, target, upload, options)

    def conditions(self, fs: Any, backend: str, at: Callable[[str], str], remove: Callable[..., Any], *, off: bool) -> Conditions:
        return s3fs.conditions_of(fs, backend, at, remove, off=off)

    def delete_many(self, fs: Any, names: Mapping[str, str]) -> dict[str, BaseException]:
        return s3fs.delete_many(fs, names)

    def is_refusal(self, error: BaseException) -> bool:
        return isinstance(error, s3fs.UnreadableError) or s3fs.is_refusal(error)

    def may_list(self, fs: Any, root: str) -> bool:
        return s3fs.may_list(fs, root)

    def has_place(self, fs: Any, root: str) -> bool:
        return _is_found(lambda: fs.call_s3("list_objects_v2", Bucket=root.partition("/")[0], MaxKeys=1))

    def sign(self, fs: Any, path: str, request: SignRequest) -> str:
        answer = "Response" if request.method == "GET" else ""
        bound: dict[str, Any] = {"client_method": f"{request.method.lower()}_object"}
        if request.content_type is not None:
            bound[f"{answer}ContentType"] = request.content_type
        if request.content_disposition is not None:
            bound["ResponseContentDisposition"] = request.content_disposition
        if request.content_length is not None:
            bound["ContentLength"] = request.content_length
        if fs.req_kw:
            bound |= fs.req_kw
        if request.method == "PUT":
            bound |= _demanded(fs)
        url = str(fs.url(path, expires=request.expires_in, **bound))
        if request.method == "GET" and "x-amz-request-payer" in parse_qs(urlsplit(url).query).get("X-Amz-SignedHeaders", [""])[0]:
            msg = (
                "s3fs signs, by Signature Version 4, that a header of the request says that the requester pays, which no browser "
                "sends; sign with ObstoreBackend(request_payer=True), which puts it into the URL"
            )
            raise UnsupportedOperationError(msg, operation="sign", path=path)
        return url

    def outside(self, fs: Any, origin: str, *, virtual: bool) -> Any:
        return s3fs.on_public_host(fs, origin, virtual=virtual)

    def unfinished(self, fs: Any, root: str, prefix: str) -> Iterator[Unfinished]:
        bucket, _, top = root.partition("/")
        top = f"{top}/" if top else ""
        asked = {"Bucket": bucket, "Prefix": f"{top}{prefix}/" if prefix else top}
        after: dict[str, str] = {}
        while True:
            page = fs.call_s3("list_multipart_uploads", **asked, **after)
            for upload in page.get("Uploads", ()):
                yield Unfinished(upload["Key"].removeprefix(top), upload["UploadId"], upload["Initiated"].timestamp())
            if not page.get("IsTruncated"):
                return
            after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def abort(self, fs: Any, root: str, upload: Unfinished) -> None:
        bucket, _, top = root.partition("/")
        key = f"{top}/{upload.path}" if top else upload.path
        try:
            fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload.id)
        except OSError as error:
            if "NoSuchUpload" not in repr(error.__cause__):  # it has ended meanwhile
                raise


class _Unclosed(io.BytesIO):
    """A buffer that may be let go while somebody looks at it."""

    def close(self) -> None:
        pass


class _GCS(Flavour):
    """What gcsfs takes."""

    binds: Bound = {"GET": _ANSWER, "PUT": frozenset({"content_type", "content_length", "max_length"})}  # noqa: RUF012
    misread = re.compile(r"#\d+\Z|\?generation=")
    capabilities = Capabilities(ordered_list=True, keeps_content_type=True, sign_get=True, sign_put=True, keeps_metadata=True)
    objects = True
    bulk_delete = True
    defaults: ClassVar[Mapping[str, Any]] = {"use_listings_cache": False}
    encryptions = frozenset({"gcp:kms"})

    def capabilities_of(self, fs: Any) -> Capabilities:
        keyless = fs.storage_options.get("token") in {"anon", "browser"}
        return self.capabilities._replace(sign_get=not keyless, sign_put=not keyless)

    def prepare_file(self, file: Any) -> None:
        # an upload that failed keeps a view of it, and Python 3.13 complains where it closes what is looked at
        file.buffer = _Unclosed()

    def pipe_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        chosen: dict[str, Any] = {"metadata": dict(metadata)} if metadata else {}
        if "Content-Type" in headers:
            chosen["content_type"] = headers["Content-Type"]
        fixed = {name: headers[header] for name, header in _FIXED.items() if header in headers}
        return {**chosen, "fixed_key_metadata": fixed} if fixed else chosen

    def open_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        chosen = self.pipe_options(headers, metadata)
        return chosen if self.kms_key is None else {**chosen, "kms_key_name": self.kms_key}

    def has_place(self, fs: Any, root: str) -> bool:
        return _is_found(lambda: fs.call("GET", "b/{}/o", root.partition("/")[0], maxResults="1", json_out=True))

    def copy(self, fs: Any, source: str, target: str) -> None:
        copy_on_gcs(fs, source, target, self.kms_key)

    def rewrite(self, fs: Any, source: str, target: str, upload: ObjectInfo, options: PutOptions) -> Rewritten | None:
        return by_gcsfs(fs, source, target, upload, options, self.kms_key)

    def sign(self, fs: Any, path: str, request: SignRequest) -> str:
        bound: dict[str, Any] = {"method": request.method, "version": "v4"}
        if request.content_type is not None:
            bound["response_type" if request.method == "GET" else "content_type"] = request.content_type
        if request.content_disposition is not None:
            bound["response_disposition"] = request.content_disposition
        if asked := self.upload_headers(fs, request):
            bound["headers"] = asked
        if fs.requester_pays:  # the name of the project that does, or the filesystem's own
            bound["query_parameters"] = {"userProject": fs.project if fs.requester_pays is True else fs.requester_pays}
        return str(fs.sign(path, expiration=request.expires_in, **bound))

    def upload_headers(self, fs: Any, request: SignRequest) -> dict[str, str]:
        del fs
        encrypted = self.kms_key is not None and request.method == "PUT"
        return length_range(request) | ({"x-goog-encryption-kms-key-name": self.kms_key or ""} if encrypted else {})


_FIXED = {"content_disposition": "Content-Disposition", "cache_control": "Cache-Control"}


class _Azure(Flavour):
    """What adlfs takes."""

    binds: Bound = {"GET": _ANSWER}  # noqa: RUF012
    misread = re.compile(r"#\Z|\?versionid=")
    public_host = "moved"
    capabilities = Capabilities(
        ordered_list=True,
        keeps_content_type=True,
        sign_get=True,
        keeps_metadata=True,
        stored_with=frozenset({"storage_class", "tags"}),
    )
    objects = True
    defaults: ClassVar[Mapping[str, Any]] = {"use_listings_cache": False}

    def pipe_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        del metadata  # pipe_file() takes none
        blob = import_module("azure.storage.blob")  # adlfs itself needs it
        named = {name.lower().replace("-", "_"): value for name, value in headers.items() if name != "Storage-Class"}
        return {"content_settings": blob.ContentSettings(**named)} if named else {}

    def open_options(self, headers: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, Any]:
        return {**self.pipe_options(headers, metadata), "metadata": dict(metadata)}

    def finish(self, fs: Any, path: str, options: PutOptions) -> None:
        blob = fs.service_client.get_blob_client(*fs.split_path(path, delimiter="/")[:2])
        sync = import_module("fsspec.asyn").sync
        if options.tags:
            sync(fs.loop, blob.set_blob_tags, dict(options.tags))
        if options.storage_class is not None:
            sync(fs.loop, blob.set_standard_blob_tier, options.storage_class)

    def has_place(self, fs: Any, root: str) -> bool:
        async def first() -> None:
            async for _ in fs.service_client.get_container_client(root.partition("/")[0]).list_blobs(results_per_page=1):
                return

        return _is_found(lambda: import_module("fsspec.asyn").sync(fs.loop, first))

    def copy(self, fs: Any, source: str, target: str) -> None:
        copy_on_azure(fs, source, target)

    def rewrite(self, fs: Any, source: str, target: str, upload: ObjectInfo, options: PutOptions) -> Rewritten | None:
        return by_adlfs(fs, source, target, upload, options)

    def sign(self, fs: Any, path: str, request: SignRequest) -> str:
        bound = {"content_type": request.content_type, "content_disposition": request.content_disposition}
        return str(fs.sign(path, expiration=request.expires_in, **bound))


def _is_found(look: Callable[[], Any]) -> bool:
    """Return False if a request fails because the place does not exist; other failures do not count."""
    try:
        look()
    except Exception as error:  # noqa: BLE001
        return not isinstance(error, FileNotFoundError) and code_of(error) not in NO_PLACE
    return True


_FLAVOURS: Mapping[str, Callable[[], Flavour]] = {
    "memory": _Memory,
    "file": _Files,
    "local": _Files,
    "sftp": _SFTP,
    "ssh": _SFTP,
    "ftp": _FTP,
    "smb": _SMB,
    "s3": _S3,
    "s3a": _S3,
    "gs": _GCS,
    "gcs": _GCS,
    "az": _Azure,
    "abfs": _Azure,
    "abfss": _Azure,
    "adl": _Azure,
}


def protocol_of(fs: Any) -> str:
    """Return the first of a filesystem's names."""
    protocol = fs.protocol
    return str(protocol if isinstance(protocol, str) else protocol[0])


def flavour_of(protocol: str) -> Flavour:
    """Return what is known of the filesystems of this protocol."""
    return _FLAVOURS.get(protocol, _Unknown)()


_FTP_TIME = re.compile(r"\d{14}(?:\.\d+)?\Z")  # of MLSD, always in UTC (RFC 3659); what LIST shows has no year


def _seconds_in(info: Mapping[str, Any]) -> float | None:
    """Return when an object was changed, in seconds since the Unix epoch, whatever the filesystem calls it."""
    names = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
    time = next((info[name] for name in names if info.get(name) is not None), None)
    if time is None and _FTP_TIME.match(str(info.get("modify"))):
        time = datetime.strptime(info["modify"][:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    return time.timestamp() if isinstance(time, datetime) else time


def first_of(values: Any, *names: str) -> str | None:
    """Return the first of some values that is there, without quotes."""
    found = next((values[name] for name in names if values.get(name)), None)
    return str(found).strip('"') if found else None


def info_of(info: Mapping[str, Any], path: str) -> ObjectInfo:
    """Return the facts of an object, whatever the filesystem calls them."""
    settings = info.get("content_settings")  # adlfs
    stored_type = settings["content_type"] if settings else None
    return ObjectInfo(
        path=path,
        size=int(info["size"]),
        etag=first_of(info, "ETag", "etag"),
        version_id=first_of(info, "VersionId", "version_id"),
        last_modified=_seconds_in(info),
        content_type=first_of(info, "ContentType", "contentType", "content_type") or stored_type,
    )


# -- copies that the store itself refuses when the target is taken; gcsfs and adlfs ask for none --------------------------


def copy_on_gcs(fs: Any, source: str, target: str, kms_key: str | None = None) -> None:
    """Copy an object of gcsfs.

    Raises:
        FileNotFoundError: There is no source.
        FileExistsError: The target is taken.
    """
    names = [name for path in (source, target) for name in fs.split_path(path)[:2]]
    asked: dict[str, Any] = {"headers": {"Content-Type": "application/json"}, "json_out": True, "ifGenerationMatch": "0"}
    asked |= {} if kms_key is None else {"destinationKmsKeyName": kms_key}
    told: dict[str, Any] = {"done": False}
    while not told["done"]:  # a large object is copied in several requests
        told = fs.call("POST", "b/{}/o/{}/rewriteTo/b/{}/o/{}", *names, **asked)
        asked["rewriteToken"] = told.get("rewriteToken")


def copy_on_azure(fs: Any, source: str, target: str) -> None:
    """Copy an object of adlfs.

    Raises:
        FileNotFoundError: There is no source.
        FileExistsError: The target is taken.
    """
    sync = import_module("fsspec.asyn").sync
    core = import_module("azure.core")  # adlfs itself needs it
    errors = import_module("azure.core.exceptions")
    origin, copy = (fs.service_client.get_blob_client(*fs.split_path(path, delimiter="/")[:2]) for path in (source, target))
    try:
        sync(fs.loop, copy.start_copy_from_url, origin.url, match_condition=core.MatchConditions.IfMissing)
    except errors.ResourceNotFoundError as error:
        raise FileNotFoundError(source) from error
    except (errors.ResourceExistsError, errors.ResourceModifiedError) as error:
        if meaning_of_answer(code_of(error), None) is not None:  # archived, locked: of the source, or of neither
            raise
        raise FileExistsError(target) from error
