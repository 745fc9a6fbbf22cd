"""Deletes, in bulk, of what has lost its row or never got one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from filerow._execution.batch import run_all
from filerow._execution.threads import until_ended
from filerow._registry import storages
from filerow.backends.base import StorageBackend
from filerow.exceptions import StorageError

__all__ = ("Delete", "delete_all")

logger = logging.getLogger("filerow")


class Delete:
    """Deletes objects of one backend in one bulk call.

    A failure is logged and counted, never raised: it must not make a successful commit look failed, and the objects are found
    again by a sweep.
    """

    def __init__(self, backend: StorageBackend, paths: Iterable[str]) -> None:
        self._backend = backend
        self._paths = list(paths)

    quick = False
    crowd = 0

    def stop(self) -> None:
        """A delete is always finished."""

    def run(self) -> None:
        """Delete, blocking."""
        _report(self._backend.delete(self._paths))

    async def run_async(self) -> None:
        """Delete without blocking the event loop; a cancellation waits for the end, for nobody would try again."""
        task = asyncio.ensure_future(self._backend.delete_async(self._paths))
        try:
            await until_ended(task)
        finally:
            _report(task.result())


def _report(failed: dict[str, StorageError]) -> None:
    storages.failed_deletes += len(failed)
    for error in failed.values():
        logger.error("an object that no row owns could not be deleted; a sweep will find it: %s", error)


def deletions(refs: Iterable[tuple[str, str]]) -> list[Delete]:
    """Return one bulk delete per backend for pairs of backend key and path."""
    by_backend: dict[str, list[str]] = {}
    for key, path in refs:
        by_backend.setdefault(key, []).append(path)
    jobs = []
    for key, paths in by_backend.items():
        try:
            jobs.append(Delete(storages.get_backend(key), paths))
        except LookupError as error:
            storages.failed_deletes += len(paths)
            logger.error("cannot delete %s: %s", paths, error)  # noqa: TRY400 - the message says it all
    return jobs


def delete_all(refs: Iterable[tuple[str, str]]) -> BaseException | None:
    """Delete objects whatever happens, and return the cancellation that arrived meanwhile, for the caller to raise."""
    jobs = deletions(refs)
    return run_all(jobs, storages.max_concurrency).error if jobs else None
