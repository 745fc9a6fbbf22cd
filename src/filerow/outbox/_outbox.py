"""``Outbox``: the database records each removed object with its row's change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, MetaData, Table, update
from sqlalchemy.engine import Dialect

from filerow._content import Claimed
from filerow._execution.batch import spawn
from filerow._file.object import FileObject
from filerow._log import extras, logger
from filerow._orm.events import on_ddl
from filerow._orm.fields import OUTBOX, Buried
from filerow._orm.ownership import Ref
from filerow.outbox._census import Also
from filerow.outbox._drain import Drained, drain_steps, note_run
from filerow.outbox._drainer import Drainer
from filerow.outbox._settings import OutboxSettings
from filerow.outbox._table import bury, make_state_table, make_table, now, read_state, take_back
from filerow.outbox._triggers.install import create_all, drop_all, has_triggers
from filerow.outbox._undelete import Removed, removed, undelete
from filerow.outbox._used_claims import use_claims

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class Outbox(OutboxSettings):
    """A table of tombstones, the triggers that write them, and the work on them.

    Args:
        metadata: The models' ``MetaData``; the outbox's two tables are added to it.
        retention: How long the bytes of a removed file are kept. A database restored to a moment inside this window has all its
            files, and a removed file can be restored.
        table_name: Name of the table of tombstones; the second table's name adds ``_state``.
        max_attempts: Number of failed attempts after which an object is given up, until :meth:`revive`.
        lease: How long a drain reserves the tombstones of a batch. If a drain is killed, others take over after this time; it
            must be longer than one bulk delete.
        backoff: How long to wait after the first failed attempt; doubled after each further one.
        max_backoff: Maximum time between two attempts.

    Raises:
        ValueError: The ``MetaData`` already has an outbox, the retention is negative, or a number is not positive.
    """

    def __init__(
        self,
        metadata: MetaData,
        *,
        retention: timedelta = timedelta(days=7),
        table_name: str = "filerow_outbox",
        max_attempts: int = 10,
        lease: timedelta = timedelta(minutes=15),
        backoff: timedelta = timedelta(seconds=30),
        max_backoff: timedelta = timedelta(hours=1),
    ) -> None:
        if OUTBOX in metadata.info:
            raise ValueError("this MetaData already has an outbox, and one serves all its tables")
        if retention < timedelta(0):
            raise ValueError(f"retention must be a time of 0 or more, not {retention}")
        if max_attempts < 1 or min(lease, backoff, max_backoff) <= timedelta(0):
            raise ValueError("max_attempts, lease, backoff and max_backoff must be more than 0")
        self._wakers: list[Callable[[], None]] = []
        self.max_attempts = max_attempts
        self.lease = lease
        self.backoff = backoff
        self.max_backoff = max_backoff
        self.metadata = metadata
        self.retention = retention
        self.table: Table = make_table(metadata, table_name)
        self.state: Table = make_state_table(metadata, f"{table_name}_state")
        metadata.info[OUTBOX] = self
        on_ddl(metadata, created=self._create_triggers, dropped=self._drop_triggers)

    # -- tombstones ----------------------------------------------------------------------------------------------------

    def _create_triggers(self, connection: Connection, tables: Sequence[Table]) -> None:
        create_all(connection, self.table, tables)

    def _drop_triggers(self, connection: Connection, tables: Sequence[Table]) -> None:
        drop_all(connection, self.table, tables)

    def _has_triggers(self, dialect: Dialect, table: Table) -> bool:
        """Return True if the database writes a table's tombstones, not the session."""
        return has_triggers(dialect, table)

    def _bury(self, connection: Connection, buried: Sequence[Buried]) -> None:
        """Write tombstones where no trigger does; for the unit of work."""
        bury(connection, self.table, buried)

    def _take_back(self, connection: Connection, refs: Sequence[Ref]) -> None:
        """Remove tombstones of objects that have a row again; for the unit of work."""
        take_back(connection, self.table, refs)

    def _use_claims(self, connection: Connection, claims: Sequence[Claimed]) -> None:
        """Record that clients' uploads have become files; for the unit of work.

        Raises:
            ClaimError: A claim was used before.
        """
        use_claims(connection, self.state, claims)

    # -- draining ------------------------------------------------------------------------------------------------------

    def drain(
        self, engine: Engine, *, batch: int = 1_000, limit: int | None = None, also: Also = (), take_over: bool = False
    ) -> Drained:
        """Delete the objects of all due tombstones. Several drains may run at once.

        Args:
            engine: The database; no connection is held while objects are deleted.
            batch: Tombstones to take at a time (1 to 10,000); each batch is one bulk delete per backend.
            limit: Tombstones to take in all; ``None`` for all that are due.
            also: Others that may name these objects: other models of the same database, engines of the same models, or pairs.
            take_over: Make this database the owner of these places from now on, even if another one has deleted there before.

        Returns:
            What was done. A failed delete is not raised but counted, recorded, and tried again by a later drain. The first drain
            of a place where no objects were deleted yet records that, and leaves its tombstones to the next.

        Raises:
            ValueError: ``batch`` is out of range.
            MaintenanceRefusedError: The database may hide rows, or has files that the models do not know; or another database
                has deleted in a place, and only the other places were drained.
        """
        total = Drained()
        for total in self.drain_steps(  # noqa: B007 - the last one says it all
            engine, batch=batch, limit=limit, also=also, take_over=take_over
        ):
            pass
        note_run(self, engine, asdict(total))
        return total

    async def drain_async(
        self, engine: AsyncEngine, *, batch: int = 1_000, limit: int | None = None, also: Also = (), take_over: bool = False
    ) -> Drained:
        """Delete the objects of all tombstones that are due; see :meth:`drain`."""
        work = partial(self.drain, batch=batch, limit=limit, also=also, take_over=take_over)
        return await spawn(work, engine.sync_engine)

    def drain_steps(
        self, engine: Engine, *, batch: int = 1_000, limit: int | None = None, also: Also = (), take_over: bool = False
    ) -> Iterator[Drained]:
        """Drain batch by batch, and yield the result so far; see :meth:`drain`."""
        return drain_steps(self, engine, batch=batch, limit=limit, also=also, take_over=take_over)

    def revive(self, connection: Connection) -> int:
        """Retry objects that were given up; their attempts are counted again.

        Returns:
            The number of dead letters.
        """
        columns = self.table.c
        # Keep one attempt on record: deletion has begun, so no row may be given these objects again.
        again = {"dead": 0, "attempts": 1, "next_attempt": now(connection.dialect.name)}
        return connection.execute(update(self.table).where(columns.dead != 0).values(again)).rowcount

    def drainer(
        self,
        engine: Engine | AsyncEngine,
        *,
        interval: timedelta = timedelta(seconds=30),
        batch: int = 1_000,
        patience: timedelta = timedelta(seconds=30),
        also: Also = (),
    ) -> Drainer:
        """Return a drainer for the application; any number of processes may have one.

        ::

            app = FastAPI(lifespan=outbox.drainer(engine).lifespan)

        Args:
            engine: The database; an ``AsyncEngine`` for a task in the event loop, an ``Engine`` for a thread.
            interval: How often to look. If the retention is shorter, it also looks at once after a commit of this process
                that dropped a file.
            batch: Tombstones to take at a time (1 to 10,000).
            patience: How long to wait for the current batch when the application ends.
            also: Others that may name these objects; see :meth:`drain`.

        Raises:
            ValueError: ``interval`` is not positive.
        """
        return Drainer(self, engine, on_wake=self.on_wake, interval=interval, batch=batch, patience=patience, also=also)

    def on_wake(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Register a callback for commits that release a file, called in any thread.

        Args:
            callback: Must not block.

        Returns:
            A function that removes the callback.
        """
        self._wakers.append(callback)

        def end() -> None:
            with suppress(ValueError):
                self._wakers.remove(callback)

        return end

    def wake(self) -> None:
        """Call the callbacks of :meth:`on_wake`: there is something to drain."""
        for callback in tuple(self._wakers):
            try:
                callback()
            except Exception:  # noqa: BLE001 - it is logged
                message = "waking a drainer of the outbox failed; it will look again after its interval"
                logger.exception(message, extra=extras("drain"))

    # -- restoring files -------------------------------------------------------------------------------------------------------

    def removed(
        self, connection: Connection, *, table: str | None = None, since: datetime | None = None, limit: int = 100
    ) -> list[Removed]:
        """Return the files that :meth:`undelete` can restore, the last removed first.

        Args:
            connection: The database; nothing is changed.
            table: Only files that left a row of this table.
            since: Only files removed at or after this time, with its time zone.
            limit: Maximum number of files.
        """
        return removed(self, connection, table=table, since=since, limit=limit)

    def undelete(
        self, connection: Connection, backend: str, path: str, *, into: str | None = None, row: Mapping[str, Any] | None = None
    ) -> FileObject:
        """Restore a removed file when the connection's transaction is committed.

        If the file's row still exists, and its column is NULL or a list, the file is put back. It never replaces another file.
        Otherwise assign the returned file to a row, in this transaction or before the retention, which starts again, is over. Its
        bytes are not copied.

        Args:
            connection: The database; pass ``session.connection()`` for a session's, and expire what it has loaded of the row.
            backend: Key of the backend.
            path: The path in it.
            into: ``table.column`` of the file's row, if it was renamed since; the row is found by its primary key.
            row: The primary key of another row, by column name, to which the file is given instead.

        Returns:
            The file: attached if its row has it again, staged if it waits for a row.

        Raises:
            UndeleteError: There is no such tombstone, a row names the file, the deletion of its bytes has begun, or the other
                row does not exist or has a file.
            BackendNotFoundError: The backend is not registered.
            LookupError: The models have no column ``into``.
            ValueError: ``row`` is not a primary key of the table.
        """
        return undelete(self, connection, backend, path, into, row)

    async def undelete_async(
        self,
        connection: AsyncConnection,
        backend: str,
        path: str,
        *,
        into: str | None = None,
        row: Mapping[str, Any] | None = None,
    ) -> FileObject:
        """Restore a removed file; see :meth:`undelete`."""
        return await connection.run_sync(self.undelete, backend, path, into=into, row=row)

    # -- what workers remember -------------------------------------------------------------------------------------------------

    def read_state(self, connection: Connection, name: str) -> dict[str, Any] | None:
        """Return the JSON object stored under a name, or ``None``."""
        return read_state(connection, self.state, name)


def outbox_of(metadata: MetaData) -> Outbox | None:
    """Return the outbox of a ``MetaData``, if it has one."""
    found = metadata.info.get(OUTBOX)
    return found if isinstance(found, Outbox) else None
