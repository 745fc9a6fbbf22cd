"""Sessions that edit one list at once: every edit is kept, whoever commits first."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, String, create_engine, event, select, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, deferred, mapped_column, undefer
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.pool import AsyncAdaptedQueuePool

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import StorageError
from filerow.outbox import Outbox
from filerow.testing.faults import Fault, FaultyBackend
from tests.databases import EmptyDatabase

EDITORS = 8


class Base(DeclarativeBase):
    pass


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(20))
    cover: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Lazy(Base):
    __tablename__ = "lazy"
    id: Mapped[int] = mapped_column(primary_key=True)
    pages: Mapped[FileObjectList] = deferred(mapped_column("leaves", StoredObject("docs", multiple=True)))


class Unmanaged(Base):
    __tablename__ = "unmanaged"
    id: Mapped[int] = mapped_column(primary_key=True)
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True, lifecycle=False))


class Work(Base):
    __tablename__ = "work"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "work"}


class Novel(Work):
    __tablename__ = "novel"
    work_id: Mapped[int] = mapped_column(ForeignKey("work.id"), primary_key=True)
    drafts: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))
    __mapper_args__ = {"polymorphic_identity": "novel"}


class Versioned(Base):
    __tablename__ = "versioned"
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column()
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))
    __mapper_args__ = {"version_id_col": version}


def page(name: str) -> FileObject:
    return FileObject(filename=f"{name}.txt", content=name.encode())


def names(pages: Any) -> str:
    return "".join(file.filename.removesuffix(".txt") for file in pages)


class App:
    """A database, a store, and what is in both."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.backend = FaultyBackend(MemoryBackend("docs"))
        storages.register_backend(self.backend)
        Base.metadata.create_all(engine)

    def add(self, pages: str = "", model: type[Any] = Book, column: str = "pages") -> int:
        """Commit a row with one page for each letter."""
        with Session(self.engine) as session:
            row = model(**{column: [page(name) for name in pages]})
            session.add(row)
            session.commit()
            return int(row.id)

    def load(self, key: int, model: type[Any] = Book) -> tuple[Session, Any]:
        """Return a session that has read a row in a transaction of its own, which has ended."""
        session = Session(self.engine, expire_on_commit=False)
        row = session.get_one(model, key, options=[undefer("*")])
        session.commit()
        return session, row

    def edit(self, key: int, change: Callable[[Any], object], model: type[Any] = Book, column: str = "pages") -> None:
        """Change a row's list in another session."""
        with Session(self.engine) as session:
            row = session.get_one(model, key)
            change(getattr(row, column))
            session.commit()

    def read(self, key: int, model: type[Any] = Book, column: str = "pages") -> str:
        """Return a row's pages, each of which must be stored."""
        with Session(self.engine) as session:
            pages = getattr(session.get_one(model, key), column)
            assert [file.get_content().decode() for file in pages] == [file.filename.removesuffix(".txt") for file in pages]
            return names(pages)

    @property
    def objects(self) -> str:
        """The content of all objects, sorted."""
        return "".join(sorted(self.backend.read(one.path).decode() for one in self.backend.list()))


def begin_immediate(engine: Engine) -> Engine:
    """Have SQLite's transactions take the write lock when they begin."""
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    return engine


@pytest.fixture(autouse=True)
def no_backends() -> Iterator[None]:
    yield
    storages.clear_backends()


@pytest.fixture
def app(database: EmptyDatabase) -> App:
    return App(database.engine(pool_size=EDITORS))


@pytest.fixture
def sqlite_app(tmp_path: Any) -> Iterator[App]:
    """A app on SQLite, for what no database makes different."""
    engine = begin_immediate(create_engine(f"sqlite:///{tmp_path / 'rows.db'}", connect_args={"timeout": 60}))
    yield App(engine)
    engine.dispose()


# -- at once ---------------------------------------------------------------------------------------------------------------


def test_eight_threads_append_to_one_list(app: App) -> None:
    key = app.add("z")
    read = threading.Barrier(EDITORS)

    def work(name: str) -> None:
        session, book = app.load(key)
        read.wait()
        with session:
            book.pages.append(page(name))
            session.commit()

    with ThreadPoolExecutor(EDITORS) as pool:
        list(pool.map(work, "abcdefgh"))
    assert app.read(key)[0] == "z"
    assert sorted(app.read(key)) == list("abcdefghz")
    assert app.objects == "abcdefghz"


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_eight_threads_append_after_reading_in_their_transaction(app: App) -> None:
    key = app.add()
    read = threading.Barrier(EDITORS)

    def work(name: str) -> None:
        with Session(app.engine) as session:
            book = session.get_one(Book, key)
            read.wait()
            book.pages.append(page(name))
            session.commit()

    with ThreadPoolExecutor(EDITORS) as pool:
        list(pool.map(work, "abcdefgh"))
    assert sorted(app.read(key)) == list("abcdefgh")
    assert app.objects == "abcdefgh"


async def test_eight_tasks_append_to_one_list(app: App, database: EmptyDatabase) -> None:
    key = app.add("z")
    engine = database.async_engine(poolclass=AsyncAdaptedQueuePool, pool_size=EDITORS)
    loaded = asyncio.Barrier(EDITORS)

    async def work(name: str) -> None:
        async with AsyncSession(engine, expire_on_commit=False) as session:
            book = await session.get_one(Book, key)
            await session.commit()
            await loaded.wait()
            book.pages.append(page(name))
            await session.commit()

    await asyncio.gather(*map(work, "abcdefgh"))
    await engine.dispose()
    assert sorted(app.read(key)) == list("abcdefghz")
    assert app.objects == "abcdefghz"


def test_threads_append_under_begin_immediate(sqlite_app: App) -> None:
    key = sqlite_app.add()

    def work(name: str) -> None:
        with Session(sqlite_app.engine) as session:
            book = session.get_one(Book, key)
            book.pages.append(page(name))
            session.commit()

    with ThreadPoolExecutor(EDITORS) as pool:
        list(pool.map(work, "abcdefgh"))
    assert sorted(sqlite_app.read(key)) == list("abcdefgh")


def test_one_session_appends_while_another_removes(app: App) -> None:
    key = app.add("ab")
    session, book = app.load(key)
    app.edit(key, lambda pages: pages.pop(0))
    with session:
        book.pages.append(page("c"))
        session.commit()
    assert app.read(key) == app.objects == "bc"


# -- what becomes of two edits ---------------------------------------------------------------------------------------------


def _swap(pages: Any) -> None:
    pages[0], pages[-1] = pages[-1], pages[0]


def _named(pages: Any, name: str) -> Any:
    return next(file for file in pages if file.filename == f"{name}.txt")


def insert(name: str, before: str) -> Callable[[Any], None]:
    return lambda pages: pages.insert([names([file]) for file in pages].index(before), page(name))


def append(*letters: str) -> Callable[[Any], None]:
    return lambda pages: pages.extend(page(name) for name in letters)


def remove(*letters: str) -> Callable[[Any], None]:
    def change(pages: Any) -> None:
        for name in letters:
            pages.remove(_named(pages, name))

    return change


def both(*edits: Callable[[Any], None]) -> Callable[[Any], None]:
    def change(pages: Any) -> None:
        for edit in edits:
            edit(pages)

    return change


def reverse(pages: Any) -> None:
    pages.reverse()


def clear(pages: Any) -> None:
    pages.clear()


EDITS = {
    "both append": ("ab", append("x"), append("y"), "abxy"),
    "both append several": ("a", append("v", "w"), append("x", "y"), "avwxy"),
    "both append to nothing": ("", append("x"), append("y"), "xy"),
    "both insert at the front": ("ab", insert("x", "a"), insert("y", "a"), "xyab"),
    "both insert in the middle": ("abc", insert("x", "b"), insert("y", "b"), "axybc"),
    "front and end": ("ab", append("x"), insert("y", "a"), "yabx"),
    "mine behind what they removed": ("abc", remove("b"), insert("y", "c"), "ayc"),
    "mine behind all they removed": ("ab", clear, append("y"), "y"),
    "mine first, theirs all removed": ("ab", clear, insert("y", "a"), "y"),
    "both remove": ("abcd", remove("a"), remove("c"), "bd"),
    "both remove the same": ("abc", remove("b"), remove("b"), "ac"),
    "they append, I remove": ("abc", append("x"), remove("b"), "acx"),
    "they append, I clear": ("abc", append("x"), clear, "x"),
    "I replace one": ("abc", append("x"), both(remove("b"), insert("y", "c")), "aycx"),
    "both replace the same": ("abc", both(remove("b"), insert("x", "c")), both(remove("b"), insert("y", "c")), "axyc"),
    "I reorder": ("abc", lambda pages: None, reverse, "cba"),
    "they append, I reorder": ("abc", append("x"), reverse, "abcx"),
    "they reorder, I append": ("abc", reverse, append("y"), "cyba"),
    "both reorder": ("abc", _swap, reverse, "cba"),
    "they reorder, I remove": ("abc", reverse, remove("b"), "ca"),
}


@pytest.mark.parametrize("case", EDITS)
def test_two_edits_of_one_list_are_merged(sqlite_app: App, case: str) -> None:
    before, theirs, mine, after = EDITS[case]
    key = sqlite_app.add(before)
    session, book = sqlite_app.load(key)
    sqlite_app.edit(key, theirs)
    with session:
        pages = book.pages
        mine(pages)
        session.commit()
        assert names(pages) == after
        assert book.pages is pages
    assert sqlite_app.read(key) == after
    assert sqlite_app.objects == "".join(sorted(after))


def test_files_that_stay_are_the_same_objects(sqlite_app: App) -> None:
    key = sqlite_app.add("abc")
    session, book = sqlite_app.load(key)
    sqlite_app.edit(key, append("x"))
    with session:
        first, _, last = book.pages
        added = page("y")
        book.pages[1:2] = [added]
        session.commit()
        assert [one is other for one, other in zip(book.pages, [first, added, last], strict=False)] == [True, True, True]


def test_a_page_moved_within_a_list_stays_once(sqlite_app: App) -> None:
    key = sqlite_app.add("abc")
    session, book = sqlite_app.load(key)
    sqlite_app.edit(key, append("x"))
    with session:
        book.pages.append(book.pages.pop(0))
        book.pages.append(page("y"))
        session.commit()
    assert sqlite_app.read(key) == "aybcx"
    assert sqlite_app.objects == "abcxy"


def test_a_page_put_twice_is_copied_beside_their_edit(sqlite_app: App) -> None:
    key = sqlite_app.add("ab")
    session, book = sqlite_app.load(key)
    sqlite_app.edit(key, append("x"))
    with session:
        book.pages.append(book.pages[0])
        session.commit()
    assert sqlite_app.read(key) == "abax" or sqlite_app.read(key) == "abxa"
    assert sqlite_app.objects == "aabx"


def test_a_page_they_removed_is_not_put_twice(sqlite_app: App) -> None:
    key = sqlite_app.add("ab")
    session, book = sqlite_app.load(key)
    sqlite_app.edit(key, remove("a"))
    with session:
        book.pages.append(book.pages[0])
        session.commit()
    assert sqlite_app.read(key) == sqlite_app.objects == "b"


def test_metadata_changed_by_one_survives_the_other(sqlite_app: App) -> None:
    key = sqlite_app.add("abc")
    session, book = sqlite_app.load(key)

    def describe(pages: Any) -> None:
        pages[0] = pages[0].replace(metadata={"by": "them"})
        pages.append(page("x"))

    sqlite_app.edit(key, describe)
    with session:
        book.pages[1] = book.pages[1].replace(metadata={"by": "me"})
        session.commit()
    with Session(sqlite_app.engine) as session:
        assert [dict(file.metadata) for file in session.get_one(Book, key).pages] == [{"by": "them"}, {"by": "me"}, {}, {}]


@pytest.mark.parametrize("more", [False, True])
def test_metadata_of_a_page_put_twice_is_changed_in_both_places(sqlite_app: App, *, more: bool) -> None:
    key = sqlite_app.add("ab")
    session, book = sqlite_app.load(key)

    def describe(pages: Any) -> None:
        pages[0] = pages[0].replace(metadata={"by": "them"})
        pages.extend([page("x")] if more else [])

    sqlite_app.edit(key, describe)
    with session:
        book.pages.insert(0, book.pages[0])
        session.commit()
    with Session(sqlite_app.engine) as session:
        found = [(names([file]), dict(file.metadata)) for file in session.get_one(Book, key).pages]
    assert found == [("a", {"by": "them"}), ("a", {"by": "them"}), ("b", {}), *([("x", {})] if more else [])]


def test_a_page_moved_from_list_to_list_moves_once(sqlite_app: App) -> None:
    source, goal = sqlite_app.add("abc"), sqlite_app.add("z")
    session, book = sqlite_app.load(source)
    other = session.get_one(Book, goal)
    session.commit()
    sqlite_app.edit(source, remove("a"))
    sqlite_app.edit(goal, append("y"))
    with session:
        other.pages.append(book.pages.pop(1))
        session.commit()
    assert (sqlite_app.read(source), sqlite_app.read(goal)) == ("c", "zyb")
    assert sqlite_app.objects == "bcyz"


# -- which lists are merged ------------------------------------------------------------------------------------------------


def merged(sqlite_app: App, key: int, session: Session, book: Any) -> str:
    """Append to a list that another session has appended to, and return what the row has then."""
    sqlite_app.edit(key, append("x"), type(book))
    with session:
        book.pages.append(page("y"))
        session.commit()
    return sqlite_app.read(key, type(book))


def test_a_new_row_s_list_is_merged_later(sqlite_app: App) -> None:
    session = Session(sqlite_app.engine, expire_on_commit=False)
    book = Book(pages=[page("a")])
    session.add(book)
    session.commit()
    assert merged(sqlite_app, book.id, session, book) == "axy"


@pytest.mark.parametrize("touched", [False, True])
def test_a_new_row_s_empty_list_is_merged_later(sqlite_app: App, *, touched: bool) -> None:
    session = Session(sqlite_app.engine, expire_on_commit=False)
    book = Book()
    assert not touched or book.pages == []
    session.add(book)
    session.commit()
    assert merged(sqlite_app, book.id, session, book) == "xy"


def test_a_list_edited_before_is_merged_again(sqlite_app: App) -> None:
    session, book = sqlite_app.load(sqlite_app.add("a"))
    book.pages.append(page("b"))
    session.commit()
    sqlite_app.edit(book.id, append("c"))
    book.pages.append(page("d"))
    session.commit()
    assert merged(sqlite_app, book.id, session, book) == "abcdxy"
    assert sqlite_app.objects == "abcdxy"


def test_an_assigned_list_is_merged_after_its_commit(sqlite_app: App) -> None:
    session, book = sqlite_app.load(sqlite_app.add("a"))
    book.pages = [page("b")]
    session.commit()
    assert merged(sqlite_app, book.id, session, book) == "bxy"


@pytest.mark.parametrize("synchronize", ["evaluate", "fetch", False])
def test_a_list_set_by_a_statement_is_merged_later(sqlite_app: App, synchronize: Any) -> None:
    session, book = sqlite_app.load(sqlite_app.add("a"))
    statement = update(Book).where(Book.id == book.id).values(pages=[page("b")])
    session.execute(statement, execution_options={"synchronize_session": synchronize})
    session.commit()
    if not synchronize:
        session.refresh(book)
        session.commit()
    assert merged(sqlite_app, book.id, session, book) == "bxy"


@pytest.mark.parametrize("model", [Lazy, Unmanaged, Work, Novel], ids=lambda model: model.__tablename__)
def test_lists_of_every_mapping_are_merged(sqlite_app: App, model: type[Any]) -> None:
    key = sqlite_app.add("a", model)
    session, row = sqlite_app.load(key, model)
    assert merged(sqlite_app, key, session, row) == "axy"


def test_both_lists_of_an_inheriting_row_are_merged(sqlite_app: App) -> None:
    key = sqlite_app.add("a", Novel)
    session, novel = sqlite_app.load(key, Novel)
    sqlite_app.edit(key, append("x"), Novel)
    sqlite_app.edit(key, append("v"), Novel, "drafts")
    with session:
        novel.pages.append(page("y"))
        novel.drafts.append(page("w"))
        session.commit()
    assert (sqlite_app.read(key, Novel), sqlite_app.read(key, Novel, "drafts")) == ("axy", "vw")


@pytest.mark.parametrize("pickled", [False, True])
def test_a_detached_row_s_list_is_merged(sqlite_app: App, *, pickled: bool) -> None:
    session, book = sqlite_app.load(sqlite_app.add("a"))
    session.close()
    if pickled:
        book = pickle.loads(pickle.dumps(book))
    other = Session(sqlite_app.engine)
    other.add(book)
    assert merged(sqlite_app, book.id, other, book) == "axy"


def test_a_row_merged_without_loading_has_its_list_merged(sqlite_app: App) -> None:
    session, book = sqlite_app.load(sqlite_app.add("a"))
    session.close()
    other = Session(sqlite_app.engine)
    assert merged(sqlite_app, book.id, other, other.merge(book, load=False)) == "axy"


def test_a_listener_s_change_is_merged(sqlite_app: App) -> None:
    session, book = sqlite_app.load(sqlite_app.add("a"))

    def stamp(mapper: object, connection: object, target: Book) -> None:
        target.pages.append(page("z"))

    sqlite_app.edit(book.id, append("x"))
    event.listen(Book, "before_update", stamp, insert=True)
    try:
        with session:
            book.pages.append(page("y"))
            session.commit()
    finally:
        event.remove(Book, "before_update", stamp)
    assert sqlite_app.read(book.id) == "axyz"


def test_a_listener_s_change_alone_is_merged(sqlite_app: App) -> None:
    session, book = sqlite_app.load(sqlite_app.add("a"))

    def stamp(mapper: object, connection: object, target: Book) -> None:
        target.pages.append(page("z"))

    sqlite_app.edit(book.id, append("x"))
    event.listen(Book, "before_update", stamp, insert=True)
    try:
        with session:
            book.title = "new"
            session.commit()
    finally:
        event.remove(Book, "before_update", stamp)
    assert sqlite_app.read(book.id) == "axz"


# -- what replaces ---------------------------------------------------------------------------------------------------------


def _assign(session: Session, book: Book) -> None:
    book.pages = [*book.pages, page("y")]


def _assign_and_edit(session: Session, book: Book) -> None:
    book.pages = list(book.pages)
    book.pages.append(page("y"))


def _assign_a_query_s_list(session: Session, book: Book) -> None:
    with Session(session.get_bind()) as other:
        found = other.scalars(select(Book.pages).where(Book.id == book.id)).one()
    found[:] = [*list(book.pages), page("y")]
    book.pages = found


def _assign_after_editing(session: Session, book: Book) -> None:
    book.pages.append(page("q"))
    book.pages = [*book.pages[:1], page("y")]


def _statement(session: Session, book: Book) -> None:
    pages = [*book.pages, page("y")]
    session.execute(update(Book).where(Book.id == book.id).values(pages=pages))


@pytest.mark.parametrize(
    "replace",
    [_assign, _assign_and_edit, _assign_a_query_s_list, _assign_after_editing, _statement],
    ids=lambda one: one.__name__.strip("_"),
)
def test_what_assigns_a_list_replaces_it(sqlite_app: App, replace: Callable[[Session, Book], None]) -> None:
    session, book = sqlite_app.load(sqlite_app.add("a"))
    sqlite_app.edit(book.id, append("x"))
    with session:
        replace(session, book)
        session.commit()
    assert sqlite_app.read(book.id) == sqlite_app.objects == "ay"


def test_merge_replaces_a_list(sqlite_app: App) -> None:
    session, book = sqlite_app.load(sqlite_app.add("a"))
    session.close()
    book.pages = [*book.pages, page("y")]
    sqlite_app.edit(book.id, append("x"))
    with Session(sqlite_app.engine) as other:
        other.merge(book)
        other.commit()
    assert sqlite_app.read(book.id) == sqlite_app.objects == "ay"


# -- undone ----------------------------------------------------------------------------------------------------------------


def test_a_failed_flush_takes_the_merge_back(sqlite_app: App) -> None:
    session, book = sqlite_app.load(sqlite_app.add("ab"))
    other = session.get_one(Book, sqlite_app.add("c"))
    session.commit()
    sqlite_app.edit(book.id, both(append("x"), remove("b")))
    with session:
        pages = book.pages
        pages.append(page("y"))
        other.cover = other.pages[0]  # a copy, which fails after the lists are merged
        with sqlite_app.backend.inject(Fault("copy", error=StorageError("broken"))), pytest.raises(StorageError):
            session.flush()
        assert names(pages) == "aby"
        assert book.pages is pages
        session.commit()
        assert names(pages) == "axy"
    assert sqlite_app.read(book.id) == "axy"


def test_a_rolled_back_savepoint_takes_the_merge_back(sqlite_app: App) -> None:
    session, book = sqlite_app.load(sqlite_app.add("a"))
    sqlite_app.edit(book.id, append("x"))
    with session:
        savepoint = session.begin_nested()
        book.pages.append(page("y"))
        session.flush()
        assert names(book.pages) == "axy"
        savepoint.rollback()
        book.pages.append(page("z"))
        session.commit()
    assert sqlite_app.read(book.id) == sqlite_app.objects == "axz"


SAVEPOINTS = pytest.mark.parametrize("database", ["sqlite", "mariadb"], indirect=True)


@SAVEPOINTS
def test_outer_savepoint_rolls_back_what_an_inner_one_wrote(app: App) -> None:
    # SQLAlchemy itself leaves such values in attributes, and would never write them
    session, book = app.load(app.add("abc"))
    with session:
        outer, _ = session.begin_nested(), session.begin_nested()
        book.pages = [*book.pages[:2], page("x")]
        book.cover = page("c")
        session.flush()
        outer.rollback()
        assert (names(book.pages), book.cover) == ("abc", None)
        book.pages.append(page("y"))
        session.commit()
        assert names(book.pages) == "abcy"
    assert app.read(book.id) == app.objects == "abcy"


@SAVEPOINTS
async def test_outer_savepoint_of_an_async_session_rolls_back_as_well(app: App, database: EmptyDatabase) -> None:
    key, engine = app.add("abc"), database.async_engine()
    async with AsyncSession(engine, expire_on_commit=False) as session:
        book = await session.get_one(Book, key)
        await session.commit()
        outer, _ = await session.begin_nested(), await session.begin_nested()
        book.pages = FileObjectList([*book.pages[:2], page("x")])
        book.cover = page("c")
        await session.flush()
        await outer.rollback()
        assert await session.run_sync(lambda _: (names(book.pages), book.cover)) == ("abc", None)  # loads what is expired
        book.pages.append(page("y"))
        await session.commit()
    await engine.dispose()
    assert app.read(key) == app.objects == "abcy"


@SAVEPOINTS
@pytest.mark.parametrize("edited", ["", "y"])
def test_object_expunged_before_a_rollback_is_written_when_added(app: App, edited: str) -> None:
    session, book = app.load(app.add("ab"))
    with session:
        book.pages = [*book.pages, page("x")]
        book.cover = page("c")
        session.flush()
        session.expunge(book)
        session.rollback()
        session.add(book)
        book.pages.extend(map(page, edited))
        session.commit()
        assert book.cover
        assert book.cover.get_content() == b"c"
    assert app.read(book.id) == f"abx{edited}"


@SAVEPOINTS
async def test_object_expunged_from_an_async_session_is_written(app: App, database: EmptyDatabase) -> None:
    key, engine = app.add("ab"), database.async_engine()
    async with AsyncSession(engine, expire_on_commit=False) as session:
        book = await session.get_one(Book, key)
        book.pages.append(page("x"))
        book.cover = page("c")
        await session.flush()
        session.expunge(book)
        await session.rollback()
        session.add(book)
        await session.commit()
    async with AsyncSession(engine) as other:
        cover = (await other.get_one(Book, key)).cover
        assert cover
        assert await cover.get_content_async() == b"c"
    await engine.dispose()
    assert app.read(key) == "abx"


@pytest.mark.parametrize("end", ["rollback", "close", "invalidate"])
def test_a_file_that_was_cleared_is_there_again_after_a_rollback(sqlite_app: App, end: str) -> None:
    session, book = sqlite_app.load(sqlite_app.add("a"))
    with session:
        book.cover = page("c")
        session.commit()
        book.cover = None
        session.flush()
        session.expire(book)
        getattr(session, end)()
    with Session(sqlite_app.engine) as session:
        assert (found := session.get_one(Book, book.__dict__.get("id", 1)).cover)
        assert found.get_content() == b"c"


def test_a_row_expunged_before_the_rollback_has_its_own_edit(sqlite_app: App) -> None:
    session, book = sqlite_app.load(sqlite_app.add("ab"))
    sqlite_app.edit(book.id, both(append("x"), remove("b")))
    book.pages.append(page("y"))
    session.flush()
    session.expunge(book)
    session.rollback()
    session.close()
    assert names(book.pages) == "aby"
    with Session(sqlite_app.engine, expire_on_commit=False) as other:
        other.add(book)
        other.commit()
    assert sqlite_app.read(book.id) == sqlite_app.objects == "axy"


# -- where the database refuses --------------------------------------------------------------------------------------------


def refused(app: App, session: Session, row: Any, error: type[Exception]) -> None:
    """Lose against another session: the database says so, and nothing but the losing edit is lost."""
    key = row.id
    with session:
        row.pages.append(page("y"))
        with pytest.raises(error):
            session.commit()
        session.rollback()
        assert app.read(key, type(row)) == app.objects == "ax"
        row.pages.append(page("y"))
        session.commit()
    assert app.read(key, type(row)) == app.objects == "axy"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sqlite_refuses_after_an_older_read(database: EmptyDatabase) -> None:
    engine = database.engine()
    with engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # or a reader keeps the writer out
        connection.exec_driver_sql("BEGIN")
    app = App(engine)
    session = Session(engine)
    book = session.get_one(Book, app.add("a"))
    app.edit(book.id, append("x"))
    refused(app, session, book, OperationalError)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_postgresql_refuses_above_read_committed(app: App, level: str) -> None:
    session = Session(app.engine.execution_options(isolation_level=level))
    book = session.get_one(Book, app.add("a"))
    app.edit(book.id, append("x"))
    refused(app, session, book, DBAPIError)


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_mariadb_refuses_under_snapshot_isolation(app: App) -> None:
    session = Session(app.engine)
    try:
        session.connection().exec_driver_sql("SET innodb_snapshot_isolation=ON")
    except DBAPIError:
        pytest.skip("this MariaDB has no innodb_snapshot_isolation")
    session.commit()
    book = session.get_one(Book, app.add("a"))
    app.edit(book.id, append("x"))
    refused(app, session, book, DBAPIError)


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_a_version_column_refuses_the_older_edit(app: App) -> None:
    session = Session(app.engine)
    row = session.get_one(Versioned, app.add("a", Versioned))
    app.edit(row.id, append("x"), Versioned)
    refused(app, session, row, StaleDataError)


# -- the outbox ------------------------------------------------------------------------------------------------------------


def test_tombstones_name_what_a_merge_has_dropped(database: EmptyDatabase) -> None:
    class Tables(DeclarativeBase):
        pass

    class Paper(Tables):
        __tablename__ = "paper"
        id: Mapped[int] = mapped_column(primary_key=True)
        pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))

    outbox = Outbox(Tables.metadata, retention=timedelta(0))
    app = App(database.engine())
    Tables.metadata.create_all(app.engine)
    key = app.add("abc", Paper)
    session, paper = app.load(key, Paper)
    app.edit(key, both(remove("a"), append("x")), Paper)
    with session:
        remove("b")(paper.pages)
        append("y")(paper.pages)
        session.commit()
    outbox.drain(app.engine)
    assert app.read(key, Paper) == app.objects == "cxy"
