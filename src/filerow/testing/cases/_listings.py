"""Listings: of a folder, complete, in bounded memory, from any point on."""

from __future__ import annotations

from filerow.testing._case import case, ensure, equal
from filerow.testing._driver import SyncDriver

_TREE = ["a-b", "a.b", "a/b", "a/b.x", "a/bc", "a/é", "a0", "b/a/x", "b/b/x", "b/c", "ab/c", "é/x", "z", "\U0001f600", "\uffee"]
# the last two are the other way round in UTF-16


@case()
def a_prefix_is_a_folder(d: SyncDriver) -> None:
    """``a/b`` lists ``a/b/c`` but neither ``a/bc`` nor ``a/b`` itself."""
    for name in ("a/b/c", "a/b/d/e", "a/bc", "a/b.txt", "a/b-c/d", "x"):
        d.put(d.at(name), b"x")
    equal(sorted(d.paths(d.at("a/b"))), [d.at("a/b/c"), d.at("a/b/d/e")], "the listing of a/b")
    equal(d.paths(d.at("a/b/d")), [d.at("a/b/d/e")], "the listing of a/b/d")
    for name in ("x", "a/b/c", "a/nothing", "nothing"):
        equal(d.paths(d.at(name)), [], f"the listing of {name}, which is not a folder")
    equal(len(d.paths(d.folder)), 6, "how many objects the listing of all has")
    missing = set(d.paths(d.folder)) - set(d.paths())
    equal(missing, set(), "what a folder's listing has and the whole backend's has not")


@case()
def a_listing_goes_on_after_any_path(d: SyncDriver) -> None:
    """``start_after`` compares UTF-8 bytes, on every store."""
    everything = sorted(map(d.at, _TREE), key=str.encode)
    for path in reversed(everything):
        d.put(path, b"x")
    listed = d.paths(d.folder)
    equal(sorted(listed, key=str.encode), everything, "the listing of all")
    if d.backend.capabilities.ordered_list:
        equal(listed, everything, "the order of the listing, as ordered_list promises")
    between = [d.at(name) for name in ("a/", "a/b/", "b", "b/b", "zz", "0")]
    for after in [*everything, *between, d.folder, "", "\U0010ffff"]:
        expected = [path for path in everything if path.encode() > after.encode()]
        equal(sorted(d.paths(d.folder, after), key=str.encode), expected, f"the listing after {after!r}")
    equal(sorted(d.paths(d.at("b"), d.at("a0"))), [d.at("b/a/x"), d.at("b/b/x"), d.at("b/c")], "the listing of b after a0")
    equal(d.paths(d.at("a"), d.at("b")), [], "the listing of a after b")


@case()
def a_listing_can_be_abandoned(d: SyncDriver) -> None:
    """After its first object, without a warning."""
    for number in range(5):
        d.put(d.at(f"deep/er/{number}"), b"x")
    ensure(d.first("list", d.folder).path.startswith(d.folder), "the first object is not of the folder")
