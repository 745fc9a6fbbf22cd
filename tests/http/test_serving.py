"""Three ways out: through the application, by redirect, by the web server in front."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from filerow import FileObject, FileObjectList, storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import FileStateError, IntegrityError, ObjectNotFoundError, UnsupportedOperationError
from filerow.ext import litestar, starlette
from filerow.http import Body, Reply, accelerate, answer, redirect, redirect_async, serve, serve_async
from tests.http.conftest import parts, read

DATA = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4096  # a megabyte


def stored(key: str = "docs", filename: str = "a.png", data: bytes = DATA) -> FileObject:
    return FileObject(key, filename, content=data).save()


class Watched(LocalBackend):
    """A directory that counts the chunks it has read and the objects it has open."""

    def __init__(self, key: str, root: Path) -> None:
        super().__init__(key, root, fsync=False)
        self.chunks = 0
        self.heads = 0
        self.open = 0

    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        self.open += 1
        try:
            for chunk in super()._stream(path, start, end, chunk_size):
                self.chunks += 1
                yield chunk
        finally:
            self.open -= 1

    def _head(self, path: str) -> Any:
        self.heads += 1
        return super()._head(path)


@pytest.fixture
def watched(docs: MemoryBackend, tmp_path: Path) -> Watched:
    backend = Watched("watched", tmp_path / "watched")
    storages.register_backend(backend)
    return backend


# -- through the application -----------------------------------------------------------------------------------------------


async def both(*args: Any, **kwargs: Any) -> Reply:
    reply = serve(*args, **kwargs)
    again = await serve_async(*args, **kwargs)
    assert (again.status, again.headers) == (reply.status, reply.headers)
    return again


async def test_answer_has_what_the_row_knows_without_asking_the_store(watched: Watched) -> None:
    file = stored("watched")
    reply = await both(file)
    assert reply.status == 200
    assert dict(reply.headers) == {
        "content-type": "image/png",
        "content-disposition": 'inline; filename="a.png"',
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; sandbox",
        "cross-origin-resource-policy": "same-site",
        "etag": f'"{str(file.checksum).removeprefix("sha256:")}"',
        "last-modified": reply.header("last-modified"),
        "cache-control": "private, no-cache",
        "accept-ranges": "bytes",
        "content-length": str(len(DATA)),
    }
    assert (watched.heads, watched.chunks) == (0, 0)
    assert read(reply) == DATA


async def test_document_without_a_size_is_completed_by_the_store(watched: Watched) -> None:
    watched.put("old.png", DATA)
    file = FileObject.from_dict({"filename": "old.png", "backend": "watched"})  # as Advanced Alchemy writes it
    assert file.size is None
    reply = await both(file, "GET", {"Range": "bytes=-3"})
    assert watched.heads == 2
    assert (reply.status, read(reply)) == (206, DATA[-3:])
    assert reply.header("etag") == f'"{watched.head("old.png").etag}"'


async def test_a_gone_object_is_known_before_the_status_is_sent(watched: Watched) -> None:
    file = stored("watched")
    watched.delete(file.path)
    reply = serve(file)
    assert isinstance(reply.body, Body)
    with pytest.raises(ObjectNotFoundError):
        reply.body.begin()
    with pytest.raises(ObjectNotFoundError):
        await reply.body.begin_async()


async def test_a_file_that_is_not_stored_cannot_be_served() -> None:
    for file in (
        FileObject("docs", "a", content=b"x"),
        FileObject("docs", to_filename="a", content=b"x"),
        FileObject("docs", "a"),
    ):
        with pytest.raises(FileStateError, match="before it is stored"):
            serve(file)
        with pytest.raises(FileStateError, match="before it is stored"):
            await serve_async(file)


@pytest.mark.parametrize(("value", "said"), [(None, "answer 404"), (FileObjectList(), "not FileObjectList")])
async def test_a_row_without_a_file_says_what_to_answer(value: Any, said: str) -> None:
    for send in (serve, redirect, accelerate):
        with pytest.raises(TypeError, match=said):
            send(value)
    for send_async in (serve_async, redirect_async):
        with pytest.raises(TypeError, match=said):
            await send_async(value)


def test_the_application_chooses_how_long_it_is_kept() -> None:
    assert serve(stored(), cache_control="public, max-age=60").header("cache-control") == "public, max-age=60"


async def test_an_empty_file_is_a_file(watched: Watched) -> None:
    reply = await both(stored("watched", "a.txt", b""))
    assert (reply.status, reply.header("content-length"), reply.body) == (200, "0", b"")


# -- bodies ----------------------------------------------------------------------------------------------------------------


def body_of(reply: Reply) -> Body:
    assert isinstance(reply.body, Body)
    return reply.body


async def test_a_body_is_read_in_chunks_as_they_are_asked_for(watched: Watched) -> None:
    body = body_of(serve(stored("watched")))
    assert body.length == len(DATA)
    async with aclosing(body.stream_async(1000)) as chunks:  # type: ignore[type-var]
        assert [len(await anext(chunks)) for _ in range(3)] == [1000, 1000, 1000]
        assert watched.chunks <= 4
    with closing(body.stream(1000)) as again:  # type: ignore[type-var]
        assert next(again) == DATA[:1000]
    assert watched.chunks <= 6
    assert b"".join([chunk async for chunk in body.stream_async(100_000)]) == DATA
    assert b"".join(body.stream(100_000)) == DATA


@pytest.mark.parametrize("how", ["closed", "cancelled", "begun_async", "begun"])
async def test_a_reader_who_leaves_early_leaves_nothing_open(watched: Watched, how: str) -> None:
    body = body_of(serve(stored("watched")))
    files, threads = len(os.listdir("/proc/self/fd")), set(threading.enumerate())
    if how == "closed":
        async with aclosing(body.stream_async(1000)) as chunks:  # type: ignore[type-var]
            await anext(chunks)
            assert watched.open == 1
    elif how == "cancelled":
        await _cancelled(body, watched)
    elif how == "begun_async":
        begun = await body.begin_async(1000)
        assert watched.open == 1
        await begun.aclose()
    else:
        started = body.begin(1000)
        assert watched.open == 1
        started.close()
    assert watched.open == 0
    assert len(os.listdir("/proc/self/fd")) <= files
    started_since = set(threading.enumerate()) - threads
    assert all(thread.name.startswith("asyncio_") for thread in started_since), "the event loop's own pool keeps its threads"


async def _cancelled(body: Body, watched: Watched) -> None:
    waiting = asyncio.Event()

    async def send() -> None:
        async with aclosing(body.stream_async(1000)) as chunks:  # type: ignore[type-var]
            async for _ in chunks:
                waiting.set()
                await asyncio.sleep(3600)  # a client that takes nothing more

    task = asyncio.ensure_future(send())
    await waiting.wait()
    assert watched.open == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_begun_body_loses_nothing(watched: Watched) -> None:
    body = body_of(serve(stored("watched"), "GET", {"Range": "bytes=5-999999"}))
    assert b"".join(body.begin(1000)) == DATA[5:1_000_000]
    assert b"".join([chunk async for chunk in await body.begin_async(1000)]) == DATA[5:1_000_000]
    assert repr(body) == "<Body: bytes 5 to 1000000>"


async def test_object_shorter_than_promised_breaks_off_the_answer(watched: Watched) -> None:
    watched.put("short.png", DATA[:-1])
    file = FileObject.from_dict({"v": 1, "backend": "watched", "path": "short.png", "filename": "a", "size": len(DATA)})
    with pytest.raises(IntegrityError, match="1 bytes before the length"):
        read(serve(file))
    with pytest.raises(IntegrityError):
        [chunk async for chunk in body_of(serve(file)).stream_async()]


async def test_two_readers_do_not_disturb_each_other(watched: Watched) -> None:
    body = body_of(serve(stored("watched")))

    async def pull() -> bytes:
        chunks: AsyncIterator[bytes] = body.stream_async(10_000)
        return b"".join([chunk async for chunk in chunks])

    assert await asyncio.gather(pull(), pull()) == [DATA, DATA]


# -- by redirect -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["docs", "folder"])
async def test_a_redirect_leads_to_the_file(folder: LocalBackend, key: str) -> None:
    file = stored(key)
    for reply in (redirect(file, expires_in=60), await redirect_async(file, expires_in=60)):
        assert (reply.status, reply.body, reply.header("content-length")) == (302, b"", "0")
        assert reply.header("cache-control") == "private, no-cache"  # the row may have another file by then
        assert reply.header("referrer-policy") == "no-referrer"
        found = answer("GET", *parts(str(reply.header("location"))))
        assert (found.status, read(found), found.header("content-disposition")) == (200, DATA, 'inline; filename="a.png"')


async def test_a_redirect_says_what_the_link_says(folder: LocalBackend) -> None:
    file = stored("folder", "grün.png")
    reply = redirect(file, download_as="blau.png", round_expiry=600, cache_control="no-store")
    assert str(reply.header("location")).isascii()
    assert reply.header("cache-control") == "no-store"
    found = answer("GET", *parts(str(reply.header("location"))))
    assert found.header("content-disposition") == 'attachment; filename="blau.png"'
    assert redirect(file, "HEAD").status == 302
    for reply in (redirect(file, "POST"), await redirect_async(file, "DELETE")):
        assert reply.status == 303  # with 302 a client might send its POST to the store
    for reply in (redirect(file, "OPTIONS"), await redirect_async(file, "TRACE")):
        assert (reply.status, reply.header("allow")) == (405, "GET, HEAD")


# -- by the web server in front --------------------------------------------------------------------------------------------


def test_nginx_is_given_an_internal_place_and_apache_a_file(folder: LocalBackend) -> None:
    file = FileObject("folder", "a.png", to_filename="a b/50%/ü.png", content=DATA).save()
    nginx = accelerate(file, prefix="/protected")
    assert nginx.header("x-accel-redirect") == "/protected/a%20b/50%25/%C3%BC.png"
    assert (nginx.status, nginx.body) == (200, b"")
    assert nginx.header("content-type") == "image/png"
    assert nginx.header("content-security-policy")
    apache = accelerate(file, header="X-Sendfile", download_as="b.png")
    sent = str(apache.header("x-sendfile"))
    assert sent.isascii()
    assert Path(unquote(sent)).read_bytes() == DATA
    assert apache.header("content-disposition") == 'attachment; filename="b.png"'
    assert apache.header("x-accel-redirect") is None
    assert accelerate(file, "DELETE").header("x-accel-redirect") == "/protected/a%20b/50%25/%C3%BC.png"
    assert accelerate(file, "OPTIONS").status == 405


def test_only_files_of_this_machine_can_be_accelerated() -> None:
    with pytest.raises(UnsupportedOperationError, match="which only a LocalBackend has"):
        accelerate(stored("docs"))
    with pytest.raises(FileStateError):
        accelerate(FileObject("docs", "a", content=b"x"))


# -- headers of the application's own --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Content-Type": "text/html"}, "cannot have Content-Type: it is the type"),
        ({"content-disposition": "inline"}, "download_as= and inline="),
        ({"Content-Length": "1"}, "cannot have Content-Length"),
        ({"X-Content-Type-Options": "none"}, "cannot have X-Content-Type-Options"),
        ({"X-Own": "a\r\nSet-Cookie: b=c"}, "printable ASCII without line breaks"),
        ({"X-Own": "ü"}, "printable ASCII"),
        ({"X Own": "a"}, "is not a valid header name"),
        ({"X-Own\r\nA": "a"}, "is not a valid header name"),
        ({"": "a"}, "is not a valid header name"),
    ],
)
@pytest.mark.parametrize("response", [starlette.StoredFileResponse, litestar.StoredFileResponse])
def test_headers_that_would_lie_are_refused(response: Any, headers: dict[str, str], words: str) -> None:
    file = FileObject.from_dict({"v": 1, "backend": "docs", "path": "a", "filename": "a"})
    for make in (response, response.redirect, response.accelerate):
        with pytest.raises(ValueError, match=words):
            make(file, headers=headers)
