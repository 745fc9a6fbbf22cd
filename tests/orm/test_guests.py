"""A backend registered with ``deletes=False``: a staging system on production's bucket takes nothing away from it (P13)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine, create_engine, delete
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import BackendNotFoundError, UnsupportedOperationError
from filerow.maintenance import drain, migrate, sweep
from filerow.outbox import Outbox


def make_models(*, with_outbox: bool) -> type:
    class Base(DeclarativeBase):
        pass

    class Paper(Base):
        __tablename__ = "paper"
        id: Mapped[int] = mapped_column(primary_key=True)
        file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
        pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True), default=list)

    if with_outbox:
        Outbox(Base.metadata, retention=timedelta(0))
    return Paper


@pytest.fixture(params=[True, False], ids=["outbox", "no_outbox"])
def paper(request: pytest.FixtureRequest) -> type:
    return make_models(with_outbox=request.param)


@pytest.fixture
def store() -> Iterator[MemoryBackend]:
    """Production's bucket, in which this process is a guest."""
    made = MemoryBackend("docs")
    storages.clear_backends()
    storages.register_backend(made, deletes=False)
    yield made
    storages.clear_backends()


@pytest.fixture
def engine(paper: type, store: MemoryBackend) -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    paper.metadata.create_all(made)  # type: ignore[attr-defined]
    yield made
    made.dispose()


def contents(store: MemoryBackend) -> list[bytes]:
    return sorted(store.read(info.path) for info in store.list())


def new(content: bytes) -> FileObject:
    return FileObject(filename="cat.txt", content=content)


def test_what_leaves_a_row_stays(paper: type, engine: Engine, store: MemoryBackend) -> None:
    with Session(engine) as session:
        first, second, third = (paper(file=new(name), pages=[new(name + b"1"), new(name + b"2")]) for name in (b"a", b"b", b"c"))
        session.add_all([first, second, third])
        session.commit()
        first.file = new(b"d")
        first.pages.pop()
        session.delete(second)
        session.commit()
        session.execute(delete(paper))
        session.commit()
    assert contents(store) == [b"a", b"a1", b"a2", b"b", b"b1", b"b2", b"c", b"c1", b"c2", b"d"]


def test_what_the_transaction_has_stored_itself_goes(paper: type, engine: Engine, store: MemoryBackend) -> None:
    with Session(engine) as session:
        row = paper(file=new(b"a"))
        session.add(row)
        session.flush()
        session.rollback()
        assert contents(store) == []
        row = paper(file=new(b"b"))
        session.add(row)
        session.flush()
        row.file = new(b"c")
        session.flush()
        with session.begin_nested() as savepoint:
            row.file = new(b"d")
            session.flush()
            savepoint.rollback()
        session.commit()
    assert contents(store) in ([b"c"], [b"b", b"c"]), "an outbox may note what was stored and dropped in one transaction"


def test_maintenance_passes_the_backend_over(paper: type, engine: Engine, store: MemoryBackend) -> None:
    metadata = paper.metadata  # type: ignore[attr-defined]
    with Session(engine) as session:
        row = paper(file=new(b"a"))
        session.add(row)
        session.commit()
        row.file = new(b"b")
        session.commit()
    store.put("paper/file/0190000000007000800000000000000a.png", b"orphan")
    findings = [one for step in sweep(metadata, engine, delete=True, full=True, grace=timedelta(0)) for one in step.findings]
    assert [one.code for one in findings] == ["guest"]
    if "filerow_outbox" in metadata.tables:
        assert [step.changed for step in drain(metadata, engine)] == [0]
    storages.register_backend(MemoryBackend("own"))
    list(migrate(metadata, engine, "paper.file", to="own"))
    assert contents(store) == [b"a", b"b", b"orphan"]
    with Session(engine) as session:
        assert session.get_one(paper, 1).file.backend_key == "own"


def test_a_file_is_not_deleted_by_hand(paper: type, engine: Engine, store: MemoryBackend) -> None:
    file = FileObject("docs", "cat.txt", content=b"a").save()
    with pytest.raises(UnsupportedOperationError, match="deletes=False"):
        file.delete()
    assert contents(store) == [b"a"]


def test_registering_again_decides_again() -> None:
    made = MemoryBackend("docs")
    storages.clear_backends()
    assert storages.may_delete(storages.register_backend(made).key)
    storages.register_backend(made, deletes=False)
    assert not storages.may_delete("docs")
    storages.unregister_backend("docs")
    with pytest.raises(BackendNotFoundError):
        storages.get_backend("docs")
    storages.register_backend("memory://", key="docs")
    assert storages.may_delete("docs")
    storages.clear_backends()
