"""No text makes the server ask another server or open a file of its own: a URL is not content, and clients name no backend."""

from __future__ import annotations

import io
import socket
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import yarl
from httpx import URL
from pydantic import BaseModel, HttpUrl, TypeAdapter, ValidationError
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from filerow import FileObject, FileObjectList, storages
from filerow.backends.memory import MemoryBackend
from filerow.direct import DirectUploads
from filerow.exceptions import BackendMismatchError, ContentError, DocumentError, UntrustedDocumentError
from filerow.http import redirect
from filerow.maintenance import adopt
from tests.databases import explicit_begin
from tests.security.hostile import SECRET, Store
from tests.security.test_entry_points import RAW, Base, Document

pytestmark = pytest.mark.parametrize("store", ["memory"], indirect=True)

TEXTS = [
    "http://169.254.169.254/latest/meta-data/",
    "https://example.org/cat.png",
    "file:///etc/passwd",
    "s3://bucket/key",
    "data:text/plain,x",
    "ftp://127.0.0.1/x",
    "gopher://127.0.0.1:6379/_",
    "//127.0.0.1/x",
    "/etc/passwd",
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects, resolves or opens a URL in these tests fails."""

    def refuse(*args: Any, **_: Any) -> Any:
        pytest.fail(f"a connection was made or a name resolved: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("text", TEXTS)
def test_url_is_not_content(store: Store, text: str) -> None:
    with pytest.raises(ContentError):
        FileObject("docs", content=text)
    file = FileObject("docs")
    with pytest.raises(ContentError):
        file.save(text)
    with pytest.raises(ContentError):
        store.backend.put("a", text)  # type: ignore[arg-type]
    for url in (
        urlsplit(text),
        URL(text),
        yarl.URL(text),
        *([TypeAdapter(HttpUrl).validate_python(text)] if text[:4] == "http" else []),
    ):
        with pytest.raises(ContentError):  # some are iterables, of text
            FileObject("docs", content=url).save()
    with pytest.raises(ContentError):
        FileObject.from_upload(text)
    if "://" in text:
        with pytest.raises(FileNotFoundError):  # a path of this machine, and there is none of that name
            FileObject("docs", source_path=text).save()
    assert store.inside() == set()


def test_an_upload_s_own_names_open_nothing(store: Store) -> None:
    upload = SimpleNamespace(filename="/etc/passwd", file=io.BytesIO(b"uploaded"), content_type="text/plain", path="/etc/passwd")
    assert FileObject.from_upload(upload, backend="docs").save().get_content() == b"uploaded"
    for wrong in (SimpleNamespace(filename="/etc/passwd", file="/etc/passwd"), SimpleNamespace(filename="http://x/", file=None)):
        with pytest.raises(ContentError):
            FileObject.from_upload(wrong)


@pytest.mark.parametrize("text", TEXTS)
def test_a_url_in_a_row_is_not_fetched(store: Store, text: str) -> None:
    engine = create_engine("sqlite://")
    explicit_begin(engine)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(RAW.insert(), [{"old": text, "pages": []}])
    for strip in ([], ["https://example.org/"]):
        said = [
            finding
            for step in adopt(Base.metadata, engine, "document.file", source="document.old", strip=strip)
            for finding in step.findings
        ]
        assert {finding.code for finding in said} <= {"url", "missing", "unreadable"}
        assert said
    engine.dispose()


class Form(BaseModel):
    file: FileObject
    pages: FileObjectList


WHOLE = {"v": 1, "backend": "other", "path": "secret", "filename": "a", "size": 1, "content_type": "text/plain", "metadata": {}}


@pytest.mark.parametrize("text", [*TEXTS, *map(str, [WHOLE])])
def test_no_client_s_json_is_a_file(store: Store, text: str) -> None:
    for value in (
        text,
        text.encode(),
        {"url": text},
        {"content": text},
        {"source_path": text},
        WHOLE,
        {**WHOLE, "path": text},
        [text],
    ):
        for form in ({"file": value, "pages": []}, {"file": FileObject(content=b"x"), "pages": [value]}):
            with pytest.raises((UntrustedDocumentError, ValidationError)):
                Form.model_validate(form)
            with pytest.raises((UntrustedDocumentError, ValidationError, DocumentError)):
                Form.model_validate(form, context={"filerow": "Document"})


def test_no_client_names_a_backend(store: Store) -> None:
    storages.register_backend(MemoryBackend("other", base_url="/files", secret=SECRET))
    uploads = DirectUploads(Document.file, secret=SECRET)
    asked = {
        "filename": "a",
        "size": 1,
        "backend": "other",
        "column": "document.pages",
        "target": "x",
        "rules": {},
        "expires_in": 1 << 40,
    }
    assert uploads.handle("begin", asked)["url"].startswith("/files/docs/document/file/")
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session, pytest.raises(BackendMismatchError):
        session.add(Document(file=FileObject("other", content=b"x")))
        session.commit()
    engine.dispose()
    upload = SimpleNamespace(filename="a", file=io.BytesIO(b"x"), backend="other", backend_key="other")
    assert FileObject.from_upload(upload).backend_key == ""


def test_a_redirect_leads_to_the_backend_and_nowhere_else(store: Store) -> None:
    for text in TEXTS:
        file = FileObject.from_dict({**WHOLE, "backend": "docs", "path": text, "filename": text})
        for reply in (redirect(file), redirect(file, download_as=text)):
            location = str(reply.header("location"))
            assert location.startswith("/files/docs/")
            assert urlsplit(location).netloc == ""
