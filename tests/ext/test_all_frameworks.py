"""One table of cases, over real sockets, through every framework."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.backends.base import SignRequest
from filerow.testing.faults import Fault, FaultyBackend, Operation
from tests.ext.world import LIMIT, SECRET, TOKEN, Document

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ext.conftest import Site

TEXT = b"what the file holds, to be read from its start to its end"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde"
LARGE = 1 << 20
VIEW = {"filename", "content_type", "size", "last_modified", "metadata"}


def create(site: Site, content: bytes = TEXT, filename: str = "a.txt", kind: str = "text/plain", **more: Any) -> httpx.Response:
    return site.client.post(
        "/documents", data={"name": "given"}, files=[("file", (filename, content, kind)), *more.get("pages", [])]
    )


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["detail"]
    return document


def test_an_upload_is_stored_and_shown_by_its_public_view(site: Site) -> None:
    pages = [("pages", ("1.txt", b"one", "text/plain")), ("pages", ("2.txt", b"two two", "text/plain"))]
    answer = create(site, PNG, "cat.png", "text/plain", pages=pages)
    assert answer.status_code == 201, answer.text
    given = answer.json()
    assert given["name"] == "given"
    assert set(given["file"]) == VIEW
    assert (given["file"]["filename"], given["file"]["content_type"], given["file"]["size"]) == ("cat.png", "image/png", len(PNG))
    assert [(page["filename"], page["size"]) for page in given["pages"]] == [("1.txt", 3), ("2.txt", 7)]
    assert site.client.get(f"/documents/{given['id']}").json()["file"] == given["file"]
    with Session(site.world.engine) as session:
        document = session.get_one(Document, given["id"])
        assert document.file
        assert document.file.get_content() == PNG
        assert [page.get_content() for page in document.pages] == [b"one", b"two two"]
        assert document.file.path not in json.dumps({**given, "url": None})  # the signed URL has it, and cannot be turned into it


def test_one_file_in_a_field_for_several_is_a_list_of_one(site: Site) -> None:
    answer = create(site, pages=[("pages", ("1.txt", b"one", "text/plain"))])
    assert [page["filename"] for page in answer.json()["pages"]] == ["1.txt"]


def test_too_large_file_is_refused_with_413_and_stores_nothing(site: Site) -> None:
    before = site.world.paths(), site.world.names()
    document = assert_problem(create(site, b"x" * (LIMIT + 1)), 413)
    assert (document["field"], document["limit"]) == ("file", LIMIT)
    assert (site.world.paths(), site.world.names()) == before


def test_wrong_type_is_refused_with_415_and_stores_nothing(site: Site) -> None:
    before = site.world.paths(), site.world.names()
    document = assert_problem(create(site, b"GIF89a" + TEXT, "cat.png", "image/png"), 415)
    assert document["field"] == "file"
    assert (site.world.paths(), site.world.names()) == before


def test_a_missing_file_is_refused(site: Site) -> None:
    answer = site.client.post("/documents", data={"name": "given"}, files={"other": ("a.txt", TEXT)})
    assert answer.status_code in {400, 422}
    assert "file" in answer.text


@pytest.mark.parametrize("what", ["document", "reference"])
def test_a_document_in_place_of_an_upload_is_refused(site: Site, what: str) -> None:
    victim = site.world.stored(file=FileObject(filename="a.txt", content=TEXT)).file
    assert victim
    before = site.world.names()
    text = json.dumps(victim.to_dict()) if what == "document" else victim.to_reference(secret=SECRET)
    form = {"name": "thief", "file": text}
    answer = site.client.post("/documents", data=form, files={"other": ("a.txt", TEXT)})
    assert answer.status_code in {400, 422}
    assert site.world.names() == before


def test_a_failing_handler_leaves_nothing_of_its_upload(site: Site) -> None:
    before = site.world.paths(), site.world.names()
    answer = site.client.post("/failing", files={"file": ("a.txt", TEXT, "text/plain")})
    assert answer.status_code == 500
    assert (site.world.paths(), site.world.names()) == before


def test_response_comes_after_the_commit_and_reports_its_failure(site: Site) -> None:
    before = site.world.paths(), site.world.names()
    answer = site.client.post("/late", files={"file": ("a.txt", b"x" * (LIMIT + 1), "text/plain")})
    assert_problem(answer, 413)
    assert (site.world.paths(), site.world.names()) == before
    answer = site.client.post("/late", files={"file": ("a.txt", TEXT, "text/plain")})
    assert answer.status_code == 201
    with Session(site.world.engine) as session:
        document = session.scalars(select(Document).order_by(Document.id.desc())).first()
        assert document
        assert document.file
        assert (document.name, document.file.get_content()) == ("late", TEXT)


HOSTILE = [
    "../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "a\u202etxt.exe",
    "x" * 500 + ".txt",
    '"; filename=evil.html',
    "na\u00efve \u20ac.txt",
    ".htaccess",
    "a;b=c.txt",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_filename_reaches_no_path_and_no_header_raw(site: Site, name: str) -> None:
    answer = create(site, filename=name)
    assert answer.status_code == 201, answer.text
    shown = answer.json()["file"]["filename"]
    assert "/" not in shown
    assert "\\" not in shown
    assert "\u202e" not in shown
    assert 0 < len(shown) <= 255
    served = site.client.get(f"/documents/{answer.json()['id']}/file")
    assert served.content == TEXT
    disposition = served.headers["content-disposition"]
    assert disposition.isascii()
    assert "evil.html" not in disposition or '\\"' in disposition or "%22" in disposition or "_" in disposition
    inside = [path for path in site.world.root.rglob("*") if path.is_file()]
    assert all(path.resolve().is_relative_to(site.world.root.resolve()) for path in inside)


def address(site: Site, way: str = "file", content: bytes = TEXT, filename: str = "a.txt", kind: str = "text/plain") -> str:
    document = site.world.stored(file=FileObject(filename=filename, content=content, content_type=kind))
    return f"/documents/{document.id}/{way}"


def test_a_download_is_the_file_with_headers_that_are_safe(site: Site) -> None:
    answer = site.client.get(address(site))
    assert (answer.status_code, answer.content) == (200, TEXT)
    assert answer.headers["content-length"] == str(len(TEXT))
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert len(answer.headers.get_list("content-type")) == 1


def test_html_is_saved_and_never_shown(site: Site) -> None:
    answer = site.client.get(address(site, content=b"<script>alert(1)</script>", filename="a.html", kind="text/html"))
    assert answer.headers["content-disposition"].startswith("attachment")


def test_a_name_to_save_under_is_put_into_one_header(site: Site) -> None:
    answer = site.client.get(address(site, "saved"))
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment")
    assert "%E2%82%AC" in disposition


def test_an_empty_file_is_an_answer_without_bytes(site: Site) -> None:
    answer = site.client.get(address(site, content=b""))
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


def test_head_has_the_headers_of_get_and_no_body(site: Site) -> None:
    where = address(site)
    got, head = site.client.get(where), site.client.head(where)
    assert (head.status_code, head.content) == (200, b"")
    different = {"date", "connection", "server"}
    assert {k: v for k, v in head.headers.items() if k not in different} == {
        k: v for k, v in got.headers.items() if k not in different
    }


@pytest.mark.parametrize(
    ("asked", "status", "content", "said"),
    [
        ("bytes=5-9", 206, TEXT[5:10], f"bytes 5-9/{len(TEXT)}"),
        ("bytes=-4", 206, TEXT[-4:], f"bytes {len(TEXT) - 4}-{len(TEXT) - 1}/{len(TEXT)}"),
        ("bytes=50-", 206, TEXT[50:], f"bytes 50-{len(TEXT) - 1}/{len(TEXT)}"),
        ("bytes=9000-", 416, b"", f"bytes */{len(TEXT)}"),
        ("lines=1-2", 200, TEXT, None),
    ],
)
def test_a_range_is_answered_with_its_part(site: Site, asked: str, status: int, content: bytes, said: str | None) -> None:
    answer = site.client.get(address(site), headers={"range": asked})
    assert (answer.status_code, answer.content, answer.headers.get("content-range")) == (status, content, said)


def test_who_has_the_version_gets_304_and_no_body(site: Site) -> None:
    where = address(site)
    etag = site.client.get(where).headers["etag"]
    answer = site.client.get(where, headers={"if-none-match": etag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert "content-type" not in answer.headers
    assert site.client.get(where, headers={"if-none-match": '"other"'}).status_code == 200


def test_a_redirect_leads_to_a_signed_url_that_works(site: Site) -> None:
    answer = site.client.get(address(site, "redirect"))
    assert (answer.status_code, answer.content) == (302, b"")
    assert answer.headers["location"].startswith("/files/docs/")
    assert site.client.get(answer.headers["location"]).content == TEXT


def test_redirects_of_one_window_lead_to_one_url(site: Site) -> None:
    location = site.client.get(address(site, "stable")).headers["location"]
    assert int(parse_qs(urlsplit(location).query)["expires"][0]) % 3600 == 0
    assert site.client.get(location).content == TEXT


def test_web_server_in_front_gets_the_path_of_the_file(site: Site) -> None:
    answer = site.client.get(address(site, "accelerate"))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-accel-redirect"].startswith("/protected/document/file/")
    assert answer.headers["content-type"].startswith("text/plain")


def test_missing_file_is_a_problem_not_a_broken_answer(site: Site) -> None:
    document = site.world.stored(file=FileObject(filename="a.txt", content=TEXT))
    assert document.file
    url = document.file.sign()
    document.file.delete(force=True)
    assert_problem(site.client.get(f"/documents/{document.id}/file"), 404)
    assert_problem(site.client.get(url), 404)


def test_an_object_that_ends_early_breaks_the_answer_off(site: Site) -> None:
    document = site.world.stored(big=FileObject(content=b"x" * (4 << 20)))
    assert document.big
    os.truncate(site.world.root / document.big.path, 3 << 20)
    with pytest.raises(httpx.RemoteProtocolError):
        site.client.get(f"/documents/{document.id}/file")


def signed(site: Site) -> str:
    file = site.world.stored(file=FileObject(filename="a.txt", content=TEXT)).file
    assert file
    return file.sign()


def test_a_signed_url_works_for_get_and_head_with_ranges(site: Site) -> None:
    url = signed(site)
    assert site.client.get(url).content == TEXT
    assert site.client.head(url).headers["content-length"] == str(len(TEXT))
    assert site.client.get(url, headers={"range": "bytes=0-3"}).content == TEXT[:4]


def test_a_signed_url_that_was_changed_is_refused(site: Site) -> None:
    url = signed(site)
    path, _, query = url.partition("?")
    other = signed(site).partition("?")[0]
    for wrong in (f"{url}0", f"{path}?{query}&type=text/html", f"{other}?{query}", f"{path}x?{query}", path):
        assert_problem(site.client.get(wrong), 403)
    assert_problem(site.client.put(url, content=b"new"), 403)
    assert site.client.post(url, content=b"new").status_code == 405
    assert site.client.get(url).content == TEXT


def test_a_signed_url_that_has_expired_is_refused(site: Site) -> None:
    file = site.world.stored(file=FileObject(filename="a.txt", content=TEXT)).file
    assert file
    url = site.world.backend.sign(file.path, SignRequest("GET", 10, signed_at=time.time() - 11))
    assert "expired" in assert_problem(site.client.get(url), 403)["detail"]


def upload_url(site: Site, path: str, **limits: Any) -> str:
    return site.world.backend.sign(path, SignRequest("PUT", 60, content_type="text/plain", **limits))


def test_a_signed_put_stores_one_new_file_within_its_limits(site: Site) -> None:
    path = f"up/{site.framework}-{time.time_ns()}.txt"
    url = upload_url(site, path, max_length=100)
    kind = {"content-type": "text/plain"}
    assert site.client.put(url, content=b"x" * 101, headers=kind).status_code == 413
    assert site.client.put(url, content=(b"x" * 60 for _ in range(2)), headers=kind).status_code == 413
    assert site.client.put(url, content=b"x", headers={"content-type": "text/html"}).status_code == 415
    assert path not in site.world.paths()
    answer = site.client.put(url, content=b"x" * 100, headers=kind)
    assert answer.status_code == 201, answer.text
    assert site.world.backend.read(path) == b"x" * 100
    assert_problem(site.client.put(url, content=b"again", headers=kind), 409)
    assert_problem(site.client.get(url), 403)
    assert site.world.backend.read(path) == b"x" * 100


def test_an_upload_that_breaks_off_leaves_nothing(site: Site) -> None:
    path = f"broken/{site.framework}-{time.time_ns()}.txt"
    target = urlsplit(upload_url(site, path, max_length=10_000_000))
    head = f"PUT {target.path}?{target.query} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 5000000\r\n\r\n"
    with connected(site) as connection:
        connection.sendall(head.encode() + b"x" * 300_000)
    eventually(lambda: site.world.open_files() == 0)
    assert path not in site.world.paths()


def test_filerow_js_is_served_as_a_module(site: Site) -> None:
    answer = site.client.get("/files/filerow.js")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "export" in answer.text
    again = site.client.get("/files/filerow.js", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = site.client.head("/files/filerow.js")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(answer.content)))


def test_direct_uploads_are_for_those_the_application_lets_in(site: Site) -> None:
    asked = {"filename": "a.txt", "size": len(TEXT), "content_type": "text/plain"}
    assert site.client.post("/uploads/documents/begin", json=asked).status_code == 401
    allowed = {"authorization": TOKEN}
    assert site.client.post("/uploads/nothing/begin", json=asked, headers=allowed).status_code == 404
    assert_problem(site.client.post("/uploads/documents/nothing", json=asked, headers=allowed), 422)
    assert_problem(site.client.post("/uploads/documents/begin", json={**asked, "size": LIMIT + 1}, headers=allowed), 413)
    assert site.client.post("/uploads/documents/begin", content=b"{", headers=allowed).status_code in {400, 415}
    ticket = site.client.post("/uploads/documents/begin", json=asked, headers=allowed)
    assert ticket.status_code == 200, ticket.text
    given = ticket.json()
    assert (given["method"], given["size"]) == ("PUT", len(TEXT))
    assert site.client.put(given["url"], content=TEXT, headers=given["headers"]).status_code == 201
    assert site.client.post("/uploads/documents/abort", json={"claim": given["claim"]}, headers=allowed).json() == {}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"filename": "\xff"}', b'{"size": ' + b"9" * 5000 + b"}", b"[" * 60_000],
    ids=["nothing", "broken off", "no text", "endless number", "endless lists"],
)
def test_invalid_json_is_the_client_s_fault(site: Site, body: bytes) -> None:
    headers = {"authorization": TOKEN, "content-type": "application/json"}
    assert site.client.post("/uploads/documents/begin", content=body, headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("where", "allowed"), [("/files/docs/a.txt", {"GET", "HEAD", "PUT"}), ("/files/filerow.js", {"GET", "HEAD"})]
)
def test_unsupported_method_is_answered_with_the_supported_ones(site: Site, where: str, allowed: set[str]) -> None:
    answer = site.client.request("DELETE", where)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) - {"OPTIONS"} == allowed


# -- clients who leave -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def connected(site: Site) -> Any:
    parts = urlsplit(site.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        yield connection


def eventually(condition: Any) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.one_in(2)
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_download_waits_for_its_client_and_ends_when_it_leaves(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "zeros.bin"
    with source.open("wb") as file:
        file.truncate(64 << 20)
    document = site.world.stored(big=FileObject(content=source))
    before = site.world.backend.streamed
    with connected(site) as connection:
        connection.sendall(f"GET /documents/{document.id}/file HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.")
        time.sleep(0.3)  # it could send all of it in this time
        assert site.world.open_files() == 1
        assert site.world.backend.streamed - before < 32 << 20
    eventually(lambda: site.world.open_files() == 0)
    assert site.world.backend.streamed - before < 48 << 20


def test_the_secret_is_nowhere_in_what_clients_see(site: Site) -> None:
    assert SECRET not in signed(site)


# -- what operators see ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def failing(site: Site, *faults: Fault) -> Iterator[None]:
    """Let the store of the application fail."""
    storages.clear_backends()
    storages.register_backend(FaultyBackend(site.world.backend, *faults))
    try:
        yield
    finally:
        storages.clear_backends()
        storages.register_backend(site.world.backend)


def logged(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "filerow" and record.levelno >= level]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PermissionError("the credentials have expired"), 502),
        (TimeoutError("no answer after 30 s"), 504),
        (ConnectionError("nobody listens"), 503),
    ],
    ids=["refused", "timeout", "unreachable"],
)
def test_store_failure_in_an_upload_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture, error: Exception, status: int
) -> None:
    with failing(site, Fault("put", error=error)):
        assert_problem(create(site), status)
    [record] = logged(caplog, logging.ERROR)
    said = record.getMessage()
    assert record.levelno == logging.ERROR
    assert "put 'document/file/" in said
    assert "'docs'" in said
    assert str(error) in said
    assert type(error).__name__ in said
    assert str(status) in said
    assert SECRET not in caplog.text


@pytest.mark.parametrize(("way", "operation"), [("signed", "head"), ("signed", "stream"), ("handler", "stream")])
def test_store_failure_in_a_download_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture, way: str, operation: Operation
) -> None:
    document = site.world.stored(file=FileObject(filename="a.txt", content=TEXT))
    assert document.file
    url = document.file.sign() if way == "signed" else f"/documents/{document.id}/file"
    with failing(site, Fault(operation, error=PermissionError("the credentials have expired"))):
        assert_problem(site.client.get(url), 502)
    [record] = logged(caplog)
    assert record.levelno == logging.ERROR
    assert f"'{document.file.path}' on backend 'docs'" in record.getMessage()
    assert "the credentials have expired" in record.getMessage()


def test_store_failure_in_a_direct_upload_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    asked = {"filename": "a.txt", "size": len(TEXT), "content_type": "text/plain"}
    allowed = {"authorization": TOKEN}
    given = site.client.post("/uploads/documents/begin", json=asked, headers=allowed).json()
    with failing(site, Fault(("head", "put"), error=TimeoutError("no answer after 30 s"))):
        assert_problem(site.client.put(given["url"], content=TEXT, headers=given["headers"]), 504)
    [record] = logged(caplog)
    assert record.levelno == logging.ERROR
    assert "no answer after 30 s" in record.getMessage()


def test_missing_object_of_a_row_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    document = site.world.stored(file=FileObject(filename="a.txt", content=TEXT))
    assert document.file
    document.file.delete(force=True)
    assert_problem(site.client.get(f"/documents/{document.id}/file"), 404)
    [record] = logged(caplog)
    assert record.levelno == logging.WARNING
    assert document.file.path in record.getMessage()
    assert "filerow check" in record.getMessage()


def test_mistakes_of_clients_are_not_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    assert_problem(create(site, b"x" * (LIMIT + 1)), 413)
    assert_problem(site.client.get(f"{signed(site)}0"), 403)
    assert_problem(site.client.put("/files/docs/a.txt", content=b"new"), 403)
    assert logged(caplog) == []


@pytest.mark.parametrize("way", ["signed", "handler"])
@pytest.mark.parametrize("fault", ["fails", "ends"])
def test_store_failure_in_the_midst_of_a_download_is_logged_once(
    site: Site, caplog: pytest.LogCaptureFixture, way: str, fault: str
) -> None:
    document = site.world.stored(big=FileObject(filename="a.txt", content=bytes(LARGE)))
    assert document.big
    url = document.big.sign() if way == "signed" else f"/documents/{document.id}/file"
    cause = TimeoutError("no answer after 30 s") if fault == "fails" else None
    with failing(site, Fault("stream", error=cause, keep=LARGE // 2)), contextlib.suppress(httpx.HTTPError):
        answer = site.client.get(url)
        assert len(answer.content) < LARGE
    eventually(lambda: logged(caplog))
    [record] = logged(caplog)
    said = record.getMessage()
    assert record.levelno == logging.ERROR
    assert f"'{document.big.path}' on backend 'docs'" in said
    assert "aborted" in said
    assert fault == "ends" or "no answer after 30 s" in said
