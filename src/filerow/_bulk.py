"""ORM bulk INSERT, UPDATE and DELETE: ``session.execute(insert(Model), [...])``, ``Query.delete()`` and their kin.

These statements change rows without loading objects, so there is no attribute history. What the rows own is read before and
after the statement instead, and the difference is what it has dropped; that is right whatever decides which rows it touches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Insert, Result, Select, Update, select
from sqlalchemy.orm import Mapper, ORMExecuteState, configure_mappers
from sqlalchemy.sql.elements import BindParameter, Null

from filerow._apply import Work, check_backend
from filerow._changes import Change, Ref
from filerow._file import FileObject
from filerow._list import FileObjectList
from filerow._session import session_files
from filerow._tracking import BATCH, Field, Slot, any_of, fields_of, files_in, lock_for_writing, locking, owned_by, slot_of
from filerow.exceptions import UnsupportedRouteError

__all__ = ("run_bulk",)

Key = tuple[Any, ...]
OwnedRows = dict[Key, dict[str, tuple[Ref, ...]]]
_ABSENT = object()


def run_bulk(state: ORMExecuteState) -> Result[Any] | None:
    """Run an ORM bulk statement on a class with file columns; ``None`` lets SQLAlchemy run any other statement itself."""
    mapper = state.bind_mapper
    if mapper is None or not (state.is_insert or state.is_update or state.is_delete) or not state.is_orm_statement:
        return None
    if not mapper.configured:
        configure_mappers()  # nobody has used the class yet, so its file columns are not known
    statement, fields = state.statement, fields_of(mapper)
    if not (isinstance(statement, Insert) or state.is_executemany):  # these write the parent classes' tables too
        fields = tuple(f for f in fields if f.column.table is mapper.local_table)
    if not fields:
        return None
    if isinstance(statement, Insert):
        return _insert(state, statement, mapper, fields)
    if isinstance(statement, Update):
        return _update(state, statement, mapper, fields)
    return _delete(state, mapper, fields) if isinstance(statement, Delete) else None


@dataclass(slots=True)
class Values:
    """The files a statement gives to rows, wherever it carries them, and the copies that take their place.

    Attributes:
        rows: One mapping of attribute names to values per row, for parameters given beside the statement.
        inline: The values inside the statement.
        changes: One change per row and column that gets files.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    inline: dict[str, Any] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def add(self, owner: int, column: Field, value: Any) -> None:
        """Note what a row's column gets; row -1 stands for the statement's own values."""
        for file in cast("Sequence[object]", files_in(value)):
            if not isinstance(file, FileObject):
                msg = f"{column.key} takes FileObject, not {type(file).__name__}; wrap the content: FileObject(content=...)"
                raise TypeError(msg)
            check_backend(file, column.type.backend, column)
        kind = column.type
        self.changes.append(Change(Slot(owner, column), files_in(value), backend=kind.backend, owned=kind.lifecycle))

    def empty_lists(self, fields: Sequence[Field]) -> None:
        """Make the list columns that the statement itself does not mention empty lists, as in the ORM."""
        given = {slot_of(change).field for change in self.changes}
        for column in fields:
            if column.type.multiple and column not in given:
                self.inline[column.key] = FileObjectList()
                self.add(-1, column, None)

    def put_copy(self, change: Change, index: int, copy: FileObject) -> None:
        """Put a copy in place of a file that another row owns."""
        owner, column = slot_of(change)
        change.new = (*change.new[:index], copy, *change.new[index + 1 :])
        target = self.rows[owner] if isinstance(owner, int) and owner >= 0 else self.inline
        target[column.key] = FileObjectList(change.new) if column.type.multiple else copy


# -- INSERT ----------------------------------------------------------------------------------------------------------------


def _insert(state: ORMExecuteState, statement: Insert, mapper: Mapper[Any], fields: Sequence[Field]) -> Result[Any] | None:
    _refuse_insert_from_select(statement, fields)
    multi = _multi_values(statement, fields)
    values = _inserted(statement, fields, multi or _parameters(state))
    _refuse_sharing(values, len(values.rows), "INSERT")
    _refuse_conflict_clause(statement, values, fields)
    if not values.changes and not values.rows:
        return None
    files = session_files(state.session)
    work = files.work(values.put_copy)
    with work.undone_on_error():
        work.upload(values.changes)
        work.settle_owners(values.changes)
        rebuilt = _with_rows(statement, values.rows) if multi else None
        result = _invoke(state, statement, values) if rebuilt is None else state.invoke_statement(rebuilt)
        _tell_outbox(work, state, mapper)
    files.keep(state.session, work)
    return result


def _inserted(statement: Insert, fields: Sequence[Field], rows: list[dict[Any, Any]]) -> Values:
    """Return the files an INSERT brings; a list column it does not mention is an empty list, as in the ORM."""
    values = Values(rows=rows)
    for number, row in enumerate(rows):
        for column in fields:
            if column.key in row:
                values.add(number, column, row[column.key])
            elif column.type.multiple:
                row[column.key] = FileObjectList()
    for column, value in _inline(statement, fields):
        values.add(-1, column, value)
    if not rows and not getattr(statement, "_select_names", None):
        values.empty_lists(fields)
    return values


def _refuse_conflict_clause(statement: Insert, values: Values, fields: Sequence[Field]) -> None:
    conflict = getattr(statement, "_post_values_clause", None)
    if conflict is not None and (any(change.new for change in values.changes) or _sets_files(conflict, fields)):
        msg = (
            "INSERT ... ON CONFLICT / ON DUPLICATE KEY with files cannot tell which rows it wrote, so bytes could be lost; look "
            "the row up and assign its attribute, or insert without the conflict clause"
        )
        raise UnsupportedRouteError(msg)


def _sets_files(conflict: Any, fields: Sequence[Field]) -> bool:
    """Say whether ON CONFLICT DO UPDATE or ON DUPLICATE KEY UPDATE sets a file column."""
    given = getattr(conflict, "update_values_to_set", None) or getattr(conflict, "update", None) or ()
    keys = {key[0] if isinstance(key, tuple) else key for key in given}  # a list of pairs in SQLAlchemy 2.0
    names = {getattr(key, "key", key) for key in keys}
    return any(column.column.key in names or column.key in names for column in fields)


def _refuse_insert_from_select(statement: Insert, fields: Sequence[Field]) -> None:
    names = getattr(statement, "_select_names", None) or ()
    for column in fields:
        if column.column.name in names or column.key in names:
            msg = (
                f"INSERT ... SELECT into {column.key} would give one object two rows; leave the column out, or copy the files: "
                "session.add(Model(file=other.file)) makes a copy of its own"
            )
            raise UnsupportedRouteError(msg)


def _multi_values(statement: Insert, fields: Sequence[Field]) -> list[dict[Any, Any]]:
    """Return the rows of ``insert(Model).values([{...}, ...])``; file columns by attribute name, the others as they are."""
    names = {column.column: column.key for column in fields}
    groups = getattr(statement, "_multi_values", ())
    return [{names.get(key, key): value for key, value in row.items()} for group in groups for row in group]


def _with_rows(statement: Insert, rows: Sequence[Mapping[Any, Any]]) -> Insert:
    clone = statement._generate()
    clone._multi_values = ()
    return clone.values(rows)


# -- UPDATE and DELETE -----------------------------------------------------------------------------------------------------


def _update(state: ORMExecuteState, statement: Update, mapper: Mapper[Any], fields: Sequence[Field]) -> Result[Any] | None:
    values = Values(rows=_parameters(state) if state.is_executemany else [])
    for number, row in enumerate(values.rows):
        for column in fields:
            if column.key in row:
                values.add(number, column, row[column.key])
    for column, value in _inline(statement, fields):
        values.add(-1, column, value)
    if not values.changes:
        return None
    keys = [_key_of(mapper, row) for row in values.rows] if values.rows else None
    before = _read(state, mapper, fields, keys)
    _refuse_sharing(values, len(before), "UPDATE")
    _tell_old(values, before, keys)
    files = session_files(state.session)
    work = files.work(values.put_copy)
    with work.undone_on_error():
        work.upload(values.changes)
        work.settle_owners(values.changes)
        result = _invoke(state, statement, values)
        if keys is None and not before and (not isinstance(result, CursorResult) or result.rowcount <= 0):
            work.forget({-1})  # no row took the files
    _keep_what_is_left(work, state, mapper, fields, before)
    _tell_outbox(work, state, mapper)
    files.keep(state.session, work)
    return result


def _delete(state: ORMExecuteState, mapper: Mapper[Any], fields: Sequence[Field]) -> Result[Any] | None:
    before = _read(state, mapper, fields, None)
    files = session_files(state.session)
    work = files.work(_nothing_to_copy)
    result = state.invoke_statement()
    for key, owned in before.items():
        for column in fields:
            for ref in owned[column.key] if column.type.lifecycle else ():
                work.let_go(ref, Slot(key, column))
    _keep_what_is_left(work, state, mapper, fields, before)
    _tell_outbox(work, state, mapper)
    files.keep(state.session, work)
    return result


def _nothing_to_copy(change: Change, index: int, copy: FileObject) -> None:
    raise AssertionError


def _refuse_sharing(values: Values, matched: int, verb: str) -> None:
    for change in values.changes:
        if change.owned and change.new and slot_of(change).owner == -1 and matched > 1:
            msg = (
                f"this {verb} would give one file to {matched} rows in {slot_of(change).field.key}; give each row a file of its "
                "own, row by row"
            )
            raise UnsupportedRouteError(msg)


def _tell_old(values: Values, before: OwnedRows, keys: Sequence[Key] | None) -> None:
    """Tell each change what its row (or, for a value in the statement, all matched rows) owns."""
    for change in values.changes:
        owner, column = slot_of(change)
        if not isinstance(owner, int) or owner == -1:
            rows = list(before.values())
        else:
            rows = [before.get(keys[owner], {})] if keys else []
        change.old = tuple(ref for row in rows for ref in row.get(column.key, ()))


def _tell_outbox(work: Work, state: ORMExecuteState, mapper: Mapper[Any]) -> None:
    work.tell_outbox(lambda _: state.session.connection(bind_arguments={"mapper": mapper}))


def _keep_what_is_left(
    work: Work, state: ORMExecuteState, mapper: Mapper[Any], fields: Sequence[Field], before: OwnedRows
) -> None:
    """Take back the drop of every object that a row still owns after the statement."""
    if not work.frame.dropped or not before:
        return
    for owned in _read(state, mapper, fields, list(before), lock=False).values():
        for refs in owned.values():
            for ref in refs:
                work.frame.dropped.pop(ref, None)


def _read(
    state: ORMExecuteState,
    mapper: Mapper[Any],
    fields: Sequence[Field],
    keys: Sequence[Key] | None,
    *,
    lock: bool = True,
) -> OwnedRows:
    """Read what rows own: those with the given keys, else those a statement's WHERE matches."""
    session, owned = state.session, OwnedRows()
    connection = session.connection(bind_arguments={"mapper": mapper}) if lock else None
    if connection is not None:
        lock_for_writing(connection, fields)
    columns = [getattr(mapper.class_, mapper.get_property_by_column(c).key) for c in mapper.primary_key]
    query: Any = select(*columns, *(getattr(mapper.class_, f.key) for f in fields))
    if connection is not None:
        query = locking(query, connection.dialect, key_share=True, of=tuple({f.column.table for f in fields}))
    for statement, parameters in _reads(state, query, columns, keys):
        for row in session.execute(statement, parameters, bind_arguments={"mapper": mapper}):
            width = len(columns)
            owned[tuple(row[:width])] = {f.key: owned_by(v) for f, v in zip(fields, row[width:], strict=True)}
    return owned


def _reads(
    state: ORMExecuteState, query: Any, columns: Sequence[Any], keys: Sequence[Key] | None
) -> list[tuple[Select[Any], Any]]:
    if keys is not None:
        return [(query.where(any_of(columns, keys[i : i + BATCH])), {}) for i in range(0, len(keys), BATCH)]
    where = getattr(state.statement, "whereclause", None)
    matching = query if where is None else query.where(where)
    return [(matching, one) for one in _parameters(state) or [{}]]


# -- shared ----------------------------------------------------------------------------------------------------------------


def _parameters(state: ORMExecuteState) -> list[dict[str, Any]]:
    given: Any = state.parameters or []
    return [dict(one) for one in given] if isinstance(given, list | tuple) else [dict(given)]


def _inline(statement: Insert | Update, fields: Sequence[Field]) -> list[tuple[Field, Any]]:
    """Return the file columns that the statement itself sets, with their values.

    Raises:
        UnsupportedRouteError: A column is set to an SQL expression, whose files nobody could name.
    """
    given = getattr(statement, "_values", None) or {}
    found = []
    for column in fields:
        value = given.get(column.column, _ABSENT)
        if value is _ABSENT:
            continue
        if isinstance(value, Null):
            value = None
        elif isinstance(value, BindParameter):
            value = value.value
        else:
            msg = (
                f"{column.key} is set to an SQL expression, which could give one object to two rows; set it to a FileObject or "
                "None, or load the rows and assign them"
            )
            raise UnsupportedRouteError(msg)
        found.append((column, value))
    return found


def _invoke(state: ORMExecuteState, statement: Any, values: Values) -> Result[Any]:
    if values.inline:
        keys = {slot.field.key: slot.field.column for slot in map(slot_of, values.changes)}
        statement = statement.values({keys[key]: value for key, value in values.inline.items()})
    if not values.rows:
        return state.invoke_statement(statement)
    parameters: Any = values.rows if state.is_executemany else values.rows[0]
    return state.invoke_statement(statement, params=parameters)


def _key_of(mapper: Mapper[Any], row: Mapping[str, Any]) -> Key:
    return tuple(row.get(mapper.get_property_by_column(column).key) for column in mapper.primary_key)
