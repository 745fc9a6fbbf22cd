"""``Outbox``: every object that must go is noted by the database itself, in the transaction in which its row let go of it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, MetaData, delete, insert, select

from filerow.outbox._clock import now
from filerow.outbox._table import make_state_table, make_table

__all__ = ("Outbox", "outbox_of")

INFO_KEY = "filerow_outbox"
"""Where a ``MetaData`` keeps its outbox, in ``metadata.info``."""


class Outbox:
    """A table of tombstones, the triggers that write them, and the work they make.

    Args:
        metadata: The models' ``MetaData``; it gets the outbox's two tables.
        retention: How long the bytes of a removed file are kept. A database that is restored to a moment inside this window finds
            all its files, and a removed file can be had back.
        table_name: Name of the table of tombstones; the second one is called the same with ``_state`` behind it.

    Raises:
        ValueError: The ``MetaData`` has an outbox already, or the retention is negative.
    """

    def __init__(
        self, metadata: MetaData, *, retention: timedelta = timedelta(days=7), table_name: str = "filerow_outbox"
    ) -> None:
        if INFO_KEY in metadata.info:
            msg = "this MetaData has an outbox already; there is one for all its tables"
            raise ValueError(msg)
        if retention < timedelta(0):
            msg = f"retention is a time to keep files for, not {retention}"
            raise ValueError(msg)
        self.metadata = metadata
        self.retention = retention
        self.table = make_table(metadata, table_name)
        self.state = make_state_table(metadata, f"{table_name}_state")
        metadata.info[INFO_KEY] = self

    # -- what workers remember -----------------------------------------------------------------------------------------

    def read_state(self, connection: Connection, name: str) -> dict[str, Any] | None:
        """Return what was remembered under a name, ``None`` when nothing was."""
        value = connection.scalar(select(self.state.c.value).where(self.state.c.name == name))
        return None if value is None else json.loads(value)

    def write_state(self, connection: Connection, name: str, value: dict[str, Any]) -> None:
        """Remember a JSON object under a name, in place of what was remembered before."""
        connection.execute(delete(self.state).where(self.state.c.name == name))
        row = {"name": name, "value": json.dumps(value), "updated_at": now(connection.dialect.name)}
        connection.execute(insert(self.state).values(row))


def outbox_of(metadata: MetaData) -> Outbox | None:
    """Return the outbox of a ``MetaData``, if it has one."""
    found = metadata.info.get(INFO_KEY)
    return found if isinstance(found, Outbox) else None
