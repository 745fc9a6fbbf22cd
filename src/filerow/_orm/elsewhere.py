"""Objects that a row has let go, and that the database itself may have given to another: a trigger's archive, a view's table.

A trigger may copy what a row held into a table of old versions, and a view may show a part of its table. So where a table has
triggers or rules, or is a view, all file columns of the database are asked before an object is dropped. An outbox asks them
anyway, later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from sqlalchemy import Connection, Table

from filerow._log import logger, named
from filerow._orm.fields import Slot
from filerow._orm.flush import Work
from filerow._orm.ownership import Ref
from filerow._orm.references import named_by_rows
from filerow._orm.visibility import Catalogue, Rewrites

__all__ = ("keep_elsewhere", "say_unknown")


def keep_elsewhere(work: Work, connection_of: Callable[[Slot], Connection], catalogue: Catalogue) -> list[Ref]:
    """Take back the drop of each object that another row may name; return those of which nobody knows.

    Args:
        work: Has written its rows.
        connection_of: The connection that has written a slot.
        catalogue: What is known of the tables.
    """
    groups: dict[tuple[Connection, Table], dict[Ref, Slot]] = {}
    dropped = work.frame.dropped
    for ref, slot in work.left.items():
        if dropped.get(ref, work) is None and isinstance(table := slot.field.column.table, Table):  # no outbox sees to it
            groups.setdefault((connection_of(slot), table), {})[ref] = slot
    unknown: list[Ref] = []
    for (connection, table), let_go in groups.items():
        kept: Collection[Ref] = ()
        rewritten = catalogue.rewrites(connection, table)
        if rewritten is Rewrites.THROUGH_VIEW:
            kept = let_go
            unknown += kept
        elif rewritten is Rewrites.COPIES:
            kept = named_by_rows(connection, {slot.field.column for slot in let_go.values()}, let_go)
        for ref in kept:
            work.frame.restore(ref)
    return unknown


def say_unknown(refs: Collection[Ref]) -> None:
    """Name objects that were let go through a view whose triggers or rules may have kept the rows behind it."""
    if refs:
        logger.warning(
            "rows were changed or deleted through a view, so nobody knows whether the rows behind it are gone; their objects are "
            "not deleted, a sweep with models of the tables themselves removes those that no row names: %s",
            named(ref.path for ref in refs),
        )
