"""Everything that can be the content of a file arrives whole, counted and hashed; everything else is refused."""

from __future__ import annotations

import array
import asyncio
import contextlib
import gc
import hashlib
import io
import math
import mmap
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import httpx
import pytest

from filerow import FileObject, StoredObject, storages
from filerow.backends.base import PutOptions
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import ContentError, FileStateError, FileTooLargeError, IntegrityError, StorageError
from filerow.testing.faults import Fault, FaultyBackend
from tests.file.rows import stored_by
from tests.frameworks import fastapi, flask, litestar, starlette

if TYPE_CHECKING:
    from tests.file.conftest import Call, WatchedBackend

pytestmark = pytest.mark.usefixtures("frozen_heap")

DATA = bytes(range(256)) * 40
ONE_REQUEST = 5 << 20  # up to this many bytes go to the store in one request
Make = Callable[[Path, bytes], Any]


_opened: list[Any] = []


def opened(file: Any) -> Any:
    """Note a file for closing after the test."""
    _opened.append(file)
    return file


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def _path(folder: Path, data: bytes) -> Path:
    path = folder / "named.bin"
    path.write_bytes(data)
    return path


def _file_at_position(folder: Path, data: bytes) -> Any:
    file = opened(_path(folder, b"skipped" + data).open("rb"))
    file.seek(7)
    return file


def _bytes_io_at_position(folder: Path, data: bytes) -> Any:
    file = io.BytesIO(b"skipped" + data)
    file.seek(7)
    return file


def _spooled(folder: Path, data: bytes) -> Any:
    file = opened(tempfile.SpooledTemporaryFile(max_size=1000))  # noqa: SIM115 - closed after the test
    file.write(data)
    file.seek(0)
    return file


def _temporary(folder: Path, data: bytes) -> Any:
    file = opened(tempfile.NamedTemporaryFile(dir=folder))  # noqa: SIM115 - closed after the test
    file.write(data)
    file.seek(0)
    return file


def _raw_file(folder: Path, data: bytes) -> Any:
    return opened(_path(folder, data).open("rb", buffering=0))


def _mmap(folder: Path, data: bytes) -> Any:
    with _path(folder, data).open("rb") as file:
        return opened(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _strided(folder: Path, data: bytes) -> memoryview:
    doubled = bytearray(2 * len(data))
    doubled[::2] = data
    return memoryview(doubled)[::2]


def _generator(folder: Path, data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 999):
        yield data[start : start + 999]


class Reader:
    """A file-like object with nothing but read()."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


SYNC: dict[str, Make] = {
    "bytes": lambda _, data: data,
    "bytearray": lambda _, data: bytearray(data),
    "memoryview": lambda _, data: memoryview(data),
    "memoryview slice": lambda _, data: memoryview(b"x" + data + b"y")[1:-1],
    "memoryview not contiguous": _strided,
    "memoryview of numbers": lambda _, data: memoryview(array.array("H", data)),
    "memoryview of two dimensions": lambda _, data: memoryview(data).cast("B", (len(data) // 8, 8)),
    "array": lambda _, data: array.array("H", data),
    "mmap": _mmap,
    "path": _path,
    "file at its position": _file_at_position,
    "raw file": _raw_file,
    "BytesIO at its position": _bytes_io_at_position,
    "SpooledTemporaryFile": _spooled,
    "NamedTemporaryFile": _temporary,
    "reader": lambda _, data: Reader(data),
    "generator": _generator,
    "list": lambda _, data: [data[:5], b"", bytearray(data[5:9]), memoryview(data[9:])],
    "tuple": lambda _, data: (data,),
    "iterator": lambda _, data: iter([data[:5], data[5:]]),
    "dict view": lambda _, data: {1: data[:5], 2: data[5:]}.values(),
}


class AsyncReader:
    """What aiofiles.open() and httpx give: an object whose read() is awaited."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


class AsyncFile(AsyncReader):
    """What aiofiles and anyio open: it seeks, and each of its methods is awaited."""

    async def tell(self) -> int:
        return self._file.tell()

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)


class AsyncIterable:
    """Can be iterated over again and again."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), 999):
            yield self._data[start : start + 999]


ASYNC: dict[str, Make] = {
    "async generator": lambda _, data: aiter(AsyncIterable(data)),
    "async iterable": lambda _, data: AsyncIterable(data),
    "async reader": lambda _, data: AsyncReader(data),
    "async file": lambda _, data: AsyncFile(data),
}


def stored_right(file: FileObject, data: bytes) -> None:
    assert file.size == len(data)
    assert file.checksum == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert file.get_content() == data


@pytest.mark.parametrize("make", SYNC.values(), ids=SYNC)
@pytest.mark.parametrize("data", [DATA, DATA[:8]], ids=["10 KB", "8 bytes"])
async def test_content_is_stored_counted_and_hashed(
    call: Call, make: Make, data: bytes, tmp_path: Path, docs: WatchedBackend
) -> None:
    content = make(tmp_path, data)
    file = FileObject("docs", content=content)
    await call(file, "save")
    stored_right(file, data)
    assert docs.puts == ["buffer"], "small content is put in one request"
    assert not getattr(content, "closed", False), "the caller's file is the caller's to close"


@pytest.mark.parametrize("make", ASYNC.values(), ids=ASYNC)
async def test_async_content_is_stored_counted_and_hashed(make: Make, tmp_path: Path, docs: WatchedBackend) -> None:
    file = await FileObject("docs", content=make(tmp_path, DATA)).save_async()
    stored_right(file, DATA)
    assert docs.puts == ["buffer"]


@pytest.mark.parametrize("make", ASYNC.values(), ids=ASYNC)
def test_async_content_needs_an_event_loop(make: Make, tmp_path: Path, docs: WatchedBackend) -> None:
    with pytest.raises(ContentError, match="save_async"):
        FileObject("docs", content=make(tmp_path, DATA)).save()
    assert docs.paths == set()


@pytest.mark.parametrize("make", ASYNC.values(), ids=ASYNC)
async def test_async_content_refused_by_sync_code_is_not_used_up(make: Make, tmp_path: Path) -> None:
    file = FileObject("docs", content=make(tmp_path, DATA))
    with pytest.raises(ContentError, match="save_async"):
        file.save()
    stored_right(await file.save_async(), DATA)


def test_what_was_read_is_forgotten_with_its_source() -> None:
    def kept() -> Counter[type]:
        """Save a few files, and count what is left of ours but for the store's."""
        for _ in range(3):
            FileObject("docs", content=io.BytesIO(DATA)).save()
            FileObject("docs", content=(chunk for chunk in [DATA])).save()
            FileObject("docs", content=iter([DATA])).save()
        gc.collect()
        kinds = Counter(map(type, gc.get_objects()))
        # a module's name may be anything: some classes have a descriptor there
        ours = [kind for kind in kinds if str(kind.__module__).startswith("filerow.") and "backends" not in kind.__module__]
        return Counter({kind: kinds[kind] for kind in ours})

    before = kept()
    assert not kept() - before  # what other tests left may go meanwhile


EMPTY: dict[str, Any] = {
    "bytes": b"", "bytearray": bytearray(), "memoryview": memoryview(b""), "array": array.array("H"), "list": [],
    "file": io.BytesIO(), "list of nothing": [b"", b""],
    "numbers": memoryview(array.array("H")), "two dimensions": memoryview(b"").cast("B"),
}  # fmt: skip


@pytest.mark.parametrize("content", EMPTY.values(), ids=EMPTY)
async def test_no_bytes_are_content_too(call: Call, content: Any) -> None:
    file = FileObject("docs", content=content)
    await call(file, "save")
    stored_right(file, b"")


async def test_a_generator_of_nothing_is_an_empty_file(call: Call, tmp_path: Path) -> None:
    file = FileObject("docs", content=_generator(tmp_path, b""))
    await call(file, "save")
    stored_right(file, b"")


async def test_an_iterator_of_nothing_may_have_been_read(call: Call) -> None:
    for iterator in (iter(()), map(bytes, []), zip()):
        with pytest.raises(FileStateError, match=r'read already.* content=b""'):
            await call(FileObject("docs", content=iterator), "save")


# -- what was read before ------------------------------------------------------------------------------------------------


AT_THE_END: dict[str, Make] = {
    "BytesIO that was written": lambda _, data: written(io.BytesIO(), data),
    "SpooledTemporaryFile that was written": lambda _, data: written(opened(tempfile.SpooledTemporaryFile()), data),  # noqa: SIM115
    "NamedTemporaryFile that was written": lambda folder, data: written(
        opened(tempfile.NamedTemporaryFile(dir=folder)),  # noqa: SIM115
        data,
    ),
    "file that was read": lambda folder, data: read(opened(_path(folder, data).open("rb"))),
    "mmap that was read": lambda folder, data: read(_mmap(folder, data)),
}


def written(file: Any, data: bytes) -> Any:
    file.write(data)
    return file


def read(file: Any) -> Any:
    file.read()
    return file


@pytest.mark.parametrize("make", AT_THE_END.values(), ids=AT_THE_END)
def test_a_file_at_its_end_is_refused_at_once(make: Make, tmp_path: Path) -> None:
    source = make(tmp_path, DATA)
    with pytest.raises(ContentError, match=r"10240 bytes .* seek\(0\)"):
        FileObject("docs", content=source)
    with pytest.raises(ContentError, match="stands at its end"):
        FileObject("docs").save(source)
    source.seek(0)
    stored_right(FileObject("docs", content=source).save(), DATA)


@pytest.mark.parametrize("kind", ["file at its position", "BytesIO at its position", "mmap", "SpooledTemporaryFile"])
async def test_a_save_that_fails_puts_the_file_back(call: Call, kind: str, tmp_path: Path, docs: WatchedBackend) -> None:
    source = SYNC[kind](tmp_path, DATA)
    position = source.tell()
    with pytest.raises(IntegrityError):
        await call(FileObject("docs", content=source, size=7), "save")
    assert source.tell() == position
    file = FileObject("docs", content=source)
    assert await call(file, "get_content") == DATA
    assert source.tell() == position
    await call(file, "save")
    stored_right(file, DATA)
    with pytest.raises(ContentError, match="stands at its end"):
        FileObject("docs", content=source)


async def test_an_async_file_can_be_tried_again(docs: WatchedBackend) -> None:
    source = AsyncFile(b"skipped" + DATA)
    await source.seek(7)
    file = FileObject("docs", content=source, size=7)
    for _ in range(2):
        with pytest.raises(IntegrityError):
            await file.save_async()
    with pytest.raises(ContentError, match="stands at its end"):
        await FileObject("docs", content=source).save_async()
    await source.seek(7)
    stored_right(await FileObject("docs", content=source).save_async(), DATA)


async def test_a_file_of_anyio_can_be_tried_again(tmp_path: Path) -> None:
    async with await anyio.open_file(_path(tmp_path, b"skipped" + DATA * 1000), "rb") as source:
        await source.seek(7)
        file = FileObject("docs", content=source, size=7)
        for _ in range(2):
            with pytest.raises(IntegrityError):
                await file.save_async()
        with pytest.raises(ContentError, match="stands at its end"):
            await FileObject("docs", content=source).save_async()
        await source.seek(7)
        stored_right(await FileObject("docs", content=source).save_async(), DATA * 1000)


async def test_a_cancelled_save_puts_the_file_back(tmp_path: Path) -> None:
    backend = FaultyBackend(MemoryBackend("faulty"))
    storages.register_backend(backend)
    source = SYNC["file at its position"](tmp_path, DATA)
    with backend.inject(Fault("put", hang=math.inf)):
        task = asyncio.ensure_future(FileObject("faulty", content=source).save_async())
        while not backend.hanging:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert source.tell() == 7
    stored_right(FileObject("docs", content=source).save(), DATA)


async def test_an_async_file_that_broke_off_can_be_tried_again() -> None:
    class Full(MemoryBackend):
        def _put(self, path: str, content: Any, options: PutOptions) -> Any:
            next(content)
            raise OSError("no space left")

    storages.register_backend(Full("full"))
    data = DATA * 1000
    source = AsyncFile(data)
    for _ in range(2):
        with pytest.raises(StorageError) as raised:  # whose traceback keeps the broken reading alive
            await FileObject("full", content=source).save_async()
        await source.seek(0)
    assert raised.value.operation == "put"
    stored_right(await FileObject("docs", content=source).save_async(), data)


def test_one_file_is_read_whole_by_threads_side_by_side(tmp_path: Path) -> None:
    data = bytes(range(251)) * 30_000
    source = opened(_path(tmp_path, b"skipped" + data).open("rb"))
    source.seek(7)
    files = [FileObject("docs", content=source) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(FileObject.save, files))
    for file in files:
        stored_right(file, data)


@pytest.mark.parametrize("kind", ["async generator", "async reader"])
async def test_async_content_is_read_once(kind: str, tmp_path: Path, docs: WatchedBackend) -> None:
    source = ASYNC[kind](tmp_path, DATA)
    with pytest.raises(IntegrityError):
        await FileObject("docs", content=source, size=7).save_async()
    with pytest.raises(FileStateError, match="read already"):
        await FileObject("docs", content=source).save_async()
    assert docs.paths == set()


@pytest.mark.parametrize("kind", sorted(ASYNC.keys() - {"async iterable"}))
async def test_two_files_never_share_async_content(kind: str, tmp_path: Path, docs: WatchedBackend) -> None:
    source = ASYNC[kind](tmp_path, DATA * 2000)
    files = [FileObject("docs", content=source).save_async() for _ in range(2)]
    outcomes = await asyncio.gather(*files, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["FileObject", "FileStateError"]


@pytest.mark.parametrize("kind", ["path", "file at its position", "generator", "list", "bytes", "reader"])
@pytest.mark.parametrize("extra", [0, 1, ONE_REQUEST])
async def test_large_content_is_streamed(call: Call, kind: str, extra: int, tmp_path: Path, docs: WatchedBackend) -> None:
    data = os.urandom(1 << 10) * (ONE_REQUEST >> 10) + bytes(extra)
    file = FileObject("docs", content=SYNC[kind](tmp_path, data))
    await call(file, "save")
    stored_right(file, data)
    assert docs.puts == ["buffer" if kind == "bytes" or not extra else "stream"]


@pytest.mark.parametrize("kind", ASYNC)
async def test_large_async_content_is_streamed(kind: str, tmp_path: Path, docs: WatchedBackend) -> None:
    data = os.urandom(1 << 10) * (ONE_REQUEST >> 9)
    file = await FileObject("docs", content=ASYNC[kind](tmp_path, data)).save_async()
    stored_right(file, data)


async def test_an_unseekable_file_is_read_as_it_comes(call: Call) -> None:
    reader, writer = os.pipe()
    with open(writer, "wb") as target:  # noqa: ASYNC230
        target.write(DATA)
    with open(reader, "rb") as source:  # noqa: ASYNC230
        file = FileObject("docs", content=source)
        assert file.size is None
        await call(file, "save")
    stored_right(file, DATA)


def test_a_file_is_read_from_where_it_was_when_it_was_given() -> None:
    source = io.BytesIO(b"skipped" + DATA)
    source.seek(7)
    file = FileObject("docs", content=source)
    source.seek(0)
    stored_right(file.save(), DATA)


def test_names_and_types_come_along(tmp_path: Path) -> None:
    path = _path(tmp_path, DATA)
    assert FileObject(content=path).filename == "named.bin"
    assert FileObject(source_path=str(path)).filename == "named.bin"
    assert FileObject(filename="mine.bin", content=path).filename == "mine.bin"
    with path.open("rb") as file:
        assert FileObject(content=file).filename == "named.bin"
    reader, writer = os.pipe()
    os.close(writer)
    with open(reader, "rb") as file:
        assert FileObject(content=file).filename == "file"


def test_a_missing_path_is_found_out_at_once(tmp_path: Path) -> None:
    for wrong in (tmp_path / "missing", tmp_path):
        with pytest.raises(FileNotFoundError, match="no such file"):
            FileObject(content=wrong)
    with pytest.raises(FileNotFoundError, match="that is a folder"):
        FileObject(content=tmp_path)


def test_non_blocking_file_without_data_yet_is_not_cut_short(docs: WatchedBackend) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"the first half")
    os.set_blocking(reader, False)
    with open(reader, "rb", buffering=0) as file, open(writer, "wb"), pytest.raises(ContentError, match="NoneType"):
        FileObject("docs", content=file).save()
    assert docs.paths == set()


# -- refused -------------------------------------------------------------------------------------------------------------


def text_file(folder: Path) -> Any:
    path = folder / "text.txt"
    path.write_text("text")
    return opened(path.open(encoding="utf-8"))


def named_text_file(folder: Path) -> Any:
    return opened(tempfile.NamedTemporaryFile("w+", dir=folder, encoding="utf-8"))


def spooled_text_file(folder: Path) -> Any:
    return opened(tempfile.SpooledTemporaryFile(mode="w+", encoding="utf-8"))


def write_only_file(folder: Path) -> Any:
    return opened((folder / "new.bin").open("wb"))


WRONG: dict[str, Callable[[Path], Any]] = {
    "str": lambda _: "/etc/passwd",
    "StringIO": lambda _: io.StringIO("text"),
    "text file": text_file,
    "NamedTemporaryFile in text mode": named_text_file,
    "SpooledTemporaryFile in text mode": spooled_text_file,
    "file opened for writing": write_only_file,
    "int": lambda _: 5,
    "float": lambda _: 5.0,
    "dict": lambda _: {"path": "x"},
    "set": lambda _: {b"abc"},
    "FileObject": lambda _: FileObject(content=b"abc"),
    "object": lambda _: object(),
    "function": lambda _: test_a_missing_path_is_found_out_at_once,
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_what_is_not_content_is_a_type_error_at_once(make: Callable[[Path], Any], tmp_path: Path) -> None:
    wrong = make(tmp_path)
    with pytest.raises(TypeError, match="content"):
        FileObject("docs", content=wrong)
    with pytest.raises(ContentError):
        FileObject("docs").save(wrong)


def test_none_is_not_content() -> None:
    with pytest.raises(ContentError, match="no content to save"):
        FileObject("docs", content=None).save()


@pytest.mark.parametrize("chunks", [["text"], [b"ok", "text"], [5], [None], [[b"nested"]]], ids=str)
async def test_chunks_that_are_not_bytes_are_refused(call: Call, chunks: Any, docs: WatchedBackend) -> None:
    file = FileObject("docs", content=iter(chunks))
    with pytest.raises(ContentError, match="where bytes are needed"):
        await call(file, "save")
    assert docs.paths == set()
    assert file.has_pending_data


async def test_the_source_s_own_error_comes_out(call: Call, docs: WatchedBackend) -> None:
    def failing(after: int) -> Iterator[bytes]:
        yield bytes(after)
        raise ConnectionResetError("the client went away")

    for after in (10, 2 * ONE_REQUEST):
        with pytest.raises(ConnectionResetError, match="went away"):
            await call(FileObject("docs", content=failing(after)), "save")
    assert docs.paths == set()


async def test_content_that_was_read_says_so_the_second_time(call: Call) -> None:
    source = iter([b"abc"])
    file = FileObject("docs", content=source, size=7)
    with pytest.raises(IntegrityError):
        await call(file, "save")
    with pytest.raises(FileStateError, match="make a new FileObject"):
        await call(file, "save")


# -- what was announced --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"abc", [b"abc"], [b"abc", bytes(ONE_REQUEST)]], ids=["bytes", "list", "large"])
@pytest.mark.parametrize("wrong", [{"size": 7}, {"checksum": "sha256:" + "0" * 64}], ids=str)
@pytest.mark.parametrize("path", [None, "chosen/name.bin"])
async def test_content_that_is_not_as_announced_is_not_kept(
    call: Call, content: Any, wrong: dict[str, Any], path: str | None, docs: WatchedBackend
) -> None:
    file = FileObject("docs", to_filename=path, content=content, **wrong)
    with pytest.raises(IntegrityError, match="announced"):
        await call(file, "save")
    assert docs.paths == set()
    assert file.has_pending_data


async def test_content_as_announced_is_kept(call: Call) -> None:
    checksum = f"SHA256:{hashlib.sha256(DATA).hexdigest().upper()}"
    file = FileObject("docs", content=DATA, size=len(DATA), checksum=checksum)
    await call(file, "save")
    stored_right(file, DATA)


@pytest.mark.parametrize("content", [DATA, [DATA[:500], DATA[500:]]], ids=["known size", "unknown size"])
def test_too_many_bytes_are_stopped_on_their_way(content: Any, docs: WatchedBackend) -> None:
    file = FileObject("docs", content=content)
    with pytest.raises(FileTooLargeError, match="1,000 bytes"):
        stored_by(StoredObject("docs", max_size=1000), file)
    assert docs.puts == []


# -- uploads of frameworks -----------------------------------------------------------------------------------------------

UPLOADS = [(b"abc", "a.txt"), (os.urandom(3 << 20), "big.bin"), (b"", "empty.txt")]


WHICH = pytest.mark.parametrize(("data", "name"), UPLOADS, ids=["small", "spooled to disk", "empty"])


async def post(app: Any, path: str, data: bytes, name: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        (await client.post(path, files={"file": (name, data, "text/x-claimed")})).raise_for_status()


@WHICH
async def test_fastapi_uploads(data: bytes, name: str) -> None:
    app, kept = fastapi.FastAPI(), []

    async def upload(file: Any) -> None:
        await file.read(1)  # a handler that looked at it first
        kept.append(await FileObject.from_upload(file, backend="docs", metadata={"k": 1}).save_async())

    def upload_sync(file: Any) -> None:
        kept.append(FileObject(backend="docs", content=file).save())

    for path, handler in (("/", upload), ("/sync", upload_sync)):
        handler.__annotations__["file"] = fastapi.UploadFile  # annotations of local functions are strings here
        app.post(path)(handler)
        await post(app, path, data, name)
    for file in kept:
        stored_right(file, data)
        assert file.filename == name
        assert file.content_type == "text/x-claimed"
    assert kept[0].metadata == {"k": 1}


@WHICH
async def test_starlette_uploads(data: bytes, name: str) -> None:
    kept: list[FileObject] = []

    async def upload(request: starlette.requests.Request) -> starlette.responses.Response:
        async with request.form() as form:
            kept.append(await FileObject.from_upload(form["file"], backend="docs").save_async())
        return starlette.responses.Response()

    route = starlette.routing.Route("/", upload, methods=["POST"])
    await post(starlette.applications.Starlette(routes=[route]), "/", data, name)
    stored_right(kept[0], data)
    assert kept[0].filename == name


@WHICH
async def test_litestar_uploads(data: bytes, name: str) -> None:
    kept: list[FileObject] = []

    async def upload(data: Any) -> None:
        kept.append(await FileObject.from_upload(data, backend="docs").save_async())

    multipart = litestar.params.Body(media_type=litestar.enums.RequestEncodingType.MULTI_PART)
    upload.__annotations__ = {"data": Annotated[litestar.datastructures.UploadFile, multipart], "return": None}
    await post(litestar.Litestar([litestar.post("/")(upload)]), "/", data, name)
    stored_right(kept[0], data)
    assert kept[0].filename == name


@WHICH
def test_werkzeug_uploads(data: bytes, name: str) -> None:
    app, kept = flask.Flask(__name__), []

    @app.post("/")
    def upload() -> str:
        with contextlib.closing(flask.request.files["file"]) as file:  # Flask leaves that to the garbage collector
            file.stream.read(1)
            kept.append(FileObject.from_upload(file, backend="docs").save())
        return ""

    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://test") as client:
        client.post("/", files={"file": (name, data, "text/x-claimed")}).raise_for_status()
    stored_right(kept[0], data)
    assert kept[0].filename == name


def test_from_upload_takes_uploads_only(tmp_path: Path) -> None:
    for wrong in (b"abc", io.BytesIO(b"abc"), _path(tmp_path, b"abc"), "text", 5, object()):
        with pytest.raises(ContentError, match=r"FileObject\(content="):
            FileObject.from_upload(wrong)
