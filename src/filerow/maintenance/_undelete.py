"""Restores removed files, each in a transaction of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Engine, MetaData

from filerow._file.object import FileState
from filerow._orm.ownership import Ref
from filerow._orm.references import column_named, file_columns
from filerow.exceptions import BackendNotFoundError, StorageError, UndeleteError
from filerow.maintenance._awaited import awaited
from filerow.maintenance._report import Finding, Progress
from filerow.outbox import Outbox, outbox_of
from filerow.outbox._census import Census
from filerow.outbox._undelete import home_of, other_key


def undelete(
    metadata: MetaData,
    engine: Engine,
    backend: str,
    paths: Sequence[str],
    *,
    into: str | None = None,
    row: Mapping[str, Any] | None = None,
) -> Iterator[Progress]:
    """Restore removed files, each into its last row or into another one.

    Args:
        metadata: The models' ``MetaData``.
        engine: Where the rows are.
        backend: Key of the backend.
        paths: The paths in it.
        into: ``table.column`` of their rows, if it was renamed since.
        row: The primary key of another row, by column name: the files are given to it, in the column ``into`` or their last one.

    Returns:
        A progress for each path, whose finding says what happened to the file. A file whose table or column is not in the
        models stays removed, unless ``into`` is given.

    Raises:
        LookupError: There is no column ``into``.
        ValueError: There is no outbox, or ``row`` is not a primary key of the column's table.
        MaintenanceRefusedError: The database may hide rows.
    """
    outbox = outbox_of(metadata)
    if outbox is None:
        raise ValueError("without an outbox a removed file is deleted at once, and cannot be restored: see Outbox")
    if into is not None:
        column = column_named(metadata, into)
        if row is not None:
            other_key(column, row)
    return _undelete(outbox, engine, backend, paths, into, row)


undelete_async: Final = awaited(undelete)


def _undelete(
    outbox: Outbox, engine: Engine, backend: str, paths: Sequence[str], into: str | None, row: Mapping[str, Any] | None
) -> Iterator[Progress]:
    Census(outbox.metadata, engine).check_shows_all()
    changed = 0
    for number, path in enumerate(paths, 1):
        finding = _one(outbox, engine, Ref(backend, path), into, row)
        changed += finding.code == "undeleted"
        yield Progress("undelete", done=number, total=len(paths), changed=changed, findings=(finding,))


def _one(outbox: Outbox, engine: Engine, ref: Ref, into: str | None, row: Mapping[str, Any] | None) -> Finding:
    backend, path = ref
    try:
        with engine.begin() as connection:
            home = home_of(outbox, connection, ref)
            if into is None and home is not None and home not in {column.name for column in file_columns(outbox.metadata)}:
                message = f"its row was in {home}, which these models do not have"
                advice = (
                    "if that was renamed, pass into='table.column' (--into); else outbox.undelete(...) returns the file for a row"
                )
                return Finding("not-undeleted", message, "error", home, backend, path, advice)
            file = outbox.undelete(connection, backend, path, into=into, row=row)
    except (UndeleteError, StorageError, BackendNotFoundError) as error:
        return Finding("not-undeleted", str(error), "error", backend=backend, path=path)
    if file.state is FileState.ATTACHED:
        return Finding(
            "undeleted",
            f"{file.filename} is {'back in its row' if row is None else 'in the row that you named'}",
            "info",
            backend=backend,
            path=path,
        )
    time = str(outbox.retention).removesuffix(", 0:00:00")
    message = f"{file.filename} is kept for another {time}, but its row is gone or has another file"
    advice = "give it to another row: row={'id': 3} (--row id=3), and into='table.column' (--into) if the column is another one"
    return Finding("kept", message, "info", backend=backend, path=path, advice=advice)
