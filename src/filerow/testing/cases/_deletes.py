"""Objects go, once and for all, and no others with them."""

from __future__ import annotations

from filerow.testing._case import case, equal
from filerow.testing._driver import OVERWRITE, SyncDriver

_MANY = 120
_VERY_MANY = 1200  # more than one bulk request takes
_AT_ONCE = 24


@case()
def deleting_is_idempotent(d: SyncDriver) -> None:
    """A missing object counts as deleted, alone or among others."""
    paths = [d.at(f"{number}") for number in range(5)]
    for path in paths[:3]:
        d.put(path, b"x")
    d.put(d.at("other"), b"x")
    equal(d.call("delete", []), {}, "the failures of deleting nothing")
    equal(d.call("delete", [*paths, d.at("no/such/folder/x")]), {}, "the failures when some are missing")
    equal(d.call("delete", paths), {}, "the failures when all are missing")
    equal(d.call("delete", paths[0]), {}, "the failures when the only one is missing")
    equal(d.paths(d.folder), [d.at("other")], "what is left")


@case()
def deleting_a_folder_deletes_nothing(d: SyncDriver) -> None:
    """A path is an object's, never all that is below it."""
    d.put(d.at("a/b/c"), b"x")
    for path in (d.at("a"), d.at("a/b"), d.folder):
        equal(d.call("delete", path), {}, "the failures of deleting a folder")
    equal(d.paths(d.folder), [d.at("a/b/c")], "what is left")


@case()
def deleting_one_object_leaves_those_with_a_longer_name(d: SyncDriver) -> None:
    """``a/b`` goes; ``a/bc``, ``a/b.x`` and the like stay, one or many at once."""
    names = ["a/b", "a/bc", "a/b.x", "a/b-c/d", "a/b*", "ab"]
    for name in names:
        d.put(d.at(name), b"x")
    equal(d.call("delete", d.at("a/b")), {}, "the failures of deleting a/b")
    equal(sorted(d.paths(d.folder)), sorted(map(d.at, names[1:])), "what is left without a/b")
    equal(d.call("delete", [d.at("a/b*"), d.at("a/b")]), {}, "the failures of deleting a/b* and a/b")
    equal(sorted(d.paths(d.folder)), sorted(d.at(name) for name in names if name not in {"a/b", "a/b*"}), "what is left")


@case()
def a_deleted_path_is_free_again(d: SyncDriver) -> None:
    """Create-only looks at what is there now."""
    d.put(d.at("again"), b"one")
    d.call("delete", d.at("again"))
    d.put(d.at("again"), b"two")
    equal(d.read(d.at("again")), b"two", "what the path holds")


def _delete_many(d: SyncDriver, count: int) -> None:
    paths = [d.at(f"many/{number % 7}/{number}") for number in range(count)]
    for first in range(0, count, _AT_ONCE):
        results = d.together([("put", path, b"x", OVERWRITE) for path in paths[first : first + _AT_ONCE]])
        equal([result for result in results if isinstance(result, BaseException)], [], "the failures of writing many")
    d.put(d.at("many/other"), b"x")
    equal(sorted(d.paths(d.folder)), sorted([*paths, d.at("many/other")]), "the listing of many")
    equal(d.call("delete", paths), {}, "the failures of deleting many")
    equal(d.paths(d.folder), [d.at("many/other")], "what is left of many")


@case()
def many_objects_are_deleted_in_one_call(d: SyncDriver) -> None:
    """120, and what was not named stays."""
    _delete_many(d, _MANY)


@case(large=True)
def more_objects_are_deleted_than_one_request_takes(d: SyncDriver) -> None:
    """1,200: more than S3's bulk request of 1,000, and than a listing's page."""
    _delete_many(d, _VERY_MANY)
