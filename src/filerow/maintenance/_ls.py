"""Lists the files of one column, present or removed, in constant memory."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, MetaData, select

from filerow._document import Facts, facts_from
from filerow._execution.batch import raise_if, run_all
from filerow._media_types import by_extension
from filerow._orm.ownership import Ref
from filerow._orm.references import FileColumn, column_named, documents_in, referenced
from filerow._recipes import variant_id
from filerow._registry import storages
from filerow.exceptions import DocumentError, VariantError
from filerow.maintenance._awaited import awaited
from filerow.maintenance._derived import StoredVariant, VariantListing
from filerow.maintenance._rows import rows
from filerow.outbox import Outbox, outbox_of

_ROWS = 500
_AT_ONCE = 16


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
        variant: Of a variant of the file before it: its name in the column, or its id if the column does not declare it.
    """

    row: Mapping[str, Any]
    backend: str
    path: str
    size: int | None
    content_type: str
    filename: str
    last_modified: float | None = None
    removed_at: float | None = None
    variant: str = ""


def ls(
    metadata: MetaData,
    engine: Engine,
    column: str,
    *,
    prefix: str = "",
    limit: int | None = None,
    removed: bool = False,
    variants: bool = False,
) -> Iterator[Listed]:
    """List the files of a column, in primary key order.

    Args:
        metadata: The models' ``MetaData``.
        engine: Where the rows are.
        column: ``table.column``.
        prefix: Only paths with this prefix.
        limit: Maximum number of files. Default: all.
        removed: List removed files that can still be restored (``Outbox.undelete``), the latest first.
        variants: List each file's stored variants after it: one LIST request for each file.

    Raises:
        LookupError: There is no such column.
        ValueError: ``removed`` without an outbox, or together with ``variants``; a negative limit.
        StorageError: A store could not list variants.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be 0 or more, not {limit}")
    if removed and variants:
        raise ValueError("variants (--variants) are listed of files that rows have, not of removed ones (--removed)")
    found = column_named(metadata, column)
    if removed:
        outbox = outbox_of(metadata)
        if outbox is None:
            raise ValueError("without an outbox a removed file is deleted at once, so there is nothing to list: see Outbox")
        return _first(_removed(metadata, engine, outbox, found, prefix), limit)
    return _first(_present(engine, found, prefix, variants=variants), limit)


ls_async: Final = awaited(ls)


def _first(files: Generator[Listed], limit: int | None) -> Iterator[Listed]:
    with closing(files):  # also closes the connection
        count = 0
        for file in files:
            count += not file.variant
            if limit is not None and count > limit:
                return
            yield file


def _present(engine: Engine, column: FileColumn, prefix: str, *, variants: bool = False) -> Generator[Listed]:
    names = [key.name for key in column.table.primary_key.columns]
    for batch in rows(engine, column, batch=_AT_ONCE if variants else _ROWS):
        pairs = [(row, _facts(document)) for row in batch.rows for document in documents_in(row.value)]
        found = [(dict(zip(names, row.key, strict=True)), facts) for row, facts in pairs if facts.path.startswith(prefix)]
        stored = _variants_of([facts for _, facts in found]) if variants else [[]] * len(found)
        for (key, facts), ones in zip(found, stored, strict=True):
            yield _listed(key, facts)
            for one in ones:
                yield _listed_variant(key, facts, column, one)


def _variants_of(files: Sequence[Facts]) -> list[list[StoredVariant]]:
    """Return the stored variants of each file; of an unknown backend none."""
    jobs = [
        VariantListing(storages.get_backend(one.backend), one.path) if storages.is_registered(one.backend) else None
        for one in files
    ]
    raise_if(run_all([job for job in jobs if job is not None], _AT_ONCE).error)
    return [[] if job is None else [one for one in job.found if not one.is_note] for job in jobs]


def _listed_variant(row: Mapping[str, Any], original: Facts, column: FileColumn, one: StoredVariant) -> Listed:
    extension = one.info.path.rpartition(".")[2]
    stem, dot, _ = original.filename.rpartition(".")
    filename = f"{stem if dot else original.filename}.{extension}"
    content_type = by_extension(f".{extension}")
    name = _name_of(original, column, one.id)
    return Listed(row, original.backend, one.info.path, one.info.size, content_type, filename, one.info.last_modified, None, name)


def _name_of(original: Facts, column: FileColumn, id_: str) -> str:
    try:
        return next((name for name, recipe in column.type.variants if variant_id(original, recipe) == id_), id_)
    except VariantError:
        return id_


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
