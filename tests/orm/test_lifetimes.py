"""No session, connection, object or engine lives longer with file columns than without: garbage is collected as usual."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, Index, create_engine, delete, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from sqlalchemy.pool import QueuePool

from filerow import FileObject, FileObjectList, StoredObject
from filerow.outbox import Outbox
from tests.cases.databases import SQLite
from tests.cases.models import Document, Folder, Named, Note
from tests.cases.stores import Store

pytestmark = pytest.mark.usefixtures("frozen_heap")

Use = Callable[[Session], object]


def file(content: bytes = b"new") -> FileObject:
    return FileObject(filename="cat.png", content=content)


def read(session: Session) -> None:
    session.scalars(select(Document)).all()


def read_no_files(session: Session) -> None:
    session.scalars(select(Folder)).all()


def flush(session: Session) -> Any:
    one = Document(file=file(), pages=[file()])
    session.add(one)
    session.flush()
    return one


def commit(session: Session) -> Any:
    one = flush(session)
    session.commit()
    return one


def replace(session: Session) -> Any:
    one = commit(session)
    one.file = file(b"other")
    one.pages.append(file(b"page"))
    session.flush()
    return one


def copy(session: Session) -> Any:
    one = commit(session)
    session.add(Document(file=one.file))
    session.flush()
    return one


def remove(session: Session) -> Any:
    one = commit(session)
    session.delete(one)
    session.flush()
    return one


def roll_back(session: Session) -> Any:
    one = flush(session)
    session.rollback()
    read(session)
    return one


def open_savepoint(session: Session) -> Any:
    session.begin_nested()
    return flush(session)


def released_savepoint(session: Session) -> Any:
    with session.begin_nested():
        return flush(session)


def undone_savepoint(session: Session) -> Any:
    savepoint = session.begin_nested()
    one = flush(session)
    savepoint.rollback()
    return one


def savepoint_of_the_connection(session: Session) -> Any:
    one = flush(session)
    session.connection().begin_nested().rollback()
    return one


def commit_of_the_connection(session: Session) -> Any:
    one = flush(session)
    session.connection().commit()
    return one


def failed_flush(session: Session) -> Any:
    one = Named(name="same", file=file())
    session.add_all([one, Named(name="same", file=file())])
    with pytest.raises(IntegrityError):
        session.flush()
    session.rollback()
    return one


def failed_commit(session: Session) -> Any:
    one = Note(folder_id=4711, file=file())
    session.add(one)
    with contextlib.suppress(IntegrityError):  # of an outer transaction the session cannot commit anything
        session.commit()
    session.rollback()
    return one


def bulk(session: Session) -> None:
    session.execute(insert(Document), [{"id": 70, "file": file()}, {"id": 71, "file": file()}])
    session.execute(update(Document).where(Document.id == 70).values(file=file()))
    session.execute(delete(Document).where(Document.id == 71))


def refused(session: Session) -> None:
    with pytest.raises(Exception, match="bulk_save_objects"):
        session.bulk_save_objects([Document(file=file())])
    session.rollback()


def session_inside(session: Session) -> Any:
    flush(session)
    inner = Session(session.connection())
    one = flush(inner)
    inner.commit()
    return one


def open_session_inside(session: Session) -> Any:
    flush(session)
    return flush(Session(session.connection()))


USES: list[Use] = [
    read,
    read_no_files,
    flush,
    commit,
    replace,
    copy,
    remove,
    roll_back,
    open_savepoint,
    released_savepoint,
    undone_savepoint,
    savepoint_of_the_connection,
    commit_of_the_connection,
    failed_flush,
    failed_commit,
    bulk,
    refused,
    session_inside,
    open_session_inside,
]

Way = Callable[[Engine, Use], list[Any]]
"""Uses a session, and returns what nobody but the garbage collector may hold after that."""


def dropped(engine: Engine, use: Use) -> list[Any]:
    session = Session(engine)
    return [session, use(session), session.connection()]


def closed(engine: Engine, use: Use) -> list[Any]:
    with Session(engine) as session:
        return [session, use(session), session.connection()]


def joined(engine: Engine, use: Use, *, savepoint: bool, close: bool) -> list[Any]:
    connection = engine.connect()
    connection.begin()
    if savepoint:
        connection.begin_nested()
    session = Session(connection, join_transaction_mode="create_savepoint")
    one = use(session)
    if close:
        session.close()
    return [session, one, connection]


WAYS: dict[str, Way] = {
    "dropped": dropped,
    "closed": closed,
    "dropped in a transaction": partial(joined, savepoint=False, close=False),
    "closed in a transaction": partial(joined, savepoint=False, close=True),
    "dropped in a savepoint": partial(joined, savepoint=True, close=False),
    "closed in a savepoint": partial(joined, savepoint=True, close=True),
}


@pytest.fixture
def engines(tmp_path: Path, sqlite_template: Path, store: Store) -> Iterator[dict[Use, Engine]]:
    """A database for each use: one that is left open would keep SQLite's lock from the next."""
    places = {use: SQLite(tmp_path / f"{use.__name__}.db", sqlite_template) for use in USES}
    made = {
        use: place.engine(poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.1) for use, place in places.items()
    }
    yield made
    gc.collect()
    for engine in made.values():
        engine.dispose()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_used_files_is_collected_as_without_them(engines: dict[Use, Engine], way: Way) -> None:
    used = [(use.__name__, weakref.ref(each)) for use, engine in engines.items() for each in way(engine, use) if each is not None]
    gc.collect()
    assert [(name, reference()) for name, reference in used if reference() is not None] == []
    assert [use.__name__ for use, engine in engines.items() if engine.pool.checkedout()] == []  # type: ignore[attr-defined]


def test_an_engine_that_is_disposed_of_is_collected(engines: dict[Use, Engine]) -> None:
    references = [weakref.ref(engine) for engine in engines.values()]
    while engines:
        use, engine = engines.popitem()
        closed(engine, use)
        engine.dispose()
    del engine
    gc.collect()
    assert [reference() for reference in references if reference() is not None] == []


def test_short_threads_share_a_pool(sqlite: SQLite, store: Store) -> None:
    engine = sqlite.engine(poolclass=QueuePool, pool_size=2, max_overflow=3, pool_timeout=0.1)
    sessions = scoped_session(sessionmaker(engine))
    failed: list[Exception] = []

    def work() -> None:
        try:
            sessions.scalars(select(Document)).all()  # and nobody calls sessions.remove()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failed.append(error)

    for _ in range(20):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        gc.collect()
    assert not failed
    engine.dispose()


async def test_an_async_session_leaves_nothing_alive(async_engine: AsyncEngine) -> None:
    async def run() -> list[weakref.ref[Any]]:
        async with AsyncSession(async_engine) as session:
            one = await session.run_sync(replace)
            await session.commit()
            connection = await session.connection()
            return [weakref.ref(each) for each in (session.sync_session, connection.sync_connection, one)]

    references = await run()
    await async_engine.dispose()
    gc.collect()
    assert [reference() for reference in references if reference() is not None] == []


def test_session_given_another_s_info_has_its_own_files(sqlite: SQLite, store: Store) -> None:
    engine = sqlite.engine()
    with Session(engine) as first:
        flush(first)
        with Session(engine, info=first.info) as second:
            read_no_files(second)
            second.commit()
        first.rollback()
    engine.dispose()
    assert store.objects() == set()


def test_a_session_whose_info_is_cleared_keeps_what_it_commits(sqlite: SQLite, store: Store) -> None:
    engine = sqlite.engine()
    with Session(engine) as session:
        flush(session)
        session.info.clear()
        gc.collect()
        session.commit()
    with Session(engine) as another:
        read(another)
    engine.dispose()
    assert len(store.objects()) == 2


def _index(paper: type[Any], letter: type[Any]) -> None:
    """Let tables lead to their classes."""
    Index("ix_paper_id", paper.id.desc())
    Index("ix_letter_id", letter.id.desc())


def _note_deletes(paper: type[Any], letter: type[Any]) -> None:
    _index(paper, letter)
    Outbox(paper.metadata)


def _use_classes_of_its_own(finish: Callable[[type[Any], type[Any]], None]) -> dict[str, weakref.ref[Any]]:
    class Own(DeclarativeBase):
        pass

    class Paper(Own):
        __tablename__ = "paper"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
        pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "paper"}

    class Letter(Paper):
        __tablename__ = "letter"
        id: Mapped[int] = mapped_column(ForeignKey("paper.id"), primary_key=True)
        scan: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
        __mapper_args__ = {"polymorphic_identity": "letter"}

    finish(Paper, Letter)
    engine = create_engine("sqlite://")
    Own.metadata.create_all(engine)
    with Session(engine) as session:
        letter = Letter(file=file(), scan=file(), pages=[file()])
        session.add(letter)
        session.commit()
        letter.file, letter.scan = file(), None
        letter.pages.append(file())
        session.commit()
        session.execute(update(Letter).values(scan=file()))
        session.execute(delete(Letter))
        session.delete(letter)
        session.rollback()
        session.execute(update(Paper), [{"id": letter.id, "file": file()}])
        session.commit()
        session.delete(letter)
        session.commit()
    engine.dispose()
    parts = {"metadata": Own.metadata, "table": Own.metadata.tables["letter"], "mapper": inspect(Letter), "class": Letter}
    found: dict[str, weakref.ref[Any]] = {name: weakref.ref(part) for name, part in parts.items()}
    Own.registry.dispose()
    return found


@pytest.mark.parametrize("finish", [lambda *_: None, _index, _note_deletes], ids=["plain", "index", "outbox"])
def test_classes_that_are_disposed_of_are_collected(store: Store, finish: Callable[[type[Any], type[Any]], None]) -> None:
    parts = _use_classes_of_its_own(finish)
    gc.collect()
    gc.collect()  # statements go with their mapper, and only then their tables
    assert [name for name, part in parts.items() if part() is not None] == []
