"""Every use of a name that SQLAlchemy keeps private, with the versions it was seen in.

There is no public way to do what these do. When one breaks, it breaks here, and in ``tests/unit_of_work/test_private_names.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, FromClause, Insert
from sqlalchemy.orm import InstanceState, Mapper, ORMExecuteState, Session, SessionTransaction

__all__ = (
    "autoflush",
    "commits_each_statement",
    "equivalent_columns",
    "forget_own_arguments",
    "is_flushing",
    "is_of_flush",
    "is_sent_as_is",
    "listen_last",
    "multi_values_of",
    "persistent_sort_key",
    "savepoint_names",
    "sorted_tables",
    "took_from_engine",
    "with_values",
)


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


def is_of_flush(context: Any) -> bool:
    """Return True if a flush has sent a statement, not a listener (``compiled_cache`` of its options; 2.0.30 to 2.1.9)."""
    return "compiled_cache" in context.execution_options


def is_sent_as_is(context: Any, statement: str) -> bool:
    """Return False if an application may have replaced a DELETE (``dispatch.do_execute`` and its kin; 2.0.30 to 2.1.9).

    Args:
        context: SQLAlchemy's view of it.
        statement: What it was when the driver was to get it.
    """
    events = context.dialect.dispatch
    replaced = events.do_execute or events.do_executemany or events.do_execute_no_params
    return statement.lstrip()[:7].upper() == "DELETE " and not replaced


def is_flushing(session: Session) -> bool:
    """Return True while a session flushes, its listeners included (``_flushing``; 2.0.30 to 2.1.9)."""
    return session._flushing


def commits_each_statement(connection: Connection) -> bool:
    """Return True if a connection has no transactions (``_is_autocommit_isolation``; 2.0.30 to 2.1.9).

    SQLite's driver knows whether a listener has sent the BEGIN that it does not send itself. Where another listener of the
    application's may have, a transaction that is not open was ended by somebody else on the same connection, as happens to an
    in-memory database that sessions share; that is no AUTOCOMMIT (``dispatch.begin``; 2.0.30 to 2.1.9).
    """
    driver: Any = connection.connection.driver_connection
    if hasattr(driver, "in_transaction") and hasattr(driver, "isolation_level"):
        ours = 1
        return driver.isolation_level is None and not driver.in_transaction and len(list(connection.dispatch.begin)) <= ours
    if connection._is_autocommit_isolation():
        return True
    dialect: Any = connection.dialect
    try:
        return bool(dialect.detect_autocommit_setting(connection.connection.dbapi_connection))
    except (AttributeError, NotImplementedError):  # a release before 2.0.43, or a driver that does not say
        return False


def persistent_sort_key(mapper: Mapper[Any]) -> Callable[[InstanceState[Any]], Any]:
    """Return by what a flush sorts the rows of a base mapper (``_persistent_sortkey_fn``; 2.0.30 to 2.1.9)."""
    return mapper._persistent_sortkey_fn  # type: ignore[no-any-return]


def sorted_tables(mapper: Mapper[Any]) -> Sequence[FromClause]:
    """Return the tables of a mapper's hierarchy in the order of a flush (``_sorted_tables``; 2.0.30 to 2.1.9)."""
    return list(mapper._sorted_tables)


def equivalent_columns(mapper: Mapper[Any]) -> Mapping[Any, Collection[Any]]:
    """Return which columns of joined inheritance always equal each other (``_equivalent_columns``; 2.0.30 to 2.1.9)."""
    return mapper._equivalent_columns


def took_from_engine(transaction: SessionTransaction, connection: Connection) -> bool:
    """Return False if a session was given the connection rather than an engine (``_connections``; 2.0.30 to 2.1.9)."""
    entry: tuple[Any, ...] = transaction._connections[connection]
    return bool(entry[3])


def savepoint_names(connection: Connection) -> list[str]:
    """Return savepoints' names as events give them, outermost first (``_savepoint``, ``_previous_nested``; 2.0.30 to 2.1.9)."""
    names: list[str] = []
    savepoint = connection.get_nested_transaction()
    while savepoint is not None:
        names.append(savepoint._savepoint)
        savepoint = savepoint._previous_nested
    return names[::-1]


def forget_own_arguments(state: ORMExecuteState) -> None:
    """Remove what ``invoke_statement()`` adds for ``Session.get_bind()`` (``_sa_skip_events``; 2.0.30 to 2.1.9).

    An application's own ``get_bind(self, mapper=None, clause=None)``, as in SQLAlchemy's documentation, does not take it.
    """
    state.bind_arguments.pop("_sa_skip_events", None)


def listen_last(state: ORMExecuteState, listener: Callable[[ORMExecuteState], Any]) -> None:
    """Have ``state.invoke_statement()`` call a listener after all others (``_events_todo``; 2.0.30 to 2.1.9)."""
    state._events_todo = [*state._events_todo, listener]
