"""Refuse bulk statements that cannot keep rows and bytes equal.

Each error says what to do instead.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Delete, Engine, Insert, Table, Update, inspect
from sqlalchemy.orm import Mapper, ORMExecuteState

from filerow._orm.fields import Field, SlotChange, fields_in_table
from filerow._orm.sqlalchemy_private import commits_each_statement
from filerow._orm.visibility import has_transactions
from filerow.exceptions import UnsupportedRouteError


def entity_of(statement: Insert | Update | Delete) -> Any:
    """Return the mapped class or alias that a statement names.

    It is ``None`` for a table, which SQLAlchemy fails to describe.
    """
    try:
        return statement.entity_description.get("entity")
    except KeyError:  # a table, with a class in its criterion
        return None


def refuse_autocommit(connection: Connection) -> None:
    """Refuse to give or take files where every statement commits by itself.

    A rollback could not remove the rows that name new files. No lock would keep another session
    from giving away or deleting an object between the statement that reads its row and the one that
    writes it.
    """
    if commits_each_statement(connection):
        raise UnsupportedRouteError(
            "this session's connection is in AUTOCOMMIT, which commits each statement by itself, so rows and bytes could "
            "disagree; write rows with files in a transaction: Session(engine.execution_options(isolation_level=...)) with "
            "another level, such as READ COMMITTED or, on SQLite, SERIALIZABLE"
        )


def refuse_tables(connection: Connection, tables: Iterable[object]) -> None:
    """Refuse files in tables that ignore rollbacks or replace rows."""
    for table in dict.fromkeys(tables):
        if isinstance(table, Table) and connection.dialect.name == "sqlite" and _replaces_rows(table):
            raise UnsupportedRouteError(
                f"{table.fullname} has a constraint with ON CONFLICT REPLACE, so SQLite may delete other rows silently, "
                "and their files would stay; leave sqlite_on_conflict_...='REPLACE' out, and load the row to change it"
            )
        if isinstance(table, Table) and not has_transactions(connection, table):
            raise UnsupportedRouteError(
                f"the storage engine of {table.fullname} has no transactions, so a rollback would delete the bytes of rows that "
                f"stay; ALTER TABLE {table.fullname} ENGINE = InnoDB"
            )


_REPLACES = "filerow_replaces"


def _replaces_rows(table: Table) -> bool:
    found: bool | None = table.info.get(_REPLACES)
    if found is None:
        found = table.info[_REPLACES] = any(
            str(value).upper() == "REPLACE"
            for one in (*table.constraints, *table.columns)
            for name, value in one.dialect_options["sqlite"].items()
            if name.startswith("on_conflict")
        )
    return found


def refuse_inside(place: str, statement: Insert | Update | Delete, given: Container[Any]) -> None:
    """Refuse an ORM statement inside another, if it gives or takes files.

    Its rows cannot be read before and after it.

    Args:
        place: Where it is, such as "a CTE".
        statement: The statement.
        given: The columns that it sets.
    """
    entity = entity_of(statement)
    if entity is None:
        return
    mapper = inspect(entity).mapper
    named = [field for field in fields_in_table(mapper) if isinstance(statement, Delete) or field.column in given]
    if named:
        raise UnsupportedRouteError(
            f"{statement.__visit_name__.upper()} of {mapper.class_.__name__} inside {place} would give or take files of "
            f"{named[0].table}.{named[0].column.name} that Filerow cannot manage; execute it as a statement of its own"
        )


def refuse_alias(statement: Insert | Update | Delete) -> None:
    """Refuse ``update(aliased(Model))``.

    Its columns are not the class's own.
    """
    entity = entity_of(statement)
    if entity is not None and inspect(entity).is_aliased_class:
        msg = "UPDATE and DELETE of an alias of a class with file columns are not supported; name the class itself"
        raise UnsupportedRouteError(msg)


def refuse_core_strategy(state: ORMExecuteState, inline: Container[Any], fields: Sequence[Field]) -> None:
    """Refuse options that make SQLAlchemy skip the ORM for a file column."""
    strategy = state.execution_options.get("dml_strategy")
    by_column = strategy == "orm" and (state.is_insert or state.is_executemany)  # its rows name columns, not attributes
    if not by_column and strategy not in {"raw", "core_only"}:
        return
    given = state.parameters or ()
    rows: Any = [given] if isinstance(given, dict) else given
    names = {name for row in rows for name in row}
    for column in fields:
        if names & {column.key, column.column.key} or (column.column in inline and not by_column):
            raise UnsupportedRouteError(
                f"dml_strategy={strategy!r} skips the ORM, which would manage the files of {column.key}; leave that option out, "
                "or the file column"
            )


def refuse_copies_in_order(statement: Insert | Update) -> None:
    """Refuse ``ordered_values()`` when a copy must replace a file.

    SQLAlchemy does not let those values be changed.
    """
    # SQLAlchemy 2.1 marks the statement, 2.0 keeps the values apart
    if getattr(statement, "_maintain_values_ordering", False) or getattr(statement, "_ordered_values", None):
        msg = "ordered_values() cannot take a file that another row owns, because this row gets a copy of it; use values()"
        raise UnsupportedRouteError(msg)


def bind_of(state: ORMExecuteState) -> Engine | Connection:
    """Return the engine or connection of a statement.

    It finds it as ``Session.connection()`` does.
    """
    bind: Engine | Connection | None = state.bind_arguments.get("bind")
    return state.session.get_bind(**state.bind_arguments) if bind is None else bind


def refuse_conflict_prefix(state: ORMExecuteState, statement: Insert | Update, changes: Sequence[SlotChange]) -> None:
    """Refuse ``INSERT OR REPLACE`` and the like.

    They make the database delete or skip rows silently.
    """
    dialect = bind_of(state).dialect.name
    prefixes = [str(text) for text, only_for in getattr(statement, "_prefixes", ()) if only_for in {"*", dialect}]
    words = set(" ".join(prefixes).upper().split())
    if "REPLACE" in words or (words & {"IGNORE", "FAIL"} and any(change.new for change in changes)):
        raise UnsupportedRouteError(
            f"{statement.__visit_name__.upper()} {' '.join(prefixes)} does not report which rows it wrote or replaced, so "
            "bytes could be lost; load the row and assign its attributes, or leave the prefix out"
        )


def refuse_conflict_clause(statement: Insert, changes: Sequence[SlotChange], fields: Sequence[Field]) -> None:
    """Refuse ``INSERT ... ON CONFLICT`` that gives files or sets them."""
    conflict = getattr(statement, "_post_values_clause", None)
    if conflict is not None and (any(change.new for change in changes) or _sets_files(conflict, fields)):
        raise UnsupportedRouteError(
            "INSERT ... ON CONFLICT / ON DUPLICATE KEY with files does not report which rows it wrote, so bytes could be lost; "
            "load the row and assign its attribute, or insert without the conflict clause"
        )


def _sets_files(conflict: Any, fields: Sequence[Field]) -> bool:
    """Return True if ON CONFLICT or ON DUPLICATE KEY sets a file column."""
    given = getattr(conflict, "update_values_to_set", None) or getattr(conflict, "update", None) or ()
    keys = {key[0] if isinstance(key, tuple) else key for key in given}  # a list of pairs in SQLAlchemy 2.0
    names = {getattr(key, "key", key) for key in keys}
    return any(column.column.key in names or column.key in names for column in fields)


def refuse_insert_from_select(statement: Insert, fields: Sequence[Field]) -> None:
    """Refuse to let the database copy documents from row to row."""
    names = getattr(statement, "_select_names", None) or ()
    for column in fields:
        if column.column.name in names or column.key in names:
            raise UnsupportedRouteError(
                f"INSERT ... SELECT into {column.key} would give one object two rows; leave the column out, or copy the files: "
                "session.add(Model(file=other.file)) makes a copy of its own"
            )


def refuse_sharing(changes: Sequence[SlotChange], matched: int, verb: str) -> None:
    """Refuse to give one file to several rows."""
    for change in changes:
        if change.owned and change.new and change.slot.owner == -1 and matched > 1:
            raise UnsupportedRouteError(
                f"this {verb} would give one file to {matched} rows in {change.slot.field.key}; assign each row its own "
                "file, row by row"
            )


def refuse_repeated_rows(changes: Sequence[SlotChange], keys: Sequence[tuple[Any, ...]], mapper: Mapper[Any]) -> None:
    """Refuse a bulk UPDATE by primary key that sets a row's column twice."""
    seen: set[Hashable] = set()
    for change in changes:
        owner, column = change.slot
        if isinstance(owner, int) and owner >= 0:
            slot = keys[owner], column
            if slot in seen:
                raise UnsupportedRouteError(
                    f"this UPDATE sets {column.key} of the {mapper.class_.__name__} {keys[owner]!r} twice; name each row once, "
                    "with its final value"
                )
            seen.add(slot)
