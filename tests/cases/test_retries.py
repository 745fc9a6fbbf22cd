"""A program that retries a rolled back transaction commits the same bytes or gets an error; it never stores fewer."""

from __future__ import annotations

import io
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError as DatabaseIntegrityError
from sqlalchemy.orm import Session

from filerow import FileObject
from filerow.exceptions import FilerowError, IntegrityError, StorageError
from tests.cases.models import Document, Named
from tests.cases.world import World

DATA = bytes(range(256)) * 40
Make = Callable[[bytes], Any]
Undo = Callable[[World, Session], None]

_opened: list[Any] = []


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


class Upload:
    """What Starlette and Litestar hand over."""

    filename = "cat.png"
    content_type = "image/png"

    def __init__(self, file: Any) -> None:
        self.file = file


class Reader:
    """Can be read, and nothing else."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


def spooled(data: bytes, max_size: int = 0) -> Any:
    file = tempfile.SpooledTemporaryFile(max_size=max_size)  # noqa: SIM115 - closed after the test
    _opened.append(file)
    file.write(data)
    file.seek(0)
    return file


def on_disk(data: bytes) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed after the test
    _opened.append(file)
    file.write(data)
    file.seek(0)
    return file


def in_the_middle(data: bytes) -> Any:
    file = io.BytesIO(b"skipped" + data)
    file.seek(7)
    return file


def generator(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


AGAIN: dict[str, Make] = {
    "BytesIO": io.BytesIO,
    "bytearray": bytearray,
    "BytesIO in the middle": in_the_middle,
    "file": on_disk,
    "SpooledTemporaryFile": spooled,
    "SpooledTemporaryFile in memory": lambda data: spooled(data, 1 << 20),
    "upload": lambda data: Upload(spooled(data)),
    "list": lambda data: list(generator(data)),
}
"""Sources that can be read again."""

ONCE: dict[str, Make] = {
    "generator": generator,
    "iterator": lambda data: iter(list(generator(data))),
    "map": lambda data: map(bytes, generator(data)),
    "reader": Reader,
}
"""Sources that are gone when they have been read."""


def commit_fails(world: World, session: Session) -> None:
    world.add(Named, name="taken")
    session.add(Named(name="taken"))
    with pytest.raises(DatabaseIntegrityError):
        session.commit()
    session.rollback()


def rolled_back(world: World, session: Session) -> None:
    session.flush()
    session.rollback()


def closed(world: World, session: Session) -> None:
    session.flush()
    session.close()


def store_fails(world: World, session: Session) -> None:
    world.docs.failing.add("put-late")
    with pytest.raises(StorageError):
        session.commit()
    world.docs.failing.clear()
    session.rollback()


UNDONE: dict[str, Undo] = {
    "a commit that fails": commit_fails,
    "a rollback": rolled_back,
    "a session that is closed": closed,
    "a store that fails": store_fails,
}


def retries(sources: dict[str, Make]) -> pytest.MarkDecorator:
    """Undo in one way with every source, and in every way with one."""
    first, usual = next(iter(sources)), next(iter(UNDONE))
    cases = [(source, way) for source in sources for way in UNDONE if way == usual or source == first]
    given = [pytest.param(sources[source], UNDONE[way], id=f"{source}, {way}") for source, way in cases]
    return pytest.mark.parametrize(("make", "undo"), given)


@retries(AGAIN)
def test_a_retry_stores_the_same_bytes(world: World, make: Make, undo: Undo) -> None:
    source, session = make(DATA), world.open()
    session.add(Document(file=FileObject(content=source)))
    undo(world, session)
    document = Document(file=FileObject(content=source))
    world.session.add(document)
    world.session.commit()
    assert world.stored(document.file) == DATA


@retries(ONCE)
def test_a_retry_with_what_is_used_up_is_refused(world: World, make: Make, undo: Undo) -> None:
    source, session = make(DATA), world.open()
    session.add(Document(file=FileObject(content=source)))
    undo(world, session)
    with pytest.raises(FilerowError, match="read already"):
        world.add(file=FileObject(content=source))
    world.session.rollback()
    world.check()
    assert world.add(file=FileObject(content=make(DATA))).file.size == len(DATA)


@pytest.mark.parametrize("make", [generator, Reader])
def test_the_rest_of_a_stream_that_broke_off_is_refused(world: World, make: Make) -> None:
    source = make(bytes(12 << 20))
    world.docs.failing.add("put")
    with pytest.raises(StorageError):
        world.add(file=FileObject(content=source))
    world.docs.failing.clear()
    world.session.rollback()
    assert source.read(1) if isinstance(source, Reader) else next(source)
    with pytest.raises(FilerowError, match="read already"):
        world.add(file=FileObject(content=source))
    world.session.rollback()


class AsyncFile:
    """What aiofiles opens."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    async def tell(self) -> int:
        return self._file.tell()

    async def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)


class AsyncIterable:
    """Can be iterated over again and again."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in generator(self._data):
            yield chunk


@pytest.mark.only("async")
def test_a_retry_with_async_content_is_whole_or_refused(world: World) -> None:
    for source in (AsyncIterable(DATA), aiter(AsyncIterable(DATA)), AsyncFile(DATA)):
        document = Document(file=FileObject(content=source))
        world.session.add(document)
        commit_fails(world, world.session)
        if isinstance(source, AsyncIterable):
            assert world.stored(world.add(file=FileObject(content=source)).file) == DATA
        else:
            with pytest.raises(FilerowError, match=r"read already|stands at its end"):
                world.add(file=FileObject(content=source))
            world.session.rollback()
        if isinstance(source, AsyncFile):
            world.session.add(document)  # it knows where it began
            world.session.commit()
            assert world.stored(document.file) == DATA
        world.session.query(Named).delete()
        world.session.commit()


def test_two_starts_in_one_file_are_put_back_to_the_first(world: World) -> None:
    source = on_disk(DATA)
    first = Document(file=FileObject(content=source))
    source.seek(100)
    second = Document(file=FileObject(content=source))
    world.session.add_all([first, second])
    world.session.flush()
    world.session.rollback()
    assert source.tell() == 0
    world.session.add_all([first, second])
    world.session.commit()
    assert [world.stored(first.file), world.stored(second.file)] == [DATA, DATA[100:]]


def test_a_savepoint_rolled_back_puts_the_file_back(world: World) -> None:
    source = in_the_middle(DATA)
    with suppress(RuntimeError), world.session.begin_nested():
        world.session.add(Document(file=FileObject(content=source)))
        world.session.flush()
        raise RuntimeError
    assert source.tell() == 7
    assert world.stored(world.add(file=FileObject(content=source)).file) == DATA


def test_a_failing_bulk_insert_puts_the_file_back(world: World) -> None:
    world.add(Named, name="taken")
    source = io.BytesIO(DATA)
    with pytest.raises(DatabaseIntegrityError):
        world.session.execute(insert(Named), [{"name": "taken", "file": FileObject(content=source)}])
    world.session.rollback()
    assert source.tell() == 0
    world.session.execute(insert(Named), [{"name": "free", "file": FileObject(content=source)}])
    world.session.commit()
    assert world.stored(world.session.query(Named).filter_by(name="free").one().file) == DATA


def test_a_file_that_fails_puts_the_others_of_its_flush_back(world: World) -> None:
    sources = [in_the_middle(DATA) for _ in range(3)]
    documents = [Document(file=FileObject(content=source)) for source in sources]
    world.session.add_all([*documents, Document(file=FileObject(content=b"four", size=7))])
    with pytest.raises(IntegrityError):
        world.session.commit()
    assert [source.tell() for source in sources] == [7, 7, 7], "before the rollback, for some programs never roll back"
    world.session.rollback()
    world.session.add_all(Document(file=FileObject(content=source)) for source in sources)
    world.session.commit()
    assert world.count() == 3


@pytest.mark.only("sync")
def test_an_outer_transaction_that_is_undone_puts_the_file_back(world: World) -> None:
    source = in_the_middle(DATA)
    assert isinstance(world.engine, Engine)
    with world.engine.connect() as connection, connection.begin() as outer:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            session.add(Document(file=FileObject(content=source)))
            session.commit()
        outer.rollback()
    assert source.tell() == 7
    assert world.stored(world.add(file=FileObject(content=source)).file) == DATA


@pytest.mark.parametrize("make", [io.BytesIO, generator])
def test_one_content_of_two_values_is_whole_or_refused(world: World, make: Make) -> None:
    file = FileObject(filename="a.bin", content=make(DATA))
    documents = [Document(file=file), Document(file=file.replace(filename="b.bin"))]
    world.session.add_all(documents)
    if make is generator:
        with pytest.raises(FilerowError, match="read already"):
            world.session.commit()
        world.session.rollback()
    else:
        world.session.commit()
        assert [world.stored(document.file) for document in documents] == [DATA, DATA]


def test_an_undone_attempt_leaves_a_closed_file_alone(world: World) -> None:
    with io.BytesIO(DATA) as source:
        world.session.add(Document(file=FileObject(content=source)))
        world.session.flush()
    world.session.rollback()
    assert world.count() == 0


@pytest.mark.parametrize("make", [io.BytesIO, on_disk, lambda data: Upload(spooled(data))])
def test_two_rows_of_one_flush_read_one_file_each_whole(world: World, make: Make) -> None:
    data = bytes(range(251)) * 30_000  # large enough to be streamed
    source = make(data)
    documents = [Document(file=FileObject(content=source)) for _ in range(4)]
    world.session.add_all(documents)
    world.session.commit()
    assert [world.stored(document.file) == data for document in documents] == [True] * 4


@pytest.mark.parametrize("make", ONCE.values(), ids=ONCE)
def test_two_rows_never_share_a_stream(world: World, make: Make) -> None:
    source = make(DATA)
    world.session.add_all([Document(file=FileObject(content=source)) for _ in range(2)])
    with pytest.raises(FilerowError, match="read already"):
        world.session.commit()
    world.session.rollback()
    assert world.count() == 0
