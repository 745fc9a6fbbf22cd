"""Undelete: what was removed is restored while its bytes are kept, and not a moment longer."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, delete, null, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, FileState, StoredObject, storages
from filerow.exceptions import UndeleteError
from filerow.maintenance import undelete
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase
from tests.outbox.app import App, make_app
from tests.places import know_places

SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Note(Base):
    __tablename__ = "note"
    key: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


OUTBOX = Outbox(Base.metadata)
"""Keeps removed files for a week."""


@pytest.fixture
def app(database: EmptyDatabase, tmp_path: Path) -> App:
    """A database with the tables above, and backend ``docs``."""
    folder = tmp_path / "docs"
    folder.mkdir()
    storages.register_backend(f"file://{folder}", key="docs", fsync=False)
    engine = database.engine()
    Base.metadata.create_all(engine)
    know_places(Base.metadata, engine)
    return App(engine, OUTBOX, Base.metadata.tables["paper"], folder)


def new(text: str) -> FileObject:
    return FileObject(filename=f"{text}.txt", content=text.encode())


def test_a_file_comes_back_into_the_row_that_it_left(app: App) -> None:
    with Session(app.engine) as session:
        paper = Paper(id=1, file=new("single"), pages=[new("first"), new("second")])
        session.add(paper)
        session.commit()
        path, page = paper.file.path, paper.pages[0].path  # type: ignore[union-attr]
        paper.file = None
        del paper.pages[0]
        session.commit()
        assert sorted(app.tombstones()) == sorted([path, page])
        for one in (path, page):
            assert app.outbox.undelete(session.connection(), "docs", one).state is FileState.ATTACHED
        session.commit()
        assert app.tombstones() == []
        assert paper.file is not None
        assert paper.file.get_content() == b"single"
        assert [one.get_content() for one in paper.pages] == [b"second", b"first"]


def test_removed_row_s_file_can_go_to_another_row_without_a_copy(app: App) -> None:
    with Session(app.engine) as session:
        session.add(Paper(id=1, file=new("single"), pages=[new("page")]))
        session.commit()
        paper = session.get_one(Paper, 1)
        path, page = paper.file.path, paper.pages[0].path  # type: ignore[union-attr]
        session.delete(paper)
        session.commit()
        assert len(app.there()) == 2
        file, other = (app.outbox.undelete(session.connection(), "docs", one) for one in (path, page))
        assert (file.state, file.filename, file.size) == (FileState.STAGED, "single.txt", 6)
        session.add(Paper(id=1, file=file, pages=[other]))
        session.commit()
        assert app.tombstones() == []
        assert app.there() == {path, page}, "its bytes were not copied"
        assert session.get_one(Paper, 1).file == file


@pytest.mark.one_in(3)
def test_async_sessions_have_files_back_too(database: EmptyDatabase, app: App) -> None:
    async def work() -> bytes:
        engine = database.async_engine()
        try:
            async with AsyncSession(engine) as session:
                paper = Paper(id=1, file=new("single"))
                session.add(paper)
                await session.commit()
                await session.refresh(paper)
                path = paper.file.path  # type: ignore[union-attr]
                paper.file = None
                await session.commit()
                await app.outbox.undelete_async(await session.connection(), "docs", path)
                await session.commit()
                await session.refresh(paper)
                assert paper.file is not None
                return await paper.file.get_content_async()
        finally:
            await engine.dispose()

    assert asyncio.run(work()) == b"single"


@SQLITE
def test_after_the_drain_it_is_too_late(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    app.put("gone", "begun")
    app.add_tombstones("gone")
    app.add_tombstones("begun", attempts=1, next_attempt=1e12)
    monkeypatch.setattr(app.outbox, "retention", timedelta(0))
    app.outbox.drain(app.engine)
    cases = {"gone": "has no tombstone of", "begun": "too late", "never": "has no tombstone of"}
    with app.engine.begin() as connection:
        for path, why in cases.items():
            with pytest.raises(UndeleteError, match=why):
                app.outbox.undelete(connection, "docs", path)
        assert app.outbox.removed(connection) == []


@SQLITE
def test_bytes_that_are_not_there_are_not_promised(app: App) -> None:
    app.add_tombstones("a")
    with app.engine.begin() as connection, pytest.raises(UndeleteError, match="no longer on backend 'docs'"):
        app.outbox.undelete(connection, "docs", "a")


@SQLITE
def test_it_takes_no_other_file_s_place(app: App) -> None:
    with Session(app.engine) as session:
        paper = Paper(id=1, file=new("old"))
        session.add(paper)
        session.commit()
        path = paper.file.path  # type: ignore[union-attr]
        paper.file = new("new")
        session.commit()
        file = app.outbox.undelete(session.connection(), "docs", path)
        session.commit()
        assert paper.file is not None
        assert paper.file.get_content() == b"new"
        assert file.state is FileState.STAGED
        assert file.get_content() == b"old"


@SQLITE
def test_undeleted_file_without_a_row_gets_a_new_retention(app: App) -> None:
    app.put("a")
    app.add_tombstones("a", "a", age=600_000)
    with app.engine.begin() as connection:
        app.outbox.undelete(connection, "docs", "a")
    assert app.tombstones() == ["a"]
    with app.engine.connect() as connection:
        [one] = app.outbox.removed(connection)
    assert datetime.now(UTC) - one.removed_at < timedelta(minutes=5)


@SQLITE
def test_a_rollback_leaves_the_file_removed(app: App) -> None:
    with Session(app.engine) as session:
        session.add(Paper(id=1, file=new("a")))
        session.commit()
        session.execute(update(Paper).values(file=null()))
        session.commit()
        [path] = app.tombstones()
        app.outbox.undelete(session.connection(), "docs", path)
        session.rollback()
    assert app.tombstones() == [path]


@SQLITE
def test_a_file_that_a_row_names_is_not_removed(app: App) -> None:
    app.put("a")
    with Session(app.engine) as session:
        session.add(Paper(id=1, file=new("a")))
        session.commit()
        path = session.get_one(Paper, 1).file.path  # type: ignore[union-attr]
    app.add_tombstones(path)  # as two rows leave it that were swapped by two UPDATEs
    with app.engine.begin() as connection:
        assert app.outbox.removed(connection) == []
        with pytest.raises(UndeleteError, match="a row names it"):
            app.outbox.undelete(connection, "docs", path)


@SQLITE
def test_a_row_is_found_by_a_key_of_several_types(app: App) -> None:
    key, at = uuid.uuid4(), datetime(2026, 2, 28, 12, 30, 0, 5)  # noqa: DTZ001 - as databases keep it
    with Session(app.engine) as session:
        note = Note(key=key, at=at, file=new("a"))
        session.add(note)
        session.commit()
        note.file = None
        session.commit()
        [path] = app.tombstones()
        assert app.outbox.undelete(session.connection(), "docs", path).state is FileState.ATTACHED
        session.commit()
        assert note.file is not None
        assert note.file.path == path


@SQLITE
def test_undeletable_files_are_listed_newest_first(app: App) -> None:
    with Session(app.engine) as session:
        session.add(Paper(id=7, file=new("cat"), pages=[new("dog")]))
        session.commit()
        session.execute(delete(Paper))
        session.commit()
    app.add_tombstones("older", age=7_200, table_name="elsewhere")
    app.add_tombstones("dead", dead=1, attempts=10)
    app.add_tombstones("begun", attempts=1)
    with app.engine.connect() as connection:
        found = app.outbox.removed(connection)
        assert [one.filename for one in found][2:] == ["older"]
        assert {(one.filename, one.column, one.size) for one in found[:2]} == {("cat.txt", "file", 3), ("dog.txt", "pages", 3)}
        assert (found[0].table, found[0].row_key) == ("paper", {"id": 7})
        assert found[0].kept_until - found[0].removed_at == timedelta(days=7)
        assert [one.path for one in app.outbox.removed(connection, table="elsewhere")] == ["older"]
        assert len(app.outbox.removed(connection, since=datetime.now(UTC) - timedelta(hours=1))) == 2
        assert len(app.outbox.removed(connection, limit=1)) == 1


@POSTGRESQL
def test_of_undelete_and_drain_at_the_same_time_exactly_one_wins(database: EmptyDatabase, tmp_path: Path) -> None:
    app = make_app(database.engine(pool_size=2), tmp_path / "docs")
    wins = {"undelete": 0, "drain": 0}
    for number in range(160):
        path = f"paper/file/{number}"
        app.put(path)
        app.own(path, key=number)
        with app.engine.begin() as connection:
            connection.execute(update(app.paper).where(app.paper.c.id == number).values(file=null()))
        outcome = race(lambda: app.outbox.drain(app.engine).deleted, lambda path=path: had_back(app, path), number)
        assert sorted(outcome) == [0, 1], "both, or neither"
        with app.engine.connect() as connection:
            value = connection.execute(app.paper.select().where(app.paper.c.id == number)).one().file
        assert (value is not None) == (path in app.there()) == bool(outcome[1]), "a dangling row, or a lost file"
        wins["undelete" if outcome[1] else "drain"] += 1
        if number >= 20 and min(wins.values()) >= 4:
            break
    assert app.tombstones() == []
    assert min(wins.values()) > 0, f"no race at all: {wins}"


def had_back(app: App, path: str) -> int:
    try:
        with app.engine.begin() as connection:
            app.outbox.undelete(connection, "docs", path)
    except UndeleteError:
        return 0
    return 1


def race(first: Callable[[], int], second: Callable[[], int], number: int) -> list[int]:
    """Run both at once; the first, which has a longer way to the same lock, gets a lead of 0 to 75 ms, and later more."""
    outcome = [-1, -1]
    start = threading.Barrier(2)

    def run(index: int, work: Callable[[], int]) -> None:
        start.wait()
        time.sleep(index * 0.005 * (number % 16) * (1 + number // 16))
        outcome[index] = work()

    threads = [threading.Thread(target=run, args=(index, work)) for index, work in enumerate((first, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


# -- after a rename --------------------------------------------------------------------------------------------------------


def renamed_models(name: str, file: str, key: str = "id") -> tuple[MetaData, Outbox]:
    metadata = MetaData()
    outbox = Outbox(metadata)
    Table(name, metadata, Column(key, Integer, primary_key=True), Column(file, StoredObject("docs")))
    return metadata, outbox


def remove_one(app: App) -> str:
    """Store a file and remove it from its row; return its path."""
    with Session(app.engine) as session:
        paper = Paper(id=1, file=new("single"), pages=[])
        session.add(paper)
        session.commit()
        path: str = paper.file.path  # type: ignore[union-attr]
        paper.file = None
        session.commit()
    return path


RENAMED = {
    "column": ("paper", "scan", "id", "ALTER TABLE paper RENAME COLUMN file TO scan"),
    "key": ("paper", "file", "number", "ALTER TABLE paper RENAME COLUMN id TO number"),
    "table": ("report", "file", "id", "ALTER TABLE paper RENAME TO report"),
}


@pytest.mark.parametrize("what", RENAMED)
@pytest.mark.one_in(3)
def test_what_left_a_renamed_row_comes_back_into_it(app: App, what: str) -> None:
    name, file, key, statement = RENAMED[what]
    path = remove_one(app)
    with app.engine.begin() as connection:
        connection.execute(text(statement))
    metadata, _ = renamed_models(name, file, key)
    if what != "table":  # create_all would write a table's new name into the tombstones
        metadata.create_all(app.engine)
    if what != "key":
        [[refused]] = [step.findings for step in undelete(metadata, app.engine, "docs", [path])]
        assert (refused.code, refused.where, "into='table.column'" in refused.advice) == ("not-undeleted", "paper.file", True)
    into = None if what == "key" else f"{name}.{file}"
    [[done]] = [step.findings for step in undelete(metadata, app.engine, "docs", [path], into=into)]
    assert (done.code, "is back in its row" in done.message) == ("undeleted", True)
    with app.engine.connect() as connection:
        [value] = connection.execute(select(metadata.tables[name].c[file])).scalars()
    assert (value.path, app.tombstones()) == (path, [])


def test_create_all_renames_tombstones_of_a_renamed_table(app: App) -> None:
    path = remove_one(app)
    with app.engine.begin() as connection:
        connection.execute(text("ALTER TABLE paper RENAME TO report"))
    metadata, outbox = renamed_models("report", "file")
    Base.metadata.create_all(app.engine, tables=[Base.metadata.tables["paper"]])  # the next one of the former name
    metadata.create_all(app.engine)
    assert app.tombstones("table_name", "column_name") == [("report", "file")]
    with app.engine.begin() as connection:
        assert outbox.undelete(connection, "docs", path).state is FileState.ATTACHED


@SQLITE
def test_a_column_to_come_back_into_must_be_there(app: App) -> None:
    path = remove_one(app)
    with pytest.raises(LookupError, match=r"no file column 'paper\.fiel'"):
        undelete(Base.metadata, app.engine, "docs", [path], into="paper.fiel")
    with app.engine.begin() as connection, pytest.raises(LookupError):
        app.outbox.undelete(connection, "docs", path, into="paper.fiel")
