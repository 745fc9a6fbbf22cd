"""Bytes that went missing are noticed: what the store kept, what it gives back, and what it says of either."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import IntegrityError, StorageError, StorageTimeoutError
from filerow.testing.faults import Fault, FaultyBackend

CONTENT = bytes(range(256)) * 8


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    copy: Mapped[FileObject | None] = mapped_column(StoredObject("other"))


@pytest.fixture
def store() -> Iterator[FaultyBackend]:
    made = FaultyBackend(MemoryBackend("docs"))
    storages.register_backend(made)
    storages.register_backend(MemoryBackend("other"))
    yield made
    made.clear()
    storages.clear_backends()


@pytest.fixture
def session(store: FaultyBackend) -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as one:
        yield one
    engine.dispose()


def objects(key: str = "docs") -> list[str]:
    backend = storages.get_backend(key)
    return [info.path for info in getattr(backend, "backend", backend).list()]


def papers(session: Session) -> int:
    with Session(session.get_bind()) as fresh:
        return fresh.query(Paper).count()


def save(file: FileObject, awaited: bool) -> FileObject:
    return asyncio.run(file.save_async()) if awaited else file.save()


BODIES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: CONTENT,
    "chunks": lambda: iter([b"x" * (1 << 20)] * 7),  # too many for one request, so they are streamed
}


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("fault", [Fault("put", keep=5), Fault("put", size=5)], ids=["cut", "lie"])
def test_a_put_whose_size_is_wrong_is_refused_and_leaves_nothing(
    store: FaultyBackend, awaited: bool, body: Callable[[], Any], fault: Fault
) -> None:
    with store.inject(fault), pytest.raises(IntegrityError, match="5 bytes where") as caught:
        save(FileObject("docs", "a.bin", content=body()), awaited)
    assert caught.value.operation == "put"
    assert caught.value.backend == "docs"
    assert not objects()


@pytest.mark.parametrize("fault", [Fault("put", keep=5, nth=2), Fault("put", size=5, nth=2)], ids=["cut", "lie"])
def test_a_truncated_upload_fails_the_transaction_whole(store: FaultyBackend, session: Session, fault: Fault) -> None:
    session.add_all([Paper(file=FileObject(filename="a.bin", content=CONTENT)) for _ in range(3)])
    with store.inject(fault), pytest.raises(IntegrityError):
        session.commit()
    session.rollback()
    assert papers(session) == len(objects()) == 0
    session.add(Paper(file=FileObject(filename="a.bin", content=CONTENT)))
    session.commit()
    assert papers(session) == len(objects()) == 1


def stored(store: FaultyBackend) -> FileObject:
    return FileObject("docs", "a.bin", content=CONTENT).save()


async def _joined(chunks: Any) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def _opened(file: FileObject, size: int) -> bytes:
    async with file.open_async() as reader:
        return await reader.read(size)


def _read(file: FileObject, size: int) -> bytes:
    with file.open() as reader:
        return reader.read(size)


READS: dict[str, Callable[[FileObject, Path], bytes | Awaitable[bytes]]] = {
    "get_content": lambda file, _: file.get_content(),
    "get_content_async": lambda file, _: file.get_content_async(),
    "stream": lambda file, _: b"".join(file.stream()),
    "stream_async": lambda file, _: _joined(file.stream_async()),
    "a range": lambda file, _: b"".join(file.stream(10, 1000)),
    "a range, awaited": lambda file, _: _joined(file.stream_async(10, 1000)),
    "the rest": lambda file, _: b"".join(file.stream(10)),
    "open": lambda file, _: _read(file, -1),
    "open, a part": lambda file, _: _read(file, 100),
    "open_async": lambda file, _: _opened(file, -1),
    "open_async, a part": lambda file, _: _opened(file, 100),
    "download": lambda file, folder: file.download(folder / "got.bin").read_bytes(),
}


async def _await(answer: Awaitable[bytes]) -> bytes:
    return await answer


@pytest.mark.parametrize("how", READS.values(), ids=READS)
def test_read_that_is_cut_short_raises_and_gives_no_short_data(
    store: FaultyBackend, tmp_path: Path, how: Callable[[FileObject, Path], bytes | Awaitable[bytes]]
) -> None:
    def got() -> bytes:
        answer = how(file, tmp_path)
        return answer if isinstance(answer, bytes) else asyncio.run(_await(answer))

    file = stored(store)
    assert got() in CONTENT
    (tmp_path / "got.bin").unlink(missing_ok=True)
    with (
        store.inject(Fault(("read", "stream"), keep=50)),
        pytest.raises(IntegrityError, match="50 bytes where") as caught,
    ):
        got()
    assert (caught.value.operation, caught.value.backend, caught.value.path) == ("read", "docs", file.path)
    assert not list(tmp_path.iterdir())


def test_object_longer_than_its_row_says_is_refused(store: FaultyBackend) -> None:
    file = stored(store)
    longer = FileObject.from_dict({**file.to_dict(), "size": len(CONTENT) - 1, "checksum": None})
    for read in (longer.get_content, lambda: b"".join(longer.stream())):
        with pytest.raises(IntegrityError, match=f"gave {len(CONTENT)} bytes"):
            read()


def test_a_range_ends_where_the_object_does_without_a_complaint(store: FaultyBackend) -> None:
    file = stored(store)
    size = len(CONTENT)
    assert b"".join(file.stream(size - 5, size + 100)) == CONTENT[-5:]
    assert b"".join(file.stream(size)) == b""
    assert b"".join(file.stream(size + 5, size + 9)) == b""
    assert b"".join(file.stream(7, 7)) == b""
    with file.open() as reader:
        reader.seek(size + 5)
        assert reader.read(3) == b""
        reader.seek(-3, 2)
        assert reader.read() == CONTENT[-3:]
    assert FileObject("docs", "e", content=b"").save().get_content() == b""


def test_who_stops_reading_early_is_left_alone(store: FaultyBackend) -> None:
    file = stored(store)
    chunks = file.stream(chunk_size=10)
    assert next(chunks) == CONTENT[:10]
    chunks.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_copy_of_a_wrong_size_is_refused_and_leaves_nothing(store: FaultyBackend, awaited: bool) -> None:
    file = stored(store)
    with store.inject(Fault("copy", size=5)), pytest.raises(IntegrityError, match="gave 5 bytes"):
        asyncio.run(file.copy_async()) if awaited else file.copy()
    assert objects() == [file.path]


def test_short_read_is_noticed_by_a_copy_into_another_backend(store: FaultyBackend, session: Session) -> None:
    paper = Paper(file=FileObject(filename="a.bin", content=CONTENT))
    session.add(paper)
    session.commit()
    paper.copy = paper.file
    with store.inject(Fault(("read", "stream"), keep=50)), pytest.raises(IntegrityError):
        session.commit()
    session.rollback()
    assert objects("other") == []
    paper.copy = paper.file
    session.commit()
    assert paper.copy.get_content() == CONTENT


def test_a_hanging_put_ends_at_its_deadline_and_leaves_nothing(store: FaultyBackend, session: Session) -> None:
    for after in (False, True):  # the store never answered; or it had stored the object by then
        session.add(Paper(file=FileObject(filename="a.bin", content=CONTENT)))
        with store.inject(Fault("put", hang=0.05, after=after)), pytest.raises(StorageTimeoutError, match="within 0"):
            session.commit()
        session.rollback()
        assert papers(session) == len(objects()) == 0


def test_a_put_whose_answer_is_lost_leaves_nothing(store: FaultyBackend, session: Session) -> None:
    session.add(Paper(file=FileObject(filename="a.bin", content=CONTENT)))
    with store.inject(Fault("put", error=ConnectionResetError, after=True)), pytest.raises(StorageError):
        session.commit()
    session.rollback()
    assert papers(session) == len(objects()) == 0
    assert store.calls["delete"] == 1


def test_partly_failed_deletes_leave_orphans_but_no_dangling_row(store: FaultyBackend, session: Session) -> None:
    rows = [Paper(file=FileObject(filename=f"{number}.bin", content=CONTENT)) for number in range(4)]
    session.add_all(rows)
    session.commit()
    unlucky = {row.file.path for row in rows[:2] if row.file}
    kept = rows[3].file
    for row in rows[:3]:
        session.delete(row)
    with store.inject(Fault("delete", error=OSError("no"), paths=unlucky.__contains__)):
        session.commit()
    assert kept is not None
    assert set(objects()) == {kept.path, *unlucky}
    assert papers(session) == 1
    assert store.hanging == 0


def test_a_cancelled_flush_whose_put_hangs_leaves_nothing(store: FaultyBackend) -> None:
    async def case() -> None:
        task = asyncio.ensure_future(FileObject("docs", "a.bin", content=CONTENT).save_async())
        while not store.hanging:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for after in (False, True):
        with store.inject(Fault("put", hang=math.inf, after=after)):
            asyncio.run(case())
        assert not objects()
