"""What a driver's error means when the driver itself does not say: the builtin type tells."""

from __future__ import annotations

import re
from collections.abc import Mapping

from filerow.exceptions import (
    InvalidPathError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StoragePermissionError,
    StorageTimeoutError,
    UnsupportedOperationError,
)

__all__ = ("by_builtin_type",)

_SAME_MEANING: tuple[tuple[type[Exception], type[StorageError]], ...] = (
    (FileNotFoundError, ObjectNotFoundError),
    (FileExistsError, ObjectExistsError),
    (PermissionError, StoragePermissionError),
    (TimeoutError, StorageTimeoutError),
    (NotImplementedError, UnsupportedOperationError),
)
_MEANING: Mapping[type[StorageError], str] = {
    ObjectNotFoundError: "there is no object at this path (or its bucket does not exist)",
    ObjectExistsError: "an object is at this path already; it was not overwritten",
}
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def by_builtin_type(error: BaseException, operation: str, backend: str, path: str) -> StorageError:
    """Return the error of ours that subclasses the same builtin, or a plain :class:`StorageError`."""
    if isinstance(error, UnicodeEncodeError) and _SURROGATE.search(path):  # a row may hold what no request can
        return InvalidPathError(f"the store has no word for this path: {error}", operation=operation, backend=backend, path=path)
    kind = next((ours for theirs, ours in _SAME_MEANING if isinstance(error, theirs)), StorageError)
    said = str(error) or "the store did not answer in time" if kind is StorageTimeoutError else str(error)
    message = _MEANING.get(kind) or f"{type(error).__name__}: {said}"
    return kind(message, operation=operation, backend=backend, path=path)
