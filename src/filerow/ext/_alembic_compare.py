"""Autogeneration for triggers: compare models and database, add operations."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy import Column, Connection, MetaData
from sqlalchemy.exc import SAWarning

from filerow.ext._alembic_operations import CreateFileTriggersOp, DropFileTriggersOp
from filerow.outbox._marks import TABLE
from filerow.outbox._outbox import outbox_of
from filerow.outbox._triggers.flaws import flaws_of
from filerow.outbox._triggers.install import compare, existing, wanted_by
from filerow.outbox._triggers.spec import CURRENT_VERSION, Existing, FileTable, Key, kind_of

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext


def be_quiet_about_indexes() -> None:
    """Silence SQLAlchemy's warning about our indexes on expressions in SQLite."""
    warnings.filterwarnings("ignore", r"Skipped unsupported reflection of expression-based index filerow_", SAWarning)


def add_triggers(context: AutogenContext, upgrade: ops.UpgradeOps) -> None:
    """Add what triggers and indexes need to a migration, and protect them in it.

    What is replaced is dropped before everything else, and new things are made last, since databases refuse to drop a column that
    a trigger uses. The downgrade is the same in reverse.
    """
    _forget_our_indexes(upgrade)
    if context.connection is None:
        return
    given: Any = context.metadata
    for metadata in given if isinstance(given, list | tuple) else [given]:
        if isinstance(metadata, MetaData) and outbox_of(metadata) is not None:
            _add(context, upgrade, metadata, context.connection)


def _add(context: AutogenContext, upgrade: ops.UpgradeOps, metadata: MetaData, connection: Connection) -> None:
    outbox = outbox_of(metadata)
    assert outbox is not None  # noqa: S101 - the caller has looked
    tables = [
        table
        for table in sorted(metadata.tables.values(), key=lambda table: table.fullname)
        if context.run_object_filters(table, table.name, "table", reflected=False, compare_to=None)
    ]
    wanted = wanted_by(connection, outbox.table, tables)
    found = existing(connection, [schema for schema, _ in wanted])
    wrong = flaws_of(connection, found)
    doomed: dict[Key, FileTable | None] = dict.fromkeys(_dropped(upgrade))
    coming, going = _columns(upgrade, ops.AddColumnOp), _columns(upgrade, ops.DropColumnOp)
    # a batch makes a new table on SQLite, without triggers; other databases alter it in place
    rebuilt = set(_altered(upgrade)) if connection.dialect.name == "sqlite" else set[Key]()
    before, after = [], []
    for key, spec in (doomed | wanted).items():
        there = found.get(key, Existing(frozenset(), None))
        is_right = not there.names if spec is None else not compare(spec, there.names, connection.dialect) and key not in wrong
        if there.version > CURRENT_VERSION or (is_right and (spec is None or key not in rebuilt)):
            continue
        if there.names:
            old = there.spec or spec or FileTable(key[1], {}, schema=key[0])
            release = [name for name in old.columns if key in doomed or name in going.get(key, ())]
            before.append(DropFileTriggersOp(old, release))
        if spec is not None:
            after.append(CreateFileTriggersOp(spec, [name for name in spec.columns if name in coming.get(key, ())]))
    own = {(one.schema, one.name) for one in (outbox.table, outbox.state)}
    upgrade.ops[:] = [*before, *sorted(upgrade.ops, key=lambda one: _makes(one, own)), *after]


def _makes(operation: ops.MigrateOperation, own: set[Key]) -> bool:
    """Return True for what makes the outbox, which is made last.

    A downgrade then drops it first, so that it is still whole when that is refused.
    """
    return isinstance(operation, ops.CreateTableOp | ops.ModifyTableOps) and (operation.schema, operation.table_name) in own


def _dropped(upgrade: ops.UpgradeOps) -> Iterator[Key]:
    for operation in upgrade.ops:
        if isinstance(operation, ops.DropTableOp):
            yield operation.schema, operation.table_name


def _columns(upgrade: ops.UpgradeOps, kind: type[ops.AddColumnOp | ops.DropColumnOp]) -> dict[Key, set[str]]:
    """Return the added or dropped columns by table, those of a new table too."""
    found: dict[Key, set[str]] = {}
    for operation in upgrade.ops:
        if isinstance(operation, ops.CreateTableOp) and kind is ops.AddColumnOp:
            names = {str(column.name) for column in operation.columns if isinstance(column, Column)}
            found[operation.schema, operation.table_name] = names
        for one in operation.ops if isinstance(operation, ops.ModifyTableOps) else ():
            if isinstance(one, kind):
                name = one.column.name if isinstance(one, ops.AddColumnOp) else one.column_name
                found.setdefault((one.schema, one.table_name), set()).add(str(name))
    return found


def _altered(upgrade: ops.UpgradeOps) -> Iterator[Key]:
    for operation in upgrade.ops:
        if isinstance(operation, ops.ModifyTableOps):
            yield operation.schema, operation.table_name


def _forget_our_indexes(container: ops.OpContainer) -> None:
    """Leave out the removal of our indexes and of the table of places.

    They are not part of the models.
    """
    kept = []
    for operation in container.ops:
        if isinstance(operation, ops.OpContainer):
            _forget_our_indexes(operation)
            if not operation.ops:
                continue
        if not (
            (isinstance(operation, ops.DropIndexOp) and kind_of(str(operation.index_name)) == "index")
            or (isinstance(operation, ops.DropTableOp) and operation.table_name == TABLE)
        ):
            kept.append(operation)
    container.ops[:] = kept
