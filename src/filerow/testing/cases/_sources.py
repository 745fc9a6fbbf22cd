"""Uploads that fail by themselves leave no object and no unfinished upload."""

from __future__ import annotations

from collections.abc import Iterator

from filerow.exceptions import StorageError
from filerow.testing._case import case, ensure, equal, none_unfinished, raised
from filerow.testing._driver import LARGE, OVERWRITE, SyncDriver

_MIB = 1 << 20


class SourceError(Exception):
    """Raised by the caller's own iterator."""


@case()
def the_callers_own_exception_comes_back_and_nothing_stays(d: SyncDriver) -> None:
    """The same exception with its cause, before, between and after the bytes."""
    every = (SourceError, FileNotFoundError, FileExistsError, OSError, KeyError, StorageError)
    for before, kinds in ((0, every), (1, every), (7, (SourceError, FileExistsError, StorageError))):
        for kind in kinds:
            own, cause = kind("mine"), LookupError("why")

            def chunks(before: int = before, own: Exception = own, cause: Exception = cause) -> Iterator[bytes]:
                for _ in range(before):
                    yield LARGE[:_MIB]
                raise own from cause

            for content in d.feeds(chunks):
                error = raised(Exception, d.put, d.at("failed"), content)
                ensure(error is own, f"{own!r} of the source, after {before} MiB, came back as {error!r}")
                ensure(error.__cause__ is cause, f"{own!r} of the source lost its cause")
                ensure(d.call("exists", d.at("failed")) is False, f"exists() is not False after the source failed with {own!r}")
    equal(d.paths(d.folder), [], "what is stored after uploads that failed")


@case()
def a_failing_source_leaves_the_old_object(d: SyncDriver) -> None:
    """An object that was to be replaced is whole."""

    def chunks() -> Iterator[bytes]:
        yield LARGE
        raise SourceError

    d.put(d.at("old"), b"old")
    for content in d.feeds(chunks):
        raised(SourceError, d.put, d.at("old"), content, OVERWRITE)
        equal(d.read(d.at("old")), b"old", "what the path holds after a failed upload")


@case()
def a_failing_upload_leaves_no_unfinished_one(d: SyncDriver) -> None:
    """No listing shows them, and stores bill for them."""

    def chunks() -> Iterator[bytes]:
        for _ in range(11):
            yield LARGE[:_MIB]
        raise SourceError

    for content in d.feeds(chunks):
        raised(SourceError, d.put, d.at("failed"), content)
    none_unfinished(d)
