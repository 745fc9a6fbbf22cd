"""Copies inside the backend."""

from __future__ import annotations

from filerow.exceptions import ObjectExistsError
from filerow.testing._case import case, equal, needs_kept_paths, raised
from filerow.testing._driver import OVERWRITE, SMALL, SyncDriver


@case()
def a_copy_is_an_object_of_its_own(d: SyncDriver) -> None:
    """It outlives changes and the end of what it was made from."""
    d.put(d.at("source"), SMALL)
    info = d.copy(d.at("source"), d.at("deep/er/target"))
    equal(info.path, d.at("deep/er/target"), "the path that copy() returned")
    d.put(d.at("source"), b"changed", OVERWRITE)
    equal(d.read(d.at("deep/er/target")), SMALL, "what the copy holds after the source was changed")
    d.call("delete", d.at("source"))
    equal(d.read(d.at("deep/er/target")), SMALL, "what the copy holds after the source was deleted")


@case()
def a_copy_never_overwrites(d: SyncDriver) -> None:
    """Not even itself, and neither a backend's first copy nor a later one."""
    needs_kept_paths(d)
    d.put(d.at("source"), b"source")
    d.put(d.at("target"), b"target")
    raised(ObjectExistsError, d.call, "copy", d.at("source"), d.at("source"))
    d.call("copy", d.at("source"), d.at("free"))
    error = raised(ObjectExistsError, d.call, "copy", d.at("source"), d.at("target"))
    equal((error.operation, error.path), ("copy", d.at("target")), "what the error names")
    raised(ObjectExistsError, d.call, "copy", d.at("source"), d.at("source"))
    equal(d.read(d.at("target")), b"target", "what the target holds")
    equal(d.read(d.at("source")), b"source", "what the source holds")
    equal(sorted(d.paths(d.folder)), [d.at("free"), d.at("source"), d.at("target")], "what is stored")
