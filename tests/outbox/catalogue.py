"""The triggers and indexes of ours that a database has, read from its own catalogue, and what the doctor says of them."""

from __future__ import annotations

import re

from sqlalchemy import Engine, MetaData, text

from filerow.maintenance import doctor

_ASK = {
    "sqlite": "SELECT tbl_name, name, 1 FROM sqlite_master WHERE type IN ('trigger', 'index')",
    "postgresql": "SELECT c.relname, t.tgname, pg_table_is_visible(c.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
    "WHERE NOT t.tgisinternal UNION ALL SELECT c.relname, i.relname, pg_table_is_visible(c.oid) FROM pg_index x "
    "JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid",
    "mysql": "SELECT event_object_table, trigger_name, 1 FROM information_schema.triggers WHERE event_object_schema = database()",
}
_OURS = re.compile(r"filerow_[0-9a-f]{10}_")
_PROBLEMS = {
    "trigger-missing": "missing",
    "trigger-outdated": "outdated",
    "trigger-superfluous": "superfluous",
    "index-missing": "index missing",
    "trigger-broken": "broken",
    "trigger-newer": "newer",
    "trigger-unknown": "unknown",
}


def names_by_table(engine: Engine) -> dict[str, set[str]]:
    """Return the names of our triggers and indexes, by the table that is found without its schema."""
    found: dict[str, set[str]] = {}
    with engine.connect() as connection:
        for table, name, visible in connection.execute(text(_ASK[engine.dialect.name.replace("mariadb", "mysql")])):
            if _OURS.match(name) and visible:
                found.setdefault(table, set()).add(name)
    return found


def state(engine: Engine, metadata: MetaData) -> list[tuple[str, str]]:
    """Return what the doctor says of the triggers and indexes: the table and the problem."""
    step = next(step for step in doctor(metadata, engine) if step.step == "triggers")
    return [(finding.where, _PROBLEMS[finding.code]) for finding in step.findings]
