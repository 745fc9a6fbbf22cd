"""``drain``: drains the outbox and reports its progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

from sqlalchemy import Connection, Engine, MetaData, func, select

from filerow.maintenance._awaited import awaited
from filerow.maintenance._doubts import about_place, doubts
from filerow.maintenance._report import Finding, Progress
from filerow.outbox import Drained, Outbox, outbox_of
from filerow.outbox._census import Also
from filerow.outbox._drain import DrainedBatch, Failure, batches, note_run
from filerow.outbox._table import now_of


def drain(
    metadata: MetaData, engine: Engine, *, batch: int = 1_000, limit: int | None = None, also: Also = (), take_over: bool = False
) -> Iterator[Progress]:
    """Delete the objects of all due tombstones; see :meth:`.Outbox.drain`.

    Args:
        metadata: The models' ``MetaData``, with its outbox.
        engine: The database.
        batch: Tombstones to take at a time (1 to 10,000).
        limit: Tombstones to take in all; ``None`` for all that are due.
        also: Others that may name these objects: other models of the same database, engines of the same models, or pairs.
        take_over: Make this database the owner of these places from now on, even if another one has deleted there before.

    Yields:
        The progress, first with nothing done and then after every batch; ``changed`` counts the deleted objects, ``too_young``
        those whose retention is not over, up to 10,000. Findings are ``not-deleted`` (a warning: it will be tried again) and
        ``dead-letter`` (an error: it was given up), one for each backend, and the errors ``unreadable-documents`` and
        ``unknown-backend``: what a row may own is kept. ``first-run`` and ``another-server`` are warnings about places: see
        :func:`filerow.maintenance.sweep`.

    Raises:
        ValueError: The ``MetaData`` has no outbox.
        MaintenanceRefusedError: The database may hide rows, or has files that these models do not know; or another database
            has deleted in a place, and only the other places were drained.
    """
    outbox = outbox_of(metadata)
    if outbox is None:
        raise ValueError("these models have no outbox to drain; make one with filerow.outbox.Outbox(Base.metadata)")
    steps = batches(outbox, engine, batch=batch, limit=limit, also=also, take_over=take_over)
    return _drain(outbox, engine, steps, limit)


drain_async: Final = awaited(drain)

_MOST = 10_000
"""Maximum number of kept files that are counted; each run of a worker counts them again."""


def _drain(outbox: Outbox, engine: Engine, steps: Iterator[DrainedBatch], limit: int | None) -> Iterator[Progress]:
    with engine.connect() as connection:
        due, waiting = _due(outbox, connection)
    total = due if limit is None else min(due, limit)
    yield Progress("drain", total=total, too_young=waiting)
    done = Drained()
    reported: set[tuple[str, str, str]] = set()
    for step in steps:
        done += step.drained
        handled = done.deleted + done.taken_back + done.failed + done.dead + done.kept
        fresh = [one for one in doubts(*step.doubts) if (one.code, one.where, one.backend) not in reported]
        reported |= {(one.code, one.where, one.backend) for one in fresh}
        findings = (*_findings(step.failures), *fresh, *map(about_place, step.notes))
        yield Progress("drain", handled, total, changed=done.deleted, too_young=waiting, findings=findings)
    note_run(outbox, engine, asdict(done))


def _due(outbox: Outbox, connection: Connection) -> tuple[int, int]:
    """Return how many tombstones are due, and of how many the retention is not over."""
    columns = outbox.table.c
    moment = now_of(connection)
    fits = columns.next_attempt.is_(None) | (columns.next_attempt <= moment)
    dropped = columns.dropped_at <= moment - outbox.retention.total_seconds()
    due = connection.scalar(select(func.count()).where(columns.dead == 0, fits, dropped))
    kept = select(columns.id).where(columns.dead == 0, ~dropped).limit(_MOST).subquery()
    return int(due or 0), int(connection.scalar(select(func.count()).select_from(kept)) or 0)


def _findings(failures: Sequence[Failure]) -> Iterator[Finding]:
    """Yield one finding for the failures on each backend."""
    alike: dict[tuple[str, bool], list[Failure]] = {}
    for failure in failures:
        alike.setdefault((failure.ref.backend, failure.dead), []).append(failure)
    for (key, dead), those in alike.items():
        first = those[0]
        what = f"{len(those)} objects" if len(those) > 1 else repr(first.ref.path)
        path = first.ref.path if len(those) == 1 else ""
        if dead:
            message = f"gave up deleting {what} of backend {key!r}: {first.error}"
            advice = "fix the cause and call outbox.revive(connection)"
            yield Finding("dead-letter", message, "error", backend=key, path=path, advice=advice)
        else:
            message = f"{what} of backend {key!r} could not be deleted and will be tried again: {first.error}"
            yield Finding("not-deleted", message, "warning", backend=key, path=path)
