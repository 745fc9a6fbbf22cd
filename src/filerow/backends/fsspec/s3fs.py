"""What s3fs takes, and how the S3-compatible stores below it differ."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from filerow._execution.steps import Call
from filerow.backends._answers import BUSY_CODES, NO_PLACE, REFUSED_KEYS
from filerow.backends._conditions import Conditions, Worth, WriteReply
from filerow.backends._deadlines import ATTEMPTS, botocore_limits
from filerow.backends._multipart import unfinished_on_s3
from filerow.backends._rewrite import rewrite_on_s3
from filerow.backends._sign_request import Bound
from filerow.backends._status import code_of, status_of
from filerow.backends._stored_with import encoded_tags, encryption_of
from filerow.backends._types import CLOUD, Capabilities, ObjectInfo, PutOptions, Rewritten, SignRequest, Unfinished
from filerow.backends.fsspec.deadlines import limit_calls
from filerow.backends.fsspec.flavour import ANSWER, Flavour, is_found
from filerow.exceptions import InvalidOptionError, UnsupportedOperationError

_NOT_KNOWN = frozenset({400, 405, 501})
_BUSY = frozenset({429, 500, 502, 503, 504})
_TAKEN = frozenset({304, 412})
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_MOST = 1_000  # objects of one bulk delete
_MOST_TO_COPY = 5 << 30  # bytes that S3 copies in one request

_WRITE_HEADERS = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "BucketKeyEnabled": "x-amz-server-side-encryption-bucket-key-enabled",
    "ACL": "x-amz-acl",
}
_ACL = re.compile(r"[a-z]+(?:-[a-z]+)*\Z")
_OPEN_ACL = re.compile(r"public-|authenticated-read")


class S3(Flavour):
    """S3 and what speaks its language, by s3fs."""

    binds: Bound = {"GET": ANSWER, "PUT": frozenset({"content_type", "content_length"})}  # noqa: RUF012
    misread: re.Pattern[str] | None = re.compile(r"\?versionId=")
    public_host: Literal["", "signed", "moved"] = "signed"
    capabilities: Capabilities = CLOUD._replace(stored_with=frozenset({"storage_class", "tags"}))
    objects = True
    bulk_delete = True
    defaults: ClassVar[Mapping[str, Any]] = {"use_listings_cache": False}
    encryptions: frozenset[str] = frozenset({"AES256", "aws:kms", "aws:kms:dsse"})
    instead: ClassVar[Mapping[str, str]] = {
        "checksum": "botocore sends a CRC32 by itself, which satisfies object lock; ObstoreBackend has checksum='sha256'"
    }

    def client_options(self) -> Collection[str]:
        return signature(import_module("aiobotocore.session").AioSession).parameters

    def with_limits(self, options: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        # botocore signs URLs for custom endpoints by its old method, which stores no longer accept, unless asked for this one
        config = {"signature_version": "s3v4", **botocore_limits(seconds), **(options.get("config_kwargs") or {})}
        return {**options, "config_kwargs": config}

    def limit(self, fs: Any, seconds: float) -> None:
        fs.retries = ATTEMPTS
        limit_calls(fs, "call_s3", "Body", 2 * ATTEMPTS * seconds)

    def write_options(self, key: str, encryption: object, acl: object, checksum: object) -> dict[str, dict[str, Any]]:
        if checksum is not None:
            raise self.refused(key, "checksum")
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
        if upload.size is None or upload.size > _MOST_TO_COPY:
            return None
        bucket, key, _ = fs.split_path(source)

        def ask(method: str, path: str, *, absent: frozenset[str] = frozenset(), **parameters: Any) -> Any:
            try:
                return fs.call_s3(method, Bucket=bucket, Key=fs.split_path(path)[1], **parameters)
            except OSError as error:
                if code_of(error) in absent or str(status_of(error)) in absent:
                    return None
                raise

        return rewrite_on_s3(ask, {"Bucket": bucket, "Key": key}, target, upload, options, fs.s3_additional_kwargs or {})

    def conditions(self, fs: Any, backend: str, at: Callable[[str], str], remove: Callable[..., Any], *, off: bool) -> Conditions:
        given = fs.endpoint_url or (fs.client_kwargs or {}).get("endpoint_url") or any(map(os.environ.get, _ENDPOINTS))
        known = Worth.OFF if off else None if given else Worth.HONOURED  # Amazon's own honours them
        return Conditions(backend, _S3fsWriter(fs, at, remove), known, known)

    def delete_many(self, fs: Any, names: Mapping[str, str]) -> dict[str, BaseException]:
        """Delete objects, a thousand a request; s3fs's ``rm`` ignores failures."""
        failed: dict[str, BaseException] = {}
        listed = list(names)
        for start in range(0, len(listed), _MOST):
            keys = {fs.split_path(name)[1]: names[name] for name in listed[start : start + _MOST]}
            bucket = fs.split_path(listed[start])[0]
            asked = {"Objects": [{"Key": key} for key in keys], "Quiet": False}
            answer = fs.call_s3("delete_objects", Bucket=bucket, Delete=asked)
            refused = {one.get("Key", ""): one for one in answer.get("Errors") or ()}
            done = {one.get("Key", "") for one in answer.get("Deleted") or ()}
            if keys.keys().isdisjoint(done | refused.keys()):
                raise _UnreadableError
            for key, path in keys.items():
                code = refused.get(key, {}).get("Code", "")
                if key not in done and code != "NoSuchKey":
                    failed[path] = _refused(code, refused.get(key, {}).get("Message", ""))
        return failed

    def is_refusal(self, error: BaseException) -> bool:
        if isinstance(error, _UnreadableError):
            return True
        status = status_of(error)
        if isinstance(error, FileNotFoundError):
            return code_of(error) not in NO_PLACE
        return status is not None and (status in _NOT_KNOWN or 400 <= status < 500) and status != 429  # noqa: PLR2004

    def may_list(self, fs: Any, root: str) -> bool:
        bucket, _, prefix = root.partition("/")
        try:
            fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)
        except PermissionError as error:
            return code_of(error) in REFUSED_KEYS
        except OSError:
            return True
        return True

    def has_place(self, fs: Any, root: str) -> bool:
        return is_found(lambda: fs.call_s3("list_objects_v2", Bucket=root.partition("/")[0], MaxKeys=1))

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
                "s3fs signs, by Signature Version 4, a header by which the requester pays, and which no browser sends; "
                "sign with ObstoreBackend(request_payer=True), which puts it into the URL"
            )
            raise UnsupportedOperationError(msg, operation="sign", path=path)
        return url

    def outside(self, fs: Any, origin: str, *, virtual: bool) -> Any:
        chosen: dict[str, Any] = {
            **fs.storage_options,
            "endpoint_url": origin,
            "asynchronous": False,
            "skip_instance_cache": True,
        }
        chosen.pop("loop", None)
        client: dict[str, Any] = dict(chosen.get("client_kwargs") or {})
        config: dict[str, Any] = dict(chosen.get("config_kwargs") or {})
        client.pop("endpoint_url", None)
        style = {**(config.get("s3") or {}), "addressing_style": "virtual" if virtual else "path"}
        chosen["client_kwargs"] = client
        chosen["config_kwargs"] = {"signature_version": "s3v4", **config, "s3": style}
        return type(fs)(*fs.storage_args, **chosen)

    def unfinished(self, fs: Any, root: str, prefix: str) -> Iterator[Unfinished]:
        bucket, _, top = root.partition("/")
        return unfinished_on_s3(partial(fs.call_s3, "list_multipart_uploads", Bucket=bucket), top, prefix)

    def abort(self, fs: Any, root: str, upload: Unfinished) -> None:
        bucket, _, top = root.partition("/")
        key = f"{top}/{upload.path}" if top else upload.path
        try:
            fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload.id)
        except OSError as error:
            if "NoSuchUpload" not in repr(error.__cause__):  # it has ended meanwhile
                raise


def _demanded(fs: Any) -> dict[str, Any]:
    """Return what s3fs adds to each write and an upload must bring; no public ACL."""
    given = {name: value for name, value in (fs.s3_additional_kwargs or {}).items() if name in _WRITE_HEADERS and value}
    return {name: value for name, value in given.items() if name != "ACL" or not _OPEN_ACL.match(value)}


class _S3fsWriter:
    """Writes through s3fs, which is patient by itself."""

    def __init__(self, fs: Any, at: Callable[[str], str], remove: Callable[..., Any]) -> None:
        self._fs = fs
        self._at = at
        self._remove = remove

    def put(self, path: str) -> Call:
        return _call(self._fs.pipe_file, self._at(path), b"?")

    def put_new(self, path: str, *, patient: bool) -> Call:
        return _call(self._fs.pipe_file, self._at(path), b"?", mode="create")

    def copy_new(self, source: str, target: str, *, patient: bool) -> Call:
        return _call(self._fs.cp_file, self._at(source), self._at(target), IfNoneMatch="*")

    def copy(self, source: str, target: str) -> Call:
        return _call(self._fs.cp_file, self._at(source), self._at(target))

    def delete(self, paths: Sequence[str]) -> Call:
        return _call(self._remove, paths)

    def reply_in(self, error: BaseException) -> WriteReply | None:
        if isinstance(error, FileExistsError) or status_of(error) in _TAKEN:
            return WriteReply.TAKEN
        status = status_of(error)
        if status in _NOT_KNOWN:
            return WriteReply.REFUSED
        if status is None or status in _BUSY or code_of(error) in BUSY_CODES:
            return None  # it has asked again by itself
        return WriteReply.UNCLEAR


def _call(function: Callable[..., Any], *args: Any, **options: Any) -> Call:
    async def never(*_: Any, **__: Any) -> Any:
        raise NotImplementedError  # FSSpecBackend works in threads

    return Call(function, never, args, options)


class _UnreadableError(OSError):
    """The answer to a bulk delete names none of the objects."""

    def __init__(self) -> None:
        super().__init__("the store's answer to DeleteObjects names none of the objects")


def _refused(code: str, message: str) -> OSError:
    if not code:
        return OSError("the store's answer to DeleteObjects does not name this object")
    kind = PermissionError if code == "AccessDenied" else OSError
    return kind(f"DeleteObjects could not delete it: {message} (code: {code})")
