"""Writing through obstore: chunks on their way in, copies that refuse a taken target, deletes that report on each path.

obstore pulls a plain iterator from inside its native runtime. An iterator that itself reads through obstore (a copy from one
backend to another) would panic there, so the caller's iterator always runs in a thread of ours.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import obstore
from obstore import exceptions as native

from filerow._buffers import Buffer
from filerow._execution.steps import Call, Steps
from filerow.backends._foreign import check_exact, own
from filerow.backends.obstore.store import endpoint_of, with_conditional_copy

__all__ = ("Copier", "delete_steps", "push")

_BLOCK = 1 << 20  # bytes fetched per hop between threads, so that tiny chunks do not cost a hop each


class _StoppedError(Exception):
    """The content has failed; raised inside obstore so that it aborts the multipart upload."""


def _block(chunks: Iterator[Buffer]) -> Buffer:
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(own(chunk))
        size += len(held[-1])
        if size >= _BLOCK:
            break
    return held[0] if len(held) == 1 else b"".join(held)


class _Pipe:
    """One block between the thread that has the content and the thread that uploads it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._block: Buffer | None = None
        self._ended = False
        self._failed = False

    def send(self, block: Buffer) -> bool:
        """Hand over a block; return ``False`` when nobody reads any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._block is None or self._ended)
            if self._ended:
                return False
            self._block = block
            self._changed.notify_all()
            return True

    def end(self, *, failed: bool = False) -> None:
        """Say that no block follows or none is wanted; ``failed`` makes the reader raise, so that it aborts."""
        with self._changed:
            self._ended = True
            self._failed = self._failed or failed
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Buffer]:
        return self

    def __next__(self) -> Buffer:
        with self._changed:
            self._changed.wait_for(lambda: self._block is not None or self._ended)
            block, self._block = self._block, None
            self._changed.notify_all()
            if self._failed:
                raise _StoppedError
            if block is None:
                raise StopIteration
            return block


def push(store: Any, path: str, chunks: Iterator[Buffer], **options: Any) -> Any:
    """Upload an iterator that runs in this thread; obstore runs in another."""
    pipe = _Pipe()
    done: Future[Any] = Future()

    def upload() -> None:
        try:
            done.set_result(obstore.put(store, path, pipe, **options))
        except BaseException as error:  # raised again by done.result()  # noqa: BLE001
            done.set_exception(error)
        finally:
            pipe.end()

    threading.Thread(target=upload, name="filerow-upload", daemon=True).start()
    try:
        for block in iter(lambda: _block(chunks), b""):
            if not pipe.send(block):
                break
    except BaseException:
        pipe.end(failed=True)
        with suppress(BaseException):
            done.result()  # the upload has been aborted when we return
        raise
    pipe.end()
    return done.result()


# -- copies that refuse a taken target and keep the object's headers ------------------------------------------------------


class Copier:
    """Copies inside one store, and remembers how that store refuses to overwrite.

    Args:
        store: An obstore store.
        protocol: Its kind.
    """

    def __init__(self, store: Any, protocol: str) -> None:
        self._store = store
        self._protocol = protocol
        # Amazon documents If-None-Match on copies. Some compatible stores ignore it and overwrite, so those are asked first.
        self._conditional: bool | None = None if protocol == "s3" and endpoint_of(store) else True
        self._conditional_store: Any = None if protocol == "s3" else store

    def steps(self, source: str, target: str) -> Steps[None]:
        """Copy one object.

        Raises:
            FileNotFoundError: There is no source.
            FileExistsError: The target is the source.
            obstore.exceptions.AlreadyExistsError: The target is taken.
        """
        check_exact(source, self._protocol)
        if source == target:  # S3 calls that an invalid request before it looks at the condition
            yield Call(obstore.head, obstore.head_async, (self._store, source), {})
            raise FileExistsError(target)
        try:
            yield from self._copy_steps(source, target)
        except native.GenericError:
            # The local store has no error of its own for a missing source that is a folder.
            yield Call(obstore.head, obstore.head_async, (self._store, source), {})
            raise

    def _copy_steps(self, source: str, target: str) -> Steps[None]:
        if self._conditional_store is None:
            self._conditional_store = with_conditional_copy(self._store)
        if self._conditional:
            yield self._copy(self._conditional_store, source, target, overwrite=False)
        else:
            yield from self._reserve_and_copy(source, target)

    def _reserve_and_copy(self, source: str, target: str) -> Steps[None]:
        """Take the target with an empty object, which is race-free on every store, and copy over that."""
        yield Call(obstore.put, obstore.put_async, (self._store, target, b""), {"mode": "create"})
        try:
            if self._conditional is None and (yield from self._ask(source, target)):
                return
            yield self._copy(self._store, source, target, overwrite=True)
        except BaseException:
            with suppress(Exception):
                yield Call(obstore.delete, obstore.delete_async, (self._store, [target]), {})
            raise

    def _ask(self, source: str, target: str) -> Steps[bool]:
        """Copy on condition that there is no target, while there is ours; say whether the store copied all the same."""
        try:
            yield self._copy(self._conditional_store, source, target, overwrite=False)
        except (native.AlreadyExistsError, native.PreconditionError):
            self._conditional = True
            return False
        except native.NotSupportedError:
            self._conditional = False
            return False
        self._conditional = False
        return True

    @staticmethod
    def _copy(store: Any, source: str, target: str, *, overwrite: bool) -> Call:
        return Call(obstore.copy, obstore.copy_async, (store, source, target), {"overwrite": overwrite})


# -- deletes: one bulk request, and the truth about each path when it fails -----------------------------------------------


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
