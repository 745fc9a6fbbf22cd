"""Stored variants, as maintenance meets them: by their paths in a listing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import NamedTuple

from filerow._execution.batch import StepsJob, raise_if, run_all
from filerow._execution.steps import Call, Steps
from filerow._file.variant_objects import stored_variants
from filerow._recipes import FAILED, parted_variant
from filerow.backends._types import ObjectInfo
from filerow.backends.base import StorageBackend
from filerow.exceptions import InvalidPathError, ObjectNotFoundError, StorageError
from filerow.maintenance._listing import pages

_AT_ONCE = 16
"""Requests at a time."""

_PAGE = 1_000
"""Objects that a store returns for one request to list."""

_WORTH = 10
"""A request to list must save this many that look for one object: stores charge 12 times as much for it."""


class StoredVariant(NamedTuple):
    """A variant in a backend, or the note that it cannot be made.

    Attributes:
        original: The path of what it was made of.
        id: Which variant; see :func:`filerow._recipes.variant_id`.
        info: The store's facts.
    """

    original: str
    id: str
    info: ObjectInfo

    @property
    def is_note(self) -> bool:
        """True for the note that the variant cannot be made."""
        return self.info.path.endswith(FAILED)


def stored_variant(info: ObjectInfo) -> StoredVariant | None:
    """Return the variant that an object is, by its path; ``None`` for any other."""
    found = parted_variant(info.path)
    return None if found is None else StoredVariant(*found, info)


def variants_at(backend: StorageBackend, path: str) -> Steps[list[StoredVariant]]:
    """Return what is stored of an object's variants and notes; one LIST request."""
    found = yield from stored_variants(backend, path)
    return [one for one in map(stored_variant, found) if one is not None]


class VariantListing(StepsJob):
    """Lists what is stored of a file's variants and notes.

    Attributes:
        found: It, once that has ended.
    """

    def __init__(self, backend: StorageBackend, path: str) -> None:
        self.found: list[StoredVariant] = []
        self._backend = backend
        self._path = path

    def _steps(self) -> Steps[None]:
        self.found = yield from variants_at(self._backend, self._path)


class Gone(NamedTuple):
    """What was looked for.

    Attributes:
        gone: Paths at which there is no object, as the store itself says of each.
        unknown: Paths of which the store says nothing, with its error.
    """

    gone: set[str]
    unknown: dict[str, StorageError]


def missing(backend: StorageBackend, paths: Iterable[str]) -> Gone:
    """Find out which objects are gone.

    Those that a listing shows are there, and listings are looked through as far as that takes fewer requests. Every other object
    is asked for by itself: a listing may lag, or leave one out.

    Args:
        backend: Where they were.
        paths: Theirs.
    """
    unseen = set(paths)
    folders: dict[str, list[str]] = {}
    for path in sorted(unseen):
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    for folder, wanted in folders.items():
        unseen.difference_update(_listed(backend, folder, wanted))
    looks = [_Inquiry(backend, path) for path in sorted(unseen)]
    raise_if(run_all(looks, _AT_ONCE).error)
    return Gone({one.path for one in looks if one.is_gone}, {one.path: one.error for one in looks if one.error is not None})


def _listed(backend: StorageBackend, folder: str, wanted: Sequence[str]) -> set[str]:
    """Return those objects of a folder that its listing shows, in few requests."""
    left = set(wanted)
    with closing(pages(backend.list, backend.list_async, folder, wanted[0][:-1], size=_PAGE)) as listing:
        try:
            for page in listing:
                before = len(left)
                left.difference_update(info.path for info in page)
                is_past = backend.capabilities.ordered_list and page[-1].path >= wanted[-1]
                if is_past or len(left) <= _WORTH or before - len(left) < _WORTH:
                    break
        except InvalidPathError:  # there cannot be such a folder here
            pass
    return set(wanted) - left


class _Inquiry(StepsJob):
    """Looks for one object.

    Attributes:
        path: Where.
        is_gone: The store says that there is none.
        error: Why it did not say anything.
    """

    def __init__(self, backend: StorageBackend, path: str) -> None:
        self.path = path
        self.is_gone = False
        self.error: StorageError | None = None
        self._backend = backend

    @property
    def quick(self) -> bool:
        """True for a local directory: a look is quicker than starting a thread."""
        return self._backend._quick

    def _steps(self) -> Steps[None]:
        try:
            yield Call(self._backend.head, self._backend.head_async, (self.path,))
        except ObjectNotFoundError:
            self.is_gone = True
        except StorageError as error:
            self.error = error
