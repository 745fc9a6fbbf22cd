"""Check columns: which sweep cannot look after, and whether files are there."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Engine, MetaData, select

from filerow._orm.ownership import Ref
from filerow._orm.references import FileColumn, file_columns, refs_in
from filerow._orm.visibility import filtered
from filerow._registry import storages
from filerow.exceptions import DocumentError, InvalidPathError, StorageError
from filerow.maintenance._doctor.ask import ask
from filerow.maintenance._report import Finding
from filerow.outbox._strangers import strangers

_SAMPLE = 20


def column_findings(metadata: MetaData) -> Iterator[Finding]:
    """Find columns whose paths or files the application looks after itself."""
    for column in file_columns(metadata):
        if column.type.path is not None:
            message = "its paths are made by the application, so filerow sweep never touches its objects"
            yield Finding("custom-path", message, "info", column.name)
        if not column.type.lifecycle:
            yield Finding("no-lifecycle", "lifecycle=False: the application deletes its files itself", "info", column.name)


def hidden_findings(metadata: MetaData, engine: Engine) -> Iterator[Finding]:
    """Find rows hidden from this user, and files in columns not in the models."""
    with engine.connect() as connection:
        tables = {column.table: None for column in file_columns(metadata)}
        for name in filtered(connection, tables):
            message = "row level security shows this user only some rows, so sweep, drain, migrate, adopt and undelete refuse"
            advice = "run those as a role with BYPASSRLS, or as the table's owner without FORCE ROW LEVEL SECURITY"
            yield Finding("rows-hidden", message, "warning", name, advice=advice)
        for name in strangers(connection, [metadata]):
            message = "rows have files there, and these models do not know the column, so sweep and drain refuse"
            advice = "add it to the models, or name the models that have it with also=; see docs/renames.md"
            yield Finding("files-unknown", message, "warning", name, advice=advice)


def sample_findings(metadata: MetaData, engine: Engine) -> Iterator[Finding]:
    """Look whether the objects of each column's first rows are there."""
    silent: set[str] = set()
    for column in file_columns(metadata):
        yield from _sample(engine, column, silent)


def _sample(engine: Engine, column: FileColumn, silent: set[str]) -> Iterator[Finding]:
    """Look for some of a column's objects; skip backends that have failed."""
    rows = select(column.json).where(column.column.is_not(None)).limit(_SAMPLE)
    with engine.connect() as connection:
        values = connection.scalars(rows).all()
    unknown: set[str] = set()
    refs: list[Ref] = []
    for value in values:
        try:
            refs += refs_in(value)
        except DocumentError as error:
            yield Finding("unreadable", str(error), where=column.name)
    for ref in refs[:_SAMPLE]:
        if ref.backend not in unknown:
            if storages.is_registered(ref.backend):
                if ref.backend not in silent:
                    yield from _look(column, ref, silent)
                continue
            unknown.add(ref.backend)
            message = "rows name this backend, and nothing is registered under it"
            yield Finding("backend-missing", message, "error", column.name, ref.backend)


def _look(column: FileColumn, ref: Ref, silent: set[str]) -> Iterator[Finding]:
    backend = storages.get_backend(ref.backend)
    try:
        if not ask(backend, "exists", ref.path):
            advice = "filerow check finds all of them"
            yield Finding("missing", "its row is there, its object is not", "error", column.name, *ref, advice=advice)
    except InvalidPathError as error:
        yield Finding("unreadable", str(error), "error", column.name, *ref)
    except StorageError as error:
        silent.add(ref.backend)
        advice = "no further file of this backend was looked for"
        yield Finding("unreadable", str(error), "error", column.name, *ref, advice=advice)
