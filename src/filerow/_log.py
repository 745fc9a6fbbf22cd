"""The package's logger, and short lists of the objects that messages name."""

from __future__ import annotations

import logging
from collections.abc import Iterable

logger = logging.getLogger("filerow")

_NAMED = 5


def cause_of(message: str, path: str) -> str:
    """Return what an error says without its object, to count equal failures."""
    return message.replace(path, "…") if path else message


def extras(operation: str, backend: str = "", **more: object) -> dict[str, object]:
    """Return the fields of a log record, for logs that are searched by them.

    Their names begin with ``filerow_``.

    Args:
        operation: What was done.
        backend: The key of the backend; left out if empty.
        **more: Others, with names that do not change.
    """
    known = {"operation": operation, **({"backend": backend} if backend else {}), **more}
    return {f"filerow_{name}": value for name, value in known.items() if value is not None}


def named(names: Iterable[object]) -> str:
    """Return the first few names in quotes, and how many more there are."""
    known = [str(name) for name in names]
    shown = ", ".join(map(repr, known[:_NAMED]))
    left = len(known) - _NAMED
    return f"{shown} and {left:,} more" if left > 0 else shown


def objects(count: int) -> str:
    """Return a number of objects in words."""
    return f"{count:,} object" if count == 1 else f"{count:,} objects"
