"""Accepted paths are kept as they are; all others are refused."""

from __future__ import annotations

from filerow.exceptions import InvalidPathError, StorageError
from filerow.testing._case import case, ensure, equal, is_missing, raised
from filerow.testing._driver import OVERWRITE, SyncDriver

_WEIRD = [
    "with space.txt",
    " leading and trailing ",
    "grüße/日本語.txt",
    "e\u0301",
    "\u00e9",
    "\U0001f600.png",
    "%2e%2e/%2Fetc%2fpasswd",
    "%",
    "100%25",
    "quote'double\"back`tick",
    "plus+sign",
    "hash#x",
    "#",
    "question?x=1",
    "amp&ersand=1",
    "star*[a]{b}",
    "semi;colon:comma,at@dollar$",
    "tilde~",
    "~",
    "-rf",
    "...",
    "..a",
    ".hidden",
    "a." + "x" * 190,
    "UPPER",
    "upper",
]

_HOSTILE = [
    "",
    "/etc/passwd",
    "//x",
    "..",
    ".",
    "../x",
    "a/../x",
    "a/..",
    "./x",
    "a/./x",
    "a//x",
    "a/",
    "nul\0x",
    "new\nline",
    "cr\rx",
    "tab\tx",
    "del\x7fx",
    "c1\x85x",
    "back\\slash",
    "..\\x",
    "x#1",
    "x#1/y",
    "#0",
    "s" * 201,
    "/".join(["s" * 99] * 10),
    "lone\ud800surrogate",
]


@case()
def unusual_paths_are_kept_as_they_are(d: SyncDriver) -> None:
    """Spaces, quotes, percent signs, other scripts, Unicode forms, upper case."""
    paths = [d.at(f"{number}/{name}") for number, name in enumerate(_WEIRD)]
    for path in paths:
        d.put(path, path.encode())
    equal(sorted(d.paths(d.folder)), sorted(paths), "the listing")
    for path in paths:
        equal(d.read(path), path.encode(), f"what {path!r} holds")
        equal(d.call("head", path).path, path, "the path by head()")
    d.copy(paths[0], d.at("copied ü?#%20"))
    equal(d.read(d.at("copied ü?#%20")), paths[0].encode(), "what a copy under an unusual path holds")
    equal(d.call("delete", [*paths, d.at("copied ü?#%20")]), {}, "the failures of delete()")
    equal(d.paths(d.folder), [], "what is left")


@case()
def hostile_paths_are_refused(d: SyncDriver) -> None:
    """Absolute paths, ``..``, control characters, backslashes, too long names."""
    d.put(d.at("source"), b"x")
    for path in _HOSTILE:
        for call in (("put", path, b"x"), ("copy", d.at("source"), path)):
            error = raised(InvalidPathError, d.call, *call)
            ensure(isinstance(error, ValueError), "InvalidPathError is a ValueError")
            equal((error.operation, error.backend, error.path), (call[0], d.backend.key, path), "what the error names")
        raised(InvalidPathError, d.put, path, iter([b"x"]), OVERWRITE)
        if path:
            raised(InvalidPathError, d.items, "list", path)
    equal(d.paths(d.folder), [d.at("source")], "what is stored after writes that were refused")


@case()
def hostile_paths_find_nothing_and_delete_nothing(d: SyncDriver) -> None:
    """Whatever a row may hold, no path reaches another object than its own."""
    d.put(d.at("victim"), b"x")
    for path in [*_HOSTILE, f"{d.folder}/../{d.folder}/victim", f"{d.folder}/./victim"]:
        for method in ("read", "head"):
            error = raised(StorageError, d.call, method, path)
            ensure(isinstance(error, InvalidPathError) or is_missing(error), f"{method}({path!r}) raised {error!r}")
        raised(StorageError, d.items, "stream", path)
        raised(StorageError, d.call, "copy", path, d.at("copied"))
        failed = [error for error in d.call("delete", [path, d.at("none")]).values() if not isinstance(error, InvalidPathError)]
        equal(failed, [], f"other failures of delete({path!r}) than InvalidPathError")
    raised(InvalidPathError, d.call, "read", "a/../b")
    equal(d.paths(d.folder), [d.at("victim")], "what is left after deleting by hostile paths")
    equal(list(d.call("delete", [d.at("victim"), "../x"])), ["../x"], "what one delete() of a good and a hostile path refused")
    equal(d.paths(d.folder), [], "what is left")
