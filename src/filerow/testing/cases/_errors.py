"""Errors come from one tree, say where they happened and keep their cause."""

from __future__ import annotations

from filerow.exceptions import FilerowError, ObjectNotFoundError, StorageError
from filerow.testing._case import case, ensure, equal, raised
from filerow.testing._driver import AsyncDriver, SyncDriver
from filerow.testing._errors import DoesNotApplyError


@case()
def a_missing_object_is_a_file_not_found(d: SyncDriver) -> None:
    """By every operation that reads; a folder is not an object."""
    d.put(d.at("file"), b"x")
    d.put(d.at("folder/x"), b"x")
    for path in (d.at("missing"), d.at("no/such/x"), d.at("folder"), d.folder):
        for operation, call in [
            ("read", lambda: d.read(path)),  # noqa: B023 - called at once
            ("read", lambda: d.read(path, 0, 1)),  # noqa: B023
            ("read", lambda: d.items("stream", path)),  # noqa: B023
            ("head", lambda: d.call("head", path)),  # noqa: B023
            ("copy", lambda: d.copy(path, d.at("copied"))),  # noqa: B023
        ]:
            error = raised(ObjectNotFoundError, call)
            ensure(isinstance(error, FileNotFoundError), "ObjectNotFoundError is a FileNotFoundError")
            equal((error.operation, error.backend, error.path), (operation, d.backend.key, path), "what the error names")
            ensure(repr(path) in str(error), f"the message does not name the path {path!r}: {error}")
        ensure(d.call("exists", path) is False, f"exists() is not False of {path}")
    equal(sorted(d.paths(d.folder)), [d.at("file"), d.at("folder/x")], "what is stored after looking for what is not there")


@case()
def an_error_keeps_the_store_s_own_as_its_cause(d: SyncDriver) -> None:
    """So that a log shows what the store said."""
    for call in (d.read, lambda path: d.call("head", path)):
        error = raised(ObjectNotFoundError, call, d.at("missing"))
        ensure(error.__cause__ is not None, f"{error!r} has no cause; raise it from the store's own error")


@case()
def a_missing_bucket_is_an_error_of_the_one_tree(d: SyncDriver) -> None:
    """Every operation on it says what, where, and why; none succeeds by making it."""
    missing = d.harness.make_missing()
    if missing is None:
        raise DoesNotApplyError("the harness makes no backend on a missing bucket")
    lost = type(d)(missing, d.harness, d.folder)
    try:
        _try_missing(lost)
    finally:
        lost.close()
        d.harness.close(missing)


def _try_missing(lost: SyncDriver | AsyncDriver) -> None:
    path = lost.at("x")
    for operation, call in [
        ("put", lambda: lost.put(path, b"x")),
        ("put", lambda: lost.put(path, iter([b"x"]))),
        ("read", lambda: lost.read(path)),
        ("read", lambda: lost.items("stream", path)),
        ("head", lambda: lost.call("head", path)),
        ("copy", lambda: lost.call("copy", path, lost.at("copied"))),
    ]:
        error = raised(StorageError, call)
        equal((error.operation, error.backend, error.path), (operation, lost.backend.key, path), "what the error names")
        ensure(error.__cause__ is not None, f"{error!r} has no cause")
    for path_, failed in lost.call("delete", [path, lost.at("y")]).items():
        ensure(isinstance(failed, StorageError), f"delete() of {path_} failed with {failed!r}, which is not a StorageError")
    try:
        found = lost.paths(lost.folder)
    except FilerowError as error:
        ensure(isinstance(error, StorageError), f"list() raised {error!r}, which is not a StorageError")
    else:
        equal(found, [], "the listing of a bucket that does not exist")
