"""ORM bulk INSERT, UPDATE and DELETE.

They are ``session.execute(insert(Model), [...])``, ``Query.delete()`` and the like. These
statements change rows without loading objects, so there is no attribute history. What the rows own
is read before and after the statement instead. The difference is what it dropped, however the
statement chose its rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, CursorResult, Delete, Insert, Result, Select, Table, Update, func, select
from sqlalchemy.orm import FromStatement, InstanceState, Mapper, ORMExecuteState, configure_mappers
from sqlalchemy.sql.elements import BindParameter, Null

from filerow._file.list import FileObjectList
from filerow._file.object import FileObject, not_a_file
from filerow._log import extras, logger, named
from filerow._orm.catalogue import Catalogue
from filerow._orm.commit_and_rollback import session_files
from filerow._orm.elsewhere import keep_named_elsewhere, log_unknown
from filerow._orm.fields import Field, Slot, SlotChange, fields_in_table, fields_of, files_in
from filerow._orm.flush import Work, check_backend
from filerow._orm.ledger import Frame, Report
from filerow._orm.locks import BATCH, any_of, has_row_locks, key_order, lock_for_writing, locking
from filerow._orm.ownership import Change, Ref, ref_of
from filerow._orm.references import named_by_rows
from filerow._orm.rows import is_database, owned_by
from filerow._orm.schemas import of_statement
from filerow._orm.sqlalchemy_private import (
    autoflush,
    forget_own_arguments,
    is_flushing,
    listen_last,
    multi_values_of,
    options_of,
    resolve_names,
    with_values,
)
from filerow._orm.unsupported import (
    bind_of,
    entity_of,
    refuse_alias,
    refuse_autocommit,
    refuse_conflict_clause,
    refuse_conflict_prefix,
    refuse_copies_in_order,
    refuse_core_strategy,
    refuse_insert_from_select,
    refuse_inside,
    refuse_repeated_rows,
    refuse_sharing,
    refuse_tables,
)
from filerow._orm.visibility import hides_kept_rows, may_lock
from filerow.exceptions import UnsupportedRouteError
from filerow.hooks import subscriptions

Key = tuple[Any, ...]
OwnedRows = dict[Key, dict[Field, tuple[Ref, ...]]]


def concerns_files(state: ORMExecuteState) -> bool:
    """Return True for an ORM bulk statement on a class with file columns."""
    mapper = _mapper_of(state)
    if mapper is None:
        return False
    if not all(one.configured for one in mapper.self_and_descendants):
        configure_mappers()  # the class has not been used yet, so its file columns are not known
    return bool(_fields_written(state, mapper))


def _fields_written(state: ORMExecuteState, mapper: Mapper[Any]) -> Sequence[Field]:
    parents_too = state.is_insert or state.is_executemany  # these also write the parent classes' tables
    return fields_of(mapper) if parents_too else fields_in_table(mapper)


def run_bulk(state: ORMExecuteState) -> Result[Any] | None:
    """Run an ORM bulk statement on a class with file columns.

    It returns ``None`` for any other statement, which SQLAlchemy then runs itself.
    """
    forget_own_arguments(state)
    listen_last(state, forget_own_arguments)
    mapper, statement = _mapper_of(state), writing_part(state.statement)
    if mapper is None or statement is None or not concerns_files(state):
        return None
    if not is_database(bind_of(state)):
        return None
    fields = _fields_written(state, mapper)
    if statement is not state.statement:
        names = {name for row in _rows(state, mapper) for name in row}
        given = [column.column for column in fields if names & {column.key, column.column.key}]
        refuse_inside("from_statement()", statement, {*values_of(statement), *given})
        return None
    refuse_alias(statement)
    refuse_core_strategy(state, values_of(statement), fields)
    if isinstance(statement, Insert):
        return _insert(state, statement, mapper, fields)
    if isinstance(statement, Update):
        return _update(state, statement, mapper, fields)
    return _delete(state, mapper, fields)


def refuse_ctes(compiled: Any) -> None:
    """Refuse ORM statements in a statement's CTEs that give or take files."""
    for cte in compiled.ctes:
        if isinstance(cte.element, Insert | Update | Delete):
            refuse_inside("a CTE", cte.element, values_of(cte.element))


def writing_part(statement: Any) -> Insert | Update | Delete | None:
    """Return the statement that writes rows, or ``None``.

    ``select(Model).from_statement(...)`` may contain it.
    """
    if isinstance(statement, FromStatement):
        statement = statement.element
    return statement if isinstance(statement, Insert | Update | Delete) else None


def _mapper_of(state: ORMExecuteState) -> Mapper[Any] | None:
    """Return the class whose rows an ORM statement writes.

    SQLAlchemy reports the class of any ORM criterion instead.
    """
    mapper = state.bind_mapper
    if mapper is None or not (state.is_insert or state.is_update or state.is_delete) or not state.is_orm_statement:
        return None
    statement = writing_part(state.statement)
    if statement is None:
        return None
    if entity_of(statement) is not None:
        return mapper
    return next((one for one in mapper.registry.mappers if one.local_table is statement.table and not one.single), None)


@dataclass(slots=True)
class Values:
    """The files that a statement gives to rows, and copies that replace them.

    Attributes:
        rows: One mapping of attribute names to values per row, for parameters passed with the
            statement.
        inline: The values inside the statement.
        named: The names of the parameters that carry the statement's values, by attribute name.
        parameters: The current values of those parameters.
        changes: One change per row and column that gets files.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    inline: dict[str, Any] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    changes: list[SlotChange] = field(default_factory=list)

    def add(self, owner: int, column: Field, value: Any) -> None:
        """Note what a row's column gets.

        Row -1 stands for the statement's own values.
        """
        kind = column.type
        if kind.multiple:
            value = FileObjectList.coerce(column.key, value)
        elif value is not None and not isinstance(value, FileObject):
            raise not_a_file(column.key, value)
        files = files_in(value)
        for file in files:
            check_backend(file, kind.backend, column)
        self.changes.append(Change(Slot(owner, column), files, backend=kind.backend, owned=kind.lifecycle))

    def add_inline(self, found: Sequence[Inline]) -> None:
        """Note what the statement itself gives to rows."""
        for one in found:
            if one.parameter is not None:
                self.named[one.field.key] = one.parameter
            self.add(-1, one.field, one.value)

    def add_defaults(self, fields: Sequence[Field]) -> None:
        """Add the ORM's defaults for columns that the statement leaves out.

        A default is what ``default=`` makes, or an empty list.
        """
        given = {change.slot.field for change in self.changes}
        for column in fields:
            value = None if column in given else column.initial()
            if value is not None:
                self.inline[column.key] = value
                self.add(-1, column, value)

    def assign_copy(self, change: SlotChange, index: int, copy: FileObject) -> Callable[[], None]:
        """Assign a copy in place of a file that another row owns.

        Nothing holds it after the statement, so there is nothing to undo.
        """
        owner, column = change.slot
        change.new = (*change.new[:index], copy, *change.new[index + 1 :])
        value = FileObjectList(change.new) if column.type.multiple else copy
        if isinstance(owner, int) and owner >= 0:
            self.rows[owner][column.key] = value
        elif column.key in self.named:
            self.parameters[self.named[column.key]] = value
        else:
            self.inline[column.key] = value
        return _nothing_to_undo


def _nothing_to_undo() -> None:
    """Do nothing.

    The rows given to a statement are the application's, and the copies were put into other ones.
    """


# -- INSERT ----------------------------------------------------------------------------------------------------------------


def _insert(state: ORMExecuteState, statement: Insert, mapper: Mapper[Any], fields: Sequence[Field]) -> Result[Any] | None:
    refuse_insert_from_select(statement, fields)
    multi = _multi_values(statement, fields)
    values = _inserted(state, statement, fields, multi or _rows(state, mapper))
    refuse_sharing(values.changes, len(values.rows), "INSERT")
    refuse_conflict_clause(statement, values.changes, fields)
    refuse_conflict_prefix(state, statement, values.changes)
    if not values.changes and not values.rows:
        return None
    files = session_files(state.session)
    work = files.work(values.assign_copy, partial(_connection, state))
    with work.undone_on_error():
        work.upload(values.changes, partial(_row_of, state, statement, mapper, values.rows))
        _refuse_autocommit(state, values.changes, {})
        work.settle_owners(values.changes)
        rebuilt = with_values(statement, values.rows) if multi else None
        with _kept_as_written(work, state, fields):
            result = _invoke(state, statement, values) if rebuilt is None else state.invoke_statement(rebuilt)
        _update_outbox(work, state)
    if subscriptions:
        _report(work, values, [_key_if_given(mapper, row) for row in values.rows], {})
    files.keep(state.session, work)
    return result


def _inserted(state: ORMExecuteState, statement: Insert, fields: Sequence[Field], rows: list[dict[Any, Any]]) -> Values:
    """Return the files of an INSERT.

    A column that it does not mention gets its default or an empty list, as in the ORM.
    """
    values = Values(rows=rows)
    inline = inline_values(statement, fields, _parameters(state))
    elsewhere = {one.field for one in inline}
    none_is_null = bool(_multi_values(statement, ())) or state.execution_options.get("render_nulls", False)
    for number, row in enumerate(rows):
        for column in fields:
            missing = column not in elsewhere and (column.key not in row or (row[column.key] is None and not none_is_null))
            default = column.initial() if missing else None
            if default is not None:
                row[column.key] = default
            if column.key in row:
                values.add(number, column, row[column.key])
    values.add_inline(inline)
    if not rows and not getattr(statement, "_select_names", None):
        values.add_defaults(fields)
    return values


def _multi_values(statement: Insert, fields: Sequence[Field]) -> list[dict[Any, Any]]:
    """Return the rows of ``insert(Model).values([{...}, ...])``.

    File columns are named by attribute, the others as given.
    """
    names = {column.column: column.key for column in fields}
    return [{names.get(key, key): value for key, value in row.items()} for group in multi_values_of(statement) for row in group]


# -- UPDATE and DELETE -----------------------------------------------------------------------------------------------------


def _update(state: ORMExecuteState, statement: Update, mapper: Mapper[Any], fields: Sequence[Field]) -> Result[Any] | None:
    values = _updated(state, statement, mapper, fields)
    refuse_conflict_prefix(state, statement, values.changes)
    if not values.changes:
        return None
    keys = [_key_of(mapper, row) for row in values.rows] if values.rows else None
    if keys is not None:
        refuse_repeated_rows(values.changes, keys, mapper)
    before = _read(state, mapper, fields, keys)
    _refuse_autocommit(state, values.changes, before)
    _refuse_flushed_rows(state, {change.slot.field for change in values.changes}, before)
    refuse_sharing(values.changes, _matched(state, mapper, values, before), "UPDATE")
    _use_given_keys(state, mapper, fields, keys, before)
    _set_old(values, before, keys)
    files = session_files(state.session)
    # Several rows are written one by one. Should that stop half-way, a moved object would have two rows, or none.
    work = files.work(values.assign_copy, partial(_connection, state), moves=len(values.rows) < 2)  # noqa: PLR2004 - one
    with work.undone_on_error():
        work.upload(values.changes, partial(_row_of, state, statement, mapper, values.rows))
        work.settle_owners(values.changes)
        with _kept_as_written(work, state, fields):
            result = _invoke(state, statement, values)
            written = result.rowcount if isinstance(result, CursorResult) else 0
            refuse_sharing(values.changes, written, "UPDATE")
        if keys is None and not before and written <= 0:
            work.forget({-1})  # no row got the files
    _keep_remaining(work, state, mapper, fields, before)
    _keep_named_elsewhere(work, state)
    _update_outbox(work, state)
    if subscriptions:
        _report(work, values, keys, before)
    files.keep(state.session, work)
    return result


def _updated(state: ORMExecuteState, statement: Update, mapper: Mapper[Any], fields: Sequence[Field]) -> Values:
    """Return the files of an UPDATE.

    They are in rows that name their primary keys, in the statement, or in its parameters.
    """
    parameters = _rows(state, mapper) if state.is_executemany else _parameters(state)
    values = Values(rows=parameters if state.is_executemany else [])
    for number, row in enumerate(values.rows):
        for column in fields:
            if column.key in row:
                values.add(number, column, row[column.key])
    values.add_inline(inline_values(statement, fields, parameters))
    if parameters and not state.is_executemany:  # a parameter with a column's name is one more value to set
        named = [column for column in fields if column.column.key in parameters[0]]
        values.add_inline([Inline(one, parameters[0][one.column.key], one.column.key) for one in named])
    return values


def _matched(state: ORMExecuteState, mapper: Mapper[Any], values: Values, before: OwnedRows) -> int:
    """Return how many rows an UPDATE is going to change, as far as known.

    Hooks of the application (``do_orm_execute``) and the statement's own options may narrow it, to
    one tenant's rows for example. What rows own is read without these, because some hooks hide
    rows from SELECTs alone. So several rows are counted again, with hooks and options.
    """
    if len(before) == 1 or state.is_executemany or not any(change.new for change in values.changes):
        return len(before)
    query: Any = select(func.count()).select_from(mapper.class_)
    where = getattr(state.statement, "whereclause", None)
    counting = (query if where is None else query.where(where)).options(*options_of(state.statement))
    arguments = dict(state.bind_arguments)
    options = _row_options(state)
    given = _parameters(state) or [{}]
    return sum(state.session.scalars(counting, one, bind_arguments=arguments, execution_options=options).one() for one in given)


def _delete(state: ORMExecuteState, mapper: Mapper[Any], fields: Sequence[Field]) -> Result[Any] | None:
    before = _read(state, mapper, fields, None)
    _refuse_autocommit(state, (), before)
    _refuse_flushed_rows(state, fields, before)
    files = session_files(state.session)
    work = files.work(_nothing_to_copy)
    for key, owned in before.items():
        for column in fields:
            for ref in owned[column] if column.type.lifecycle else ():
                work.release(ref, Slot(key, column))
    with _kept_as_written(work, state, fields):
        result = state.invoke_statement()
    deleted = result.rowcount if isinstance(result, CursorResult) else -1
    left = _keep_remaining(work, state, mapper, fields, before)
    if deleted < len(before) - left and _may_hide_rows(state, mapper):
        _log_unsure(work.frame.dropped)
        work.frame.dropped.clear()
    _keep_named_elsewhere(work, state)
    if deleted > len(before):
        msg = (
            "%d rows of %s were deleted that could not be locked before (row level security, for example); a sweep finds their "
            "objects"
        )
        unseen = deleted - len(before)
        logger.warning(msg, unseen, mapper.local_table, extra=extras("flush", objects=unseen))
    _update_outbox(work, state)
    if subscriptions:
        freed = [(slot, ref) for ref, slot in work.released.items() if ref in work.frame.dropped]
        work.frame.reports += [Report(slot, [ref], ()) for slot, ref in freed]
    files.keep(state.session, work)
    return result


@contextmanager
def _kept_as_written(work: Work, state: ORMExecuteState, fields: Sequence[Field]) -> Generator[None]:
    """Keep what a statement has written before it failed.

    Most databases run a statement with several rows of parameters row by row, and some go on with
    the transaction after an error. The application may commit the rows that were written.
    """
    try:
        yield
    except Exception:
        with suppress(Exception):  # the transaction cannot go on, so none of the rows stays
            _keep_written(work, state, fields)
        raise


def _keep_written(work: Work, state: ORMExecuteState, fields: Sequence[Field]) -> None:
    given = {applied.ref for applied in work.applied} - work.moved.keys()
    dropped = set(work.frame.dropped)
    with of_statement(state.execution_options):
        there = named_by_rows(_connection(state), {one.column for one in fields}, given | dropped | work.moved.keys())
    if there.isdisjoint(given) and there >= dropped:
        return  # nothing was written
    work.keep_only(there)
    for ref in there & dropped:
        work.frame.restore(ref)
    _update_outbox(work, state)
    session_files(state.session).keep(state.session, work)
    work.frame = Frame()  # of which nothing is undone


def _report(work: Work, values: Values, keys: Sequence[Key | None] | None, before: OwnedRows) -> None:
    """Note what a statement has changed, for those who listen to events.

    The keys of rows that it has inserted are not known.
    """
    lost = {*work.frame.dropped, *work.moved}
    for change in values.changes:
        owner, column = change.slot
        rows: Sequence[Key | None] = list(before) or [None]
        if isinstance(owner, int) and owner >= 0:
            rows = [keys[owner] if keys else None]
        for key in rows:
            old = before.get(key, {}).get(column, ()) if key is not None else ()
            held = {ref_of(file) for file in change.new}
            gone = [ref for ref in old if ref in held or ref in lost or not column.type.lifecycle]
            work.frame.reports.append(Report(Slot(key, column), gone, change.new))


def _key_if_given(mapper: Mapper[Any], row: Mapping[str, Any]) -> Key | None:
    key = _key_of(mapper, row)
    return None if any(value is None for value in key) else key


def _keep_named_elsewhere(work: Work, state: ORMExecuteState) -> None:
    with of_statement(state.execution_options):
        log_unknown(keep_named_elsewhere(work, lambda _: _connection(state), Catalogue()))


def _may_hide_rows(state: ORMExecuteState, mapper: Mapper[Any]) -> bool:
    with of_statement(state.execution_options):
        return hides_kept_rows(_connection(state), cast("Table", mapper.local_table))


def _log_unsure(dropped: Iterable[Ref]) -> None:
    logger.warning(
        "a trigger or a rule may have kept rows that a policy hides now, so their objects are not deleted; a sweep removes those "
        "that no row names: %s",
        named(ref.path for ref in dropped),
        extra=extras("flush"),
    )


def _refuse_autocommit(state: ORMExecuteState, changes: Iterable[SlotChange], before: OwnedRows) -> None:
    """Refuse to give or take files on a connection without transactions."""
    if any(change.new for change in changes) or any(refs for owned in before.values() for refs in owned.values()):
        refuse_autocommit(_connection(state))
        fields = {*(change.slot.field for change in changes), *(field for owned in before.values() for field in owned)}
        with of_statement(state.execution_options):
            refuse_tables(_connection(state), [field.column.table for field in fields])


def _refuse_flushed_rows(state: ORMExecuteState, fields: Collection[Field], before: OwnedRows) -> None:
    """Refuse to change files that the flush under way has decided about.

    One of the flush's listeners runs the statement.
    """
    flush = session_files(state.session).flush
    if flush is None or not is_flushing(state.session):
        return
    owners = [(slot.field.column, slot.owner) for slot in flush.old]
    decided = {(column, one.key[1]) for column, one in owners if isinstance(one, InstanceState) and one.key is not None}
    for key, one in itertools.product(before, fields):
        if (one.column, key) in decided:
            raise UnsupportedRouteError(
                f"{one.table}.{one.column.name} of the row {key} is changed by the flush under way, and a listener changes it "
                "again by a statement, after Filerow has read it; change the object in before_flush instead, or run the "
                "statement in a listener that runs before Filerow's (insert=True)"
            )


def _nothing_to_copy(change: SlotChange, index: int, copy: FileObject) -> Callable[[], None]:
    raise AssertionError


def _set_old(values: Values, before: OwnedRows, keys: Sequence[Key] | None) -> None:
    """Set on each change what its row owns.

    For a value in the statement, that is what all matched rows own.
    """
    for change in values.changes:
        owner, column = change.slot
        if not isinstance(owner, int) or owner == -1:
            rows = list(before.values())
        else:
            rows = [before.get(keys[owner], {})] if keys else []
        change.old = tuple(ref for row in rows for ref in row.get(column, ()))


def _update_outbox(work: Work, state: ORMExecuteState) -> None:
    work.update_outbox(lambda _: _connection(state))


def _keep_remaining(work: Work, state: ORMExecuteState, mapper: Mapper[Any], fields: Sequence[Field], before: OwnedRows) -> int:
    """Restore every dropped object that a row still owns after the statement.

    It returns how many of the rows still exist.
    """
    if not work.frame.dropped or not before:
        return len(before)
    rows = _read(state, mapper, fields, list(before), lock=False)
    for owned in rows.values():
        for refs in owned.values():
            for ref in refs:
                work.frame.dropped.pop(ref, None)
    return len(rows)


def _read(
    state: ORMExecuteState, mapper: Mapper[Any], fields: Sequence[Field], keys: Sequence[Key] | None, *, lock: bool = True
) -> OwnedRows:
    """Read what rows own.

    They are the rows with the given keys, or else those that the statement's WHERE matches.
    """
    if lock and state.execution_options.get("autoflush", True):
        autoflush(state.session)  # as the statement itself would
    owned, connection = OwnedRows(), _connection(state)
    columns = [getattr(mapper.class_, mapper.get_property_by_column(c).key) for c in mapper.primary_key]
    known = fields_of(mapper)  # the others belong to child classes
    query: Any = select(*columns, *(getattr(mapper.class_, f.key) if f in known else f.column for f in fields))
    if lock:
        with of_statement(state.execution_options):
            lockable = may_lock(connection, [one.column.table for one in fields])
        if not lockable:
            return owned  # what the rows own may change before this transaction ends
        lock_for_writing(connection, fields, _row_options(state))
    if lock or connection.dialect.name in {"mysql", "mariadb"}:  # without a lock MySQL shows the rows of an earlier moment
        query = locking(query, connection.dialect, key_share=True, of=tuple({f.column.table for f in fields}))
        query = query.order_by(*((key_order(columns, connection.dialect) if has_row_locks(connection.dialect) else None) or ()))
    for statement, parameters in _read_statements(state, query, columns, keys):
        # not through the session: its hooks may hide rows from SELECTs
        for row in connection.execute(statement, parameters, execution_options=_row_options(state)):
            width = len(columns)
            owned[tuple(row[:width])] = {f: owned_by(v) for f, v in zip(fields, row[width:], strict=True)}
    return owned


def _use_given_keys(
    state: ORMExecuteState, mapper: Mapper[Any], fields: Sequence[Field], keys: Sequence[Key] | None, rows: OwnedRows
) -> None:
    """Use the keys that were given for rows in place of the rows' own.

    They may look different: ``{"id": "7"}``.
    """
    missing = [key for key in keys or () if key not in rows]
    strange = [key for key in rows if keys is not None and key not in keys]
    for key in missing if strange else ():
        for found, owned in _read(state, mapper, fields, [key], lock=False).items():
            rows.pop(found, None)
            rows[key] = owned


def _read_statements(
    state: ORMExecuteState, query: Any, columns: Sequence[Any], keys: Sequence[Key] | None
) -> list[tuple[Select[Any], Any]]:
    if keys is not None:
        return [(query.where(any_of(columns, keys[i : i + BATCH])), {}) for i in range(0, len(keys), BATCH)]
    where = getattr(state.statement, "whereclause", None)
    matching = query if where is None else query.where(where)
    return [(matching, one) for one in _parameters(state) or [{}]]


# -- shared ----------------------------------------------------------------------------------------------------------------


_BY_ROW = frozenset({None, "auto", "bulk"})


def _connection(state: ORMExecuteState) -> Connection:
    """Return the connection that runs the statement, by ``bind_arguments``.

    SQLAlchemy uses the class alone when an INSERT or UPDATE is given a list of rows.
    """
    by_row = state.is_executemany and not state.is_delete and state.execution_options.get("dml_strategy") in _BY_ROW
    if by_row and state.bind_mapper is not None and state.session.connection_callable is None:
        return state.session.connection(bind_arguments={"mapper": state.bind_mapper.base_mapper})
    return state.session.connection(bind_arguments=dict(state.bind_arguments))


def _row_options(state: ORMExecuteState) -> dict[str, Any]:
    """Return the execution options that decide which rows are meant."""
    given = state.execution_options
    return {"schema_translate_map": given["schema_translate_map"]} if "schema_translate_map" in given else {}


def _parameters(state: ORMExecuteState) -> list[dict[str, Any]]:
    given: Any = state.parameters or []
    return [dict(one) for one in given] if isinstance(given, list | tuple) else [dict(given)]


def _rows(state: ORMExecuteState, mapper: Mapper[Any]) -> list[dict[str, Any]]:
    """Return the rows passed with a statement, by the attributes of columns.

    SQLAlchemy lets them name composites, and since 2.1 hybrids, too. It would look for these names
    again in what it was given, and find the files that copies have replaced, so it is given these
    rows.
    """
    rows, known = _parameters(state), mapper.column_attrs
    by_row = state.execution_options.get("dml_strategy") in _BY_ROW
    others = {name for row in rows for name in row if name not in known} if by_row else ()
    if others:
        resolve_names(mapper, rows)
        resolved = [name for name in others if name in mapper.all_orm_descriptors]
        rows = [{name: value for name, value in row.items() if name not in resolved} for row in rows]
        state.parameters = rows if state.is_executemany else rows[0]
    return rows


def _invoke(state: ORMExecuteState, statement: Any, values: Values) -> Result[Any]:
    if values.inline:
        refuse_copies_in_order(statement)
        keys = {slot.field.key: slot.field.column for slot in (change.slot for change in values.changes)}
        statement = statement.values({keys[key]: value for key, value in values.inline.items()})
    if not values.rows:
        return state.invoke_statement(statement, params=values.parameters)
    parameters: Any = values.rows if state.is_executemany else values.rows[0]
    return state.invoke_statement(statement, params=parameters)


def _row_of(
    state: ORMExecuteState, statement: Insert | Update, mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]], slot: Slot
) -> Mapping[str, Any]:
    """Return what a statement gives to a row, by the names of attributes."""
    parameters = (_parameters(state) or [{}])[0]
    given = dict(values_of(statement))
    owner = slot.owner
    given.update(rows[owner] if isinstance(owner, int) and owner >= 0 else parameters)
    found: dict[str, Any] = {}
    for column, value in given.items():
        name = column if isinstance(column, str) else mapper.get_property_by_column(column).key
        found[name] = parameters.get(value.key, value.value) if isinstance(value, BindParameter) else value
    return found


def _key_of(mapper: Mapper[Any], row: Mapping[str, Any]) -> Key:
    return tuple(row.get(mapper.get_property_by_column(column).key) for column in mapper.primary_key)


_ABSENT = object()


# -- what a statement itself sets, as opposed to the rows passed with it ---------------------------------------------------


class Inline(NamedTuple):
    """A file column that a statement itself sets.

    Attributes:
        field: The column.
        value: What it gets.
        parameter: The name of the parameter that carries the value, if one does.
    """

    field: Field
    value: Any
    parameter: str | None = None


def inline_values(statement: Insert | Update, fields: Sequence[Field], parameters: Sequence[Mapping[str, Any]]) -> list[Inline]:
    """Return the file columns that the statement itself sets, with values.

    Raises:
        UnsupportedRouteError: A column is set to an SQL expression, whose files are unknown.
    """
    given = values_of(statement)
    found = []
    for column in fields:
        value = given.get(column.column, _ABSENT)
        if value is _ABSENT:
            continue
        if isinstance(value, Null):
            found.append(Inline(column, None))
        elif isinstance(value, BindParameter) and not any(value.key in one for one in parameters):
            found.append(Inline(column, value.value))
        elif isinstance(value, BindParameter) and len(parameters) == 1:
            found.append(Inline(column, parameters[0][value.key], value.key))
        else:
            raise UnsupportedRouteError(
                f"{column.key} is set to an SQL expression, which could give one object to two rows; set it to a FileObject or "
                "None, or load the rows and assign their files"
            )
    return found


def values_of(statement: Insert | Update | Delete) -> Mapping[Any, Any]:
    """Return what a statement sets, by columns.

    SQLAlchemy 2.0 keeps the values of ``ordered_values()`` apart.
    """
    given = getattr(statement, "_values", None) or dict(getattr(statement, "_ordered_values", None) or ())
    columns = statement.table.columns  # an UPDATE of a table, not of a class, keeps the columns' names
    return {columns[key] if isinstance(key, str) and key in columns else key: value for key, value in given.items()}
