"""How many uploads our own route takes at a time, and how slow each may be; nothing is left of one that is refused."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from io import RawIOBase
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.serving import make_server

from filerow import FileObject, StoredObject, storages
from filerow.backends.base import SignRequest
from filerow.backends.memory import MemoryBackend
from filerow.direct import DirectUploads
from filerow.ext.flask import routes
from filerow.http import Reply, receive, receive_async, upload_capacity
from tests.http.conftest import SECRET, parts, read

SIZE = 4


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the capacity for one test."""

    def change(**limits: float) -> None:
        for name, value in limits.items():
            monkeypatch.setattr(upload_capacity, name, value)

    return change


@pytest.fixture(params=["docs", "folder"])
def backend(request: pytest.FixtureRequest, folder: Any) -> Any:
    return storages.get_backend(request.param)


def link(backend: Any, path: str, **bound: Any) -> tuple[str, str, str]:
    return parts(backend.sign(path, SignRequest("PUT", 60, **{"content_length": SIZE, **bound})))


class PacedUpload:
    """An upload whose bytes come when the test says so."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.reached = asyncio.Event()

    async def body(self) -> AsyncIterator[bytes]:
        self.reached.set()
        yield b"ab"
        await self.opened.wait()
        yield b"cd"


def put(backend: Any, path: str, body: AsyncIterator[bytes], **bound: Any) -> asyncio.Task[Reply]:
    headers = {"content-length": str(SIZE)} if "content_length" not in bound else {"transfer-encoding": "chunked"}
    return asyncio.ensure_future(receive_async("PUT", *link(backend, path, **bound), headers, body))


def problem_of(reply: Reply) -> tuple[int, str]:
    return reply.status, json.loads(read(reply))["code"]


async def test_of_one_link_one_upload_runs_at_a_time(backend: Any) -> None:
    """400 slow uploads with one ticket once took 409 threads, and the disk for each."""
    first, second = PacedUpload(), PacedUpload()
    one = put(backend, "a.txt", first.body())
    await first.reached.wait()
    assert problem_of(await put(backend, "a.txt", second.body())) == (409, "upload-under-way")
    assert not second.reached.is_set(), "not a byte of it was read"
    first.opened.set()
    assert (await one).status == 201
    assert backend.read("a.txt") == b"abcd"


async def test_a_full_process_says_when_to_come_back(backend: Any, limit: Callable[..., None]) -> None:
    limit(concurrent=2)
    uploads = [PacedUpload(), PacedUpload()]
    running = [put(backend, f"{number}.txt", upload.body()) for number, upload in enumerate(uploads)]
    for upload in uploads:
        await upload.reached.wait()
    refused = await put(backend, "2.txt", PacedUpload().body())
    assert refused.header("retry-after") == "5"
    assert problem_of(refused) == (503, "uploads-full")
    for upload in uploads:
        upload.opened.set()
    assert [reply.status for reply in await asyncio.gather(*running)] == [201, 201]
    again = PacedUpload()
    again.opened.set()
    assert (await put(backend, "2.txt", again.body())).status == 201


@pytest.mark.parametrize("announced", [True, False])
async def test_the_bytes_under_way_are_limited(backend: Any, limit: Callable[..., None], *, announced: bool) -> None:
    limit(staged_bytes=5)
    bound: dict[str, Any] = {} if announced else {"content_length": None}
    first, second = PacedUpload(), PacedUpload()
    one = put(backend, "a.txt", first.body(), **bound)
    await first.reached.wait()
    await asyncio.sleep(0)
    second.opened.set()
    refused = await put(backend, "b.txt", second.body(), **bound)
    assert (refused.status, refused.header("retry-after")) == (503, "5")
    first.opened.set()
    assert (await one).status == 201
    assert [info.path for info in backend.list()] == ["a.txt"]


async def test_an_upload_that_says_nothing_is_given_up(backend: Any, limit: Callable[..., None]) -> None:
    limit(idle=0.05)
    assert problem_of(await put(backend, "a.txt", PacedUpload().body())) == (408, "upload-too-slow")
    assert list(backend.list()) == []


async def test_an_upload_that_drips_is_given_up(backend: Any, limit: Callable[..., None]) -> None:
    limit(idle=0.05, least_rate=1_000_000)

    async def drips() -> AsyncIterator[bytes]:
        for _ in range(SIZE):
            await asyncio.sleep(0.02)
            yield b"x"

    assert problem_of(await put(backend, "a.txt", drips())) == (408, "upload-too-slow")
    assert list(backend.list()) == []


def test_uploads_in_threads_are_counted_too(backend: Any, limit: Callable[..., None]) -> None:
    limit(concurrent=1)
    reached, opened = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        reached.set()
        assert opened.wait(30)
        yield b"abcd"

    headers = {"content-length": str(SIZE)}
    replies: list[Reply] = []
    thread = threading.Thread(target=lambda: replies.append(receive("PUT", *link(backend, "a.txt"), headers, slow())))
    thread.start()
    assert reached.wait(30)
    assert receive("PUT", *link(backend, "b.txt"), headers, iter([b"abcd"])).status == 503
    opened.set()
    thread.join()
    assert replies[0].status == 201
    assert receive("PUT", *link(backend, "b.txt"), headers, iter([b"abcd"])).status == 201


async def test_a_client_that_leaves_gives_its_place_back(backend: Any, limit: Callable[..., None]) -> None:
    limit(concurrent=1)
    upload = PacedUpload()
    one = put(backend, "a.txt", upload.body())
    await upload.reached.wait()
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    again = PacedUpload()
    again.opened.set()
    assert (await put(backend, "a.txt", again.body())).status == 201


def test_refused_uploads_that_drip_hold_few_threads(backend: Any) -> None:
    """Nobody needs a link to send one that is refused, and each once held a thread until its body had come."""
    app = Flask(__name__)
    app.register_blueprint(routes())
    opened = threading.Event()

    class Dripping(RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            assert opened.wait(30)
            return 0

    def refused() -> int:
        body = {"wsgi.input": Dripping(), "CONTENT_LENGTH": "100000"}
        return app.test_client().put("/files/docs/a.txt?expires=1&signature=x", environ_overrides=body).status_code

    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(refused) for _ in range(12)]
        done, held = wait(answers, timeout=1)
        opened.set()
    assert [answer.result() for answer in done] == [403] * 8
    assert len(held) == 4


class ParseError(Exception):
    """As gunicorn's, which is not an ``OSError``."""


@pytest.mark.parametrize("error", [ConnectionAbortedError, ParseError])
def test_a_body_that_cannot_be_read_is_the_clients_fault(backend: Any, error: type[Exception]) -> None:
    """Servers raise errors of their own for chunks that are none; they were answered with 500."""
    app = Flask(__name__)
    app.register_blueprint(routes())

    class Broken(RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise error("Invalid chunk header")

    key, path, query = link(backend, "a.txt", content_length=None)
    body = {"wsgi.input": Broken(), "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    assert app.test_client().put(f"/files/{key}/{path}?{query}", environ_overrides=body).status_code == 400
    assert list(backend.list()) == []


# -- a synchronous server, whose reads nothing can interrupt ---------------------------------------------------------------


class Column(DeclarativeBase):
    pass


class Document(Column):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.fixture
def port(docs: Any) -> Iterator[int]:
    """A server that has a thread for each connection."""
    app = Flask(__name__)
    uploads = {"documents": DirectUploads(Document.file, secret=SECRET)}
    app.register_blueprint(routes(uploads=uploads, authorize=lambda: None))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def ask(port: int, method: str, url: str, length: int = 100_000, *more: str) -> socket.socket:
    """Send the head of a request and the first of its bytes."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    head = (f"{method} {url} HTTP/1.1", "Host: app", f"Content-Length: {length}", *more, "", "{")
    connection.sendall("\r\n".join(head).encode())
    return connection


def drip(connection: socket.socket) -> bytes:
    """Send a byte now and then until there is an answer; return its first line."""
    for _ in range(200):
        if select.select([connection], [], [], 0.05)[0]:
            break
        connection.sendall(b" ")
    return connection.recv(1000).partition(b"\r\n")[0]


def linked(backend: Any, path: str) -> str:
    return backend.sign(path, SignRequest("PUT", 60, content_length=100_000))  # type: ignore[no-any-return]


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "drips"])
def test_a_slow_upload_gives_up_its_thread_and_place(backend: Any, port: int, limit: Callable[..., None], drips: bool) -> None:
    """It held both until the client had left: 64 of them, and nobody else could upload."""
    limit(concurrent=1, idle=0.3)
    with ask(port, "PUT", linked(backend, "a.txt")) as connection:
        answer = drip(connection) if drips else connection.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408")
    assert list(backend.list()) == []
    body = b"x" * 99_999
    with ask(port, "PUT", linked(backend, "b.txt")) as connection:
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")
    assert backend.read("b.txt") == b"{" + body


def test_fast_upload_is_taken_whatever_the_idle_time(backend: Any, port: int, limit: Callable[..., None]) -> None:
    limit(idle=0.4, least_rate=10_000)  # so blocks of 2,000 bytes
    with ask(port, "PUT", linked(backend, "a.txt")) as connection:
        for _ in range(20):
            connection.sendall(b"x" * 5_000)
            time.sleep(0.05)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")
    assert len(backend.read("a.txt")) == 100_000


def test_a_store_that_is_slow_is_not_the_clients_fault(port: int, limit: Callable[..., None]) -> None:
    limit(idle=0.2)

    class Slow(MemoryBackend):
        def _put(self, path: str, content: Any, options: Any) -> Any:
            first = next(content)
            time.sleep(0.5)
            return super()._put(path, first + b"".join(content), options)

    slow = Slow("slow", base_url="/files", secret=SECRET)
    storages.register_backend(slow)
    with ask(port, "PUT", linked(slow, "a.txt")) as connection:
        connection.sendall(b"x" * 99_999)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")


def test_a_refused_upload_that_drips_is_answered_soon(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filerow.ext.flask.DISCARD_SECONDS", 0.3)
    with ask(port, "PUT", "/files/docs/a.txt?expires=1&signature=x") as connection:
        assert drip(connection).startswith(b"HTTP/1.1 403")


def test_a_slow_request_for_an_upload_is_given_up(port: int, limit: Callable[..., None]) -> None:
    limit(idle=0.3)
    with ask(port, "POST", "/uploads/documents/begin", 100, "Content-Type: application/json") as connection:
        answer = drip(connection)
    assert answer.startswith(b"HTTP/1.1 408")
