"""A registry of one's own, for a tenant or a test, in a block of ``registry.active()``."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest
from sqlalchemy import Engine, create_engine, delete, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import tests.frameworks  # noqa: F401 - their warnings are not our business
from filerow import FileObject, FileObjectList, StorageRegistry, StoredObject, storages
from filerow.exceptions import BackendMismatchError, BackendNotFoundError
from filerow.outbox import Outbox
from tests.databases import explicit_begin


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Noted(DeclarativeBase):
    pass


class Note(Noted):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


outbox = Outbox(Noted.metadata, retention=timedelta(0))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/rows.db")
    explicit_begin(engine)
    Base.metadata.create_all(engine)
    Noted.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def ours() -> StorageRegistry:
    registry = StorageRegistry()
    registry.register_backend("memory://", key="docs", base_url="/ours", development=True)
    return registry


@pytest.fixture
def theirs() -> Iterator[StorageRegistry]:
    """Return the registry of the process."""
    storages.clear_backends()
    storages.register_backend("memory://", key="docs", base_url="/theirs", development=True)
    yield storages
    storages.clear_backends()


def paths(registry: StorageRegistry) -> list[str]:
    return [info.path for info in registry.get_backend("docs").list()]


def a_file(text: str = "one") -> FileObject:
    return FileObject(filename=f"{text}.txt", content=text.encode())


def test_storages_is_the_active_registry_in_a_block(ours: StorageRegistry, theirs: StorageRegistry) -> None:
    mine, process = ours.get_backend("docs"), theirs.get_backend("docs")
    with ours.active() as active:
        assert active is ours
        assert storages.get_backend("docs") is mine
        storages.register_backend("memory://", key="more")
        storages.max_concurrency = 3
        with storages.active():
            assert storages.get_backend("docs") is process
        assert storages.get_backend("docs") is mine
    assert storages.get_backend("docs") is process
    assert ours.registered_backends() == ["docs", "more"]
    assert (storages.registered_backends(), storages.max_concurrency, ours.max_concurrency) == (["docs"], 16, 3)


def test_files_are_stored_and_removed_in_the_active_registry(
    engine: Engine, ours: StorageRegistry, theirs: StorageRegistry
) -> None:
    with ours.active(), Session(engine) as session:
        session.add(Paper(id=1, file=a_file(), pages=[a_file("two"), a_file("three")]))
        session.commit()
        assert len(paths(ours)) == 3
        session.get_one(Paper, 1).file = a_file("four")
        session.commit()
        with session.begin_nested() as savepoint:
            session.add(Paper(id=2, file=a_file("five")))
            session.flush()
            assert len(paths(ours)) == 4
            savepoint.rollback()
        session.execute(delete(Paper))
        session.commit()
    assert paths(ours) == paths(theirs) == []


def test_a_transaction_keeps_the_registry_of_its_first_flush(
    engine: Engine, ours: StorageRegistry, theirs: StorageRegistry
) -> None:
    with Session(engine) as session:
        with ours.active():
            paper = Paper(id=1, file=a_file())
            session.add(paper)
            session.flush()
        paper.pages = FileObjectList([a_file("two")])
        session.commit()
        assert len(paths(ours)) == 2
        with ours.active():
            session.delete(paper)
            session.flush()
        session.commit()
        assert paths(ours) == []
        with ours.active():
            session.add(Paper(id=2, file=a_file()))
            session.flush()
        session.rollback()
        session.add(Paper(id=3, file=a_file()))
        session.commit()
    assert (len(paths(ours)), len(paths(theirs))) == (0, 1)


def test_an_outer_transaction_keeps_the_registry(engine: Engine, ours: StorageRegistry, theirs: StorageRegistry) -> None:
    with engine.connect() as connection:
        transaction = connection.begin()
        with ours.active(), Session(connection, join_transaction_mode="create_savepoint") as session:
            session.add(Paper(id=1, file=a_file()))
            session.commit()
            assert len(paths(ours)) == 1
        transaction.rollback()
    assert paths(ours) == paths(theirs) == []


def test_a_file_keeps_the_registry_it_was_loaded_from(engine: Engine, ours: StorageRegistry, theirs: StorageRegistry) -> None:
    with ours.active(), Session(engine, expire_on_commit=False) as session:
        stored = Paper(id=1, file=a_file(), pages=[a_file("two")])
        session.add(stored)
        session.commit()
        session.expunge_all()
        loaded = session.get_one(Paper, 1)
        (column,) = session.scalars(select(Paper.file))
    changed = loaded.file.replace(filename="b.txt") if loaded.file is not None else None
    for file in (stored.file, loaded.file, column, changed):
        assert file is not None
        assert file.get_content() == b"one"
        assert file.sign().startswith("/ours")
    assert loaded.pages[0].get_content() == b"two"
    assert theirs.sign_many([*loaded.pages])[0].startswith("/ours")
    copy = loaded.pages[0].copy()
    assert copy.get_content() == b"two"
    copy.delete()
    assert len(paths(ours)) == 2
    with pytest.raises(FileNotFoundError):  # a pickle goes to another process
        pickle.loads(pickle.dumps(column)).get_content()


def test_a_file_of_another_registry_is_refused(engine: Engine, ours: StorageRegistry, theirs: StorageRegistry) -> None:
    with ours.active():
        file = a_file()
        file.save()
    with Session(engine) as session:
        session.add(Paper(id=1, file=file))
        with pytest.raises(BackendMismatchError, match=r"file: .* comes from another registry"):
            session.commit()
        session.rollback()
        session.add(Paper(id=1, file=FileObject(filename=file.filename, content=file.get_content())))
        session.commit()
    assert len(paths(theirs)) == 1


@pytest.mark.parametrize("change", ["delete", "replace", "append"])
def test_a_row_of_another_registry_is_not_changed(
    engine: Engine, ours: StorageRegistry, theirs: StorageRegistry, change: str
) -> None:
    with Session(engine) as session:
        with ours.active():
            session.add(Paper(id=1, file=a_file(), pages=[a_file("two")]))
            session.commit()
            paper = session.get_one(Paper, 1)
            assert paper.file is not None
            assert len(paper.pages) == 1
        if change == "delete":
            session.delete(paper)
        elif change == "replace":
            paper.file = a_file("three")
        else:
            paper.pages.append(a_file("three"))
        with pytest.raises(BackendMismatchError, match="comes from another registry"):
            session.commit()
        session.rollback()
    assert (len(paths(ours)), len(paths(theirs))) == (2, 0)


def test_clients_of_tests_run_in_the_active_registry(ours: StorageRegistry, theirs: StorageRegistry) -> None:
    from litestar import Litestar, get
    from litestar.testing import TestClient

    @get("/plain", sync_to_thread=True)
    def plain() -> str:
        return FileObject("docs", to_filename="a.txt").sign().partition("?")[0]

    @get("/awaited")
    async def awaited() -> str:
        return FileObject("docs", to_filename="a.txt").sign().partition("?")[0]

    with ours.active(), TestClient(Litestar([plain, awaited])) as client:
        assert client.get("/plain").text == client.get("/awaited").text == "/ours/docs/a.txt"


def test_threads_have_registries_of_their_own(theirs: StorageRegistry) -> None:
    registries = [StorageRegistry() for _ in range(4)]
    met = threading.Barrier(len(registries))

    def store(registry: StorageRegistry) -> None:
        with registry.active():
            storages.register_backend("memory://", key="docs")
            met.wait(timeout=20)
            FileObject("docs", content=b"x").save()

    threads = [threading.Thread(target=store, args=(registry,)) for registry in registries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(paths(registry)) for registry in registries] == [1, 1, 1, 1]
    assert paths(theirs) == []


def test_tenants_of_one_loop_do_not_mix(engine: Engine, tmp_path: Path, theirs: StorageRegistry) -> None:
    registries = [StorageRegistry() for _ in range(3)]

    async def request(number: int) -> bytes:
        registry = registries[number]
        async_engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/rows.db", connect_args={"timeout": 20})
        with registry.active():
            storages.register_backend("memory://", key="docs")
            async with AsyncSession(async_engine) as session:
                session.add(Paper(id=number, file=a_file(f"{number}")))
                await session.commit()
                file = (await session.get_one(Paper, number)).file
        await async_engine.dispose()
        assert file is not None
        return await file.get_content_async()

    async def main() -> list[bytes]:
        return await asyncio.gather(*map(request, range(3)))

    assert asyncio.run(main()) == [b"0", b"1", b"2"]
    assert [len(paths(registry)) for registry in registries] == [1, 1, 1]
    assert paths(theirs) == []


def test_drains_use_the_active_registry(engine: Engine, ours: StorageRegistry, theirs: StorageRegistry) -> None:
    with ours.active(), Session(engine) as session:
        session.add_all(Note(id=number, file=a_file()) for number in range(2))
        session.commit()
        session.delete(session.get_one(Note, 0))
        session.commit()
        assert len(paths(ours)) == 2
        outbox.drain(engine)
        assert len(paths(ours)) == 1
        session.delete(session.get_one(Note, 1))
        session.commit()
        with outbox.drainer(engine):  # in a thread of its own
            until = monotonic() + 10
            while paths(ours) and monotonic() < until:
                sleep(0.02)
        assert paths(ours) == []


def test_an_empty_registry_says_what_it_lacks(theirs: StorageRegistry) -> None:
    with StorageRegistry().active(), pytest.raises(BackendNotFoundError, match="registered: none at all"):
        FileObject("docs", content=b"x").save()
