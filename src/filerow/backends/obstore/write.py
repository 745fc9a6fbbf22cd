"""Writing through obstore: chunks, copies that refuse taken targets, deletes.

obstore pulls a plain iterator from inside its native runtime. An iterator that itself reads through obstore (a copy from one
backend to another) would panic there, so the caller's iterator always runs in a thread of ours.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import obstore
from obstore import exceptions as native

from filerow._buffers import Buffer
from filerow._execution.steps import Call, Steps
from filerow.backends._answers import NO_PLACE, code_in
from filerow.backends._conditions import AT_ONCE, Conditions, Worth, note_single_deletes
from filerow.backends._foreign import check_exact, is_portable, own
from filerow.backends.obstore.errors import BUSY, status_of
from filerow.backends.obstore.store import endpoint_of, is_one_by_one, one_by_one, with_conditional_copy, without_retries

_BLOCK = 1 << 20  # bytes fetched per hop between threads, so that tiny chunks do not cost a hop each


class _StoppedError(Exception):
    """The content has failed; raised inside obstore, so that it aborts the upload."""


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
    """One block between the thread with the content and the one that uploads."""

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
        """End the pipe from either side; ``failed`` makes the reader raise."""
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


# -- copies that keep the object's headers and, where they must, refuse a taken target ------------------------------------


class Copier:
    """Copies inside one store."""

    def __init__(self, store: Any, protocol: str, conditions: Conditions) -> None:
        self._store = store
        self._protocol = protocol
        self._conditions = conditions
        self._conditional_store: Any = None if protocol == "s3" else store

    def over_steps(self, source: str, target: str) -> Steps[None]:
        """Copy one object to a path that is ours alone.

        Raises:
            FileNotFoundError: There is no source.
        """
        if self._protocol == "s3":  # elsewhere a condition is one that every store honours
            check_exact(source, self._protocol)
            yield _copy(self._store, source, target, overwrite=True)
        else:
            yield from self.steps(source, target)

    def steps(self, source: str, target: str) -> Steps[None]:
        """Copy one object to a free path.

        Raises:
            FileNotFoundError: There is no source.
            FileExistsError: The target is the source.
            obstore.exceptions.AlreadyExistsError: The target is taken.
            UnsupportedOperationError: Nothing keeps the target free.
        """
        check_exact(source, self._protocol)
        if source == target:  # S3 calls that an invalid request before it looks at the condition
            yield _head(self._store, source)
            raise FileExistsError(target)
        try:
            yield from self._new_steps(source, target)
        except native.GenericError:
            # The local store has no error of its own for a missing source that is a folder.
            yield _head(self._store, source)
            raise

    def _new_steps(self, source: str, target: str) -> Steps[None]:
        if (yield from self._conditions.copy_steps()) is Worth.HONOURED:
            if self._conditional_store is None:
                self._conditional_store = with_conditional_copy(self._store)
            yield _copy(self._conditional_store, source, target, overwrite=False)
        elif (yield from self._conditions.put_steps()) is Worth.HONOURED:
            yield from self._reserve_and_copy(source, target)
        else:
            yield from self._conditions.check_steps("copy", source)
            yield from look_steps(self._store, target)
            yield _copy(self._store, source, target, overwrite=True)

    def _reserve_and_copy(self, source: str, target: str) -> Steps[None]:
        """Take the target with an empty object, and copy over that."""
        yield Call(obstore.put, obstore.put_async, (self._store, target, b""), {"mode": "create"})
        try:
            yield _copy(self._store, source, target, overwrite=True)
        except BaseException:
            with suppress(Exception):
                yield Call(obstore.delete, obstore.delete_async, (self._store, [target]), {})
            raise


def look_steps(store: Any, path: str) -> Steps[None]:
    """Check that a path is free, for a store without conditions.

    Raises:
        FileExistsError: It is taken.
    """
    try:
        yield _head(store, path)
    except FileNotFoundError:
        return
    raise FileExistsError(path)


def _head(store: Any, path: str) -> Call:
    return Call(obstore.head, obstore.head_async, (store, path), {})


def _copy(store: Any, source: str, target: str, *, overwrite: bool) -> Call:
    return Call(obstore.copy, obstore.copy_async, (store, source, target), {"overwrite": overwrite})


# -- deletes: one bulk request where the store knows it, and the truth about each path when it fails ---------------------


_NO_BUCKET = (*NO_PLACE, "bucket does not exist", "container does not exist")
_UNKNOWN = frozenset({405, 501})
"""Statuses of a request that a store does not know; others that refuse mean one that it misreads."""

_TOO_MANY = 413
_UNREADABLE = "invalid DeleteObjects response"


class Deleter:
    """Deletes from one store; remembers whether that takes a request each."""

    def __init__(self, store: Any, backend: str, protocol: str) -> None:
        self._store = store
        self._backend = backend
        self._protocol = protocol
        self._each: Any = None
        self._most = sys.maxsize  # objects of one request
        # Not every store that speaks S3's language knows DeleteObjects; obstore would try eleven times.
        self._unsure = protocol == "s3" and bool(endpoint_of(store)) and not self._is_one_by_one(store)

    @property
    def is_bulk(self) -> bool:
        """Whether many objects go in one request, as far as is known."""
        return self._each is None and not self._is_one_by_one(self._store)

    def steps(self, paths: Sequence[str]) -> Steps[Mapping[str, BaseException]]:
        """Delete objects, in bulk if possible; a missing one counts as deleted.

        Returns:
            The paths that failed, each with its error.

        Raises:
            Exception: The store refused the request as a whole.
        """
        paths = [path for path in paths if _is_exact(path, self._protocol)]
        failed: dict[str, BaseException] = {}
        while paths:
            some, paths = paths[: self._most], paths[self._most :]
            try:
                failed |= yield from self._some(some)
            except native.GenericError as error:
                if status_of(error) != _TOO_MANY or len(some) == 1:
                    raise
                self._most = len(some) // 2
                paths = some + paths
        return failed

    def _some(self, paths: Sequence[str]) -> Steps[Mapping[str, BaseException]]:
        if self._each is not None:
            return (yield from self._delete(self._each, paths))
        if self._unsure:
            return (yield from self._find_out(paths))
        return (yield from self._delete(self._store, paths))

    def _is_one_by_one(self, store: Any) -> bool:
        return self._protocol == "s3" and is_one_by_one(store)

    def _find_out(self, paths: Sequence[str]) -> Steps[Mapping[str, BaseException]]:
        try:
            yield Call(obstore.delete, obstore.delete_async, (without_retries(self._store), paths), {})
        except (native.BaseError, FileNotFoundError) as error:
            status = status_of(error)
            if "DeleteFailed" in str(error):  # it has read the request
                self._unsure = False
            elif _is_refusal(error, status) and not (status == _TOO_MANY and len(paths) > 1):
                return (yield from self._fall_back(paths, error))
            elif status not in BUSY:  # above all no answer in time, which is not waited for twice
                raise
        else:
            self._unsure = False
            return {}
        return (yield from self._delete(self._store, paths))

    def _fall_back(self, paths: Sequence[str], refused: BaseException) -> Steps[Mapping[str, BaseException]]:
        """Delete one by one, unless the first delete fails as the bulk delete did."""
        each, certain = one_by_one(self._store), status_of(refused) in _UNKNOWN
        try:
            failed = dict((yield from self._delete(each, paths[:1])))
        except FileNotFoundError:
            raise refused from None  # the bucket is missing
        if any(status_of(error) == status_of(refused) for error in failed.values()):
            raise refused
        failed |= yield from self._delete(each, paths[1:])
        # a name that XML cannot hold may be the reason
        if len(failed) < len(paths) and (certain or (not failed and all(map(is_portable, paths)))):
            self._each, self._unsure = each, False
            note_single_deletes(self._backend, "; aws_disable_bulk_delete=True says so from the start")
        return failed

    def _delete(self, store: Any, paths: Sequence[str]) -> Steps[Mapping[str, BaseException]]:
        protocol, single = self._protocol, self._is_one_by_one(store)
        try:
            if paths:
                yield Call(obstore.delete, obstore.delete_async, (store, paths), {})
        except (FileNotFoundError, native.GenericError, native.PermissionDeniedError) as error:
            if _is_of_all(error, paths, protocol, single=single):
                raise
            if len(paths) == 1 and (isinstance(error, FileNotFoundError) or _is_gone(error)):
                return {}
        else:
            return {}
        # The error is about one object, and nothing is known of the others.
        call = Call(_delete_each, _delete_each_async, (store, paths, protocol, single), {})
        return (yield call)  # type: ignore[no-any-return]


def _is_of_all(error: BaseException, paths: Sequence[str], protocol: str, *, single: bool) -> bool:
    """Return True if an error is about the whole request, and so about each object."""
    if isinstance(error, FileNotFoundError):
        return _is_missing_bucket(error, protocol, bulk=not single)
    if single or _is_gone(error):
        return False
    whole = len(paths) == 1 or "DeleteFailed" not in str(error)
    return isinstance(error, native.PermissionDeniedError) or (protocol != "file" and whole)


def _is_refusal(error: BaseException, status: int | None) -> bool:
    """Return True if a store does not know bulk deletes, or misreads them."""
    if isinstance(error, FileNotFoundError):
        return code_in(str(error)) not in NO_PLACE
    if _UNREADABLE in str(error):
        return True
    return status is not None and (status in _UNKNOWN or 400 <= status < 500) and status not in BUSY  # noqa: PLR2004


def _is_gone(error: BaseException) -> bool:
    """Return True if a bulk delete reports a missing object as an error."""
    return "(code: NoSuchKey)" in str(error)


def _is_exact(path: str, protocol: str) -> bool:
    try:
        check_exact(path, protocol)
    except FileNotFoundError:
        return False
    return True


def _is_missing_bucket(error: BaseException, protocol: str, *, bulk: bool = False) -> bool:
    text = str(error)
    if protocol == "s3":  # which deletes missing objects without complaint; some that speak its language complain
        return bulk or "<Code>NoSuchKey" not in text  # and one that finds nothing at all has no bulk deletes
    return any(sign in text for sign in _NO_BUCKET)


def _delete_each(store: Any, paths: Sequence[str], protocol: str, single: bool) -> dict[str, BaseException]:  # noqa: FBT001
    failed: dict[str, BaseException] = {}
    for path in paths:
        try:
            obstore.delete(store, path)
        except Exception as error:  # each path's failure is its own  # noqa: BLE001
            _note(failed, path, error, protocol, bulk=not single)
    return failed


async def _delete_each_async(store: Any, paths: Sequence[str], protocol: str, single: bool) -> dict[str, BaseException]:  # noqa: FBT001
    failed: dict[str, BaseException] = {}
    turn = asyncio.Semaphore(AT_ONCE)

    async def delete(path: str) -> None:
        async with turn:
            try:
                await obstore.delete_async(store, path)
            except Exception as error:  # noqa: BLE001
                _note(failed, path, error, protocol, bulk=not single)

    await asyncio.gather(*map(delete, paths))
    return failed


def _note(failed: dict[str, BaseException], path: str, error: Exception, protocol: str, *, bulk: bool) -> None:
    if protocol == "file" and isinstance(error, native.GenericError) and "is a directory" in str(error).lower():
        return  # a folder is not an object
    if _is_gone(error):
        return
    if not isinstance(error, FileNotFoundError) or _is_missing_bucket(error, protocol, bulk=bulk):
        failed[path] = error
