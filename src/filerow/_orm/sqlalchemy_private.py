"""Every use of SQLAlchemy's private names, with the versions it was seen in.

SQLAlchemy has no public way to do these things. When a private name changes, only this module
breaks, and ``tests/orm/test_private_names.py`` fails.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, FromClause, Insert
from sqlalchemy.orm import InstanceState, Mapper, ORMExecuteState, Session, SessionTransaction, bulk_persistence
from sqlalchemy.pool.base import ResetStyle
from sqlalchemy.types import TypeEngine


def multi_values_of(statement: Insert) -> Sequence[Sequence[Mapping[Any, Any]]]:
    """Return the rows of ``insert(Model).values([{...}, ...])``, in groups.

    It reads ``_multi_values`` (2.0.30 to 2.1.9).
    """
    return getattr(statement, "_multi_values", ())


def with_values(statement: Insert, rows: Sequence[Mapping[Any, Any]]) -> Insert:
    """Return the statement with other rows.

    It uses ``_generate`` and ``_multi_values`` (2.0.30 to 2.1.9).
    """
    clone = statement._generate()
    clone._multi_values = ()
    return clone.values(rows)


def options_of(statement: Any) -> Sequence[Any]:
    """Return the ORM options of a statement, such as ``with_loader_criteria()``.

    It reads ``_with_options`` (2.0.30 to 2.1.9).
    """
    return getattr(statement, "_with_options", ())


def resolve_names(mapper: Mapper[Any], rows: Sequence[dict[str, Any]]) -> None:
    """Replace composites and hybrids in a bulk statement's rows by columns.

    A bulk statement does so before it looks for the attributes of columns. It calls
    ``_expand_composites`` (2.0.30 to 2.0) or ``_expand_other_attrs`` (2.1.9).
    """
    resolve: Any = getattr(bulk_persistence, "_expand_other_attrs", None) or getattr(bulk_persistence, "_expand_composites", None)
    resolve(mapper, rows)


def variants_of(kind: TypeEngine[Any]) -> Collection[TypeEngine[Any]]:
    """Return the types that stand for a type on some databases.

    It reads ``_variant_mapping`` (2.0.30 to 2.1.9).
    """
    return kind._variant_mapping.values()


def autoflush(session: Session) -> None:
    """Flush as a statement would, if the session has autoflush on.

    It calls ``_autoflush`` (2.0.30 to 2.1.9).
    """
    session._autoflush()


def is_of_flush(context: Any) -> bool:
    """Return True if a flush has sent a statement, and not a listener.

    Only a flush sets ``compiled_cache`` in the options (2.0.30 to 2.1.9).
    """
    return "compiled_cache" in context.execution_options


def is_sent_as_is(context: Any, statement: str) -> bool:
    """Return False if an application may have replaced a DELETE.

    It reads ``dispatch.do_execute`` and related names (2.0.30 to 2.1.9).

    Args:
        context: SQLAlchemy's execution context.
        statement: The text of the statement as it was sent to the driver.
    """
    events = context.dialect.dispatch
    replaced = events.do_execute or events.do_executemany or events.do_execute_no_params
    return statement.lstrip()[:7].upper() == "DELETE " and not replaced


def is_flushing(session: Session) -> bool:
    """Return True while a session flushes, including while its listeners run.

    It reads ``_flushing`` (2.0.30 to 2.1.9).
    """
    return session._flushing


def commits_each_statement(connection: Connection) -> bool:
    """Return True if a connection is in AUTOCOMMIT.

    It calls ``_is_autocommit_isolation`` (2.0.30 to 2.1.9).

    SQLite's driver knows whether a listener has sent BEGIN, which the driver itself does not send.
    The application may have another listener for that. If no transaction is open then, somebody
    else ended it on the same connection, which happens to an in-memory database that sessions
    share. That is not AUTOCOMMIT (``dispatch.begin``; 2.0.30 to 2.1.9).
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
    except (AttributeError, NotImplementedError):  # SQLAlchemy before 2.0.43, or a driver that cannot detect it
        return False


def persistent_sort_key(mapper: Mapper[Any]) -> Callable[[InstanceState[Any]], Any]:
    """Return the key by which a flush sorts the rows of a base mapper.

    It reads ``_persistent_sortkey_fn`` (2.0.30 to 2.1.9).
    """
    return mapper._persistent_sortkey_fn  # type: ignore[no-any-return]


def sorted_tables(mapper: Mapper[Any]) -> Sequence[FromClause]:
    """Return the tables of a mapper's hierarchy in the order of a flush.

    It reads ``_sorted_tables`` (2.0.30 to 2.1.9).
    """
    return list(mapper._sorted_tables)


def equivalent_columns(mapper: Mapper[Any]) -> Mapping[Any, Collection[Any]]:
    """Return which columns of joined inheritance always equal each other.

    It reads ``_equivalent_columns`` (2.0.30 to 2.1.9).
    """
    return mapper._equivalent_columns


def took_from_engine(transaction: SessionTransaction, connection: Connection) -> bool:
    """Return False if a session was given the connection and not an engine.

    It reads ``_connections`` (2.0.30 to 2.1.9).
    """
    entry: tuple[Any, ...] = transaction._connections[connection]
    return bool(entry[3])


def is_rolled_back_on_return(connection: Connection) -> bool:
    """Return True if a connection is rolled back when it returns to its pool.

    A pool may also commit it, or do nothing (``pool_reset_on_return``). It reads
    ``_reset_on_return`` (2.0.30 to 2.1.9).
    """
    return connection.engine.pool._reset_on_return is ResetStyle.reset_rollback


def savepoint_names(connection: Connection) -> list[str]:
    """Return the names of open savepoints, outermost first.

    They are the names that events pass. It reads ``_savepoint`` and ``_previous_nested`` (2.0.30 to
    2.1.9).
    """
    names: list[str] = []
    savepoint = connection.get_nested_transaction()
    while savepoint is not None:
        names.append(savepoint._savepoint)
        savepoint = savepoint._previous_nested
    return names[::-1]


def forget_own_arguments(state: ORMExecuteState) -> None:
    """Remove the argument that ``invoke_statement()`` adds for ``get_bind()``.

    It is ``_sa_skip_events`` (2.0.30 to 2.1.9). An application's own ``get_bind(self, mapper=None,
    clause=None)``, as in SQLAlchemy's documentation, does not accept it.
    """
    state.bind_arguments.pop("_sa_skip_events", None)


def listen_last(state: ORMExecuteState, listener: Callable[[ORMExecuteState], Any]) -> None:
    """Make ``state.invoke_statement()`` call a listener after all others.

    It extends ``_events_todo`` (2.0.30 to 2.1.9).
    """
    state._events_todo = [*state._events_todo, listener]
