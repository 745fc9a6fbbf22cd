"""Lists the files of one column, present or removed, in constant memory."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import Engine, MetaData, select

from filerow._document import Facts, facts_from
from filerow._orm.ownership import Ref
from filerow._orm.references import FileColumn, column_named, documents_in, referenced
from filerow.exceptions import DocumentError
from filerow.maintenance._awaited import awaited
from filerow.maintenance._rows import rows
from filerow.outbox import Outbox, outbox_of

_ROWS = 500


@dataclass(frozen=True, slots=True)
class Listed:
    """One file of a column.

    Attributes:
        row: Primary key of the row, by column.
        backend: Key of the backend.
        path: The path in it.
        size: Length in bytes; ``None`` if the document does not say.
        content_type: Media type.
        filename: The client's name for it.
        last_modified: When it was stored, in seconds since the Unix epoch.
        removed_at: When it was removed, in seconds since the Unix epoch; ``None`` while a row has it.
    """

    row: Mapping[str, Any]
    backend: str
    path: str
    size: int | None
    content_type: str
    filename: str
    last_modified: float | None = None
    removed_at: float | None = None


def ls(
    metadata: MetaData, engine: Engine, column: str, *, prefix: str = "", limit: int | None = None, removed: bool = False
) -> Iterator[Listed]:
    """List the files of a column, in primary key order.

    Args:
        metadata: The models' ``MetaData``.
        engine: Where the rows are.
        column: ``table.column``.
        prefix: Only paths with this prefix.
        limit: Maximum number of files. Default: all.
        removed: List removed files that can still be restored (``Outbox.undelete``), the latest first.

    Raises:
        LookupError: There is no such column.
        ValueError: ``removed`` without an outbox, or a negative limit.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be 0 or more, not {limit}")
    found = column_named(metadata, column)
    if removed:
        outbox = outbox_of(metadata)
        if outbox is None:
            raise ValueError("without an outbox a removed file is deleted at once, so there is nothing to list: see Outbox")
        return _first(_removed(metadata, engine, outbox, found, prefix), limit)
    return _first(_present(engine, found, prefix), limit)


ls_async: Final = awaited(ls)


def _first(files: Generator[Listed], limit: int | None) -> Iterator[Listed]:
    with closing(files):  # also closes the connection
        yield from islice(files, limit)


def _present(engine: Engine, column: FileColumn, prefix: str) -> Generator[Listed]:
    names = [key.name for key in column.table.primary_key.columns]
    for batch in rows(engine, column):
        for row in batch.rows:
            for document in documents_in(row.value):
                facts = _facts(document)
                if facts.path.startswith(prefix):
                    yield _listed(dict(zip(names, row.key, strict=True)), facts)


def _removed(metadata: MetaData, engine: Engine, outbox: Outbox, column: FileColumn, prefix: str) -> Generator[Listed]:
    table = outbox.table
    statement = (
        select(table.c.backend, table.c.path, table.c.document, table.c.row_key, table.c.dropped_at, table.c.id)
        .where(table.c.column_name == column.column.name, table.c.attempts == 0, table.c.dead == 0)
        .where(table.c.table_name.in_([column.table.name, column.table.fullname]))
        .order_by(table.c.id.desc())
        .limit(_ROWS)
    )
    last: int | None = None
    seen: set[Ref] = set()
    while True:
        with engine.connect() as connection:
            found = connection.execute(statement if last is None else statement.where(table.c.id < last)).all()
            live = referenced(connection, metadata, [Ref(row.backend, row.path) for row in found]).refs  # moved, not removed
        for backend, path, document, row_key, dropped_at, number in found:
            last = number
            ref = Ref(backend, path)
            if ref not in live and ref not in seen and path.startswith(prefix):
                seen.add(ref)
                facts = _facts(_decoded(document) or {})._replace(backend=backend, path=path)
                yield _listed(_decoded(row_key) or {}, facts, dropped_at)
        if len(found) < _ROWS:
            return


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str | bytes) else value


def _facts(document: Mapping[str, Any]) -> Facts:
    try:
        return facts_from(document)
    except DocumentError:
        return Facts(filename="?", content_type="?")


def _listed(row: Mapping[str, Any], facts: Facts, removed_at: float | None = None) -> Listed:
    return Listed(row, facts.backend, facts.path, facts.size, facts.content_type, facts.filename, facts.last_modified, removed_at)
