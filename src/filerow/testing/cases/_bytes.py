"""Bytes in, the same bytes out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from filerow.exceptions import ContentError, StorageError
from filerow.testing._case import case, ensure, equal, raised
from filerow.testing._driver import LARGE, SMALL, SyncDriver, split

_CLOCKS = 60  # seconds that a store's clock may be off
_PER_LISTING = 2  # seconds: some listings have whole ones


def _round_trip(d: SyncDriver, data: bytes) -> None:
    path = d.at("object.bin")
    before = time.time()
    stored = d.put(path, data)
    equal(stored.path, path, "the path that put() returned")
    ensure(stored.size in {None, len(data)}, f"put() returned size {stored.size} for {len(data)} bytes")
    info = d.call("head", path)
    equal((info.path, info.size), (path, len(data)), "path and size by head()")
    ensure(info.last_modified is not None, "head() must return when the object was stored")
    ensure(abs(info.last_modified - before) < _CLOCKS, f"last_modified is {info.last_modified - before:.0f} s from now")
    ensure(stored.etag is None or stored.etag == info.etag, f"put() returned etag {stored.etag}, head() {info.etag}")
    ensure('"' not in (info.etag or ""), f"the etag comes without quotes, not as {info.etag}")
    ensure(d.call("exists", path) is True, "exists() of a stored object is not True")
    equal(d.read(path), data, "what read() returned")
    equal(b"".join(d.items("stream", path)), data, "what stream() yielded")
    (listed,) = d.items("list", d.folder)
    equal((listed.path, listed.size), (path, len(data)), "path and size by list()")
    ensure(abs(listed.last_modified - info.last_modified) < _PER_LISTING, "list() and head() disagree on the time")
    d.copy(path, d.at("copy.bin"))
    equal(d.call("delete", path), {}, "the failures of delete()")
    ensure(d.call("exists", path) is False, "exists() is not False of a deleted object")
    equal(d.paths(d.folder), [d.at("copy.bin")], "what is left after delete()")
    equal(d.read(d.at("copy.bin")), data, "what the copy holds")


@case()
def an_empty_object_goes_round(d: SyncDriver) -> None:
    """No bytes at all are content."""
    _round_trip(d, b"")


@case()
def a_small_object_goes_round(d: SyncDriver) -> None:
    """10 KiB are written, looked at, read, streamed, listed, copied and deleted."""
    _round_trip(d, SMALL)


@case()
def a_large_object_goes_round(d: SyncDriver) -> None:
    """The same with 6 MiB, which is more than one part of a multipart upload."""
    _round_trip(d, LARGE)


@case()
def every_kind_of_bytes_is_content(d: SyncDriver) -> None:
    """Buffers of all kinds and iterables of them, which may change after put()."""
    mutable = bytearray(SMALL)
    contents: list[Any] = [SMALL, mutable, memoryview(SMALL), memoryview(mutable)[0:], [SMALL[:1], SMALL[1:]], (SMALL,)]
    contents += [[bytearray(SMALL)], [memoryview(SMALL)], [b"", SMALL, b""]]
    contents += d.feeds(lambda: split(SMALL, 1000))
    for number, content in enumerate(contents):
        d.put(d.at(f"{number}"), content)
    mutable[:] = bytes(len(mutable))
    for number, content in enumerate(contents):
        equal(d.read(d.at(f"{number}")), SMALL, f"what was stored of {type(content).__name__} number {number}")


@case()
def an_iterator_without_bytes_makes_an_empty_object(d: SyncDriver) -> None:
    """Nothing, or only empty chunks."""
    for number, content in enumerate([[], [b""], *d.feeds(lambda: iter(()))]):
        d.put(d.at(f"{number}"), content)
        equal(d.call("head", d.at(f"{number}")).size, 0, "the size of an object made of no chunks")


@case()
def large_iterators_are_content(d: SyncDriver) -> None:
    """6 MiB in chunks that fit no part."""
    for number, content in enumerate(d.feeds(lambda: split(LARGE, 100_001))):
        d.put(d.at(f"{number}"), content)
        equal(d.read(d.at(f"{number}")), LARGE, f"what was stored of {type(content).__name__}")


@case()
def an_iterator_may_fill_one_buffer_again_and_again(d: SyncDriver) -> None:
    """Chunks that must be used, or copied, before the next one is asked for."""

    def refill() -> Iterator[Any]:
        buffer = bytearray(1000)
        for chunk in split(LARGE[:3_000_000], 1000):
            buffer[:] = chunk
            yield memoryview(buffer)

    for number, content in enumerate(d.feeds(refill)):
        d.put(d.at(f"{number}"), content)
        equal(d.read(d.at(f"{number}")), LARGE[:3_000_000], f"what was stored of {type(content).__name__}")


@case()
def text_is_no_content(d: SyncDriver) -> None:
    """Some stores would take it for the name of a file to upload."""
    for content in ("text", "/etc/hostname", ""):
        error: Exception = raised(ContentError, d.put, d.at("text"), content)
        ensure(isinstance(error, TypeError), "ContentError is a TypeError")
    error = raised(Exception, d.put, d.at("text"), ["text"])
    ensure(isinstance(error, (StorageError, TypeError)), f"text in a list raised {error!r}")
    equal(d.paths(d.folder), [], "what is stored after content that was refused")
