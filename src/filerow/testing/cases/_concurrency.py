"""Readers and writers at once."""

from __future__ import annotations

from filerow.backends.base import ObjectInfo
from filerow.testing._case import case, ensure, equal, is_missing
from filerow.testing._driver import OVERWRITE, SMALL, SyncDriver

_SIZE = 200_000
_PAIRS = 8


@case()
def many_puts_at_once_all_succeed(d: SyncDriver) -> None:
    """24, in three folders that are made at the same time."""
    paths = [d.at(f"new/{number % 3}/{number}") for number in range(24)]
    results = d.together([("put", path, path.encode(), OVERWRITE) for path in paths])
    equal([result for result in results if not isinstance(result, ObjectInfo)], [], "the failures of 24 puts at once")
    equal(sorted(d.paths(d.folder)), sorted(paths), "the listing")


@case()
def readers_see_whole_objects_while_they_are_replaced(d: SyncDriver) -> None:
    """Some writer's bytes, all of them, and never those of two."""
    path = d.at("contended")
    contents = [bytes([number]) * _SIZE for number in range(_PAIRS + 1)]
    d.put(path, contents[-1])
    calls = [call for content in contents[:-1] for call in (("put", path, content, OVERWRITE), ("read", path))]
    results = d.together(calls)
    equal([result for result in results if isinstance(result, BaseException)], [], "the failures of readers and writers at once")
    torn = [len(data) for data in results[1::2] if data not in contents]
    equal(torn, [], "the lengths of reads that are nobody's content")
    ensure(d.read(path) in contents, "in the end the object is nobody's content")


@case()
def readers_see_an_object_whole_or_not_at_all_while_it_goes(d: SyncDriver) -> None:
    """A read beside a delete is either complete or an ``ObjectNotFoundError``."""
    paths = [d.at(f"{number}") for number in range(_PAIRS)]
    for path in paths:
        d.put(path, SMALL)
    calls = [call for path in paths for call in (("read", path), ("delete", path), ("head", path), ("delete", path))]
    results = d.together(calls)
    for call, result in zip(calls, results, strict=True):
        expected = {"read": SMALL, "delete": {}}.get(call[0])
        whole = result.size == len(SMALL) if isinstance(result, ObjectInfo) else result == expected
        gone = call[0] != "delete" and is_missing(result)
        ensure(whole or gone, f"{call[0]}() beside a delete gave {result!r}"[:500])
    equal(d.paths(d.folder), [], "what is left")
