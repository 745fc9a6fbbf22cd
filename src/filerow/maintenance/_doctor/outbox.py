"""Check the outbox: whether it exists, its triggers stand, and it is drained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta

from sqlalchemy import Connection, Engine, MetaData, Table, func, inspect, select, text

from filerow._orm.schemas import full_name
from filerow.maintenance._report import Finding, Level
from filerow.outbox import Outbox, outbox_of
from filerow.outbox._table import now_of
from filerow.outbox._triggers.install import translated, trigger_state

_LATE = 3600.0
"""Seconds after which what is due should have been deleted."""

_SOON = 900.0
"""Seconds that a drain run by cron may well be away."""

_SHOWN = 20
_HEARTBEAT = "drainer"


_PROBLEMS = {
    "missing": "a trigger is missing, so files that leave its rows by SQL become orphans",
    "outdated": "its triggers were made for other columns, or by another release",
    "superfluous": "it has a trigger that no file column needs",
    "broken": "a trigger makes writes fail",
    "newer": "its triggers are of a later release of Filerow, which are left as they are",
    "unknown": "the database has files in columns that these models do not know, so sweep and drain refuse",
    "index missing": "the index is missing by which the drain finds out who names a file, so it reads all rows",
}


_REMAKE = "create_all, or op.create_file_triggers in a migration, makes them again"
_ADVICE = {
    "newer": "upgrade this one, too",
    "unknown": "add them to the models, or name the models that have them with also=; see docs/renames.md",
}


def trigger_findings(metadata: MetaData, engine: Engine) -> Iterator[Finding]:
    """Find triggers and indexes that are missing or out of date."""
    with engine.connect() as connection:
        for table, problem, more in trigger_state(connection, metadata):
            message = f"{_PROBLEMS[problem]}: {more}" if more else _PROBLEMS[problem]
            level: Level = "error" if problem in {"missing", "broken"} else "info" if problem == "newer" else "warning"
            code = "index-missing" if problem == "index missing" else f"trigger-{problem}"
            yield Finding(code, message, level, table, advice=_ADVICE.get(problem, _REMAKE))


def outbox_findings(metadata: MetaData, engine: Engine) -> Iterator[Finding]:
    """Find an outbox that is missing, late, or full of dead letters."""
    outbox = outbox_of(metadata)
    if outbox is None:
        message = (
            "there is no outbox: Core SQL, psql and ON DELETE CASCADE leave orphans, and a delete that fails is not tried again; "
            "filerow sweep finds them"
        )
        advice = "Outbox(Base.metadata) notes every removed file in the database itself"
        yield Finding("no-outbox", message, "info", "metadata", advice=advice)
        return
    with engine.connect() as connection:
        inspector, schemas = inspect(connection), translated(connection)
        tables = (outbox.table, outbox.state)
        missing = [one for one in tables if not inspector.has_table(one.name, schema=schemas.get(one.schema, one.schema))]
        for table in missing:
            advice = "create it (create_all, or a migration)"
            yield Finding("outbox-missing", "this table of the outbox is not there", where=table.fullname, advice=advice)
        yield from _policies(connection, tables)
        if not missing:
            yield from _late(connection, outbox)
            yield from _dead(connection, outbox)


_POLICIES = text("SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = to_regclass(:name)")


def _policies(connection: Connection, tables: Sequence[Table]) -> Iterator[Finding]:
    """Find row level security on the outbox, which must see all rows."""
    for table in tables if connection.dialect.name == "postgresql" else ():
        enabled, forced = connection.execute(_POLICIES, {"name": full_name(connection, table)}).one_or_none() or (False, False)
        if forced:
            message = "FORCE ROW LEVEL SECURITY filters it for its owner too, so no row with a file can be deleted"
            advice = f"ALTER TABLE {table.fullname} NO FORCE ROW LEVEL SECURITY"
            yield Finding("outbox-policies", message, "error", table.fullname, advice=advice)
        elif enabled:
            message = "row level security filters it for everybody but its owner, so only the owner can drain it"
            advice = f"drain as its owner, or ALTER TABLE {table.fullname} DISABLE ROW LEVEL SECURITY"
            yield Finding("outbox-policies", message, "warning", table.fullname, advice=advice)


def _late(connection: Connection, outbox: Outbox) -> Iterator[Finding]:
    columns, name = outbox.table.c, outbox.table.fullname
    now = now_of(connection)
    due_at = columns.dropped_at + outbox.retention.total_seconds()
    since = func.coalesce(columns.next_attempt, due_at)
    due = (columns.dead == 0, due_at <= now, since <= now)
    count, first = connection.execute(select(func.count(), func.min(since)).where(*due)).one()
    if not count or now - first <= _SOON:
        return
    seen = connection.execute(select(outbox.state.c.value, outbox.state.c.updated_at).where(outbox.state.c.name == _HEARTBEAT))
    beat = seen.one_or_none()
    interval = 0.0 if beat is None else float(json.loads(beat.value).get("interval", 0))
    if beat is None or now - beat.updated_at > max(_SOON, 3 * interval):
        when = "no drainer has ever run" if beat is None else f"the drainer was last seen {_ago(now - beat.updated_at)} ago"
        advice = "run filerow drain --watch, filerow drain every few minutes, or outbox.drainer(engine) inside the application"
        yield Finding("drainer-not-running", f"{count:,} objects are due, and {when}", "warning", name, advice=advice)
    if now - first > _LATE:
        message = f"the first of {count:,} objects that are due is {_ago(now - first)} late"
        yield Finding("outbox-late", message, "warning", name, advice="run filerow drain, and look at what it says")


def _ago(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))


def _dead(connection: Connection, outbox: Outbox) -> Iterator[Finding]:
    columns = outbox.table.c
    dead = connection.scalar(select(func.count()).select_from(outbox.table).where(columns.dead != 0)) or 0
    rows = select(columns.backend, columns.path, columns.attempts, columns.last_error).where(columns.dead != 0)
    for backend, path, attempts, error in connection.execute(rows.order_by(columns.id).limit(_SHOWN)):
        message = f"given up after {attempts} attempts: {error}"
        advice = "put the reason right, then call outbox.revive(connection)"
        yield Finding("dead-letter", message, "warning", outbox.table.fullname, backend, path, advice)
    if dead > _SHOWN:
        yield Finding("dead-letter", f"and {dead - _SHOWN:,} more", "warning", outbox.table.fullname)
