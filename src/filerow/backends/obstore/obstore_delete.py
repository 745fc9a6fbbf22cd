"""Deletes: one bulk request, and the truth about each path when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import obstore
from obstore import exceptions as native

from filerow._execution.steps import Call, Steps
from filerow.backends._foreign import check_exact

__all__ = ("delete_steps",)

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist", "container does not exist")
_AT_ONCE = 10


def delete_steps(store: Any, paths: Sequence[str], protocol: str) -> Steps[Mapping[str, BaseException]]:
    """Delete objects in one bulk request; a missing one counts as deleted.

    Returns:
        The paths that failed, each with its error.

    Raises:
        Exception: The store refused the request as a whole.
    """
    paths = [path for path in paths if _is_exact(path, protocol)]
    if not paths:
        return {}
    try:
        yield Call(obstore.delete, obstore.delete_async, (store, paths), {})
    except FileNotFoundError as error:
        if _is_missing_bucket(error, protocol):
            raise
        if len(paths) == 1:
            return {}
    except native.GenericError as error:
        if protocol != "file" and (len(paths) == 1 or "DeleteFailed" not in str(error)):
            raise
    else:
        return {}
    # The error tells of one object, and not what became of the others.
    call = Call(_delete_each, _delete_each_async, (store, paths, protocol), {})
    return (yield call)  # type: ignore[no-any-return]


def _is_exact(path: str, protocol: str) -> bool:
    try:
        check_exact(path, protocol)
    except FileNotFoundError:
        return False
    return True


def _is_missing_bucket(error: BaseException, protocol: str) -> bool:
    return protocol == "s3" or any(sign in str(error) for sign in _NO_BUCKET)  # S3 deletes missing objects without complaint


def _delete_each(store: Any, paths: Sequence[str], protocol: str) -> dict[str, BaseException]:
    failed: dict[str, BaseException] = {}
    for path in paths:
        try:
            obstore.delete(store, path)
        except Exception as error:  # each path's failure is its own  # noqa: BLE001
            _note(failed, path, error, protocol)
    return failed


async def _delete_each_async(store: Any, paths: Sequence[str], protocol: str) -> dict[str, BaseException]:
    failed: dict[str, BaseException] = {}
    turn = asyncio.Semaphore(_AT_ONCE)

    async def delete(path: str) -> None:
        async with turn:
            try:
                await obstore.delete_async(store, path)
            except Exception as error:  # noqa: BLE001
                _note(failed, path, error, protocol)

    await asyncio.gather(*map(delete, paths))
    return failed


def _note(failed: dict[str, BaseException], path: str, error: Exception, protocol: str) -> None:
    if protocol == "file" and isinstance(error, native.GenericError) and "is a directory" in str(error).lower():
        return  # a folder is no object
    if not isinstance(error, FileNotFoundError) or _is_missing_bucket(error, protocol):
        failed[path] = error
