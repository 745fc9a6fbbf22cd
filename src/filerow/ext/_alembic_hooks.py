"""What a migration's own operations do to files.

Triggers follow renames, and files are never dropped unnoticed.

Alembic lets its implementations be replaced. Ours do what Alembic's do, but read the table's triggers before and make them
again after, at the end of a batch if the operation is part of one. Without a connection (``--sql``) they do nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from alembic.operations import Operations, ops, toimpl
from alembic.operations.batch import BatchOperationsImpl

from filerow._log import named
from filerow.exceptions import MaintenanceRefusedError
from filerow.ext._alembic_compare import be_quiet_about_indexes
from filerow.ext._alembic_operations import is_left, leave, recorded_in, release_files, remade
from filerow.outbox._release import columns_with_files, renamed, waiting
from filerow.outbox._triggers.install import existing, has_triggers
from filerow.outbox._triggers.spec import FileTable, Key

Implementation = Callable[[Operations, Any], Any]


@dataclass
class _Change:
    """What one operation, or one batch, does to a table.

    Attributes:
        spec: What its triggers were made from, if it has any.
        columns: New names of columns by the old ones.
        dropped: The dropped columns.
    """

    spec: FileTable | None
    columns: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    def after(self) -> FileTable | None:
        """Return what the triggers are made from afterwards; ``None`` for no triggers."""
        if self.spec is None:
            return None
        files = {self.columns.get(name, name): many for name, many in self.spec.columns.items() if name not in self.dropped}
        keys = [self.columns.get(name, name) for name in self.spec.primary_key if name not in self.dropped]
        return replace(self.spec, columns=files, primary_key=keys) if files else None


_batches: WeakKeyDictionary[BatchOperationsImpl, _Change] = WeakKeyDictionary()


def hook(names: Iterable[str]) -> None:
    """Replace Alembic's implementations of drops, renames and SQLite's batches."""
    constraint = (toimpl.create_constraint, _in_batch)
    replaced: dict[str, tuple[Any, Any]] = {
        "RenameTableOp": (toimpl.rename_table, _rename_table),
        "AlterColumnOp": (toimpl.alter_column, _alter_column),
        "DropColumnOp": (toimpl.drop_column, _drop_column),
        "DropTableOp": (toimpl.drop_table, _drop_table),
        "AddColumnOp": (toimpl.add_column, _in_batch),
        "DropConstraintOp": (toimpl.drop_constraint, _in_batch),
    }
    for name in names:
        original, ours = replaced.get(name, constraint)
        Operations.implementation_for(getattr(ops, name), replace=True)(_wrapped(original, ours))


def _wrapped(original: Any, ours: Callable[[Implementation, Operations, Any], Any]) -> Implementation:
    def implementation(operations: Operations, operation: Any) -> Any:
        context = operations.get_context()
        if context.as_sql or context.dialect.name not in {"postgresql", "mysql", "mariadb", "sqlite"}:
            return original(operations, operation)
        return ours(original, operations, operation)

    return implementation


# -- the operations --------------------------------------------------------------------------------------------------------


def _rename_table(original: Implementation, operations: Operations, operation: ops.RenameTableOp) -> None:
    original(operations, operation)
    key = (operation.schema, operation.new_table_name)
    connection = operations.get_bind()
    for other, there in existing(connection, [operation.schema]).items():
        spec = there.spec
        if spec is None or other[0] != operation.schema:
            continue
        was = replace(spec, name=operation.table_name)
        if other == key:
            remade(operations, spec, flawed=there.names)
            renamed(connection, spec, was.fullname)
        elif spec.outbox == operation.table_name:
            remade(operations, replace(spec, outbox=operation.new_table_name), flawed=there.names)


def _alter_column(original: Implementation, operations: Operations, operation: ops.AlterColumnOp) -> None:
    new = operation.modify_name
    change, finish = _change(operations, (operation.schema, operation.table_name))
    if new is not None and new != operation.column_name:
        change.columns[operation.column_name] = new
    original(operations, operation)
    finish()


def _drop_column(original: Implementation, operations: Operations, operation: ops.DropColumnOp) -> None:
    change, finish = _change(operations, (operation.schema, operation.table_name))
    _see_to(operations, change.spec, operation.table_name, operation.schema, [operation.column_name])
    change.dropped.add(operation.column_name)
    if change.spec is not None and operation.column_name in {*change.spec.columns, *change.spec.primary_key}:
        remade(operations, change.spec, make=False)  # or the column could not be dropped
    original(operations, operation)
    finish()


def _drop_table(original: Implementation, operations: Operations, operation: ops.DropTableOp) -> None:
    connection, key = operations.get_bind(), (operation.schema, operation.table_name)
    # an outbox's other table is dropped first; where DDL is not undone, refusing only after that would leave half of an outbox
    outbox = (operation.schema, operation.table_name.removesuffix("_state"))
    left = waiting(connection, outbox[1], operation.schema) if _is_there(connection, outbox) else 0
    if left:
        raise MaintenanceRefusedError(_outbox_refusal(outbox[1], left, recorded_in(operations, outbox)))
    if _is_there(connection, key):
        spec = _spec(operations, key)
        _see_to(operations, spec, operation.table_name, operation.schema, None)
        if spec is not None:
            remade(operations, spec, make=False)  # includes PostgreSQL's functions
    original(operations, operation)


def _in_batch(original: Implementation, operations: Operations, operation: Any) -> Any:
    """Record a batch, since on SQLite it makes a new table without triggers."""
    if isinstance(operations.impl, BatchOperationsImpl):
        _change(operations, (operations.impl.schema, operations.impl.table_name))
    return original(operations, operation)


def _outbox_refusal(name: str, left: int, recorded: Mapping[Key, Sequence[str]]) -> str:
    """Return why an outbox cannot be dropped.

    Args:
        name: The outbox.
        left: How many tombstones it has.
        recorded: The columns, by table, that this migration drops too: a drain before it does not know of their files.
    """
    problem = f"{name} has {left:,} tombstones of removed files whose objects would be left forever"
    drain = "drain it with Outbox(..., retention=timedelta(0))"
    if not recorded:
        return f"{problem}; {drain} first, or delete its rows"
    shown = named([f"{table}.{column}" for (_, table), columns in recorded.items() for column in columns])
    calls = ", ".join(
        f"op.leave_files({table!r}, columns={columns!r}{'' if schema is None else f', schema={schema!r}'})"
        for (schema, table), columns in recorded.items()
    )
    return (
        f"{problem}, and this migration drops {shown}, where rows have files. Delete these rows and {drain} before it, or write "
        f"{calls} at its start to leave the objects where they are"
    )


# -- shared ----------------------------------------------------------------------------------------------------------------


def _is_there(connection: Any, key: Key) -> bool:
    return bool(connection.dialect.has_table(connection, key[1], schema=key[0]))


def _spec(operations: Operations, key: Key) -> FileTable | None:
    there = existing(operations.get_bind(), [key[0]]).get(key)
    return None if there is None else there.spec


def _change(operations: Operations, key: Key) -> tuple[_Change, Callable[[], None]]:
    """Return the change that an operation is part of, and what to call after."""
    impl: Any = operations.impl
    if not isinstance(impl, BatchOperationsImpl):
        change = _Change(_spec(operations, key))
        return change, lambda: _finish(operations, change)
    be_quiet_about_indexes()  # a batch reads the table's indexes
    if impl not in _batches:
        change = _batches[impl] = _Change(_spec(operations, key))
        flush = impl.flush

        def flush_and_finish() -> None:
            flush()
            _finish(operations, change)

        impl.flush = flush_and_finish  # type: ignore[method-assign]
    return _batches[impl], lambda: None


def _finish(operations: Operations, change: _Change) -> None:
    """Make the triggers again, and rename the columns in the tombstones."""
    before, spec = change.spec, change.after()
    if before is None or not has_triggers(operations.get_context().dialect, before):
        return
    if spec is not None:
        there = existing(operations.get_bind(), [spec.schema]).get((spec.schema, spec.name))
        is_other = spec != before
        remade(operations, spec, flawed=there.names if there is not None and is_other else ())
    files = {old: new for old, new in change.columns.items() if old in before.columns}
    if files:
        renamed(operations.get_bind(), before, before.fullname, files)


def _see_to(operations: Operations, spec: FileTable | None, name: str, schema: str | None, columns: list[str] | None) -> None:
    """Handle the files of a column or table that is about to be dropped.

    Raises:
        MaintenanceRefusedError: There are files, and no outbox to record them.
    """
    connection = operations.get_bind()
    if spec is not None:
        going = [one for one in spec.columns if columns is None or one in columns]
        release_files(operations, spec, going)
    else:
        going = []
    left = columns_with_files(connection, name, schema, columns)
    lost = [one for one in left if one not in going and not is_left(operations, schema, name, one)]
    if lost:
        folders = " ".join(f"--former {name}/{one}" for one in lost)
        shown = named([f"{name}.{one}" for one in lost])
        raise MaintenanceRefusedError(
            f"{shown}: rows have files there, and no trigger records them, so their objects would be left forever. Set the "
            f"column to NULL (or delete the rows) through a session first, or write op.leave_files({name!r}, columns={lost!r}) "
            f"before this and run filerow sweep --full --delete {folders} after it"
        )
    leave(operations, schema, name, going)
