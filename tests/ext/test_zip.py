"""Many files as one ZIP archive: what is sent can be opened, is as long as it was said to be, and needs little memory."""

from __future__ import annotations

import asyncio
import io
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import flask
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from filerow import FileObject, storages
from filerow.backends.local import LocalBackend
from filerow.exceptions import FileStateError, ObjectNotFoundError
from filerow.ext.zip import ZipArchive, zip_files


@pytest.fixture(autouse=True)
def docs(tmp_path: Path) -> Iterator[None]:
    storages.register_backend(LocalBackend("docs", tmp_path, fsync=False))
    yield
    storages.clear_backends()


def stored(filename: str, content: object = b"meow") -> FileObject:
    return FileObject("docs", filename=filename, content=content).save()


async def collected(archive: ZipArchive) -> bytes:
    return b"".join([chunk async for chunk in archive])


@pytest.mark.parametrize("way", ["sync", "async"])
def test_archive_has_the_files_under_their_names(way: str) -> None:
    files = [stored("Ünïcode 雪.txt", b"snow"), stored("a.txt", b"one"), stored("empty", b"")]
    archive = zip_files(files)
    data = b"".join(archive) if way == "sync" else asyncio.run(collected(archive))
    assert len(data) == archive.size
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert found.testzip() is None
        assert {one.filename: found.read(one) for one in found.infolist()} == {
            "Ünïcode 雪.txt": b"snow",
            "a.txt": b"one",
            "empty": b"",
        }
        assert [one.file_size for one in found.infolist()] == [4, 3, 0]
        assert found.infolist()[0].flag_bits & 0x800, "the name is in UTF-8"


def test_names_are_made_safe_and_numbered() -> None:
    names = ["a.txt", "A.TXT", "a (2).txt", "../../etc/passwd", "/etc/passwd", "C:\\x\\a.txt", "new\nline", "b", "b"]
    archive = zip_files(map(stored, names))
    assert archive.names == (
        "a.txt", "A (2).TXT", "a (2) (2).txt", "passwd", "passwd (2)", "a (3).txt", "newline", "b", "b (2)",
    )  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(b"".join(archive))) as found:
        assert tuple(found.namelist()) == archive.names


def test_names_can_be_extracted_on_every_system() -> None:
    names = ["CON.txt", "nul", "lpt1 .a.b", "conference.txt", "notes.txt:hidden", 'q?*<>|".txt', "end.. ", "?"]
    assert zip_files(map(stored, names)).names == (
        "_CON.txt", "_nul", "_lpt1 .a.b", "conference.txt", "notes.txt_hidden", "q______.txt", "end", "_",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["雪" * 100 + ".jpeg", "é" * 200, f"a.{'b' * 250}"])
def test_numbered_names_are_no_longer_than_a_disk_takes(name: str) -> None:
    names = zip_files(map(stored, [name] * 12)).names
    assert len(set(names)) == 12
    assert all(len(one.encode()) <= 255 for one in names)
    assert names[0].endswith(".jpeg") == names[11].endswith(" (12).jpeg") == name.endswith(".jpeg")


def test_many_files_of_one_name_are_numbered_in_no_time() -> None:
    file = stored("photo.jpg")
    seen: list[str] = list(zip_files([file] * 3000).names)
    assert seen[-1] == "photo (3000).jpg"
    start = time.process_time()
    zip_files([file] * 12_000)
    assert time.process_time() - start < 3, "it once took a time that grew with the square of their number"


@pytest.mark.parametrize("way", ["sync", "async"])
def test_archive_needs_the_memory_of_a_chunk(way: str) -> None:
    files = [stored("large", iter([bytes(1_000_000)] * 20)) for _ in range(2)]
    archive = zip_files(files)

    async def count() -> int:
        return sum([len(chunk) async for chunk in archive])

    tracemalloc.start()
    try:
        length = sum(map(len, archive)) if way == "sync" else asyncio.run(count())
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert length == archive.size


async def test_starlette_sends_it_with_its_length() -> None:
    archive = zip_files([stored("a.txt"), stored("a.txt")])

    async def download(request: Request) -> Response:
        return StreamingResponse(archive, headers=archive.headers("Größe.zip"))

    app = Starlette(routes=[Route("/", download)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-length"] == str(archive.size) == str(len(answer.content))
    assert answer.headers["content-disposition"] == "attachment; filename=\"Gr__e.zip\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.zip"
    assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == ["a.txt", "a (2).txt"]


def test_flask_sends_it_with_its_length() -> None:
    archive = zip_files([stored("a.txt")])
    app = flask.Flask("zip")
    app.add_url_rule("/", view_func=lambda: flask.Response(archive, headers=archive.headers()))
    answer = app.test_client().get("/")
    assert answer.content_length == archive.size == len(answer.data)
    assert zipfile.ZipFile(io.BytesIO(answer.data)).read("a.txt") == b"meow"


def test_missing_object_breaks_the_archive_off(tmp_path: Path) -> None:
    files = [stored("a.txt"), stored("b.txt")]
    (tmp_path / files[1].path).unlink()
    archive, received = zip_files(files), bytearray()
    with pytest.raises(ObjectNotFoundError):
        for chunk in archive:
            received += chunk
    assert archive.size is not None
    assert len(received) < archive.size
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(received))


def test_only_stored_files_go_into_an_archive() -> None:
    with pytest.raises(FileStateError, match="not stored yet"):
        zip_files([FileObject("docs", content=b"meow")])
    with pytest.raises(TypeError, match="not str"):
        zip_files(["a.txt"])  # type: ignore[list-item]
    assert zipfile.ZipFile(io.BytesIO(b"".join(zip_files([])))).namelist() == []
