"""The operations of migrations: make and drop triggers, leave files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import renderers
from alembic.operations import MigrateOperation, Operations

from filerow.exceptions import MaintenanceRefusedError
from filerow.outbox._release import release
from filerow.outbox._triggers.flaws import flaws_of
from filerow.outbox._triggers.install import as_ddl, changes, drop_named, existing, has_triggers, parts, room_for
from filerow.outbox._triggers.spec import FileTable, Key

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

_WAIT = 3600.0
"""Seconds for which drains skip the files of a column that is being dropped, where DDL ends a transaction."""

_LEFT = "filerow_files_left"
"""The key under which a migration's context stores the columns whose files are taken care of."""

_RECORDED = "filerow_files_recorded"
"""The key under which it stores the columns whose files it has recorded, by outbox."""

DEFAULTS = {"primary_key": ["id"], "outbox": "filerow_outbox", "schema": None, "outbox_schema": None}


class _FileTriggersOp(MigrateOperation):
    """The base of both operations: a name, a table, and its file columns."""

    name: str

    def __init__(self, spec: FileTable, release: Sequence[str] = ()) -> None:
        self.spec = spec
        self.release: tuple[str, ...] = tuple(release)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the form that ``compare_metadata()`` shows."""
        return (self.name, self.spec.fullname, dict(self.spec.columns))


@Operations.register_operation("create_file_triggers")
class CreateFileTriggersOp(_FileTriggersOp):
    """Makes the triggers and indexes of a table."""

    name = "create_file_triggers"

    @classmethod
    def create_file_triggers(
        cls,
        operations: Operations,
        table_name: str,
        *,
        columns: Mapping[str, bool],
        outbox: str = "filerow_outbox",
        schema: str | None = None,
        primary_key: Sequence[str] = ("id",),
        outbox_schema: str | None = None,
    ) -> None:
        """Make a table's triggers, and its indexes for the check before a deletion.

        Our own triggers and indexes that differ are dropped. Nothing is done on a database for which we have no triggers.

        Args:
            operations: ``op``.
            table_name: The table.
            columns: Its file columns; each shows if it holds a list.
            outbox: Name of the table of tombstones.
            schema: The table's schema.
            primary_key: Names of the primary key's columns.
            outbox_schema: The outbox's schema.
        """
        operations.invoke(cls(FileTable(table_name, columns, primary_key, outbox, schema, outbox_schema)))

    def reverse(self) -> MigrateOperation:
        """Return the reverse operation."""
        return DropFileTriggersOp(self.spec, self.release)


@Operations.register_operation("drop_file_triggers")
class DropFileTriggersOp(_FileTriggersOp):
    """Drops the triggers and indexes of a table."""

    name = "drop_file_triggers"

    @classmethod
    def drop_file_triggers(
        cls,
        operations: Operations,
        table_name: str,
        *,
        columns: Mapping[str, bool],
        outbox: str = "filerow_outbox",
        schema: str | None = None,
        primary_key: Sequence[str] = ("id",),
        outbox_schema: str | None = None,
        release: Sequence[str] = (),
    ) -> None:
        """Drop all our triggers and indexes of a table.

        Args:
            operations: ``op``.
            table_name: The table.
            columns: As for ``create_file_triggers``, like the rest: without a connection (``--sql``), they determine what to
                drop.
            outbox: Name of the table of tombstones.
            schema: The table's schema.
            primary_key: Names of the primary key's columns.
            outbox_schema: The outbox's schema.
            release: Columns that are dropped next: their files are recorded in the outbox, which deletes them in time.

        Raises:
            MaintenanceRefusedError: A document in one of ``release`` cannot be read.
        """
        operations.invoke(cls(FileTable(table_name, columns, primary_key, outbox, schema, outbox_schema), release))

    def reverse(self) -> MigrateOperation:
        """Return the reverse operation."""
        return CreateFileTriggersOp(self.spec, self.release)


@Operations.register_operation("leave_files")
class LeaveFilesOp(MigrateOperation):
    """Lets columns be dropped whose files nobody has recorded."""

    def __init__(self, table_name: str, columns: Sequence[str], schema: str | None = None) -> None:
        self.table_name = table_name
        self.columns = columns
        self.schema = schema

    @classmethod
    def leave_files(cls, operations: Operations, table_name: str, *, columns: Sequence[str], schema: str | None = None) -> None:
        """Allow a table or its columns to be dropped although rows have files there.

        Args:
            operations: ``op``.
            table_name: The table.
            columns: Its file columns; ``filerow sweep --full --former table/column`` finds the objects of each.
            schema: The table's schema.
        """
        operations.invoke(cls(table_name, columns, schema))


@Operations.implementation_for(CreateFileTriggersOp)
@Operations.implementation_for(DropFileTriggersOp)
def _remake(operations: Operations, operation: CreateFileTriggersOp | DropFileTriggersOp) -> None:
    drops = isinstance(operation, DropFileTriggersOp)
    if drops and operation.release:
        release_files(operations, operation.spec, operation.release)
    remade(operations, operation.spec, make=not drops)


@Operations.implementation_for(LeaveFilesOp)
def _leave(operations: Operations, operation: LeaveFilesOp) -> None:
    leave(operations, operation.schema, operation.table_name, operation.columns)


def leave(operations: Operations, schema: str | None, table: str, columns: Sequence[str]) -> None:
    """Remember, in this migration, that some columns' files are seen to."""
    left: set[tuple[str | None, str, str]] = operations.get_context().opts.setdefault(_LEFT, set())
    left.update((schema, table, column) for column in columns)


def is_left(operations: Operations, schema: str | None, table: str, column: str) -> bool:
    """Return True if the files of a column are seen to."""
    return (schema, table, column) in operations.get_context().opts.get(_LEFT, ())


def release_files(operations: Operations, spec: FileTable, columns: Sequence[str]) -> None:
    """Record the files of columns that are about to be dropped in the outbox, once."""
    context = operations.get_context()
    if context.as_sql:
        raise MaintenanceRefusedError(
            f"the files of {spec.fullname} ({', '.join(columns)}) cannot be recorded without a connection; run this migration "
            "with one, or set the columns to NULL first and remove release="
        )
    todo = [name for name in columns if not is_left(operations, spec.schema, spec.name, name)]
    if todo:
        if release(operations.get_bind(), spec, todo, wait=0 if context.impl.transactional_ddl else _WAIT):
            recorded = context.opts.setdefault(_RECORDED, {}).setdefault((spec.outbox_schema, spec.outbox), {})
            recorded.setdefault((spec.schema, spec.name), []).extend(todo)
        leave(operations, spec.schema, spec.name, todo)


def recorded_in(operations: Operations, key: Key) -> Mapping[Key, Sequence[str]]:
    """Return the columns whose files this migration has recorded."""
    recorded: dict[Key, dict[Key, list[str]]] = operations.get_context().opts.get(_RECORDED, {})
    return recorded.get(key, {})


def remade(operations: Operations, spec: FileTable, *, make: bool = True, flawed: Iterable[str] = ()) -> None:
    """Make the triggers and indexes of a table, or drop them.

    Args:
        operations: ``op``.
        spec: The table.
        make: Make them; otherwise drop them.
        flawed: Names of existing triggers to make again.
    """
    context = operations.get_context()
    dialect, key = context.dialect, (spec.schema, spec.name)
    if not has_triggers(dialect, spec):
        return
    if context.as_sql:
        made = parts(spec, dialect)
        statements = [sql for part in made for sql in (part.create if make else drop_named(part.name, dialect, key))]
    else:
        connection = operations.get_bind()
        found = existing(connection, [spec.schema])
        statements = room_for(connection, spec, found) if make else []
        wrong = flaws_of(connection, {key: found[key]} if key in found else {}).get(key, {})
        statements += changes(spec if make else None, found.get(key), dialect, key, {*flawed, *wrong})
    for sql in statements:
        operations.execute(as_ddl(sql))


@renderers.dispatch_for(CreateFileTriggersOp)
@renderers.dispatch_for(DropFileTriggersOp)
def _render(context: AutogenContext, operation: CreateFileTriggersOp | DropFileTriggersOp) -> str:
    context.imports.add("import filerow.ext.alembic")  # where these operations are defined
    spec = operation.spec
    given = {name: getattr(spec, name) for name in DEFAULTS} | {"primary_key": list(spec.primary_key)}
    arguments = [repr(spec.name), f"columns={dict(spec.columns)!r}"]
    arguments += [f"{name}={value!r}" for name, value in given.items() if value != DEFAULTS[name]]
    if isinstance(operation, DropFileTriggersOp) and operation.release:
        arguments.append(f"release={list(operation.release)!r}")
    return f"{context.opts['alembic_module_prefix']}{operation.name}({', '.join(arguments)})"
