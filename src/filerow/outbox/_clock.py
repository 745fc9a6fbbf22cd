"""The database's clock: one clock for all writers, whatever theirs say."""

from __future__ import annotations

import time

from sqlalchemy import ColumnElement, Connection, Double, literal, literal_column, select

__all__ = ("NOW", "now", "now_of")

NOW = {
    "postgresql": "extract(epoch FROM clock_timestamp())",
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "mysql": "unix_timestamp(now(6))",
    "mariadb": "unix_timestamp(now(6))",
}
"""SQL for the seconds since the Unix epoch, by dialect."""


def now(dialect: str) -> ColumnElement[float]:
    """Return SQL for the present time; this machine's clock where the database's cannot be asked this way."""
    if dialect not in NOW:
        return literal(time.time(), Double)
    return literal_column(NOW[dialect], Double)


def now_of(connection: Connection) -> float:
    """Return the seconds since the Unix epoch, by the database's clock."""
    return float(connection.execute(select(now(connection.dialect.name))).scalar_one())
