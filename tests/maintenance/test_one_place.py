"""One place under two keys: a chosen path that a row names under the one is not deleted under the other (P13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, Table, insert, select, update

from filerow import StoredObject, storages
from filerow.backends.base import StorageBackend
from filerow.maintenance import drain, sweep
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase

CHOSEN = "reports/2026/plan.txt"
LIKE_OURS = "paper/file/0190000000007000800000000000000a.txt"
ORPHAN = "paper/file/0190000000007000800000000000000b.txt"
PAPER = Table("paper", MetaData(), Column("id", Integer, primary_key=True), Column("file", JSON(none_as_null=True)))


@pytest.fixture(autouse=True)
def places(tmp_path: Path) -> Iterator[Callable[[str, str], StorageBackend]]:
    storages.clear_backends()
    yield lambda key, folder: storages.register_backend(f"file://{tmp_path}/{folder}", key=key, fsync=False)
    storages.clear_backends()


def models(*, multiple: bool) -> MetaData:
    metadata = MetaData()
    kind = StoredObject("docs", path=lambda request: f"reports/{request.token}", multiple=multiple)
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", kind))
    Outbox(metadata, retention=timedelta(0))
    return metadata


def maintained(metadata: MetaData, engine: Engine) -> None:
    for _ in range(2):  # the first run of a place deletes nothing
        list(drain(metadata, engine))
        list(sweep(metadata, engine, delete=True, full=True, grace=timedelta(0), allow_many=True))


@pytest.mark.parametrize("multiple", [False, True], ids=["file", "list"])
@pytest.mark.parametrize("path", [CHOSEN, LIKE_OURS], ids=["chosen", "like_ours"])
@pytest.mark.one_in(2)
def test_a_key_that_is_renamed_under_chosen_paths(
    database: EmptyDatabase, places: Callable[[str, str], StorageBackend], path: str, *, multiple: bool
) -> None:
    """As docs/renames.md says: both keys are registered, and the documents rewritten."""
    docs, _ = places("docs", "files"), places("archive", "files")
    docs.put(path, b"x")
    docs.put(ORPHAN, b"x")
    engine, metadata = database.engine(), models(multiple=multiple)
    metadata.create_all(engine)

    def named_under(key: str) -> Any:
        document = {"v": 1, "backend": key, "path": path, "filename": "plan.txt"}
        return [document] if multiple else document

    with engine.begin() as connection:
        connection.execute(insert(PAPER).values(file=named_under("docs")))
        connection.execute(update(PAPER).values(file=named_under("archive")))
    maintained(metadata, engine)
    assert docs.exists(path)
    assert not docs.exists(ORPHAN)


def test_another_place_keeps_nothing_for_it(database: EmptyDatabase, places: Callable[[str, str], StorageBackend]) -> None:
    """After files have moved to another bucket, with the paths that they had."""
    docs, archive = places("docs", "files"), places("archive", "other")
    for backend in (docs, archive):
        backend.put(CHOSEN, b"x")
    engine, metadata = database.engine(), models(multiple=False)
    metadata.create_all(engine)
    outbox = metadata.tables["filerow_outbox"]
    with engine.begin() as connection:
        document = {"v": 1, "backend": "archive", "path": CHOSEN, "filename": "plan.txt"}
        connection.execute(insert(PAPER).values(file=document))
        connection.execute(insert(outbox).values(backend="docs", path=CHOSEN, dropped_at=1.0))
    maintained(metadata, engine)
    assert archive.exists(CHOSEN)
    assert not docs.exists(CHOSEN)
    with engine.connect() as connection:
        assert connection.execute(select(outbox)).all() == []
