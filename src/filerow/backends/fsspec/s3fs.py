"""What S3-compatible stores below s3fs make of conditions, bulk deletes and credentials that may not list."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from filerow._execution.steps import Call
from filerow.backends._conditions import Conditions, Worth, WriteReply

__all__ = ("conditions_of", "is_unknown", "may_list", "status_of")

_NOT_KNOWN = frozenset({400, 405, 501})
_REFUSED_KEYS = frozenset(
    {
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def conditions_of(fs: Any, backend: str, at: Callable[[str], str], remove: Callable[..., Any], *, off: bool) -> Conditions:
    """Return what is known of a store's conditions before it is asked: Amazon's own heeds them.

    Args:
        fs: An s3fs filesystem.
        backend: Key of the backend, for errors.
        at: Returns the name of a path in the filesystem.
        remove: Deletes paths.
        off: The application wants none to be used.
    """
    given = fs.endpoint_url or (fs.client_kwargs or {}).get("endpoint_url") or any(map(os.environ.get, _ENDPOINTS))
    known = Worth.OFF if off else None if given else Worth.HEEDED
    return Conditions(backend, _S3fsWriter(fs, at, remove), known, known)


class _S3fsWriter:
    def __init__(self, fs: Any, at: Callable[[str], str], remove: Callable[..., Any]) -> None:
        self._fs = fs
        self._at = at
        self._remove = remove

    def put(self, path: str) -> Call:
        return _call(self._fs.pipe_file, self._at(path), b"?")

    def put_new(self, path: str, *, patient: bool) -> Call:  # noqa: ARG002 - it asks again by itself
        return _call(self._fs.pipe_file, self._at(path), b"?", mode="create")

    def copy_new(self, source: str, target: str, *, patient: bool) -> Call:  # noqa: ARG002
        return _call(self._fs.cp_file, self._at(source), self._at(target), IfNoneMatch="*")

    def delete(self, paths: Sequence[str]) -> Call:
        return _call(self._remove, paths)

    def reply_in(self, error: BaseException) -> WriteReply | None:
        if isinstance(error, FileExistsError) or status_of(error) == 412:  # noqa: PLR2004 - Precondition Failed
            return WriteReply.TAKEN
        return WriteReply.REFUSED if status_of(error) in _NOT_KNOWN else None


def _call(function: Callable[..., Any], *args: Any, **options: Any) -> Call:
    async def never(*_: Any, **__: Any) -> Any:
        raise NotImplementedError  # FSSpecBackend works in threads

    return Call(function, never, args, options)


def status_of(error: BaseException | None) -> int | None:
    """Return the HTTP status that an error of s3fs comes from."""
    while error is not None:
        answer: Mapping[str, Any] = getattr(error, "response", None) or {}
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status is not None:
            return int(status)
        error = error.__cause__
    return None


def is_unknown(error: BaseException) -> bool:
    """Return True if a store does not know what it was asked to do, or reads it otherwise."""
    return status_of(error) in _NOT_KNOWN


def may_list(fs: Any, root: str) -> bool:
    """Return True if the credentials may list, or are wrong altogether: then what was forbidden was not just missing."""
    bucket, _, prefix = root.partition("/")
    try:
        fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)
    except PermissionError as error:
        answer: Mapping[str, Any] = getattr(error.__cause__, "response", None) or {}
        return answer.get("Error", {}).get("Code") in _REFUSED_KEYS
    except OSError:
        return True
    return True
