"""Used claims: one row each, so that only one of two transactions succeeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Insert, Table, delete, insert
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from filerow._content import Claimed
from filerow._file.transfer import used_before
from filerow.outbox._table import now

_NAME = "claim/"
_KEPT = 24 * 3600
"""Seconds after which a used claim is forgotten: twice as long as one can be good for."""


def use_claims(connection: Connection, state: Table, claims: Sequence[Claimed]) -> None:
    """Record that claims are used, in the transaction of their rows.

    A second transaction waits here until the first one has ended.

    Raises:
        ClaimError: One was used before.
    """
    for claimed in claims:
        name = _NAME + hashlib.sha256(f"{claimed.backend}\0{claimed.marker}".encode()).hexdigest()
        row = {"name": name, "value": json.dumps({"path": claimed.path}), "updated_at": now(connection.dialect.name)}
        if not _insert(connection, state, row):
            raise used_before(claimed.field)


def _insert(connection: Connection, state: Table, row: dict[str, Any]) -> bool:
    """Insert a row, unless its name is taken; return True if it was free.

    An INSERT that fails would end a transaction of PostgreSQL, and is asked to do nothing instead, where the database can.
    """
    dialect = connection.dialect.name
    if dialect == "postgresql":
        return (
            connection.scalar(postgresql.insert(state).values(row).on_conflict_do_nothing().returning(state.c.name)) is not None
        )
    made: Insert = insert(state).values(row)
    if dialect == "sqlite":
        made = made.prefix_with("OR IGNORE")
    elif dialect in {"mysql", "mariadb"}:
        made = made.prefix_with("IGNORE")
    try:
        return connection.execute(made, execution_options={"preserve_rowcount": True}).rowcount == 1
    except IntegrityError:
        return False


def forget_claims(connection: Connection, state: Table) -> None:
    """Forget the claims that are too old to be used again."""
    old = state.c.updated_at < now(connection.dialect.name) - _KEPT
    connection.execute(delete(state).where(state.c.name.startswith(_NAME, autoescape=True), old))
