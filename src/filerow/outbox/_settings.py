"""The settings of an outbox, for workers that do not know the ``Outbox``."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import MetaData, Table


class OutboxSettings:
    """The tables and numbers of an outbox; see :class:`filerow.outbox.Outbox`."""

    metadata: MetaData
    table: Table
    state: Table
    retention: timedelta
    max_attempts: int
    lease: timedelta
    backoff: timedelta
    max_backoff: timedelta
