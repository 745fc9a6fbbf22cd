"""Keeps rows and objects equal: plain functions that yield their progress.

Each takes the ``MetaData`` of the models and an engine, and yields :class:`Progress`; its asynchronous twin takes an
``AsyncEngine`` and is the same code, run step by step inside SQLAlchemy's greenlet.
"""

from __future__ import annotations

from filerow.maintenance._adopt.adopt import adopt, adopt_async
from filerow.maintenance._check import check, check_async
from filerow.maintenance._doctor.doctor import doctor, doctor_async
from filerow.maintenance._drain import drain, drain_async
from filerow.maintenance._ls import Listed, ls, ls_async
from filerow.maintenance._migrate.migrate import migrate, migrate_async
from filerow.maintenance._report import Finding, Progress
from filerow.maintenance._stats import ColumnStats, OutboxStats, VariantStats, stats, stats_async
from filerow.maintenance._sweep.sweep import sweep, sweep_async
from filerow.maintenance._undelete import undelete, undelete_async
from filerow.maintenance._variants import variants, variants_async

__all__ = (
    "ColumnStats",
    "Finding",
    "Listed",
    "OutboxStats",
    "Progress",
    "VariantStats",
    "adopt",
    "adopt_async",
    "check",
    "check_async",
    "doctor",
    "doctor_async",
    "drain",
    "drain_async",
    "ls",
    "ls_async",
    "migrate",
    "migrate_async",
    "stats",
    "stats_async",
    "sweep",
    "sweep_async",
    "undelete",
    "undelete_async",
    "variants",
    "variants_async",
)
