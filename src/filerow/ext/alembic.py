"""File columns and the outbox's triggers in Alembic's migrations.

With Alembic 1.18 or newer nothing has to be called: Filerow is one of its plugins. File columns are written as
``filerow.StoredObject(...)``, with ``import filerow`` on top (Alembic alone writes no import; Advanced Alchemy's migrations would
take its own ``StoredObject``). A list that is added to a table gets the default ``'[]'``, since the table may have rows. A column
of text that becomes a file column is converted on PostgreSQL (``postgresql_using``).

Where the package's metadata is missing, as in a frozen program, set the plugin up yourself::

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

from filerow._requirements import needs

with needs("alembic", "filerow.ext.alembic"):
    from filerow.ext import _alembic_plugin
    from filerow.ext._alembic_columns import render_item
    from filerow.ext._alembic_hooks import hook
    from filerow.ext._alembic_operations import CreateFileTriggersOp, DropFileTriggersOp, LeaveFilesOp
    from filerow.ext._alembic_plugin import setup

__all__ = ("CreateFileTriggersOp", "DropFileTriggersOp", "LeaveFilesOp", "install", "render_item", "setup")

PLUGIN = "alembic.autogenerate.filerow"
"""The name must match ``alembic.autogenerate.*``: such plugins work without being named in ``env.py``."""


def install() -> None:
    """Set the plugin up, if Alembic has not found it by itself.

    Repeated calls do no harm.

    Raises:
        RuntimeError: Alembic is older than 1.18; pass ``render_item`` in ``env.py`` instead.
    """
    try:
        from alembic.runtime.plugins import Plugin
    except ImportError as error:
        msg = "plugins need Alembic 1.18 or newer; with an older one, pass filerow.ext.alembic.render_item in env.py"
        raise RuntimeError(msg) from error
    if not _alembic_plugin.names:
        Plugin.setup_plugin_from_module(_alembic_plugin, PLUGIN)
    hook(_alembic_plugin.HOOKED)
