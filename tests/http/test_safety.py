"""Hostile files and names: what is served, with which headers, by our route, by the application and by a store's own URLs."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.base import SignRequest
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.http import Reply, answer, is_shown, present, safe_headers, serve
from tests.backends.stores import s3_options
from tests.cases.test_names import HOSTILE
from tests.http.conftest import parts, read

HTML = b"<!doctype html><title>x</title><script>document.title = 'ran'</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>document.title = "ran"</script></svg>'
XML = b'<?xml version="1.0"?><x:script xmlns:x="http://www.w3.org/1999/xhtml">document.title = "ran"</x:script>'
GIF_JS = b"GIF89a/*\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00*/=1;document.title='ran'"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0"
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\n%%EOF"

BYTES, SANDBOX, VIEWER = "application/octet-stream", "; sandbox", "object-src 'self'"

# name: filename, content, the client's claim; the type and disposition that are served, and what the policy holds
FILES: dict[str, tuple[str, bytes, str | None, str, str, str]] = {
    "html": ("a.html", HTML, "text/html", BYTES, "attachment", SANDBOX),
    "html_called_png": ("a.png", HTML, "image/png", "", "", SANDBOX),
    "html_claimed_as_text": ("a.txt", HTML, "text/plain", "text/plain; charset=utf-8", "inline", SANDBOX),
    "png_claimed_as_html": ("a.html", PNG, "text/html", "image/png", "inline", SANDBOX),
    "svg_with_script": ("a.svg", SVG, "image/svg+xml", "image/svg+xml", "attachment", SANDBOX),
    "xml": ("a.xml", XML, "application/xml", BYTES, "attachment", SANDBOX),
    "xhtml": ("a.xhtml", XML, "application/xhtml+xml", BYTES, "attachment", SANDBOX),
    "gif_that_is_a_script": ("a.js", GIF_JS, "text/javascript", "image/gif", "inline", SANDBOX),
    "script": ("a.js", b"alert(1)", "text/javascript", BYTES, "attachment", SANDBOX),
    "style": ("a.css", b"a{}", "text/css", BYTES, "attachment", SANDBOX),
    "pdf_with_script": ("a.pdf", PDF, "application/pdf", "application/pdf", "inline", VIEWER),
    "zip": ("a.zip", b"PK\x03\x04" + b"\0" * 26, "application/zip", "application/zip", "attachment", SANDBOX),
    "empty": ("a.txt", b"", "text/plain", "text/plain; charset=utf-8", "inline", SANDBOX),
    "unknown": ("a", b"\x01\x02\x03", None, BYTES, "attachment", SANDBOX),
    "type_with_line_break": ("a", b"\x01\x02\x03", "image/png\r\nx: y", BYTES, "attachment", SANDBOX),
    "type_with_parameters": ("a", b"\x01\x02\x03", "text/plain; charset=utf-7", "text/plain; charset=utf-8", "inline", SANDBOX),
}


def check(reply: Reply, case: tuple[str, bytes, str | None, str, str, str]) -> None:
    _, content, _, content_type, disposition, policy = case
    assert reply.status == 200
    assert read(reply) == content
    if content_type:
        assert reply.header("content-type") == content_type
        assert str(reply.header("content-disposition")).startswith(f"{disposition}; filename=")
    else:  # recognised for what it is, or shown as an image that is broken; never as a page
        assert reply.header("content-type") in {BYTES, "image/png"}
    assert reply.header("x-content-type-options") == "nosniff"
    found = str(reply.header("content-security-policy"))
    assert found.startswith("default-src 'none';")
    assert policy in found
    assert "script" not in found


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
@pytest.mark.parametrize("key", ["docs", "folder"])
def test_nothing_that_a_browser_executes_is_shown(folder: LocalBackend, key: str, case: Any) -> None:
    filename, content, claim, *_ = case
    file = FileObject(key, filename, content_type=claim, content=content).save()
    check(serve(file), case)
    check(answer("GET", *parts(file.sign())), case)
    check(answer("GET", *parts(file.sign(inline=True))), case)
    for saved in (serve(file, download_as="b.png"), answer("GET", *parts(file.sign(download_as="b.png")))):
        assert saved.header("content-disposition") == 'attachment; filename="b.png"'
    assert str(serve(file, inline=False).header("content-disposition")).startswith("attachment")
    insisting = serve(file, inline=True, download_as="b.png").header("content-disposition")
    assert insisting == f'{case[4] or "attachment"}; filename="b.png"' or not case[4]


@pytest.mark.parametrize("filename", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_filename_reaches_a_header_encoded(filename: str) -> None:
    file = FileObject("docs", filename, content=PNG).save()
    for reply in (
        serve(file), serve(file, download_as=filename or "x"), answer("GET", *parts(file.sign())),
        answer("GET", *parts(file.sign(download_as=filename or "x"))),
    ):  # fmt: skip
        value = str(reply.header("content-disposition"))
        assert value.isascii()
        assert value.isprintable()
        assert value.count('"') == 2
        assert not set(value.partition('filename="')[2].partition('"')[0]) & set("/\\%")
        assert len(value) < 1200


@pytest.mark.parametrize(
    ("content_type", "shown"),
    [
        ("image/png", True), ("image/jpeg", True), ("IMAGE/PNG", True), ("image/avif", True), ("image/vnd.microsoft.icon", True),
        ("audio/mpeg", True), ("video/mp4", True), ("application/pdf", True), ("text/plain", True), (" text/plain ;x=y", True),
        ("image/svg+xml", False), ("image/svg", False), ("image/x+xml", False), ("video/x+xml", False), ("IMAGE/SVG+XML", False),
        ("text/html", False), ("text/csv", False), ("text/xml", False),
        ("application/xhtml+xml", False), ("application/zip", False),
        ("application/pdf+xml", False), ("text/plain2", False), ("text/x-plain", False),
        ("image/", False), ("image", False),
        ("image/png/x", False), ("image/png\n", True), ("image/p\nng", False), ("image/png,text/html", False), ("", False),
        (None, False),
        ("multipart/x-mixed-replace", False), ("image/pngé", False),
    ],
)  # fmt: skip
def test_what_is_shown_is_a_short_list(content_type: str | None, shown: bool) -> None:
    assert is_shown(content_type) is shown
    assert present(content_type, "a").content_disposition.startswith("inline" if shown else "attachment")
    assert dict(safe_headers(content_type, "a"))["content-type"].isascii()


@pytest.mark.parametrize(
    ("content_type", "served"),
    [
        ("text/html", BYTES), ("application/xhtml+xml", BYTES), ("text/xml", BYTES), ("application/rss+xml", BYTES),
        ("application/xslt+xml", BYTES), ("text/xsl", BYTES), ("text/javascript", BYTES), ("application/x-javascript", BYTES),
        ("text/javascript1.5", BYTES), ("text/ecmascript", BYTES), ("text/jscript", BYTES), ("text/livescript", BYTES),
        ("text/css", BYTES), ("message/rfc822", BYTES), ("multipart/related", BYTES), ("application/wasm", BYTES),
        ("application/xml-dtd", BYTES), ("text/x-component", BYTES), ("application/x-shockwave-flash", BYTES),
        ("image/svg+xml", "image/svg+xml"), ("image/png", "image/png"), ("text/csv", "text/csv"),
        ("application/zip", "application/zip"),
        ("application/json", "application/json"), ("application/msword", "application/msword"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document",) * 2,
    ],
)  # fmt: skip
def test_what_a_page_could_use_as_code_is_served_as_bytes(content_type: str, served: str) -> None:
    assert present(content_type, "a").content_type == served
    assert present(content_type.upper() + "; charset=x", "a").content_type == served


def test_link_signed_for_more_than_is_safe_is_answered_safely(docs: MemoryBackend) -> None:
    docs.put("a", HTML)
    bound = SignRequest("GET", 60, content_disposition='inline; filename="a.html"', content_type="text/html")
    reply = answer("GET", *parts(docs.sign("a", bound)))
    assert reply.header("content-disposition") == 'attachment; filename="a.html"'
    assert reply.header("content-type") == BYTES


def test_link_binds_the_type_and_the_name_of_its_answer(folder: LocalBackend) -> None:
    folder.put("a/b.bin", PNG)
    bound = SignRequest("GET", 60, content_disposition="inline; filename*=UTF-8''%E2%82%AC.png", content_type="image/png")
    reply = answer("GET", *parts(folder.sign("a/b.bin", bound)))
    assert reply.header("content-disposition") == "inline; filename*=UTF-8''%E2%82%AC.png"
    assert reply.header("content-type") == "image/png"


def test_a_link_that_binds_neither_goes_by_the_path(folder: LocalBackend) -> None:
    for path, content_type, kind in (
        ("a.png", "image/png", "inline"),
        ("a.html", BYTES, "attachment"),
        ("a", BYTES, "attachment"),
    ):
        folder.put(path, HTML)
        reply = answer("GET", *parts(folder.sign(path, SignRequest("GET", 60))))
        assert reply.header("content-type") == content_type
        assert reply.header("content-disposition") == f'{kind}; filename="{path}"'


@pytest.fixture
def bucket(s3_server: Any) -> ObstoreBackend:
    options = s3_options(s3_server)
    backend = ObstoreBackend("s3", f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix()}", **options)
    storages.register_backend(backend)
    return backend


def fetched(url: str) -> dict[str, str]:
    with urllib.request.urlopen(url) as response:
        return {name.lower(): value for name, value in response.headers.items()}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ["html", "svg_with_script", "script", "gif_that_is_a_script", "pdf_with_script", "unknown"])
def test_a_store_s_own_links_are_as_safe(bucket: ObstoreBackend, name: str) -> None:
    case = FILES[name]
    filename, content, claim, content_type, disposition, _ = case
    file = FileObject("s3", filename, content_type=claim, content=content).save()
    for url in (file.sign(), file.sign(inline=True)):
        headers = fetched(url)
        # SeaweedFS takes "a row of bytes" for "unknown", and guesses by the path; nothing shows an attachment whatever its type
        assert headers["content-type"] == content_type or content_type == BYTES
        assert headers["content-disposition"] == f'{disposition}; filename="{filename}"'
    check(serve(file), case)


def test_a_copy_to_another_store_takes_its_headers_along(bucket: ObstoreBackend) -> None:
    class Base(DeclarativeBase):
        pass

    class Page(Base):
        __tablename__ = "page"
        id: Mapped[int] = mapped_column(primary_key=True)
        file: Mapped[FileObject] = mapped_column(StoredObject("docs"))
        copy: Mapped[FileObject | None] = mapped_column(StoredObject("s3"))

    engine = create_engine("sqlite://")
    with Session(engine, expire_on_commit=False) as session:
        Base.metadata.create_all(session.connection())
        page = Page(file=FileObject(filename="grüße.html", content_type="text/html", content=HTML))
        session.add(page)
        session.commit()
        page.copy = page.file
        session.commit()
    engine.dispose()
    assert page.copy is not None
    assert page.copy.backend_key == "s3"
    headers = fetched(bucket.sign(page.copy.path, SignRequest("GET", 60)))
    assert headers["content-disposition"] == "attachment; filename=\"gr__e.html\"; filename*=UTF-8''gr%C3%BC%C3%9Fe.html"


@pytest.mark.parametrize("name", ["html", "gif_that_is_a_script"])
def test_the_stored_type_is_the_served_one(docs: MemoryBackend, name: str) -> None:
    filename, content, claim, content_type, *_ = FILES[name]
    file = FileObject("docs", filename, content_type=claim, content=content).save()
    assert docs.head(file.path).content_type == content_type


def test_the_row_keeps_the_type_that_the_file_has() -> None:
    assert FileObject("docs", "a.html", content_type="text/html", content=b"<p>").save().content_type == "text/html"
