"""Undelete: restores a removed file while its bytes are still kept.

Only a tombstone whose deletion has not begun can be removed. Its row lock decides between this and a drain at the same time: one
of them wins, and the other sees it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Connection, and_, delete, select, update

from filerow._document import Facts, facts_from
from filerow._execution.batch import call
from filerow._file.object import FileObject, FileState, attached, complete
from filerow._orm.locks import locking
from filerow._orm.ownership import Ref
from filerow._orm.references import FileColumn, column_named, documents_in, referenced, refs_in
from filerow._registry import storages
from filerow.exceptions import DocumentError, UndeleteError
from filerow.outbox._settings import OutboxSettings
from filerow.outbox._table import now, plain_table, take_write_lock

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Removed:
    """A file that no row has any more, and that can still be restored.

    Attributes:
        backend: Key of the backend.
        path: The path in it.
        filename: The client's name for it.
        size: Length in bytes, if the document had it.
        table: The table of its last row; empty if unknown.
        column: The column of that row.
        row_key: The primary key of that row, by column.
        removed_at: When it was removed, by the database's clock.
        kept_until: When a drain may delete it.
    """

    backend: str
    path: str
    filename: str
    size: int | None
    table: str
    column: str
    row_key: dict[str, Any]
    removed_at: datetime
    kept_until: datetime


# -- what can be restored --------------------------------------------------------------------------------------------------


def removed(
    settings: OutboxSettings, connection: Connection, *, table: str | None, since: datetime | None, limit: int
) -> list[Removed]:
    """Return restorable files, the last removed first; see :meth:`Outbox.removed`."""
    columns = settings.table.c
    statement = select(settings.table).where(columns.attempts == 0, columns.dead == 0)
    if table is not None:
        statement = statement.where(columns.table_name == table)
    if since is not None:
        statement = statement.where(columns.dropped_at >= since.timestamp())
    statement = statement.order_by(columns.dropped_at.desc(), columns.id.desc()).limit(_PAGE)
    found: dict[Ref, Removed] = {}
    seen = 0
    while len(found) < limit:
        rows = connection.execute(statement.offset(seen)).mappings().all()
        seen += len(rows)
        refs = [Ref(row["backend"], row["path"]) for row in rows]
        live = referenced(connection, settings.metadata, refs).refs  # these were moved, not removed
        for ref, row in zip(refs, rows, strict=True):
            if ref not in live:
                found.setdefault(ref, _removed(settings, row))
        if len(rows) < _PAGE:
            break
    return list(found.values())[:limit]


def _removed(settings: OutboxSettings, row: Any) -> Removed:
    facts = _facts(row)
    gone = datetime.fromtimestamp(row["dropped_at"], UTC)
    where = (row["table_name"] or "", row["column_name"] or "", _row_key(row))
    return Removed(row["backend"], row["path"], facts.filename, facts.size, *where, gone, gone + settings.retention)


def _facts(row: Any) -> Facts:
    """Return what the tombstone's document says of the file, or only its place."""
    try:
        return facts_from(documents_in(row["document"])[0])
    except (DocumentError, IndexError, ValueError):
        return Facts(backend=row["backend"], path=row["path"], filename=row["path"].rpartition("/")[2])


def _row_key(row: Any) -> dict[str, Any]:
    key = row["row_key"]
    found = json.loads(key) if isinstance(key, str | bytes) else key
    return found if isinstance(found, dict) else {}


# -- restoring -------------------------------------------------------------------------------------------------------------


def undelete(
    settings: OutboxSettings,
    connection: Connection,
    backend: str,
    path: str,
    into: str | None = None,
    row: Mapping[str, Any] | None = None,
) -> FileObject:
    """Restore a removed file; see :meth:`Outbox.undelete`."""
    ref = Ref(backend, path)
    if into is not None:
        column_named(settings.metadata, into)
    rows = _locked(settings, connection, ref)
    if referenced(connection, settings.metadata, [ref]).refs:
        raise UndeleteError(f"{path!r} on backend {backend!r} is not removed: a row names it")
    store = storages.get_backend(backend)
    if not call(store.exists, store.exists_async, path):
        raise UndeleteError(f"the bytes of {path!r} are no longer on backend {backend!r}")
    newest = rows[-1]
    facts = _facts(newest)
    file = attached(facts)
    home = into or f"{newest['table_name']}.{newest['column_name']}"
    if row is not None:
        _give(connection, column_named(settings.metadata, home), newest, row)
        _forget(settings, connection, [one["id"] for one in rows])
    elif not _put_back(settings, connection, newest, home):
        # Its tombstone stays with a new retention: the row that gets the file removes it, and if none does, the file is
        # deleted in the end.
        complete(file, facts, FileState.STAGED)
        _forget(settings, connection, [row["id"] for row in rows[:-1]])
        renewed = {"dropped_at": now(connection.dialect.name)}
        _expect(connection.execute(_untouched(settings, newest["id"]).values(renewed)).rowcount, ref)
    else:
        _forget(settings, connection, [row["id"] for row in rows])
    return file


def _locked(settings: OutboxSettings, connection: Connection, ref: Ref) -> Sequence[Any]:
    """Return an object's tombstones, oldest first, locked in this transaction."""
    take_write_lock(connection, settings.table, "attempts")
    columns = settings.table.c
    notes = select(settings.table).where(columns.path == ref.path, columns.backend == ref.backend).order_by(columns.id)
    rows = connection.execute(locking(notes, connection.dialect)).mappings().all()
    if not rows:
        raise UndeleteError(
            f"the outbox has no tombstone of {ref.path!r} on backend {ref.backend!r}: it was never removed, has a row again, or "
            "its bytes are gone"
        )
    if any(row["attempts"] for row in rows):
        raise _too_late(ref)
    # Without row locks, the first to change the tombstone wins.
    for row in rows:
        _expect(connection.execute(_untouched(settings, row["id"]).values(attempts=columns.attempts)).rowcount, ref)
    return rows


def _untouched(settings: OutboxSettings, number: int) -> Any:
    return update(settings.table).where(settings.table.c.id == number, settings.table.c.attempts == 0)


def _expect(changed: int, ref: Ref) -> None:
    if changed != 1:
        raise _too_late(ref)


def _too_late(ref: Ref) -> UndeleteError:
    return UndeleteError(f"it is too late for {ref.path!r} on backend {ref.backend!r}: deletion of its bytes has begun")


def _forget(settings: OutboxSettings, connection: Connection, numbers: Sequence[int]) -> None:
    if numbers:
        connection.execute(delete(settings.table).where(settings.table.c.id.in_(numbers)))


# -- its last row ----------------------------------------------------------------------------------------------------------


def home_of(settings: OutboxSettings, connection: Connection, ref: Ref) -> str | None:
    """Return ``table.column`` of a removed file's last row; ``None`` if unknown."""
    columns = settings.table.c
    notes = select(columns.table_name, columns.column_name).where(columns.path == ref.path, columns.backend == ref.backend)
    row = connection.execute(notes.order_by(columns.id.desc()).limit(1)).one_or_none()
    return None if row is None or None in {row.table_name, row.column_name} else f"{row.table_name}.{row.column_name}"


def _give(connection: Connection, file_column: FileColumn, note: Any, row: Mapping[str, Any]) -> None:
    """Put the document into a row that the caller has named."""
    keys = other_key(file_column, row)
    if not documents_in(note["document"]):
        raise UndeleteError(f"the tombstone of {note['path']!r} has no document; restore the file without a row, and assign it")
    if not _put(connection, file_column, note["document"], keys):
        has = "is there" if file_column.type.multiple else "is there and has no file"
        raise UndeleteError(f"no row of {file_column.name} with {_shown(row)} {has}; {note['path']!r} stays removed")


def other_key(file_column: FileColumn, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the primary key that a caller has named, in its columns' types.

    Raises:
        ValueError: It is not a primary key of the table.
    """
    names = [key.name for key in file_column.table.primary_key.columns]
    if not names or set(row) != set(names):
        wanted = " and ".join(names) or "no primary key"
        raise ValueError(f"row (--row) must name the primary key of {file_column.table.fullname} ({wanted}), not {_shown(row)}")
    try:
        return _key_values(file_column, dict(row))
    except (ValueError, TypeError, ArithmeticError, NotImplementedError) as error:
        raise ValueError(f"row (--row) {_shown(row)} is not a key of {file_column.table.fullname}: {error}") from error


def _shown(row: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in row.items()) or "nothing"


def _put_back(settings: OutboxSettings, connection: Connection, note: Any, home: str) -> bool:
    """Put the document back into its last row; return False if that is impossible."""
    try:
        file_column = column_named(settings.metadata, home)
        keys = _key_values(file_column, _row_key(note))
        return _put(connection, file_column, note["document"], keys)
    except (LookupError, ValueError, TypeError, ArithmeticError, NotImplementedError):
        return False


def _put(connection: Connection, file_column: FileColumn, noted: Any, keys: Mapping[str, Any]) -> bool:
    """Put a document into a row; return False if it is gone or has a file."""
    document = documents_in(noted)[0]
    plain = plain_table(file_column)
    is_row = and_(*(plain.c[name] == value for name, value in keys.items()))
    value = plain.c[file_column.column.name]
    if not file_column.type.multiple:
        # the trigger sees the file return, and removes the tombstones
        empty = update(plain).where(is_row, value.is_(None))
        return connection.execute(empty.values({file_column.column.name: document})).rowcount == 1
    row = connection.execute(locking(select(value).where(is_row), connection.dialect)).one_or_none()
    if row is None:
        return False
    documents = documents_in(row[0])
    if refs_in(document)[0] not in refs_in(documents):
        documents.append(document)
    return connection.execute(update(plain).where(is_row).values({file_column.column.name: documents})).rowcount == 1


def _key_values(file_column: FileColumn, row_key: dict[str, Any]) -> dict[str, Any]:
    """Return the row's primary key in its columns' types; JSON has mostly text."""
    keys = list(file_column.table.primary_key.columns)
    if not keys:
        raise LookupError("a row without a primary key cannot be found again")
    one = next(iter(row_key.values())) if len(keys) == len(row_key) == 1 else None
    values = row_key if one is None else {keys[0].name: one}  # the key column may have been renamed
    return {key.name: _typed(key, values[key.name]) for key in keys}


def _typed(key: Column[Any], value: Any) -> Any:
    kind = key.type.python_type
    if value is None or isinstance(value, kind):
        return value
    if issubclass(kind, datetime | date | time):
        return kind.fromisoformat(str(value))
    if issubclass(kind, UUID | Decimal | int | float | str):
        return kind(str(value))
    raise TypeError(f"a primary key of {kind.__name__} cannot be read back from JSON")
