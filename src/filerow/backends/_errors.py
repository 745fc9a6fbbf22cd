"""What a driver's error means when the driver itself does not say: the builtin type tells."""

from __future__ import annotations

from collections.abc import Mapping

from filerow.exceptions import (
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


def by_builtin_type(error: BaseException, operation: str, backend: str, path: str) -> StorageError:
    """Return the error of ours that subclasses the same builtin, or a plain :class:`StorageError`."""
    kind = next((ours for theirs, ours in _SAME_MEANING if isinstance(error, theirs)), StorageError)
    said = str(error) or "the store did not answer in time" if kind is StorageTimeoutError else str(error)
    message = _MEANING.get(kind) or f"{type(error).__name__}: {said}"
    return kind(message, operation=operation, backend=backend, path=path)
