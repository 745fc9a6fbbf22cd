"""File columns in Alembic's migrations: they are written as ``filerow.StoredObject(...)``, with ``import filerow`` on top.

Alembic writes a type it does not know as its module and its ``repr()``, and imports nothing for it; Advanced Alchemy's
migrations write ``sa.`` before every such type. Say once, where the application configures its database::

    from filerow.ext import alembic

    alembic.install()

An Alembic older than 1.18 has no plugins; there ``env.py`` says ``context.configure(..., render_item=render_item)``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from filerow import StoredObject

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.plugins import Plugin
    from alembic.util import PriorityDispatchResult

    RenderItem = Callable[[str, Any, AutogenContext], str | Literal[False]]

__all__ = ("install", "render_item", "setup")

PLUGIN = "alembic.autogenerate.filerow"
"""The name has to match ``alembic.autogenerate.*``: those plugins work without being named in ``env.py``."""

_installed: list[str] = []


def render_item(type_: str, obj: Any, autogen_context: AutogenContext) -> str | Literal[False]:
    """Write a file column's type into a migration.

    Args:
        type_: What kind of thing is written: ``"type"``, ``"column"``, ``"server_default"``, …
        obj: The thing itself.
        autogen_context: Takes the import that the migration needs.

    Returns:
        Python source, or ``False`` to leave the thing to Alembic.
    """
    if type_ != "type" or not isinstance(obj, StoredObject):
        return False
    autogen_context.imports.add("import filerow")
    return f"filerow.{obj!r}"


def install() -> None:
    """Have file columns written right in every migration that this process makes; more calls than one do no harm.

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
    plugin.add_autogenerate_comparator(_render_files, "autogenerate", priority=DispatchPriority.FIRST)


def _render_files(autogen_context: AutogenContext, _: UpgradeOps) -> PriorityDispatchResult:
    from alembic.util import PriorityDispatchResult

    theirs: RenderItem | None = autogen_context.opts.get("render_item")

    def render(type_: str, obj: Any, context: AutogenContext) -> str | Literal[False]:
        rendered = theirs(type_, obj, context) if theirs else False
        return render_item(type_, obj, context) if rendered is False else rendered

    autogen_context.opts["render_item"] = render
    return PriorityDispatchResult.CONTINUE
