"""What would go wrong: one check after the other, each a step with its findings.

Nothing is changed. A probe object of its own (``staged/probes/…``) is written to each backend and removed again; the database is
only read, but for a temporary table of one connection on SQLite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from sqlalchemy import Engine, MetaData
from sqlalchemy.exc import DBAPIError

from filerow.exceptions import FilerowError
from filerow.maintenance._awaited import awaited
from filerow.maintenance._doctor.backends import backend_checks
from filerow.maintenance._doctor.columns import column_findings, hidden_findings, sample_findings
from filerow.maintenance._doctor.database import clock_findings, limit_findings, savepoint_findings, table_findings
from filerow.maintenance._doctor.outbox import outbox_findings, trigger_findings
from filerow.maintenance._doctor.variants import columns_with_variants, variant_findings
from filerow.maintenance._report import Finding, Progress

Check = Callable[[], Iterable[Finding]]


def doctor(metadata: MetaData, engine: Engine, *, direct: Sequence[str] = (), is_own: bool = True) -> Iterator[Progress]:
    """Check database, triggers, outbox, columns and backends for problems.

    Args:
        metadata: The models' ``MetaData``; the backends are registered.
        engine: The application's engine, or one of the same database.
        direct: Backends that clients upload straight to: ``docs``, or ``docs=https://app.example`` with the origin of the pages
            that do it, so that the bucket can be asked whether it lets them.
        is_own: The engine is the application's own. What an application sets on its engine cannot be judged by another one.

    Returns:
        One progress for each check, with what it has found.
    """
    checks = _checks(metadata, engine, direct, is_own=is_own)
    return _run(list(checks))


doctor_async: Final = awaited(doctor)


def _checks(metadata: MetaData, engine: Engine, direct: Sequence[str], *, is_own: bool) -> Iterator[tuple[str, Check]]:
    yield "tables", partial(table_findings, metadata, engine)
    yield "columns", partial(column_findings, metadata)
    yield "database", partial(limit_findings, metadata, engine, is_own=is_own)
    if engine.dialect.name == "sqlite":
        yield "savepoints", partial(savepoint_findings, engine, is_own=is_own)
    yield "clock", partial(clock_findings, engine)
    yield "visibility", partial(hidden_findings, metadata, engine)
    yield "triggers", partial(trigger_findings, metadata, engine)
    yield "outbox", partial(outbox_findings, metadata, engine)
    yield from backend_checks(metadata, direct)
    columns = columns_with_variants(metadata)
    if columns:
        yield "variants", partial(variant_findings, columns)
    yield "files", partial(sample_findings, metadata, engine)


def _run(checks: Sequence[tuple[str, Check]]) -> Iterator[Progress]:
    for name, check in checks:
        found = list(_found(name, check))
        yield Progress(name, done=1, total=1, findings=tuple(found))


def _found(name: str, check: Check) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as error:  # the others may still say why; drivers raise what nobody translates  # noqa: BLE001
        cause = error.orig if isinstance(error, DBAPIError) else error
        kind = "" if isinstance(error, FilerowError) else f"{type(cause).__name__}: "
        yield Finding("check-failed", f"this could not be checked: {kind}{cause}", where=name)
