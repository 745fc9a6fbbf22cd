"""What a transaction has done to files is reported once it is committed, to functions and coroutine functions."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, cast

import pytest
from sqlalchemy import Engine, delete, event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from filerow import FileObject, hooks
from filerow.exceptions import FileTooLargeError, StorageError
from filerow.testing.faults import Fault, FaultyBackend
from tests.observability.conftest import Heard
from tests.observability.models import Document, Letter, a_file


def test_commits_report_rows_and_files(engine: Engine, heard: Heard) -> None:
    with Session(engine) as session:
        document = Document(file=a_file("a.txt"), pages=[a_file("1"), a_file("2")])
        session.add(document)
        session.commit()
        assert heard.kinds == ["stored"] * 3
        first = heard[0]
        assert (first.table, first.column, first.row) == ("document", "file", (document.id,))
        assert first.file is not None
        assert first.file["filename"] == "a.txt"
        assert (first.backend, first.path, first.former, first.error) == ("docs", document.file.path, None, None)  # type: ignore[union-attr]
        assert first.time.tzinfo is not None
        heard.clear()

        document.file = a_file("b.txt")
        document.pages.append(a_file("3"))
        session.commit()
        assert heard[0].former == ("docs", first.path)
        assert heard.take() == [("replaced", "b.txt"), ("stored", "3"), ("deleted", "a.txt")]

        document.pages = [document.pages[2], document.pages[0]]
        document.file = None
        session.commit()
        assert heard.take() == [("removed", "b.txt"), ("removed", "2"), ("deleted", "b.txt"), ("deleted", "2")]

        session.delete(document)
        session.commit()
        assert heard.take() == [("removed", "3"), ("removed", "1"), ("deleted", "3"), ("deleted", "1")]


def test_other_changes_of_a_row_report_nothing(engine: Engine, heard: Heard) -> None:
    with Session(engine) as session:
        session.add(document := Document(file=a_file("a.txt")))
        session.commit()
        heard.clear()
        document.title = "new"
        document.file = document.file.replace(filename="c.txt")  # type: ignore[union-attr]
        session.commit()
    assert heard.take() == []


def test_rollbacks_report_nothing(engine: Engine, heard: Heard, docs: FaultyBackend) -> None:
    with Session(engine) as session:
        session.add(Document(file=a_file("a.txt")))
        session.flush()
        session.rollback()
        session.add(Document(file=a_file("kept.txt")))
        with session.begin_nested() as savepoint:
            session.add(Document(file=a_file("undone.txt")))
            session.flush()
            savepoint.rollback()
        with session.begin_nested():
            session.add(Document(file=a_file("released.txt")))
        assert heard == []
        session.commit()
    assert heard.take() == [("stored", "kept.txt"), ("stored", "released.txt")]
    assert len(list(docs.list())) == 2


def test_what_is_reported_is_committed_already(engine: Engine) -> None:
    seen: list[object] = []

    @hooks.subscribe("stored")
    def look(event: hooks.Event) -> None:
        with engine.connect() as connection:  # the only one of the pool
            seen.append(connection.scalar(select(Document.id).where(Document.id == (event.row or ())[0])))

    with Session(engine) as session:
        session.add(Document(id=7, file=a_file("a.txt")))
        session.commit()
    assert seen == [7]


def test_changes_of_one_transaction_are_joined(engine: Engine, heard: Heard) -> None:
    with Session(engine) as session:
        session.add(document := Document(file=a_file("a.txt")))
        session.flush()
        document.file = a_file("b.txt")
        session.flush()
        document.file = a_file("c.txt")
        session.commit()
        assert heard.take() == [("stored", "c.txt")]
        assert document.file is not None
        document.file = None
        session.flush()
        document.file = a_file("d.txt")
        session.commit()
        assert heard.take() == [("replaced", "d.txt"), ("deleted", "c.txt")]
        session.delete(document)
        session.add(other := Document(file=a_file("e.txt")))
        session.flush()
        session.delete(other)
        session.commit()
        assert heard.take() == [("removed", "d.txt"), ("deleted", "d.txt")]


def test_a_moved_file_leaves_one_row_and_joins_another(engine: Engine, heard: Heard) -> None:
    with Session(engine) as session:
        session.add_all([one := Document(file=a_file("a.txt")), other := Document()])
        session.commit()
        heard.clear()
        other.file, one.file = one.file, None
        session.commit()
        assert sorted((event.kind, event.row) for event in heard) == [("removed", (one.id,)), ("stored", (other.id,))]


def test_bulk_statements_are_reported(engine: Engine, heard: Heard) -> None:
    with Session(engine) as session:
        session.execute(insert(Document), [{"id": 1, "file": a_file("a.txt")}, {"id": 2, "file": a_file("b.txt")}])
        session.execute(insert(Letter), [{"file": a_file("letter")}])
        session.commit()
        assert [(e.kind, e.table, e.row) for e in heard] == [
            ("stored", "document", (1,)),
            ("stored", "document", (2,)),
            ("stored", "letter", None),
        ]
        heard.clear()
        session.execute(update(Document).where(Document.id == 1).values(file=a_file("c.txt")))
        session.execute(update(Document), [{"id": 2, "file": None}])
        session.commit()
        assert [(e.kind, e.row) for e in heard] == [("replaced", (1,)), ("removed", (2,)), ("deleted", (1,)), ("deleted", (2,))]
        heard.clear()
        session.execute(delete(Document))
        session.commit()
        assert [(e.kind, e.row) for e in heard] == [("removed", (1,)), ("deleted", (1,))]
        session.execute(insert(Document), [{"id": 3, "file": a_file("a.txt")}])
        session.rollback()
        assert len(heard) == 2


def test_a_refused_commit_reports_nothing(engine: Engine, heard: Heard) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
        connection.execute(text("CREATE TABLE child (p INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"))
    with Session(engine) as session:
        session.execute(text("PRAGMA foreign_keys=ON"))
        session.add(Document(file=a_file("a.txt")))
        session.flush()
        session.execute(text("INSERT INTO child VALUES (1)"))
        with pytest.raises(IntegrityError):
            session.commit()
    assert heard == []


def test_a_commit_without_an_answer_reports_nothing(engine: Engine, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(connection: Any) -> None:
        raise OperationalError("COMMIT", {}, Exception("gone"), connection_invalidated=True)

    with Session(engine) as session:
        session.add(Document(file=a_file("a.txt")))
        session.flush()
        monkeypatch.setattr(engine.dialect, "do_commit", lost)
        monkeypatch.setattr(engine.dialect, "is_disconnect", lambda *_: True)
        with pytest.raises(OperationalError):
            session.commit()
    assert heard == []


def test_an_outer_transaction_reports_when_it_commits(engine: Engine, heard: Heard) -> None:
    for commit in (False, True):
        with engine.connect() as connection:
            transaction = connection.begin()
            connection.exec_driver_sql("BEGIN")  # which the driver would leave out
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                session.add(Document(file=a_file("a.txt")))
                session.commit()
            assert heard == []
            transaction.commit() if commit else transaction.rollback()
    assert heard.take() == [("stored", "a.txt")]


def test_a_failed_delete_is_reported(engine: Engine, heard: Heard, docs: FaultyBackend) -> None:
    with Session(engine) as session:
        session.add(document := Document(file=a_file("a.txt"), pages=[a_file("1")]))
        session.commit()
        heard.clear()
        path = document.file.path  # type: ignore[union-attr]
        docs.add(Fault("delete", error=ConnectionResetError, paths=lambda one: one == path))
        session.delete(document)
        session.commit()
    assert sorted(heard.kinds) == ["deleted", "failed", "removed", "removed"]
    failed = next(event for event in heard if event.kind == "failed")
    assert (failed.operation, failed.path, failed.table, failed.row) == ("delete", path, "document", (1,))
    assert isinstance(failed.error, StorageError)


def test_a_failed_upload_is_reported_when_its_session_ends(engine: Engine, heard: Heard, docs: FaultyBackend) -> None:
    docs.add(Fault("put", error=ConnectionResetError))
    with Session(engine) as session:
        session.add(Document(id=4, file=a_file("a.txt")))
        with pytest.raises(StorageError):
            session.commit()
        session.rollback()
    [failed] = heard
    assert (failed.kind, failed.operation, failed.table, failed.column) == ("failed", "store", "document", "file")
    assert failed.file is not None
    assert failed.file["filename"] == "a.txt"
    assert isinstance(failed.error, StorageError)


def test_a_refused_file_is_reported_as_failed(engine: Engine, heard: Heard) -> None:
    with Session(engine) as session:
        session.add(Letter(file=FileObject(filename="long", content=iter([b"x" * 60_000] * 2))))
        with pytest.raises(FileTooLargeError):
            session.commit()
    assert [(event.kind, type(event.error)) for event in heard] == [("failed", FileTooLargeError)]


def test_a_failing_subscriber_is_logged_and_harms_nothing(engine: Engine, heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    @hooks.subscribe("stored")
    def breaks(event: hooks.Event) -> None:
        raise RuntimeError("broken")

    @hooks.subscribe("stored")
    async def breaks_too(event: hooks.Event) -> None:
        raise RuntimeError("broken")

    @hooks.subscribe("stored")
    async def is_cancelled(event: hooks.Event) -> None:
        raise asyncio.CancelledError

    @hooks.subscribe("stored")
    def forgets_to_wait(event: hooks.Event) -> object:
        return breaks_too(event)

    after: list[str] = []
    hooks.subscribe("stored")(lambda event: after.append(event.kind))
    with Session(engine) as session, caplog.at_level(logging.ERROR, "filerow"):
        session.add(Document(file=a_file("a.txt")))
        session.commit()
        assert session.scalar(select(func.count(Document.id))) == 1
    assert after == ["stored"]
    assert len(caplog.records) == 4
    names = [record.filerow_subscriber.rpartition(".")[2] for record in caplog.records]  # type: ignore[attr-defined]
    assert names == ["breaks", "forgets_to_wait", "breaks_too", "is_cancelled"]
    assert all(name in record.message for name, record in zip(names, caplog.records, strict=True))
    assert "async def" in caplog.records[1].message
    assert caplog.records[0].exc_info is not None


def test_a_coroutine_function_of_a_sync_session_runs_elsewhere(engine: Engine) -> None:
    seen: list[tuple[str, int]] = []

    @hooks.subscribe("stored")
    async def wait(event: hooks.Event) -> None:
        await asyncio.sleep(0)
        seen.append((event.kind, threading.get_ident()))

    def store() -> None:
        with Session(engine) as session:
            session.add(Document(file=a_file("a.txt")))
            session.commit()

    async def main() -> None:
        store()  # in a running loop, which it blocks

    store()
    asyncio.run(main())
    assert [kind for kind, _ in seen] == ["stored", "stored"]
    assert threading.get_ident() not in {thread for _, thread in seen}


async def test_async_sessions_await_in_the_application_s_loop(async_engine: AsyncEngine) -> None:
    seen: list[object] = []

    @hooks.subscribe("stored")
    async def wait(event: hooks.Event) -> None:
        async with AsyncSession(async_engine) as other:  # the pool's only connection
            seen.append(await other.scalar(select(Document.id)))
        seen.append(asyncio.get_running_loop())

    async with AsyncSession(async_engine) as session:
        session.add(Document(id=3, file=a_file("a.txt")))
        await session.commit()
    assert seen == [3, asyncio.get_running_loop()]


async def test_a_blocking_subscriber_does_not_block_the_loop(async_engine: AsyncEngine) -> None:
    threads: list[int] = []
    ticks = 0

    @hooks.subscribe("stored")
    def block(event: hooks.Event) -> None:
        time.sleep(0.1)
        threads.append(threading.get_ident())

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += bool(not threads)

    ticking = asyncio.ensure_future(tick())
    async with AsyncSession(async_engine) as session:
        session.add(Document(file=a_file("a.txt")))
        await session.flush()
        ticks = 0
        await session.commit()
    ticking.cancel()
    assert threads
    assert threads[0] != threading.get_ident()
    assert ticks >= 3


async def test_a_cancelled_subscriber_leaves_the_commit_alone(async_engine: AsyncEngine, docs: FaultyBackend) -> None:
    begun = asyncio.Event()

    @hooks.subscribe("stored")
    async def hang(event: hooks.Event) -> None:
        begun.set()
        await asyncio.sleep(60)

    async def store() -> None:
        async with AsyncSession(async_engine) as session:
            session.add(Document(file=a_file("a.txt")))
            await session.commit()

    task = asyncio.ensure_future(store())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with AsyncSession(async_engine) as session:
        assert await session.scalar(select(func.count(Document.id))) == 1
    assert len(list(docs.list())) == 1


async def test_async_rollbacks_report_nothing(async_engine: AsyncEngine, heard: Heard) -> None:
    async with AsyncSession(async_engine) as session:
        session.add(Document(file=a_file("a.txt")))
        await session.flush()
        await session.rollback()
        session.add(document := Document(file=a_file("b.txt")))
        await session.commit()
        await session.delete(document)
        await session.commit()
    assert heard.take() == [("stored", "b.txt"), ("removed", "b.txt"), ("deleted", "b.txt")]


def test_subscribers_hear_their_kinds_until_they_unsubscribe(engine: Engine) -> None:
    class Counts:
        def __init__(self) -> None:
            self.kinds: list[str] = []

        async def __call__(self, event: hooks.Event) -> None:
            self.kinds.append(event.kind)

    counts, twice = Counts(), []
    hooks.subscribe("removed")(counts)
    partly = functools.partial(lambda event, what: twice.append(what), what="heard")
    hooks.subscribe("stored")(partly)
    hooks.subscribe("stored")(partly)  # again: it is called once
    with Session(engine) as session:
        session.add(document := Document(file=a_file("a.txt")))
        session.commit()
        assert twice == ["heard"]
        session.delete(document)
        session.commit()
        hooks.unsubscribe(partly)
        hooks.unsubscribe(counts)
        session.add(Document(file=a_file("a.txt")))
        session.commit()
    assert counts.kinds == ["removed"]
    assert twice == ["heard"]
    with pytest.raises(LookupError, match="Counts is not subscribed"):
        hooks.unsubscribe(counts)


def test_wrong_subscriptions_are_refused() -> None:
    with pytest.raises(ValueError, match="no events of kind 'saved'; the kinds are stored, replaced"):
        hooks.subscribe("saved")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="not int"):
        hooks.subscribe("stored")(7)  # type: ignore[type-var]


def test_what_would_never_run_is_refused() -> None:
    def yields(event: hooks.Event) -> Iterator[None]:
        yield

    async def yields_async(event: hooks.Event) -> AsyncIterator[None]:
        yield

    class Index:
        def __call__(self, event: hooks.Event) -> None: ...

    for wrong in (yields, yields_async, partial(yields), Index):
        with pytest.raises(TypeError, match=r"the subscriber .*(is a class|a generator).*write a function"):
            hooks.subscribe("stored")(cast("Any", wrong))
    assert not hooks.subscriptions


@pytest.fixture
def statements(engine: Engine) -> list[str]:
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    return seen


def test_listening_sends_no_statement(engine: Engine, statements: list[str]) -> None:
    def change() -> list[str]:
        statements.clear()
        with Session(engine) as session:
            session.add(document := Document(file=a_file("a.txt")))
            session.commit()
            document.file = a_file("b.txt")
            session.commit()
            session.delete(document)
            session.commit()
        return list(statements)

    alone = change()
    hooks.subscribe(lambda event: None)
    assert change() == alone
