"""How migrations write file columns, and what tables with rows need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from alembic.autogenerate import render_op_text, renderers
from alembic.operations import ops
from sqlalchemy import Column, DefaultClause, String, TextClause, text

from filerow import StoredObject
from filerow.ext._alembic_compare import be_quiet_about_indexes
from filerow.ext._alembic_operations import DropFileTriggersOp

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

    RenderItem = Callable[[str, Any, AutogenContext], str | Literal[False]]


_EMPTY = "'[]'"


def render_item(type_: str, obj: Any, autogen_context: AutogenContext) -> str | Literal[False]:
    """Write a file column's type into a migration.

    Args:
        type_: The kind of object: ``"type"``, ``"column"``, ``"server_default"``, …
        obj: The object.
        autogen_context: Collects the import that the migration needs.

    Returns:
        Python source, or ``False`` to leave the object to Alembic.
    """
    if type_ != "type" or not isinstance(obj, StoredObject):
        return False
    autogen_context.imports.add("import filerow")
    return f"filerow.{obj!r}"


def render_files(autogen_context: AutogenContext) -> None:
    """Let an autogeneration write file columns, after what ``env.py`` renders itself."""
    theirs: RenderItem | None = autogen_context.opts.get("render_item")

    def render(type_: str, obj: Any, context: AutogenContext) -> str | Literal[False]:
        rendered = theirs(type_, obj, context) if theirs else False
        return render_item(type_, obj, context) if rendered is False else rendered

    autogen_context.opts["render_item"] = render
    be_quiet_about_indexes()


class AlterToFilesOp(ops.AlterColumnOp):
    """Alters a column of text, which has documents, to a file column on PostgreSQL."""

    using: str = ""

    def reverse(self) -> ops.AlterColumnOp:
        """Return the reverse operation, which needs no conversion."""
        return _plain(self).reverse()


def complete_columns(context: AutogenContext, upgrade: ops.UpgradeOps) -> None:
    """Let the columns of a migration be added and altered in tables that have rows."""
    for table in upgrade.ops:
        if isinstance(table, ops.ModifyTableOps):
            table.ops[:] = [_completed(context, operation) for operation in table.ops]


def complete_dropped(context: AutogenContext, upgrade: ops.UpgradeOps) -> None:
    """Let a downgrade add lists to tables that have rows.

    Triggers say which columns are lists.
    """
    lists = {
        (one.spec.schema, one.spec.name, name)
        for one in upgrade.ops
        if isinstance(one, DropFileTriggersOp)
        for name in one.release
        if one.spec.columns[name]
    }
    for table in upgrade.ops:
        for one in table.ops if isinstance(table, ops.ModifyTableOps) else ():
            if isinstance(one, ops.DropColumnOp) and (one.schema, one.table_name, one.column_name) in lists:
                column = one.to_column()
                if not column.nullable and column.server_default is None:
                    column.server_default = DefaultClause(_empty(context))


def _empty(context: AutogenContext) -> TextClause:
    # MySQL takes a default of JSON only as an expression; SQLite adds no column with one
    return text(f"({_EMPTY})" if context.dialect.name in {"mysql", "mariadb"} else _EMPTY)


def is_our_default(there: Column[Any], wanted: Column[Any]) -> bool:
    """Return True if a list column's default is the one its migration gave it."""
    if not _is_list(wanted) or wanted.server_default is not None:
        return False
    clause = getattr(there.server_default, "arg", "")
    written = str(getattr(clause, "text", clause)).partition("::")[0]
    return written.strip("()") == _EMPTY


def _is_list(column: Column[Any]) -> bool:
    return isinstance(column.type, StoredObject) and column.type.multiple and not column.nullable


def _completed(context: AutogenContext, operation: ops.MigrateOperation) -> ops.MigrateOperation:
    if isinstance(operation, ops.AddColumnOp):
        column = operation.column
        if _is_list(column) and column.server_default is None:
            default = _empty(context)
            operation.column = Column(column.name, column.type, nullable=False, server_default=default, comment=column.comment)
    elif isinstance(operation, ops.AlterColumnOp) and context.dialect.name == "postgresql":
        return _converted(context, operation)
    return operation


def _converted(context: AutogenContext, operation: ops.AlterColumnOp) -> ops.AlterColumnOp:
    if not isinstance(operation.modify_type, StoredObject) or not isinstance(operation.existing_type, String):
        return operation
    name = context.dialect.identifier_preparer.quote(operation.column_name)
    changed = AlterToFilesOp(operation.table_name, operation.column_name)
    vars(changed).update(vars(operation))
    changed.using = f"NULLIF({name}, '')::jsonb"
    return changed


def _plain(operation: AlterToFilesOp) -> ops.AlterColumnOp:
    plain = ops.AlterColumnOp(operation.table_name, operation.column_name)
    vars(plain).update({name: value for name, value in vars(operation).items() if name != "using"})
    return plain


@renderers.dispatch_for(AlterToFilesOp)
def _render(context: AutogenContext, operation: AlterToFilesOp) -> str:
    return f"{render_op_text(context, _plain(operation)).removesuffix(')')},\n{' ' * 11}postgresql_using={operation.using!r})"
