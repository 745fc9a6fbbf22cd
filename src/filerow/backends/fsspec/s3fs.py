"""What S3-compatible stores below s3fs make of conditions, bulk deletes and credentials that may not list."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from filerow._execution.steps import Call
from filerow.backends._answers import BUSY_CODES, NO_PLACE, REFUSED_KEYS
from filerow.backends._conditions import Conditions, Worth, WriteReply
from filerow.backends.fsspec.answers import code_of, status_of

__all__ = ("UnreadableError", "conditions_of", "delete_many", "is_refusal", "may_list", "on_public_host")

_NOT_KNOWN = frozenset({400, 405, 501})
_BUSY = frozenset({429, 500, 502, 503, 504})
_TAKEN = frozenset({304, 412})
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


def is_refusal(error: BaseException) -> bool:
    """Return True if a bulk delete failed as one does that the store does not know, or reads otherwise than it was meant."""
    status = status_of(error)
    if isinstance(error, FileNotFoundError):
        return code_of(error) not in NO_PLACE
    return status is not None and (status in _NOT_KNOWN or 400 <= status < 500) and status != 429  # noqa: PLR2004


def delete_many(fs: Any, names: Mapping[str, str]) -> dict[str, BaseException]:
    """Delete objects by requests for a thousand each. s3fs's own ``rm`` does not look at what the store could not delete.

    Args:
        fs: An s3fs filesystem.
        names: The paths of the objects by their names in the filesystem.

    Returns:
        The paths that failed, each with its error.

    Raises:
        OSError: The store refused the request as a whole.
        UnreadableError: Nothing in the answer says what became of the objects.
    """
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
            raise UnreadableError
        for key, path in keys.items():
            code = refused.get(key, {}).get("Code", "")
            if key not in done and code != "NoSuchKey":
                failed[path] = _refused(code, refused.get(key, {}).get("Message", ""))
    return failed


_MOST = 1_000


class UnreadableError(OSError):
    """The answer to a bulk delete names none of the objects."""

    def __init__(self) -> None:
        super().__init__("the store's answer to DeleteObjects names none of the objects")


def _refused(code: str, message: str) -> OSError:
    if not code:
        return OSError("the store's answer to DeleteObjects does not name this object")
    kind = PermissionError if code == "AccessDenied" else OSError
    return kind(f"DeleteObjects could not delete it: {message} (code: {code})")


def may_list(fs: Any, root: str) -> bool:
    """Return True if the credentials may list, or are wrong altogether: then what was forbidden was not just missing."""
    bucket, _, prefix = root.partition("/")
    try:
        fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)
    except PermissionError as error:
        return code_of(error) in REFUSED_KEYS
    except OSError:
        return True
    return True


def on_public_host(fs: Any, origin: str, *, virtual: bool) -> Any:
    """Return an s3fs filesystem like this one that signs for another host, which Signature Version 4 covers.

    Args:
        fs: An s3fs filesystem.
        origin: Scheme and host, without the bucket.
        virtual: The bucket is addressed by the host.
    """
    chosen: dict[str, Any] = {**fs.storage_options, "endpoint_url": origin, "asynchronous": False, "skip_instance_cache": True}
    chosen.pop("loop", None)
    client: dict[str, Any] = dict(chosen.get("client_kwargs") or {})
    config: dict[str, Any] = dict(chosen.get("config_kwargs") or {})
    client.pop("endpoint_url", None)
    style = {**(config.get("s3") or {}), "addressing_style": "virtual" if virtual else "path"}
    chosen["client_kwargs"] = client
    chosen["config_kwargs"] = {"signature_version": "s3v4", **config, "s3": style}
    return type(fs)(*fs.storage_args, **chosen)
