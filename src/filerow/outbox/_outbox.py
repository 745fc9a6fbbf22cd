"""``Outbox``: every object that must go is noted by the database itself, in the transaction in which its row let go of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, MetaData, Table, update
from sqlalchemy.engine import Dialect

from filerow._content import Claimed
from filerow._execution.batch import spawn
from filerow._file.object import FileObject
from filerow._log import logger
from filerow._orm.events import on_ddl
from filerow._orm.fields import OUTBOX, Buried
from filerow._orm.ownership import Ref
from filerow.outbox._census import Also
from filerow.outbox._claims import use_claims
from filerow.outbox._drain import Drained, drain_steps, note_run
from filerow.outbox._drainer import Drainer
from filerow.outbox._settings import OutboxSettings
from filerow.outbox._table import bury, make_state_table, make_table, now, read_state, take_back, write_state
from filerow.outbox._triggers.install import create_all, drop_all, has_triggers
from filerow.outbox._undelete import Removed, removed, undelete

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ("Outbox", "outbox_of", "settings_of")


class Outbox:
    """A table of tombstones, the triggers that write them, and the work they make.

    Args:
        metadata: The models' ``MetaData``; it gets the outbox's two tables.
        retention: How long the bytes of a removed file are kept. A database that is restored to a moment inside this window finds
            all its files, and a removed file can be restored.
        table_name: Name of the table of tombstones; the second one is called the same with ``_state`` behind it.
        max_attempts: After so many failed attempts to delete an object it is given up, until :meth:`revive`.
        lease: How long a drain keeps the tombstones of one batch from others. A drain that is killed leaves them to others after
            this time; it must be longer than one bulk delete takes.
        backoff: How long to wait after the first failed attempt; twice as long after each further one.
        max_backoff: The longest time to wait between two attempts.

    Raises:
        ValueError: The ``MetaData`` has an outbox already, the retention is negative, or a number is not positive.
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
            msg = "this MetaData has an outbox already; there is one for all its tables"
            raise ValueError(msg)
        if retention < timedelta(0):
            msg = f"retention is a time to keep files for, not {retention}"
            raise ValueError(msg)
        if max_attempts < 1 or min(lease, backoff, max_backoff) <= timedelta(0):
            msg = "max_attempts, lease, backoff and max_backoff are more than nothing"
            raise ValueError(msg)
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

    def has_triggers(self, dialect: Dialect, table: Table) -> bool:
        """Return True if the database itself writes a table's tombstones; where it cannot, the session does."""
        return has_triggers(dialect, table)

    def bury(self, connection: Connection, buried: Sequence[Buried]) -> None:
        """Write tombstones where no trigger does; for the unit of work."""
        bury(connection, self.table, buried)

    def take_back(self, connection: Connection, refs: Sequence[Ref]) -> None:
        """Remove the tombstones of objects that have a row after all, unless their deletion has begun; for the unit of work."""
        take_back(connection, self.table, refs)

    def use_claims(self, connection: Connection, claims: Sequence[Claimed]) -> None:
        """Note that clients' uploads have become files, each once; for the unit of work.

        Raises:
            ClaimError: One has before.
        """
        use_claims(connection, self.state, claims)

    # -- draining ------------------------------------------------------------------------------------------------------

    def drain(
        self, engine: Engine, *, batch: int = 1_000, limit: int | None = None, also: Also = (), take_over: bool = False
    ) -> Drained:
        """Delete the objects of all tombstones that are due by now; safe to run many times, and many at a time.

        Args:
            engine: The database; no connection is held while objects are deleted.
            batch: Tombstones to take at a time (1 to 10,000); each batch is one bulk delete per backend.
            limit: Tombstones to take in all; ``None`` for all that are due.
            also: Who else may name these objects: other models of the same database, engines of the same models, or pairs.
            take_over: The places that these objects lie in belong to this database from now on, whichever has deleted there.

        Returns:
            What was done. A failure to delete is not raised but counted, written down and tried again by a later drain. The first
            drain of a place where nobody has deleted yet notes that, and leaves its tombstones to the next.

        Raises:
            ValueError: ``batch`` is out of its range.
            MaintenanceRefusedError: A database may not show all rows, or has files that none of the models know. Or another
                database has deleted in a place; then the others have been drained.
        """
        total = Drained()
        for total in self.drain_steps(  # noqa: B007 - the last one says it all
            engine, batch=batch, limit=limit, also=also, take_over=take_over
        ):
            pass
        note_run(settings_of(self), engine, asdict(total))
        return total

    async def drain_async(
        self, engine: AsyncEngine, *, batch: int = 1_000, limit: int | None = None, also: Also = (), take_over: bool = False
    ) -> Drained:
        """Delete the objects of all tombstones that are due; see :meth:`drain`."""

        def work() -> Drained:
            return self.drain(engine.sync_engine, batch=batch, limit=limit, also=also, take_over=take_over)

        return await spawn(work)

    def drain_steps(
        self, engine: Engine, *, batch: int = 1_000, limit: int | None = None, also: Also = (), take_over: bool = False
    ) -> Iterator[Drained]:
        """Drain batch by batch, and yield after each what has been done so far; see :meth:`drain`."""
        return drain_steps(settings_of(self), engine, batch=batch, limit=limit, also=also, take_over=take_over)

    def revive(self, connection: Connection) -> int:
        """Try again what has been given up: its attempts are counted again from the next drain on.

        Returns:
            How many dead letters there were.
        """
        columns = self.table.c
        # One attempt stays on the account: the deletion has begun, so no row may be given these objects any more.
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
        """Return a drainer that runs inside the application, in a thread or in a task; any number of processes may have one.

        ::

            app = FastAPI(lifespan=outbox.drainer(engine).lifespan)

        Args:
            engine: The database; an ``AsyncEngine`` for a task in the event loop, an ``Engine`` for a thread.
            interval: How often to look. After a commit of this process that dropped a file it looks at once, where the
                retention is shorter than this.
            batch: Tombstones to take at a time (1 to 10,000).
            patience: How long to wait for the batch at hand when the application ends.
            also: Who else may name these objects; see :meth:`drain`.

        Raises:
            ValueError: ``interval`` is not positive.
        """
        return Drainer(
            settings_of(self), engine, on_wake=self.on_wake, interval=interval, batch=batch, patience=patience, also=also
        )

    def on_wake(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have something called, in whatever thread, when a session has committed that a row let go of a file.

        Args:
            callback: Must not block.

        Returns:
            A function that ends this.
        """
        self._wakers.append(callback)

        def end() -> None:
            with suppress(ValueError):
                self._wakers.remove(callback)

        return end

    def wake(self) -> None:
        """Tell those who asked for it, by :meth:`on_wake`, that there is something to drain. Never raises."""
        for callback in tuple(self._wakers):
            try:
                callback()
            except Exception:  # noqa: BLE001 - it is logged
                logger.exception("waking a drainer of the outbox failed; it looks by itself at its next interval")

    # -- having files back ---------------------------------------------------------------------------------------------

    def removed(
        self, connection: Connection, *, table: str | None = None, since: datetime | None = None, limit: int = 100
    ) -> list[Removed]:
        """Return the files that :meth:`undelete` can have back, the last removed first.

        Args:
            connection: The database; nothing is changed.
            table: Only files that left a row of this table.
            since: Only files removed at or after this moment, with its time zone.
            limit: At most so many.
        """
        return removed(settings_of(self), connection, table=table, since=since, limit=limit)

    def undelete(self, connection: Connection, backend: str, path: str, *, into: str | None = None) -> FileObject:
        """Have a removed file back; it counts when the connection's transaction is committed.

        When the row that it left is still there, and its column is NULL or a list, the file is in it again. It never takes the
        place of another file. Otherwise assign what is returned to a row, in this transaction or before the retention is over,
        which begins again; its bytes are not copied.

        Args:
            connection: The database; ``session.connection()`` for a session's, which should expire what it has loaded of the row.
            backend: Key of the backend.
            path: The path in it.
            into: ``table.column`` of the row that it left, where that was renamed since; the row is found by its primary key.

        Returns:
            The file: attached when its row has it again, staged when it waits for a row.

        Raises:
            UndeleteError: There is no such tombstone, a row names the file, or the deletion of its bytes has begun.
            BackendNotFoundError: The backend is not registered.
            LookupError: The models have no column ``into``.
        """
        return undelete(settings_of(self), connection, backend, path, into)

    async def undelete_async(
        self, connection: AsyncConnection, backend: str, path: str, *, into: str | None = None
    ) -> FileObject:
        """Have a removed file back; see :meth:`undelete`."""
        return await connection.run_sync(self.undelete, backend, path, into=into)

    # -- what workers remember -----------------------------------------------------------------------------------------

    def read_state(self, connection: Connection, name: str) -> dict[str, Any] | None:
        """Return what was remembered under a name, ``None`` when nothing was."""
        return read_state(connection, self.state, name)

    def write_state(self, connection: Connection, name: str, value: dict[str, Any]) -> None:
        """Remember a JSON object under a name, in place of what was remembered before."""
        write_state(connection, self.state, name, value)


def settings_of(outbox: Outbox) -> OutboxSettings:
    """Return an outbox's settings as they are now, for its workers."""
    return OutboxSettings(
        outbox.metadata,
        outbox.table,
        outbox.state,
        outbox.retention,
        outbox.max_attempts,
        outbox.lease,
        outbox.backoff,
        outbox.max_backoff,
    )


def outbox_of(metadata: MetaData) -> Outbox | None:
    """Return the outbox of a ``MetaData``, if it has one."""
    found = metadata.info.get(OUTBOX)
    return found if isinstance(found, Outbox) else None
