"""Tables with an outbox, where nothing is wrong, for the doctor to look at."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Column, Connection, Engine, ForeignKey, Integer, MetaData, Table, event, insert, text

from filerow import FileObject, StoredObject
from filerow.maintenance import Finding, doctor
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase


@dataclass
class Models:
    """Tables with an outbox, in a database."""

    engine: Engine
    metadata: MetaData
    outbox: Outbox
    document: Table

    def found(self, **options: Any) -> dict[str, Finding]:
        """Return what the doctor finds, by code."""
        return {
            finding.code: finding for progress in doctor(self.metadata, self.engine, **options) for finding in progress.findings
        }

    def store(self) -> FileObject:
        """Store a file for a row."""
        file = FileObject("docs", "cat.txt", content=b"meow").save()
        with self.engine.begin() as connection:
            connection.execute(insert(self.document).values(file=file, folder_id=None))
        return file

    def add_tombstones(self, count: int = 1, *, late: float = 0.0, **values: Any) -> None:
        """Write tombstones that have been due for a number of seconds."""
        with self.engine.begin() as connection:
            dropped = time.time() - 0.01 - self.outbox.retention.total_seconds() - late
            rows = [{"backend": "docs", "path": f"document/file/{n}", "dropped_at": dropped, **values} for n in range(count)]
            connection.execute(insert(self.outbox.table), rows)


def models(engine: Engine, *, ondelete: str | None = None, **column: Any) -> Models:
    metadata = MetaData()
    Table("folder", metadata, Column("id", Integer, primary_key=True))
    document = Table(
        "document",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("folder_id", Integer, ForeignKey("folder.id", ondelete=ondelete)),
        Column("file", StoredObject("docs", **column)),
        Column("pages", StoredObject("docs", multiple=True)),
    )
    outbox = Outbox(metadata, retention=timedelta(days=1))
    metadata.create_all(engine)
    return Models(engine, metadata, outbox, document)


def engine_of(database: EmptyDatabase) -> Engine:
    """Return an engine as the documents advise."""
    engine = database.engine()
    if database.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA recursive_triggers=ON"))
    return engine


TRIGGERS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'document'",
    "postgresql": "SELECT tgname FROM pg_trigger WHERE tgrelid = 'document'::regclass AND NOT tgisinternal",
    "mysql": "SELECT trigger_name FROM information_schema.triggers "
    "WHERE event_object_schema = database() AND event_object_table = 'document'",
}


def drop_triggers(connection: Connection) -> None:
    """Drop every trigger of the table, as a migration of somebody else may."""
    dialect = connection.dialect.name.replace("mariadb", "mysql")
    names = connection.scalars(text(TRIGGERS[dialect])).all()
    assert names
    for name in names:
        connection.execute(text(f"DROP TRIGGER {name}{' ON document' if dialect == 'postgresql' else ''}"))
