"""Keep released objects that another row may name.

A trigger may copy what a row held into a table of old versions, a view may show a part of its
table, and a listener may copy documents with a statement of its own while a flush is under way. So
may another session. Then all file columns of the database are queried before an object is dropped.
An outbox queries them anyway, later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from sqlalchemy import Connection, MetaData, Table

from filerow._log import extras, logger, named
from filerow._orm.catalogue import Catalogue, Rewrites
from filerow._orm.fields import Field, Slot
from filerow._orm.flush import Work
from filerow._orm.ownership import Ref
from filerow._orm.references import file_columns, named_by_rows
from filerow._orm.visibility import filtered

Unknown = dict[Ref, Rewrites]
"""Objects that a row may name or not, and why that is unknown."""


def keep_named_elsewhere(
    work: Work, connection_of: Callable[[Slot], Connection], catalogue: Catalogue, *, copied: bool = False
) -> Unknown:
    """Restore each dropped object that another row may name.

    Args:
        work: It has written its rows.
        connection_of: Returns the connection that has written a slot.
        catalogue: What is known of the databases.
        copied: Documents may have been copied while the rows were written, whatever the catalogue
            says.

    Returns:
        The objects for which that is unknown.
    """
    groups: dict[tuple[Connection, MetaData], dict[Ref, tuple[Slot, Table]]] = {}
    safe: set[tuple[Connection, Field]] = set()
    for ref, slot in _released(work):
        connection, column = where = connection_of(slot), slot.field
        if where in safe or not isinstance(table := column.column.table, Table):
            continue
        if copied or catalogue.copies(connection, table.metadata):
            groups.setdefault((connection, table.metadata), {})[ref] = slot, table
        else:
            safe.add(where)  # the usual case, and there may be many rows
    unknown: Unknown = {}
    for (connection, metadata), released in groups.items():
        why = _worst(connection, metadata, catalogue, {table for _, table in released.values()})
        unsure = {ref: why[table] for ref, (_, table) in released.items() if why[table] >= Rewrites.LATE}
        asked = [ref for ref in released if ref not in unsure]
        named_now = named_by_rows(connection, {released[ref][0].field.column for ref in asked}, asked)
        for ref in (*unsure, *named_now):
            work.frame.restore(ref)
        unknown |= unsure
    return unknown


def _worst(connection: Connection, metadata: MetaData, catalogue: Catalogue, tables: Collection[Table]) -> dict[Table, Rewrites]:
    """Return what may have happened to the rows of some tables."""
    if filtered(connection, {one.table for one in file_columns(metadata)}):
        return dict.fromkeys(tables, Rewrites.HIDDEN)
    return {table: catalogue.rewrites(connection, table) for table in tables}


def _released(work: Work) -> Iterator[tuple[Ref, Slot]]:
    """Yield what the commit is about to delete, without an outbox."""
    dropped = work.frame.dropped
    given = ((applied.ref, applied.slot) for applied in work.applied if applied.ref not in work.released)
    for ref, slot in (*work.released.items(), *given):
        if dropped.get(ref, work) is None:
            yield ref, slot


def log_unknown(unknown: Unknown) -> None:
    """Log released objects whose rows may exist out of sight.

    Triggers or rules may have kept such rows, or may run at the commit.
    """
    for why, message in _UNKNOWN.items():
        refs = [ref for ref, found in unknown.items() if found is why]
        if refs:
            logger.warning(message, named(ref.path for ref in refs), extra=extras("flush", objects=len(refs)))


_UNKNOWN = {
    Rewrites.THROUGH_VIEW: (
        "rows were changed or deleted through a view, so it is unknown whether the rows behind it are gone; their objects are "
        "not deleted, a sweep with models of the tables themselves removes those that no row names: %s"
    ),
    Rewrites.HIDDEN: (
        "rows were changed or deleted where triggers, rules or listeners may copy documents and row level security hides rows "
        "from this user, so it is unknown whether others name their objects; they are not deleted, a sweep or an outbox removes "
        "those that no row names: %s"
    ),
    Rewrites.LATE: (
        "a deferred trigger may copy or keep rows when the transaction commits, so it is unknown what they will name; the "
        "objects that they release are not deleted, a sweep or an outbox removes those that no row names: %s"
    ),
}
