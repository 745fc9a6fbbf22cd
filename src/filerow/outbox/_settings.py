"""What the outbox's workers must know of it: a frozen value, so that none of them knows the ``Outbox`` that hands out work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import MetaData, Table

__all__ = ("OutboxSettings",)


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """One outbox: its tables and its numbers; see :class:`filerow.outbox.Outbox` for what each means."""

    metadata: MetaData
    table: Table
    state: Table
    retention: timedelta
    max_attempts: int
    lease: timedelta
    backoff: timedelta
    max_backoff: timedelta
