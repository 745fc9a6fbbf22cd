"""Work that keeps rows and objects equal from outside: plain functions that yield their progress.

Each takes the ``MetaData`` of the models and an engine, and yields :class:`Progress`; its asynchronous twin takes an
``AsyncEngine`` and is the same code, run step by step inside SQLAlchemy's greenlet.
"""

from __future__ import annotations

from filerow.maintenance._report import Finding, Progress

__all__ = ("Finding", "Progress")
