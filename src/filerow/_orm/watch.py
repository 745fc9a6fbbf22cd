"""Notice transactions that end behind SQLAlchemy's back or never began.

``text("COMMIT")``, a COMMIT on the driver's own connection, DDL on MariaDB and the release of a
savepoint that SQLite's driver has begun too late all end a transaction that SQLAlchemy believes to
be open. ``AUTOCOMMIT`` keeps every row that SQLAlchemy believes to have rolled back. After a failed
statement, PostgreSQL answers COMMIT with a rollback, silently. Drivers know whether a transaction
is open without asking the server. So their state is read before and after each statement, from the
moment when a session does something to a file on the connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection
from sqlalchemy.engine import ExceptionContext, TwoPhaseTransaction


class End(Enum):
    """How a transaction, or a part of it, has ended.

    SQLAlchemy believes that it is still open.
    """

    COMMITTED = "a statement has committed it"
    ROLLED_BACK = "a statement has rolled it back"
    PARTLY_ROLLED_BACK = "a statement has rolled back to a savepoint"
    BY_THE_DATABASE = "the database rolled a transaction back after an error, or may have"
    UNSEEN = "a transaction was ended on the driver's own connection, behind SQLAlchemy's back"
    NEVER_BEGUN = "rows were written outside any transaction (AUTOCOMMIT), and no rollback removes them"


class State(Enum):
    """The state of a connection, as its driver reports it."""

    NONE = "no transaction is open"
    OPEN = "a transaction is open"
    FAILED = "a transaction is open that the database will roll back, whatever it is sent"
    UNKNOWN = "this driver does not report it"


_OPEN_BY_NUMBER = {0: State.NONE, 1: State.OPEN, 2: State.OPEN, 3: State.FAILED}
"""States by libpq's ``PGTransactionStatusType``.

psycopg 2 and 3 return it.
"""

_MYSQL_IN_TRANSACTION = 1
_MYSQL_AUTOCOMMIT = 2
"""``SERVER_STATUS_IN_TRANS`` and ``_AUTOCOMMIT`` of MySQL's protocol.

pymysql, asyncmy and aiomysql keep them.
"""

_MAY_ROLL_BACK = frozenset({1020, 1205, 1206, 1213})
"""MySQL's errors that undo the whole transaction, always or by a setting.

They are: snapshot, lock timeout, lock table, deadlock.
"""

_MYSQL = frozenset({"mysql", "mariadb"})
_ROLLBACK = re.compile(r"\s*(ROLLBACK|ABORT)\b(?!\s+PREPARED)", re.IGNORECASE)
_COMMIT = re.compile(r"\s*(COMMIT|END)\b(?!\s+PREPARED)", re.IGNORECASE)
_MYSQL_COMMIT = re.compile(r"\s*(BEGIN(?!\s+NOT)|START\s+TRANSACTION)\b", re.IGNORECASE)
_PROCEDURE = re.compile(r"\s*(CALL|EXECUTE|BEGIN\s+NOT)\b", re.IGNORECASE)
_RELEASE = re.compile(r"\s*RELEASE\b", re.IGNORECASE)
_TO_SAVEPOINT = re.compile(r"\s*ROLLBACK\b[^;]*\bTO\b", re.IGNORECASE)


def state_of(connection: Connection) -> State:
    """Return the driver's state of a connection, without asking the server."""
    if connection.closed or connection.invalidated:
        return State.UNKNOWN
    driver: Any = connection.connection.driver_connection
    try:
        if hasattr(driver, "in_transaction"):  # sqlite3, aiosqlite
            return State.OPEN if driver.in_transaction else State.NONE
        if hasattr(driver, "server_status"):
            return State.OPEN if driver.server_status & _MYSQL_IN_TRANSACTION else State.NONE
        if hasattr(driver, "is_in_transaction"):  # asyncpg
            return State.OPEN if driver.is_in_transaction() else State.NONE
        return _OPEN_BY_NUMBER.get(int(driver.info.transaction_status), State.UNKNOWN)
    except Exception:  # noqa: BLE001 - a lost connection, or a driver that means something else by a name
        return State.UNKNOWN


def _end_of(connection: Connection, cursor: Any, statement: str, context: Any, *, gone: bool) -> End | None:
    """Return what a statement has done to its transaction.

    Args:
        connection: The connection.
        cursor: The cursor that sent it.
        statement: Its text.
        context: SQLAlchemy's execution context.
        gone: No transaction is open any more.
    """
    plain = getattr(context.compiled, "statement", None)
    if not gone and plain is not None and plain.__visit_name__ != "textclause":
        return None
    if _TO_SAVEPOINT.match(statement):
        return End.PARTLY_ROLLED_BACK
    # PostgreSQL answers "ROLLBACK" to a COMMIT after an error
    done = str(getattr(cursor, "statusmessage", None) or statement) if gone else statement
    if _ROLLBACK.match(done):
        return End.ROLLED_BACK
    is_mysql = connection.dialect.name in _MYSQL
    if _COMMIT.match(done) or (is_mysql and _MYSQL_COMMIT.match(done)):
        return End.COMMITTED
    if not gone:
        return None
    if is_mysql:  # DDL commits; a procedure may have done anything
        return End.UNSEEN if _PROCEDURE.match(done) else End.COMMITTED
    return End.COMMITTED if _RELEASE.match(done) else End.UNSEEN  # the outermost savepoint was the whole transaction


def _is_autocommit(connection: Connection) -> bool:
    """Return True if statements of a connection begin no transaction.

    It is asked when no transaction is open.
    """
    status = getattr(connection.connection.driver_connection, "server_status", None)
    return status is None or bool(status & _MYSQL_AUTOCOMMIT)  # without autocommit even a failed statement has begun one


@dataclass(slots=True)
class Watch:
    """What was seen of one connection's transaction.

    Attributes:
        state: The driver's last state.
        was_open: The driver has reported that this transaction is open.
        keeps_rows: A row was written while no transaction was open, so no rollback removes it.
        failed: A statement has failed, for which PostgreSQL rolls back, and the driver does not
            show it.
    """

    state: State = State.UNKNOWN
    was_open: bool = False
    keeps_rows: bool = False
    failed: bool = False

    def before_statement(self, connection: Connection) -> End | None:
        """Read the state before a statement is sent."""
        return self._look(connection)

    def after_statement(self, connection: Connection, cursor: Any, statement: str, context: Any) -> End | None:
        """Read the state after a statement has succeeded."""
        before, self.state = self.state, state_of(connection)
        end = None if before is State.NONE else _end_of(connection, cursor, statement, context, gone=self.state is State.NONE)
        if end is End.PARTLY_ROLLED_BACK:
            self.failed = False
        if self.state is State.NONE:
            self.was_open = False
            writes = context.isinsert or context.isupdate or context.isdelete
            self.keeps_rows = self.keeps_rows or (before is State.NONE and writes)
        elif self.state is not State.UNKNOWN:
            self.was_open = True
        return end

    def statement_failed(self, connection: Connection, context: ExceptionContext) -> End | None:
        """Read the state after a statement has failed."""
        error: Any = context.original_exception
        sent: Any = context.execution_context
        was_open, before, self.state = self.was_open, self.state, state_of(connection)
        if self.state is State.NONE and was_open:
            self.was_open = False
            return End.BY_THE_DATABASE
        if self.state is before is State.NONE and sent is not None and sent.executemany and _is_autocommit(connection):
            self.keeps_rows = True  # the rows before the failed one
        dialect = connection.dialect
        self.failed = self.failed or (dialect.driver == "asyncpg" and getattr(error, "sqlstate", None) is not None)
        code = error.args[0] if getattr(error, "args", ()) else None
        return End.BY_THE_DATABASE if dialect.name in _MYSQL and code in _MAY_ROLL_BACK else None

    def before_commit(self, connection: Connection) -> End | None:
        """Read the state before SQLAlchemy sends COMMIT."""
        end = self._look(connection)
        refused = self.state is State.FAILED or (self.failed and self.state is State.OPEN)
        return End.ROLLED_BACK if refused else end

    def before_rollback(self, connection: Connection) -> End | None:
        """Read the state before SQLAlchemy sends ROLLBACK.

        A ROLLBACK does not remove rows that are committed already.
        """
        end = self._look(connection)
        return End.NEVER_BEGUN if self.keeps_rows else end

    def savepoint_rolled_back(self) -> None:
        """Note that a failed statement is undone."""
        self.failed = False

    def ended(self) -> None:
        """Note that the database has ended the transaction as expected."""
        self.was_open = self.failed = False

    def _look(self, connection: Connection) -> End | None:
        self.state = state_of(connection)
        if self.state is State.NONE and self.was_open:
            self.was_open = False
            return End.UNSEEN
        self.was_open = self.was_open or self.state is State.OPEN or self.state is State.FAILED
        return None


_watches: WeakKeyDictionary[Connection, Watch] = WeakKeyDictionary()


def watch(connection: Connection) -> Watch:
    """Begin to watch a connection.

    A session has done something to a file on it.
    """
    found = _watches.get(connection)
    if found is None:
        found = _watches[connection] = Watch()
    return found


def watch_of(connection: Connection) -> Watch | None:
    """Return the watch of a connection, if there is one.

    There is none in a two-phase transaction, which statements of SQLAlchemy's own end.
    """
    found = _watches.get(connection)
    return None if found is None or isinstance(connection.get_transaction(), TwoPhaseTransaction) else found


def unwatch(connection: Connection) -> None:
    """Forget what was seen, because another transaction begins."""
    _watches.pop(connection, None)
