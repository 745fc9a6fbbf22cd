"""What the programs share: one model, and one request to an ASGI application without a client library."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import StaticPool

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.local import LocalBackend

CONTENT = b"Hello, extra"
FORM_TYPE = "multipart/form-data; boundary=xxx"
FORM = (
    b'--xxx\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'
    + CONTENT
    + b"\r\n--xxx--\r\n"
)


class Base(DeclarativeBase):
    """The tables."""


class Document(Base):
    """A row with a file and a list of files."""

    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", max_size="1 MB"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


def database() -> Engine:
    """Return a database in memory with the tables, for any thread."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(engine)
    return engine


def directory() -> LocalBackend:
    """Register a directory that signs its own URLs."""
    backend = LocalBackend("docs", tempfile.mkdtemp(), base_url="/files", development=True)
    storages.register_backend(backend)
    return backend


class Answer:
    """Status, headers and body of an answer."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""


def ask(app: Any, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
    """Send one request to an ASGI application."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http",
        "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "extensions": {}, "state": {},
        "headers": [(name.lower().encode(), value.encode()) for name, value in {
            "host": "127.0.0.1", "content-length": str(len(body)), **(headers or {})}.items()],
    }  # fmt: skip
    answer, sent = Answer(), False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.sleep(3600)  # the client stays until it has the answer
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        answer.body += message.get("body", b"")

    asyncio.run(app(scope, receive, send))
    return answer


def upload_and_read(app: Any) -> None:
    """Upload a file to ``/documents``, read it there and by its signed URL, and fetch the script."""
    made = ask(app, "POST", "/documents", headers={"content-type": FORM_TYPE}, body=FORM)
    assert made.status == 201, (made.status, made.body)
    read = ask(app, "GET", "/documents/1/file")
    assert (read.status, read.body) == (200, CONTENT), (read.status, read.body)
    part = ask(app, "GET", "/documents/1/file", headers={"range": "bytes=0-4"})
    assert (part.status, part.body) == (206, b"Hello"), (part.status, part.body)
    signed = ask(app, "GET", "/documents/1/url")
    url = signed.body.decode().strip('"')
    assert ask(app, "GET", url).body == CONTENT, url
    assert ask(app, "GET", "/files/filerow.js").status == 200
    empty = ask(app, "POST", "/documents", headers={"content-type": "application/x-www-form-urlencoded"}, body=b"file=a")
    assert 400 <= empty.status < 500, empty.status
