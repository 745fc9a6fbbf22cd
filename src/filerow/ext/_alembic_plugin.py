"""The entry point of ``alembic.plugins``: what Alembic loads with itself.

Alembic imports this module while it is itself half imported, and in projects that have no files. So nothing of Filerow's that
knows Alembic is imported before an autogeneration, or before an operation that may touch files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations import MigrateOperation, Operations
    from alembic.operations.ops import AlterColumnOp, UpgradeOps
    from alembic.runtime.plugins import Plugin
    from alembic.util import PriorityDispatchResult


names: list[str] = []
"""The names that this plugin was set up under; empty if Alembic has not loaded it."""

HOOKED = (
    "RenameTableOp",
    "AlterColumnOp",
    "DropColumnOp",
    "DropTableOp",
    "AddColumnOp",
    "DropConstraintOp",
    "CreatePrimaryKeyOp",
    "CreateUniqueConstraintOp",
    "CreateForeignKeyOp",
    "CreateCheckConstraintOp",
)
"""The operations whose implementations :func:`filerow.ext._alembic_hooks.hook` replaces."""


def setup(plugin: Plugin) -> None:
    """Take part in autogeneration and in migrations; Alembic calls this."""
    from alembic.operations import Operations, ops
    from alembic.util import DispatchPriority

    names.append(plugin.name)
    plugin.add_autogenerate_comparator(_before, "autogenerate", priority=DispatchPriority.FIRST)
    plugin.add_autogenerate_comparator(_after, "autogenerate", priority=DispatchPriority.LAST)
    plugin.add_autogenerate_comparator(_compare_default, "column", "server_default", priority=DispatchPriority.FIRST)
    for name in HOOKED:
        Operations.implementation_for(getattr(ops, name), replace=True)(_hook_and_invoke)


def _hook_and_invoke(operations: Operations, operation: MigrateOperation) -> Any:
    """Replace the implementations by those that know files, and start again."""
    from filerow.ext._alembic_hooks import hook

    hook(HOOKED)
    return operations.invoke(operation)


def _before(autogen_context: AutogenContext, _: UpgradeOps) -> PriorityDispatchResult:
    from alembic.util import PriorityDispatchResult

    from filerow.ext._alembic_columns import render_files

    render_files(autogen_context)
    return PriorityDispatchResult.CONTINUE


def _after(autogen_context: AutogenContext, upgrade_ops: UpgradeOps) -> PriorityDispatchResult:
    from alembic.util import PriorityDispatchResult

    from filerow.ext._alembic_columns import complete_columns, complete_dropped
    from filerow.ext._alembic_compare import add_triggers

    complete_columns(autogen_context, upgrade_ops)
    add_triggers(autogen_context, upgrade_ops)
    complete_dropped(autogen_context, upgrade_ops)
    return PriorityDispatchResult.CONTINUE


def _compare_default(
    autogen_context: AutogenContext,  # noqa: ARG001 - Alembic's signature
    alter_column_op: AlterColumnOp,
    schema: str | None,  # noqa: ARG001
    tname: str,  # noqa: ARG001
    cname: str,  # noqa: ARG001
    conn_col: Any,
    metadata_col: Any,
) -> PriorityDispatchResult:
    from alembic.util import PriorityDispatchResult

    from filerow.ext._alembic_columns import is_our_default

    if is_our_default(conn_col, metadata_col):
        alter_column_op.existing_server_default = conn_col.server_default
        return PriorityDispatchResult.STOP
    return PriorityDispatchResult.CONTINUE


class _Module(ModuleType):
    """This module, as a class of module that can be iterated over.

    Alembic 1.18 to 1.20.0 iterate over what an entry point names, later ones want a module.
    """

    def __iter__(self) -> Iterator[ModuleType]:
        yield self


sys.modules[__name__].__class__ = _Module
