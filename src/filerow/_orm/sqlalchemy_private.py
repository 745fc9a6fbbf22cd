"""Every use of a name that SQLAlchemy keeps private, with the versions it was seen in.

There is no public way to do what these do. When one breaks, it breaks here, and in ``tests/unit_of_work/test_private_names.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import FromClause, Insert
from sqlalchemy.orm import InstanceState, Mapper, Session

__all__ = ("autoflush", "equivalent_columns", "multi_values_of", "persistent_sort_key", "sorted_tables", "with_values")


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


def persistent_sort_key(mapper: Mapper[Any]) -> Callable[[InstanceState[Any]], Any]:
    """Return by what a flush sorts the rows of a base mapper (``_persistent_sortkey_fn``; 2.0.30 to 2.1.9)."""
    return mapper._persistent_sortkey_fn  # type: ignore[no-any-return]


def sorted_tables(mapper: Mapper[Any]) -> Sequence[FromClause]:
    """Return the tables of a mapper's hierarchy in the order of a flush (``_sorted_tables``; 2.0.30 to 2.1.9)."""
    return list(mapper._sorted_tables)


def equivalent_columns(mapper: Mapper[Any]) -> Mapping[Any, Collection[Any]]:
    """Return which columns of joined inheritance always equal each other (``_equivalent_columns``; 2.0.30 to 2.1.9)."""
    return mapper._equivalent_columns
