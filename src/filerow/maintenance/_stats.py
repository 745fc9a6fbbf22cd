"""Counts rows and files, adds up sizes, and counts what is in the outbox.

The database counts single columns itself; the documents of list columns, and of databases whose JSON functions we do not know,
are read one by one, in constant memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from operator import add
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Connection, Engine, MetaData, case, cast, func, select

from filerow._document import facts_from
from filerow._orm.references import FileColumn, documents_in, file_columns
from filerow._paths import folders_of
from filerow._recipes import VARIANTS
from filerow._registry import storages
from filerow.backends.base import StorageBackend
from filerow.exceptions import DocumentError
from filerow.maintenance._awaited import awaited
from filerow.maintenance._derived import stored_variant
from filerow.maintenance._listing import pages
from filerow.outbox import Outbox, outbox_of
from filerow.outbox._table import now_of

_ROWS = 1_000
_SPOKEN = {"postgresql", "sqlite", "mysql", "mariadb"}


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """The files of one column in one backend.

    Attributes:
        column: ``table.column``.
        backend: Key of the backend; empty for rows without a file.
        rows: Rows with one of these files; a row of a list column counts once for each backend of its files.
        files: Number of files.
        size: Total size in bytes of the files whose size is known.
        without_size: Files whose size is not known.
        without_checksum: Files whose checksum is not known.
        legacy: Files whose document another library has written; ``filerow adopt`` rewrites them.
        unreadable: Values that are not documents.
    """

    column: str
    backend: str = ""
    rows: int = 0
    files: int = 0
    size: int = 0
    without_size: int = 0
    without_checksum: int = 0
    legacy: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class VariantStats:
    """The stored variants of one column's files in one backend.

    Attributes:
        column: ``table.column``; empty for files whose path does not say which column generated it.
        backend: Key of the backend.
        variants: Number of variants.
        size: Their total size in bytes.
        failed: Number of notes that a variant cannot be made.
    """

    column: str
    backend: str
    variants: int = 0
    size: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """The contents of the outbox.

    Attributes:
        due: Objects that may be deleted now.
        waiting: Objects kept for the retention, or until the next attempt.
        dead: Objects that could not be deleted, and are not tried again.
        oldest: Seconds since the oldest of them, without dead ones, lost its row; ``None`` if there is none.
    """

    due: int
    waiting: int
    dead: int
    oldest: float | None


def stats(metadata: MetaData, engine: Engine, *, variants: bool = False) -> Iterator[ColumnStats | VariantStats | OutboxStats]:
    """Count rows and files, column by column and backend by backend, then the outbox.

    Args:
        metadata: The models' ``MetaData``.
        engine: Where the rows are.
        variants: Count the stored variants too: one LIST request for each thousand.

    Returns:
        One item for each column and backend, as soon as it is counted; then the variants, if asked for; last the outbox, if there
        is one.

    Raises:
        StorageError: A store could not list variants.
    """
    backends: set[str] = set()
    for column in file_columns(metadata):
        with engine.connect() as connection:
            found = list(_counted(connection, column))
        backends |= {one.backend for one in found if one.backend}
        yield from found or [ColumnStats(column.name)]
    for key in sorted(backends) if variants else ():
        if storages.is_registered(key):
            yield from _variants_in(metadata, storages.get_backend(key))
    outbox = outbox_of(metadata)
    if outbox is not None:
        with engine.connect() as connection:
            yield outbox_stats(connection, outbox)


stats_async: Final = awaited(stats)


def outbox_stats(connection: Connection, outbox: Outbox) -> OutboxStats:
    """Count the tombstones of an outbox."""
    table = outbox.table
    now = now_of(connection)
    is_dead = table.c.dead != 0
    is_due = (table.c.dropped_at <= now - outbox.retention.total_seconds()) & (
        func.coalesce(table.c.next_attempt, table.c.dropped_at) <= now
    )
    row = connection.execute(
        select(
            func.count(), _number(is_dead), _number(~is_dead & is_due), func.min(case((~is_dead, table.c.dropped_at)))
        ).select_from(table)
    ).one()
    total, dead, due, oldest = row
    age = None if oldest is None else max(0.0, now - oldest)
    return OutboxStats(due=int(due or 0), waiting=int(total - (dead or 0) - (due or 0)), dead=int(dead or 0), oldest=age)


def _variants_in(metadata: MetaData, backend: StorageBackend) -> Iterator[VariantStats]:
    """Count the variants of a backend by the columns of their originals."""
    names = {
        folder: column.name
        for column in file_columns(metadata)
        for folder in folders_of(column.table.name, column.column.name, column.type.shards)
    }
    found: dict[str, VariantStats] = {}
    with closing(pages(backend.list, backend.list_async, VARIANTS, size=_ROWS)) as listing:
        for one in (stored_variant(info) for page in listing for info in page):
            if one is not None:
                name = names.get(one.original.rpartition("/")[0], "")
                known = found.get(name) or VariantStats(name, backend.key)
                found[name] = replace(
                    known,
                    variants=known.variants + (not one.is_note),
                    size=known.size + (0 if one.is_note else one.info.size or 0),
                    failed=known.failed + one.is_note,
                )
    for name in sorted(found):
        yield found[name]


def _counted(connection: Connection, column: FileColumn) -> Iterator[ColumnStats]:
    if column.type.multiple or connection.dialect.name not in _SPOKEN:
        values = connection.execution_options(yield_per=_ROWS).execute(select(column.json)).scalars()
        yield from count_documents(column.name, values)
        return
    document = column.json
    backend = func.coalesce(document["backend"].as_string(), document["upload_storage"].as_string())
    size: ColumnElement[Any] = cast(document["size"].as_string(), BigInteger)  # as_integer() would be 32 bits on PostgreSQL
    if connection.dialect.name == "postgresql":  # its cast fails on what is not a number
        size = case((document["size"].as_string().regexp_match("^[0-9]{1,18}$"), size))
    exists = document["filename"].as_string().is_not(None) | document["path"].as_string().is_not(None)
    statement = select(
        backend,
        func.count(),
        _number(exists),
        func.sum(size),
        _number(exists & size.is_(None)),
        _number(exists & document["checksum"].as_string().is_(None)),
        _number(exists & document["v"].as_string().is_(None)),
        _number(column.column.is_not(None) & ~exists),
    ).select_from(column.table)
    found = connection.execute(statement.group_by(backend)).all()
    for key, rows, *counts in sorted(found, key=lambda row: row[0] or ""):
        yield ColumnStats(column.name, key or "", rows, *(int(count or 0) for count in counts))


def _number(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(case((condition, 1), else_=0))


def count_documents(column: str, values: Iterable[Any]) -> Iterator[ColumnStats]:
    """Count documents read one by one: rows without a file first, then by backend."""
    found: dict[str, ColumnStats] = {}
    for value in values:
        keys: set[str] = set()
        documents: list[dict[str, Any]] = documents_in(value)
        for one in [_one(column, document) for document in documents] or [ColumnStats(column)]:
            keys.add(one.backend)
            found[one.backend] = _sum(found.get(one.backend, ColumnStats(column)), one)
        for key in keys:
            found[key] = replace(found[key], rows=found[key].rows + 1)
    for key in sorted(found):
        yield found[key]


def _one(column: str, document: dict[str, Any]) -> ColumnStats:
    try:
        facts = facts_from(document)
    except DocumentError:
        return ColumnStats(column, unreadable=1)
    return ColumnStats(
        column,
        facts.backend,
        files=1,
        size=facts.size or 0,
        without_size=int(facts.size is None),
        without_checksum=int(facts.checksum is None),
        legacy=int("v" not in document),
    )


def _sum(one: ColumnStats, other: ColumnStats) -> ColumnStats:
    """Return the counts of one and another, with the rows of the first."""
    counts = map(add, astuple(one)[3:], astuple(other)[3:])
    return ColumnStats(one.column, other.backend, one.rows, *counts)
