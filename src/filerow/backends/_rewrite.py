"""Copies of a client's upload inside the store, with none of its headers.

Each cloud has its own way to replace what an uploader has sent (headers, metadata, tags), and whatever it answers, the copy is
looked at afterwards: if anything of the client's is left, the copy is deleted, and the bytes are read and written instead. What
is asked is written down here once for each cloud; obstore's and fsspec's backends differ in who sends it.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

from filerow._execution.steps import Call
from filerow._log import extras, logger
from filerow.backends._headers import encode_metadata
from filerow.backends._status import status_of
from filerow.backends._stored_with import encoded_tags
from filerow.backends._types import ObjectInfo, PutOptions, Rewritten
from filerow.backends.base import StorageBackend
from filerow.exceptions import ClaimError, StorageError, UnsupportedOperationError

_GONE = frozenset({"PreconditionFailed", "412", "NoSuchKey", "404"})
_REWRITE = "b/{}/o/{}/rewriteTo/b/{}/o/{}"
_OBJECT = "b/{}/o/{}"
_LONGEST_PENDING = 60.0
"""Seconds that Azure may take for a copy inside one account, or Google for one in a bucket, done at once as a rule."""

_BETWEEN = 0.05
"""Seconds between two requests of one copy."""

_REFUSED = frozenset({400, 403, 405, 501})
"""Answers of a store that does not copy as it is asked to, or may not."""


class KeptHeadersError(Exception):
    """The store kept some of the client's headers in a copy, which is deleted."""


_keeping: WeakKeyDictionary[StorageBackend, bool] = WeakKeyDictionary()
"""Backends whose store has done so, and will do so again."""


def rewrite_call(backend: StorageBackend, upload: ObjectInfo, target: str, options: PutOptions) -> Call | None:
    """Return the call by which a store copies an upload, with our headers alone.

    Args:
        backend: Where both are.
        upload: What was looked at, with its etag.
        target: A path that nothing else can have.
        options: What the copy is to be stored with.

    Returns:
        A call that returns a :class:`Rewritten`, or ``None`` if the bytes are to be read and written; ``None`` where that is
        known beforehand.
    """
    if backend in _keeping:
        return None
    return Call(_rewrite, _rewrite_async, (backend, upload, target, options), {})


def _rewrite(backend: StorageBackend, upload: ObjectInfo, target: str, options: PutOptions) -> Rewritten | None:
    with _ReadAndWrite(backend) as outcome, backend._errors("copy", upload.path, target=target):  # noqa: SLF001 - as its own methods do
        return backend._rewrite(upload, target, options)  # noqa: SLF001
    if not outcome.kept:  # else the copy is deleted; but the refusal may have come after it was made
        backend.delete([target])
    return None


async def _rewrite_async(backend: StorageBackend, upload: ObjectInfo, target: str, options: PutOptions) -> Rewritten | None:
    with _ReadAndWrite(backend) as outcome, backend._errors("copy", upload.path, target=target):  # noqa: SLF001
        return await backend._rewrite_async(upload, target, options)  # noqa: SLF001
    if not outcome.kept:
        await backend.delete_async([target])
    return None


class _ReadAndWrite:
    """Notes for which stores uploads are read and written instead of copied.

    Attributes:
        kept: It has kept headers.
    """

    def __init__(self, backend: StorageBackend) -> None:
        self.kept = False
        self._backend = backend

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, StorageError):
            return False
        backend, self.kept = self._backend, isinstance(error.__cause__, KeptHeadersError)
        if not self.kept and not isinstance(error, UnsupportedOperationError) and status_of(error) not in _REFUSED:
            return False
        _keeping[backend] = True
        logger.info(
            "backend %r: large uploads of clients are read and written from now on, because its store %s",
            backend.key,
            "keeps headers in copies that they were to be replaced in" if self.kept else f"does not copy them: {error}",
            extra=extras("copy", backend.key),
        )
        return True


def _changed() -> ClaimError:
    msg = "something else was uploaded since this claim was looked at, or the claim was used; look again"
    return ClaimError(msg, code="upload-differs")


def _is_ours(carried: Mapping[str, object], options: PutOptions, more: Mapping[str, object]) -> bool:
    """Return True if an object carries what we asked for and nothing else.

    Args:
        carried: All that an uploader can send along, by name; empty values are absent.
        options: What we have asked for.
        more: The same of what each store calls by another name.
    """
    headers = {
        "Content-Type": options.content_type,
        "Content-Disposition": options.content_disposition,
        "Cache-Control": options.cache_control,
    }
    ours = {name: value for name, value in {**headers, **more}.items() if value}
    return {name: value for name, value in carried.items() if value} == ours


def _metadata(options: PutOptions, *, identifiers: bool = False) -> dict[str, str]:
    return encode_metadata(options.metadata, backend="", path="", operation="", identifiers=identifiers)


# -- S3 ----------------------------------------------------------------------------------------------------------------


def rewrite_on_s3(
    ask: Callable[..., Any],
    origin: Mapping[str, str],
    target: str,
    upload: ObjectInfo,
    options: PutOptions,
    usual: Mapping[str, Any] = MappingProxyType({}),
    **demanded: Any,
) -> Rewritten:
    """Copy an upload on S3, or on a store that speaks its language.

    Args:
        ask: Sends one request: the method of botocore's client, the target, ``absent=`` with the error codes that give ``None``,
            and parameters.
        origin: Bucket and key of the upload, which has at most 5 GiB.
        target: What ``ask`` calls the path of the copy.
        upload: What was looked at.
        options: What the copy is to be stored with.
        usual: What the application's client adds to each write, copies included.
        **demanded: Further parameters of the copy, such as its encryption.

    Raises:
        ClaimError: The upload has another etag by now, or is gone.
        KeptHeadersError: Something of the client's was left.
    """
    metadata = _metadata(options)
    wanted = {"CacheControl": options.cache_control, "StorageClass": options.storage_class, "Metadata": metadata}
    wanted["Tagging"] = encoded_tags(options.tags)
    done = ask(
        "copy_object",
        target,
        CopySource=dict(origin),
        CopySourceIfMatch=f'"{upload.etag}"',
        MetadataDirective="REPLACE",
        TaggingDirective="REPLACE",
        ContentType=options.content_type,
        ContentDisposition=options.content_disposition,
        absent=_GONE,
        **{name: value for name, value in wanted.items() if value},
        **demanded,
    )
    if done is None:
        raise _changed()
    head = ask("head_object", target, ChecksumMode="ENABLED")
    if not _is_ours(*_carried_on_s3(head, options, usual)):
        ask("delete_object", target)
        raise KeptHeadersError
    digest = head.get("ChecksumSHA256", "")
    checksum = None if not digest or "-" in digest else f"sha256:{base64.b64decode(digest).hex()}"
    return Rewritten(head["ETag"].strip('"'), head.get("VersionId"), checksum)


def _carried_on_s3(
    head: Mapping[str, Any], options: PutOptions, usual: Mapping[str, Any]
) -> tuple[dict[str, object], PutOptions, dict[str, object]]:
    """Return what a copy carries, and what it was to carry."""
    expected: dict[str, object] = {
        name: usual.get(name) for name in ("ContentEncoding", "ContentLanguage", "WebsiteRedirectLocation")
    }
    metadata = _metadata(options) or {name.lower(): value for name, value in (usual.get("Metadata") or {}).items()}
    tags = len(options.tags) or len(parse_qsl(usual.get("Tagging") or "", keep_blank_values=True))
    expected |= {"Metadata": metadata, "TagCount": tags if head.get("TagCount") else 0}  # which is not shown to everybody
    found = head.get("StorageClass", "STANDARD")
    classes = {"STANDARD", usual.get("StorageClass"), options.storage_class}
    carried: dict[str, object] = {
        "Content-Type": head.get("ContentType"),
        "Content-Disposition": head.get("ContentDisposition"),
        "Cache-Control": head.get("CacheControl"),
        "Expires": head.get("Expires"),
        **{name: head.get(name) for name in expected},
        "StorageClass": None if found in classes else found,
    }
    return carried, options._replace(cache_control=options.cache_control or usual.get("CacheControl")), expected


# -- Google ------------------------------------------------------------------------------------------------------------


def rewrite_on_gcs(
    ask: Callable[..., Any], origin: tuple[str, str], target: str, upload: ObjectInfo, options: PutOptions, **demanded: str
) -> Rewritten | None:
    """Copy an upload on Google by the JSON API, which takes new metadata.

    Args:
        ask: Sends one request: method, path with ``{}`` for each name, the names, ``json=`` and parameters of the query; returns
            the answer's JSON, or ``None`` where an object or a generation is gone.
        origin: Bucket and name of the upload.
        target: Name of the copy.
        upload: What was looked at; its version is its generation, where the backend knows it.
        options: What the copy is to be stored with.
        **demanded: Further parameters of the copy, such as the key that encrypts it.

    Returns:
        The copy; ``None`` if Google takes too long.

    Raises:
        ClaimError: The upload has another generation or etag by now, or is gone.
        KeptHeadersError: Something of the client's was left.
    """
    bucket, source = origin
    there = ask("GET", _OBJECT, bucket, source)
    if there is None or not _is_same(there, upload):
        raise _changed()
    asked = {"ifSourceGenerationMatch": str(there["generation"]), **demanded}
    metadata = _metadata(options)
    body: dict[str, Any] = {"contentType": options.content_type, "contentDisposition": options.content_disposition}
    wanted = {"cacheControl": options.cache_control, "storageClass": options.storage_class, "metadata": metadata}
    body |= {name: value for name, value in wanted.items() if value}
    until = time.monotonic() + _LONGEST_PENDING
    while True:  # what is large, or goes to another class of storage, is copied in several requests
        answer = ask("POST", _REWRITE, bucket, source, bucket, target, json=body, **asked)
        if answer is None:
            raise _changed()
        if answer.get("done"):
            break
        if not answer.get("rewriteToken") or time.monotonic() > until:
            return None
        asked["rewriteToken"] = answer["rewriteToken"]
        time.sleep(_BETWEEN)
    found = ask("GET", _OBJECT, bucket, target)
    if found is None:
        return None
    if not _is_ours(_carried_on_gcs(found), options, {"metadata": metadata}):
        ask("DELETE", _OBJECT, bucket, target)
        raise KeptHeadersError
    return Rewritten(found["etag"].strip('"'), str(found["generation"]), None)


def _is_same(there: Mapping[str, Any], upload: ObjectInfo) -> bool:
    if upload.version_id is not None:
        return str(there["generation"]) == upload.version_id
    return str(there["etag"]).strip('"') == upload.etag  # the JSON API has etags of its own


def _carried_on_gcs(found: Mapping[str, Any]) -> dict[str, object]:
    # the class of storage is the bucket's own, for a rewrite with metadata takes none along
    others = ("contentEncoding", "contentLanguage", "customTime", "metadata", "temporaryHold", "contexts")
    return {
        "Content-Type": found.get("contentType"),
        "Content-Disposition": found.get("contentDisposition"),
        "Cache-Control": found.get("cacheControl"),
        **{name: found.get(name) for name in others},
    }


# -- Azure -------------------------------------------------------------------------------------------------------------


def rewrite_on_azure(
    ask: Callable[..., Any], source: Any, target: Any, upload: ObjectInfo, options: PutOptions
) -> Rewritten | None:
    """Copy an upload on Azure without its tags, then set properties and metadata.

    Args:
        ask: Calls a method of a blob client by its name, with arguments.
        source: A client of Azure's own library for the upload.
        target: One for the copy.
        upload: What was looked at.
        options: What the copy is to be stored with.

    Returns:
        The copy; ``None`` if there is none: the upload is not a block blob, or in a tier of the client's choice, or Azure takes
        too long.

    Raises:
        ClaimError: The upload has another etag by now, or is gone.
        KeptHeadersError: Something of the client's was left.
    """
    unchanged = import_module("azure.core").MatchConditions.IfNotModified
    etag = f'"{upload.etag}"'
    errors = import_module("azure.core.exceptions")
    try:
        there = ask(source, "get_blob_properties", etag=etag, match_condition=unchanged)
        if str(getattr(there.blob_type, "value", there.blob_type)) != "BlockBlob" or _is_chosen(there):
            return None
        answer = ask(target, "start_copy_from_url", source.url, source_etag=etag, source_match_condition=unchanged)
    except (errors.ResourceNotFoundError, errors.ResourceModifiedError) as error:
        raise _changed() from error
    if not _is_copied(ask, target, answer):
        return None
    settings = import_module("azure.storage.blob").ContentSettings
    headers = {"content_type": options.content_type, "content_disposition": options.content_disposition}
    ours = settings(**headers, cache_control=options.cache_control)
    ask(target, "set_http_headers", content_settings=ours)  # which removes all others
    metadata = _metadata(options, identifiers=True)
    ask(target, "set_blob_metadata", metadata=metadata)
    if options.tags:
        ask(target, "set_blob_tags", dict(options.tags))
    if options.storage_class is not None:
        ask(target, "set_standard_blob_tier", options.storage_class)
    found = ask(target, "get_blob_properties")
    expected = {"metadata": metadata, "tags": len(options.tags), "tier": options.storage_class}
    if not _is_ours(_carried_on_azure(found), options, expected):
        ask(target, "delete_blob")
        raise KeptHeadersError
    return Rewritten(found.etag.strip('"'), found.version_id, None)


def _is_chosen(found: Any) -> bool:
    """Return True if a blob's tier was chosen, not inherited from the account."""
    return bool(found.blob_tier) and not found.blob_tier_inferred


def _is_copied(ask: Callable[..., Any], target: Any, answer: Mapping[str, Any]) -> bool:
    """Wait for a copy; remove it and return False where it fails, or takes too long."""
    status, pause, until = answer["copy_status"], 0.05, time.monotonic() + _LONGEST_PENDING
    try:
        while status == "pending" and time.monotonic() < until:
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
            status = ask(target, "get_blob_properties").copy.status
        if status == "success":
            return True
    except BaseException:
        with suppress(Exception):  # a pending copy cannot be deleted
            ask(target, "abort_copy", answer["copy_id"])
        raise
    if status == "pending":
        ask(target, "abort_copy", answer["copy_id"])
    ask(target, "delete_blob")
    return False


def _carried_on_azure(found: Any) -> dict[str, object]:
    settings = found.content_settings
    return {
        "Content-Type": settings.content_type,
        "Content-Disposition": settings.content_disposition,
        "Cache-Control": settings.cache_control,
        "Content-Encoding": settings.content_encoding,
        "Content-Language": settings.content_language,
        "Content-MD5": settings.content_md5,
        "metadata": found.metadata,
        "tags": found.tag_count,
        "tier": str(found.blob_tier) if _is_chosen(found) else None,
    }
