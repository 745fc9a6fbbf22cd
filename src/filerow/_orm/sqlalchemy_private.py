"""Every use of a name that SQLAlchemy keeps private, with the versions it was seen in.

There is no public way to do what these do. When one breaks, it breaks here, and in ``tests/unit_of_work/test_private_names.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Insert
from sqlalchemy.orm import Session

__all__ = ("autoflush", "multi_values_of", "with_values")


def multi_values_of(statement: Insert) -> Sequence[Sequence[Mapping[Any, Any]]]:
    """Return the rows of ``insert(Model).values([{...}, ...])``, in groups (``_multi_values``; 2.0.30 to 2.1.9)."""
    return getattr(statement, "_multi_values", ())


def with_values(statement: Insert, rows: Sequence[Mapping[Any, Any]]) -> Insert:
    """Return the statement with other rows than it has (``_generate``, ``_multi_values``; 2.0.30 to 2.1.9)."""
    clone = statement._generate()
    clone._multi_values = ()
    return clone.values(rows)


def autoflush(session: Session) -> None:
    """Flush as a statement would, if the session does (``_autoflush``; 2.0.30 to 2.1.9)."""
    session._autoflush()
