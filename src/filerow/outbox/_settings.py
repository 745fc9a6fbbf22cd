"""The settings of an outbox, for workers that do not know the ``Outbox``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import MetaData, Table

__all__ = ("OutboxSettings",)


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """One outbox: its tables and numbers; see :class:`filerow.outbox.Outbox`."""

    metadata: MetaData
    table: Table
    state: Table
    retention: timedelta
    max_attempts: int
    lease: timedelta
    backoff: timedelta
    max_backoff: timedelta
