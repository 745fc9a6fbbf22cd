"""The operations that migrations make triggers with: ``op.create_file_triggers`` and ``op.drop_file_triggers``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

try:
    from alembic.autogenerate import renderers
    from alembic.operations import MigrateOperation, Operations
except ImportError as error:
    raise ImportError("filerow.ext.alembic needs Alembic: pip install alembic") from error

from filerow.outbox._triggers.install import as_ddl, changes, existing, has_triggers, parts
from filerow.outbox._triggers.spec import FileTable

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

__all__ = ("CreateFileTriggersOp", "DropFileTriggersOp")

DEFAULTS = {"primary_key": ["id"], "outbox": "filerow_outbox", "schema": None, "outbox_schema": None}


class _FileTriggersOp(MigrateOperation):
    """What both operations are: a name, and the table they are for."""

    name: str

    def __init__(self, spec: FileTable) -> None:
        self.spec = spec

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what ``compare_metadata()`` shows."""
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
        """Make the triggers that write a table's tombstones, and the indexes of the check before a deletion.

        Those of ours that are there and are not the same are dropped. Nothing is done on a database without triggers of ours.

        Args:
            operations: ``op``.
            table_name: The table.
            columns: Its file columns; each says whether it holds a list.
            outbox: Name of the table of tombstones.
            schema: The table's schema.
            primary_key: Names of the primary key's columns.
            outbox_schema: The outbox's schema.
        """
        operations.invoke(cls(FileTable(table_name, columns, primary_key, outbox, schema, outbox_schema)))

    def reverse(self) -> MigrateOperation:
        """Return what takes this back."""
        return DropFileTriggersOp(self.spec)


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
    ) -> None:
        """Drop all triggers and indexes of ours that a table has.

        Args:
            operations: ``op``.
            table_name: The table.
            columns: As for ``create_file_triggers``, like the rest: without a connection (``--sql``), they say what to drop.
            outbox: Name of the table of tombstones.
            schema: The table's schema.
            primary_key: Names of the primary key's columns.
            outbox_schema: The outbox's schema.
        """
        operations.invoke(cls(FileTable(table_name, columns, primary_key, outbox, schema, outbox_schema)))

    def reverse(self) -> MigrateOperation:
        """Return what takes this back."""
        return CreateFileTriggersOp(self.spec)


@Operations.implementation_for(CreateFileTriggersOp)
def _create(operations: Operations, operation: CreateFileTriggersOp) -> None:
    _run(operations, operation.spec, make=True)


@Operations.implementation_for(DropFileTriggersOp)
def _drop(operations: Operations, operation: DropFileTriggersOp) -> None:
    _run(operations, operation.spec, make=False)


def _run(operations: Operations, spec: FileTable, *, make: bool) -> None:
    context = operations.get_context()
    dialect, key = context.dialect, (spec.schema, spec.name)
    if not has_triggers(dialect, spec):
        return
    if context.as_sql:
        made = parts(spec, dialect)
        statements = [sql for part in made for sql in (part.create if make else part.drop)]
    else:
        found = existing(operations.get_bind(), [spec.schema]).get(key)
        statements = changes(spec if make else None, found, dialect, key)
    for sql in statements:
        operations.execute(as_ddl(sql))


@renderers.dispatch_for(CreateFileTriggersOp)
def _render_create(context: AutogenContext, operation: CreateFileTriggersOp) -> str:
    return _render(context, "create_file_triggers", operation.spec)


@renderers.dispatch_for(DropFileTriggersOp)
def _render_drop(context: AutogenContext, operation: DropFileTriggersOp) -> str:
    return _render(context, "drop_file_triggers", operation.spec)


def _render(context: AutogenContext, name: str, spec: FileTable) -> str:
    context.imports.add("import filerow.ext.alembic")  # where these operations are defined
    given = {
        "primary_key": list(spec.primary_key),
        "outbox": spec.outbox,
        "schema": spec.schema,
        "outbox_schema": spec.outbox_schema,
    }
    arguments = [repr(spec.name), f"columns={dict(spec.columns)!r}"]
    arguments += [f"{key}={value!r}" for key, value in given.items() if value != DEFAULTS[key]]
    return f"{context.opts['alembic_module_prefix']}{name}({', '.join(arguments)})"
