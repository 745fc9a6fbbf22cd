"""What released an object, where it was not the ORM: SQL of the test's own, or the database."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Engine, event

from tools.sqlalchemy_suite.plugin.tables import Tables, read_place

_RELEASES = re.compile(r"\s*(DELETE|UPDATE|DROP|TRUNCATE|REPLACE|INSERT OR|MERGE|WITH)\b", re.IGNORECASE)


class Causes:
    """Watches statements that can release objects while a test runs.

    Each table is read before and after such a statement, on its own connection. What is gone, and
    was not the ORM's to know, is noted with the statement.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._causes: dict[str, str] = {}
        self._is_on = False

    def begin(self) -> None:
        """Watch from now on."""
        for name, listener in (
            ("before_cursor_execute", self._before),
            ("after_cursor_execute", self._after),
        ):
            if not event.contains(Engine, name, listener):
                event.listen(Engine, name, listener)
        self._causes.clear()
        self._is_on = True

    def end(self) -> None:
        """Stop watching; the suite's own clearing is not of interest."""
        self._is_on = False

    def of(self, path: str) -> str:
        """Return what released an object, or "" if nothing but the ORM did."""
        return self._causes.get(path, "")

    def _before(self, connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        del cursor
        context = rest[1]
        if self._is_on and context is not None and _RELEASES.match(statement):
            context.filerow_named = self._named(connection)

    def _after(self, connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        del cursor
        context = rest[1]
        before = getattr(context, "filerow_named", None)
        if not before:
            return
        after = self._named(connection)
        by_orm = _is_of_orm(context)
        for path, table in before.items():
            if path in after:
                continue
            if not by_orm:
                self._causes[path] = f"SQL past the ORM: {statement[:120]}"
            elif not re.search(rf"\b{re.escape(table)}\b", statement.partition("WHERE")[0]):
                self._causes[path] = f"cascade in the database: {statement[:120]}"

    def _named(self, connection: Connection) -> dict[str, str]:
        """Return path and table of all objects that rows name, as this connection sees them."""
        named: dict[str, str] = {}
        for place in self._tables.places(connection.engine):
            for one in _read_safely(connection, place):
                named[one.path] = place.table
        return named


def _read_safely(connection: Connection, place: Any) -> list[Any]:
    """Read a table that may be gone, without breaking the transaction."""
    if connection.dialect.name != "postgresql":
        try:
            return read_place(connection, place)
        except Exception:  # noqa: BLE001 - the driver's own
            return []
    cursor = connection.connection.cursor()
    try:
        cursor.execute("SAVEPOINT filerow_suite")
        try:
            found = read_place(connection, place)
        except Exception:  # noqa: BLE001 - as above
            found = []
        cursor.execute("ROLLBACK TO SAVEPOINT filerow_suite")
        cursor.execute("RELEASE SAVEPOINT filerow_suite")
    except Exception:  # noqa: BLE001 - autocommit, or a transaction that has failed
        return []
    else:
        return found
    finally:
        cursor.close()


def _is_of_orm(context: Any) -> bool:
    """Return True for statements of a flush, and for ORM-enabled UPDATE and DELETE."""
    if "compiled_cache" in context.execution_options:
        return True
    state = getattr(getattr(context, "compiled", None), "compile_state", None)
    return type(state).__module__.startswith("sqlalchemy.orm")
