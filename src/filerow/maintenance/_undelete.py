"""Restores removed files, each in a transaction of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Engine, MetaData

from filerow._file.object import FileState
from filerow._orm.ownership import Ref
from filerow._orm.references import column_named, file_columns
from filerow.exceptions import BackendNotFoundError, StorageError, UndeleteError
from filerow.maintenance._awaited import awaited
from filerow.maintenance._report import Finding, Progress
from filerow.outbox import Outbox, outbox_of
from filerow.outbox._census import Census
from filerow.outbox._undelete import home_of

__all__ = ("undelete", "undelete_async")


def undelete(
    metadata: MetaData, engine: Engine, backend: str, paths: Sequence[str], *, into: str | None = None
) -> Iterator[Progress]:
    """Restore removed files, each into its last row if that is still possible.

    Args:
        metadata: The models' ``MetaData``.
        engine: Where the rows are.
        backend: Key of the backend.
        paths: The paths in it.
        into: ``table.column`` of their rows, if it was renamed since.

    Returns:
        A progress for each path, whose finding says what happened to the file. A file whose table or column is not in the
        models stays removed, unless ``into`` is given.

    Raises:
        LookupError: There is no column ``into``.
        ValueError: There is no outbox.
        MaintenanceRefusedError: The database may hide rows.
    """
    outbox = outbox_of(metadata)
    if outbox is None:
        raise ValueError("without an outbox a removed file is deleted at once, and cannot be restored: see Outbox")
    if into is not None:
        column_named(metadata, into)
    return _undelete(outbox, engine, backend, paths, into)


undelete_async: Final = awaited(undelete)


def _undelete(outbox: Outbox, engine: Engine, backend: str, paths: Sequence[str], into: str | None) -> Iterator[Progress]:
    Census(outbox.metadata, engine).check_shows_all()
    changed = 0
    for number, path in enumerate(paths, 1):
        finding = _one(outbox, engine, backend, path, into)
        changed += finding.level == "info"
        yield Progress("undelete", done=number, total=len(paths), changed=changed, findings=(finding,))


def _one(outbox: Outbox, engine: Engine, backend: str, path: str, into: str | None) -> Finding:
    try:
        with engine.begin() as connection:
            home = home_of(outbox, connection, Ref(backend, path))
            if into is None and home is not None and home not in {column.name for column in file_columns(outbox.metadata)}:
                message = f"its row was in {home}, which these models do not have"
                advice = (
                    "if that was renamed, pass into='table.column' (--into); else outbox.undelete(...) returns the file for a row"
                )
                return Finding("not-undeleted", message, "error", home, backend, path, advice)
            file = outbox.undelete(connection, backend, path, into=into)
    except (UndeleteError, StorageError, BackendNotFoundError) as error:
        return Finding("not-undeleted", str(error), "error", backend=backend, path=path)
    if file.state is FileState.ATTACHED:
        return Finding("undeleted", f"{file.filename} is back in its row", "info", backend=backend, path=path)
    time = str(outbox.retention).removesuffix(", 0:00:00")
    message = f"{file.filename} is kept for another {time}, but its row is gone or has another file"
    advice = "give it to a row: outbox.undelete(...) returns the file"
    return Finding("undeleted", message, "info", backend=backend, path=path, advice=advice)
