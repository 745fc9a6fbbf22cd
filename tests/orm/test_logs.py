"""What is logged when files and rows could not be kept equal at once: which objects, what it means and what to do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import StorageError
from filerow.testing.faults import Fault, FaultyBackend
from tests.databases import EmptyDatabase

pytestmark = pytest.mark.one_in(1)  # each of its few variants, in every run

MANY = 40
NAMED = 10
"""Paths that one line may name: enough to look at, and a line that a log takes."""


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))
    chosen: Mapped[FileObject | None] = mapped_column(StoredObject("docs", path=lambda request: f"chosen/{request.filename}"))


@pytest.fixture
def store() -> Iterator[FaultyBackend]:
    """The store of all columns, in which nothing goes wrong yet."""
    store = FaultyBackend(MemoryBackend("docs"))
    storages.register_backend(store)
    storages.failed_deletes = 0
    yield store
    storages.clear_backends()


Run = Callable[[Callable[[Session], None]], None]
"""Runs something in a session of its own."""


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    """Work in sessions of both kinds."""
    database = EmptyDatabase("sqlite", tmp_path / "rows.db")
    with database._open:
        engine = database.engine()
        Base.metadata.create_all(engine)

        def sync(work: Callable[[Session], None]) -> None:
            with Session(engine, expire_on_commit=False) as session:
                work(session)

        async def awaited(work: Callable[[Session], None]) -> None:
            async_engine = database.async_engine()
            try:
                async with AsyncSession(async_engine, expire_on_commit=False) as session:
                    await session.run_sync(work)
            finally:
                await async_engine.dispose()

        yield sync if request.param == "sync" else lambda work: asyncio.run(awaited(work))


def fill(session: Session, count: int = MANY) -> list[str]:
    """Commit a number of rows, and return the paths of their files."""
    papers = [Paper(file=FileObject(filename="a.txt", content=b"a")) for _ in range(count)]
    session.add_all(papers)
    session.commit()
    return [paper.file.path for paper in papers if paper.file is not None]


def remove(session: Session) -> None:
    for paper in session.scalars(select(Paper)):
        session.delete(paper)
    session.commit()


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "filerow" and one.levelno >= level]


def named(line: str, paths: list[str]) -> int:
    return sum(f"{path}'" in line for path in paths)


def test_bulk_delete_that_is_refused_whole_is_one_line(run: Run, store: FaultyBackend, caplog: pytest.LogCaptureFixture) -> None:
    paths: list[str] = []
    run(lambda session: paths.extend(fill(session)))
    with store.inject(Fault("delete", error=PermissionError("AccessDenied"))):
        run(remove)
    [line] = lines(caplog, logging.ERROR)
    assert f"{MANY} objects" in line
    assert "'docs'" in line
    assert 1 <= named(line, paths) <= NAMED
    assert "AccessDenied" in line
    assert "filerow sweep --full --delete" in line
    assert storages.failed_deletes == MANY


def test_one_object_that_cannot_be_deleted_is_named_once(
    run: Run, store: FaultyBackend, caplog: pytest.LogCaptureFixture
) -> None:
    paths: list[str] = []
    run(lambda session: paths.extend(fill(session, 1)))
    with store.inject(Fault("delete", error=PermissionError("AccessDenied"))):
        run(remove)
    [line] = lines(caplog, logging.ERROR)
    assert line.count(paths[0]) == 1
    assert "AccessDenied" in line
    assert "filerow sweep --full --delete" in line


def test_objects_refused_one_by_one_share_a_line(run: Run, store: FaultyBackend, caplog: pytest.LogCaptureFixture) -> None:
    paths: list[str] = []
    run(lambda session: paths.extend(fill(session)))
    some = set(paths[:30])
    with store.inject(Fault("delete", error=PermissionError("AccessDenied"), paths=some.__contains__)):
        run(remove)
    [line] = lines(caplog, logging.ERROR)
    assert "30 objects" in line
    assert 1 <= named(line, paths) <= NAMED
    assert storages.failed_deletes == 30


def test_path_of_the_application_is_not_left_to_a_sweep(run: Run, store: FaultyBackend, caplog: pytest.LogCaptureFixture) -> None:
    def add(session: Session) -> None:
        session.add(Paper(chosen=FileObject(filename="plan.txt", content=b"a")))
        session.commit()

    run(add)
    with store.inject(Fault("delete", error=PermissionError("AccessDenied"))):
        run(remove)
    [line] = lines(caplog, logging.ERROR)
    assert "'chosen/plan.txt'" in line
    assert "filerow sweep" not in line
    assert "by hand" in line


def test_upload_that_failed_names_no_object_as_left(run: Run, store: FaultyBackend, caplog: pytest.LogCaptureFixture) -> None:
    def add(session: Session) -> None:
        session.add(Paper(file=FileObject(content=b"a")))
        with pytest.raises(StorageError, match="nobody listens"):
            session.commit()

    with store.inject(Fault(("put", "delete"), error=ConnectionError("nobody listens"))):
        run(add)
    [line] = lines(caplog)
    assert [one.levelno for one in caplog.records if one.name == "filerow"] == [logging.WARNING]
    assert "'paper/file/" in line
    assert "may" in line
    assert "no row owns" not in line
    assert "filerow sweep" in line


def test_backend_that_is_not_registered_is_one_line(run: Run, store: FaultyBackend, caplog: pytest.LogCaptureFixture) -> None:
    paths: list[str] = []

    def replace(session: Session) -> None:
        paths.extend(fill(session))
        for paper in session.scalars(select(Paper)):
            session.delete(paper)
        session.flush()
        storages.clear_backends()
        session.commit()

    run(replace)
    [line] = lines(caplog)
    assert f"{MANY} objects" in line
    assert 1 <= named(line, paths) <= NAMED
    assert "register" in line
    assert "filerow sweep --full --delete" in line
    assert storages.failed_deletes == MANY


def test_transaction_that_ends_in_doubt_says_what_to_do(run: Run, store: FaultyBackend, caplog: pytest.LogCaptureFixture) -> None:
    old: list[str] = []
    new: list[str] = []

    def change(session: Session) -> None:
        old.extend(fill(session))
        savepoint = session.connection().begin_nested()  # nobody knows which rows come back, after this
        for paper in session.scalars(select(Paper)):
            paper.file = FileObject(filename="b.txt", content=b"b")
        session.flush()
        new.extend(paper.file.path for paper in session.scalars(select(Paper)) if paper.file is not None)
        savepoint.rollback()
        session.commit()

    run(change)
    [line] = lines(caplog)
    assert f"{MANY} " in line
    assert 1 <= named(line, old) <= NAMED
    assert 1 <= named(line, new) <= NAMED
    assert "filerow sweep --full --delete" in line
    assert "nothing is lost" in line.lower()
    assert store.calls["delete"] == 0


def test_bulk_statement_logs_as_a_flush_does(run: Run, store: FaultyBackend, caplog: pytest.LogCaptureFixture) -> None:
    paths: list[str] = []

    def purge(session: Session) -> None:
        session.execute(delete(Paper))
        session.commit()

    run(lambda session: paths.extend(fill(session)))
    with store.inject(Fault("delete", error=PermissionError("AccessDenied"))):
        run(purge)
    [line] = lines(caplog, logging.ERROR)
    assert f"{MANY} objects" in line
