"""A path is given once."""

from __future__ import annotations

from functools import partial

from filerow.backends.base import ObjectInfo
from filerow.exceptions import ObjectExistsError
from filerow.testing._case import case, ensure, equal, needs_kept_paths, raised
from filerow.testing._driver import LARGE, OVERWRITE, SyncDriver, split

_WRITERS = 16


@case()
def a_taken_path_is_refused_and_keeps_its_bytes(d: SyncDriver) -> None:
    """Whatever the kind of content: bytes, none, many, iterators."""
    needs_kept_paths(d)
    path = d.at("taken")
    d.put(path, b"first")
    iterators = [*d.feeds(lambda: iter([b"second"])), *d.feeds(lambda: split(LARGE, 1 << 20))]
    for content in (b"second", b"", LARGE, *iterators):
        error = raised(ObjectExistsError, d.put, path, content)
        ensure(isinstance(error, FileExistsError), "ObjectExistsError is a FileExistsError")
        equal((error.operation, error.backend, error.path), ("put", d.backend.key, path), "what the error names")
        equal(d.read(path), b"first", "what the taken path holds")
    equal(d.paths(d.folder), [path], "what is stored after writes that were refused")


@case()
def a_path_can_be_overwritten_on_request(d: SyncDriver) -> None:
    """With ``create_only=False``."""
    path = d.at("replaced")
    for content in (b"first", LARGE, b"", b"last"):
        d.put(path, content, OVERWRITE)
        equal(d.read(path), content, "what was stored last")
    equal(d.paths(d.folder), [path], "what is stored")


def _race(d: SyncDriver, size: int, *, iterators: bool = False) -> None:
    path = d.at(f"race/{size}/x")
    contents = [f"{number:02}".encode() * size for number in range(_WRITERS)]
    given = [d.feeds(partial(split, content, 1 << 20))[-1] if iterators else content for content in contents]
    _one_wins(d, path, contents, d.together([("put", path, content) for content in given]))


def _one_wins(d: SyncDriver, path: str, contents: list[bytes], results: list[object]) -> None:
    winners = [number for number, result in enumerate(results) if isinstance(result, ObjectInfo)]
    others = [result for result in results if not isinstance(result, (ObjectInfo, ObjectExistsError))]
    equal(others, [], "what other losers of the race got than ObjectExistsError")
    equal(len(winners), 1, f"how many of {_WRITERS} writers to one path believe to have created it")
    equal(d.read(path), contents[winners[0]], "what the path holds: the winner's bytes")


@case()
def a_race_to_create_has_exactly_one_winner(d: SyncDriver) -> None:
    """16 writers at once, of little and of more."""
    d.needs("exclusive")
    needs_kept_paths(d)
    for size in (10, 100_000):
        _race(d, size)
    equal(len(d.paths(d.folder)), 2, "how many objects two races have made")


@case()
def a_race_of_copies_has_exactly_one_winner(d: SyncDriver) -> None:
    """16 objects, copied to one path at once."""
    d.needs("exclusive")
    needs_kept_paths(d)
    contents = [f"{number:02}".encode() for number in range(_WRITERS)]
    for content in contents:
        d.put(d.at(f"sources/{content.decode()}"), content)
    path = d.at("race/x")
    _one_wins(d, path, contents, d.together([("copy", d.at(f"sources/{content.decode()}"), path) for content in contents]))
    equal(len(d.paths(d.folder)), _WRITERS + 1, "how many objects there are after the race")


@case(large=True)
def a_race_of_multipart_uploads_has_exactly_one_winner(d: SyncDriver) -> None:
    """16 writers of 6 MiB each."""
    d.needs("exclusive")
    needs_kept_paths(d)
    _race(d, 3 << 20)
    equal(len(d.paths(d.folder)), 1, "how many objects a race has made")


@case(large=True)
def a_race_of_large_iterators_has_exactly_one_winner(d: SyncDriver) -> None:
    """16 writers of 6 MiB each, of unknown length."""
    d.needs("exclusive")
    needs_kept_paths(d)
    _race(d, 3 << 20, iterators=True)
    equal(len(d.paths(d.folder)), 1, "how many objects a race has made")
