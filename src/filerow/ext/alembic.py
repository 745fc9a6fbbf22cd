"""File columns and the outbox's triggers in Alembic's migrations.

File columns are written as ``filerow.StoredObject(...)``, with ``import filerow`` on top.

Alembic writes an unknown type as its module and ``repr()``, without an import; Advanced Alchemy's migrations write ``sa.`` before
every such type. Call this once, where the application configures its database::

    from filerow.ext import alembic

    alembic.install()

When the models' ``MetaData`` has an outbox, ``alembic revision --autogenerate`` also finds file columns whose triggers are
missing or come from an earlier model or release, and writes the operations to fix them::

    op.create_file_triggers("document", columns={"file": False, "pages": True})  # True: the column holds a list
    op.drop_file_triggers("document", columns={"file": False, "pages": True}, release=["pages"])  # pages is dropped next

They make and drop the triggers and the indexes for the check before a deletion. ``release=`` records the files of columns that
are dropped next in the outbox, so that a drain deletes them.

Hand-written migrations need none of this: ``op.rename_table``, ``op.alter_column(new_column_name=...)``, and SQLite's batches,
which replace the table, make the triggers again; ``op.drop_column`` and ``op.drop_table`` record the files. Without an outbox
they refuse to drop a column with files, and say what to do (``op.leave_files``). Only ``op.execute`` is not seen: write
``op.create_file_triggers`` after it.

Alembic before 1.18 has no plugins; use ``context.configure(..., render_item=render_item)`` in ``env.py``, and write the
operations yourself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from filerow import StoredObject
from filerow._requirements import needs

with needs("alembic", "filerow.ext.alembic"):
    from filerow.ext._alembic_compare import add_triggers, be_quiet_about_indexes
    from filerow.ext._alembic_hooks import hook
    from filerow.ext._alembic_operations import CreateFileTriggersOp, DropFileTriggersOp, LeaveFilesOp

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.plugins import Plugin
    from alembic.util import PriorityDispatchResult

    RenderItem = Callable[[str, Any, AutogenContext], str | Literal[False]]

__all__ = ("CreateFileTriggersOp", "DropFileTriggersOp", "LeaveFilesOp", "install", "render_item", "setup")

PLUGIN = "alembic.autogenerate.filerow"
"""The name must match ``alembic.autogenerate.*``: such plugins work without being named in ``env.py``."""

_installed: list[str] = []


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


def install() -> None:
    """Render file columns and triggers correctly in all migrations made by this process; repeated calls do no harm.

    Raises:
        RuntimeError: Alembic is older than 1.18; pass ``render_item`` in ``env.py`` instead.
    """
    if _installed:
        return
    try:
        from alembic.runtime.plugins import Plugin
    except ImportError as error:
        msg = "plugins need Alembic 1.18 or newer; with an older one, pass filerow.ext.alembic.render_item in env.py"
        raise RuntimeError(msg) from error
    Plugin.setup_plugin_from_module(sys.modules[__name__], PLUGIN)


def setup(plugin: Plugin) -> None:
    """Take part in autogeneration; Alembic calls this."""
    from alembic.util import DispatchPriority

    _installed.append(plugin.name)
    hook()
    plugin.add_autogenerate_comparator(_render_files, "autogenerate", priority=DispatchPriority.FIRST)
    plugin.add_autogenerate_comparator(_compare_triggers, "autogenerate", priority=DispatchPriority.LAST)


def _render_files(autogen_context: AutogenContext, _: UpgradeOps) -> PriorityDispatchResult:
    from alembic.util import PriorityDispatchResult

    theirs: RenderItem | None = autogen_context.opts.get("render_item")

    def render(type_: str, obj: Any, context: AutogenContext) -> str | Literal[False]:
        rendered = theirs(type_, obj, context) if theirs else False
        return render_item(type_, obj, context) if rendered is False else rendered

    autogen_context.opts["render_item"] = render
    be_quiet_about_indexes()
    return PriorityDispatchResult.CONTINUE


def _compare_triggers(autogen_context: AutogenContext, upgrade_ops: UpgradeOps) -> PriorityDispatchResult:
    from alembic.util import PriorityDispatchResult

    add_triggers(autogen_context, upgrade_ops)
    return PriorityDispatchResult.CONTINUE
