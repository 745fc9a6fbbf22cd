"""Chunks on their way into obstore: small content as one buffer, the rest without running the caller's code inside obstore.

obstore pulls a plain iterator from inside its native runtime. An iterator that itself reads through obstore (a copy from one
backend to another) would panic there, so the caller's iterator always runs in a thread of ours.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import obstore

from filerow.backends._foreign import own
from filerow.backends._types import Buffer

__all__ = ("push",)

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
