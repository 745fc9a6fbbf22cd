"""With an outbox the commit reports what rows have lost, and a drain what it has deleted."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from filerow import hooks
from filerow.exceptions import StorageError
from filerow.testing.faults import Fault, FaultyBackend
from tests.observability.conftest import Heard
from tests.observability.models import Kept, Shelved, a_file, outbox


@pytest.fixture
def removed(engine: Engine, heard: Heard, docs: FaultyBackend) -> str:
    """The path of a file that a row has lost."""
    with Session(engine) as session:
        session.add(row := Kept(id=5, file=a_file("a.txt")))
        session.commit()
        path = row.file.path  # type: ignore[union-attr]
        session.delete(row)
        session.commit()
    assert heard.take() == [("stored", "a.txt"), ("removed", "a.txt")]
    return path


def test_a_drain_reports_what_it_has_deleted(engine: Engine, heard: Heard, removed: str, docs: FaultyBackend) -> None:
    gone: list[bool] = []
    hooks.subscribe("deleted")(lambda event: gone.append(not docs.exists(event.path)))
    assert outbox.drain(engine).deleted == 1
    [event] = heard
    assert (event.kind, event.path, event.table, event.column, event.row) == ("deleted", removed, "kept", "file", (5,))
    assert event.file is not None
    assert event.file["filename"] == "a.txt"
    assert gone == [True]
    outbox.drain(engine)
    assert len(heard) == 1


async def test_an_async_drain_awaits_subscribers(async_engine: AsyncEngine, removed: str) -> None:
    seen = []

    @hooks.subscribe("deleted")
    async def note(event: hooks.Event) -> None:
        async with async_engine.connect():  # no connection is held meanwhile
            seen.append(event.path)

    await outbox.drain_async(async_engine)
    assert seen == [removed]


def test_a_drain_reports_each_failure(engine: Engine, heard: Heard, removed: str, docs: FaultyBackend) -> None:
    with docs.inject(Fault("delete", error=ConnectionResetError)):
        outbox.drain(engine)
        outbox.drain(engine)
    assert [(event.kind, event.operation, event.row) for event in heard] == [("failed", "delete", (5,))] * 2
    error = heard[0].error
    assert isinstance(error, StorageError)
    assert (error.backend, error.path) == ("docs", removed)


def test_what_a_row_has_again_is_not_deleted(engine: Engine, heard: Heard, removed: str) -> None:
    with Session(engine) as session:
        file = outbox.undelete(session.connection(), "docs", removed)
        session.add(Kept(file=file))
        session.commit()
    outbox.drain(engine)
    assert heard.take() == [("stored", "a.txt")]


def test_keys_of_several_columns_keep_their_order(engine: Engine, heard: Heard) -> None:
    with Session(engine) as session:
        session.add(row := Shelved(shelf=1, b=2, file=a_file("a.txt")))
        session.commit()
        session.delete(row)
        session.commit()
        session.execute(update(outbox.table).values(row_key={"b": 2, "shelf": 1}))  # MySQL puts short names first
        session.commit()
    outbox.drain(engine)
    assert [(event.kind, event.row) for event in heard] == [("stored", (1, 2)), ("removed", (1, 2)), ("deleted", (1, 2))]
