"""No text, whoever it is from, begins a new line in a header, nor a new parameter: ours, the store's, a signed URL's, nginx's.

``tests/http/test_safety.py`` and ``tests/ext/test_all_frameworks.py`` try filenames; here are the other ways in.
"""

from __future__ import annotations

from email.message import Message
from email.parser import HeaderParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from filerow import FileObject, storages
from filerow._paths import content_disposition
from filerow.backends._headers import encode_metadata, headers_of
from filerow.backends.base import PutOptions, SignRequest
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import FilerowError, FileValidationError, InvalidOptionError
from filerow.http import Reply, accelerate, answer, present, problem, redirect, serve
from tests.http.conftest import parts
from tests.security.hostile import INSIDE, SECRET, STRINGS, Store

LOCAL = pytest.mark.parametrize("store", ["local"], indirect=True)

INJECTIONS = {
    "crlf": "a\r\nX-Evil: 1",
    "lf": "a\nX-Evil: 1",
    "cr": "a\rX-Evil: 1",
    "two_lines": "a\r\n\r\n<script>alert(1)</script>",
    "folded": "a\r\n X-Evil: 1",
    "nul": "a\0b",
    "vertical_tab": "a\x0bX-Evil: 1",
    "next_line": "a\x85X-Evil: 1",
    "line_separator": "a\u2028X-Evil: 1",
    "latin_cr_lf": "a\u010d\u010aX-Evil: 1",  # whose lower bytes are CR and LF
    "wide_cr_lf": "a\uff0d\uff0aX-Evil: 1",
    "quote": 'a"; filename="evil.html',
    "backslash_quote": 'a\\"; filename=evil.html; x="',
    "semicolon": "a; filename=evil.html",
    "extended": "a; filename*=UTF-8''evil.html",
    "percent": "a%0d%0aX-Evil:%201",
    "encoded_word": "=?utf-8?b?Li4vZXZpbA==?=",
    "comma": "a, b",
    "non_ascii": "grüße 🐈",
    "surrogate": "a\udc0d\udc0ab",
    "long": "a" * 100_000,
}


def check_headers(reply: Reply) -> None:
    for name, value in reply.headers:
        assert name == name.lower()
        assert value.isascii()
        assert value.isprintable(), (name, value)
        assert len(value) < 8000, name
    assert len(dict(reply.headers)) == len(reply.headers)
    assert "x-evil" not in dict(reply.headers)
    message = HeaderParser(policy=HTTP).parsestr("".join(f"{name}: {value}\r\n" for name, value in reply.headers) + "\r\n")
    assert message.keys() == [name for name, _ in reply.headers]
    assert message.get_payload() == ""


def filename_in(disposition: str) -> str:
    message = Message()
    message["content-disposition"] = disposition
    return message.get_filename() or ""


@LOCAL
@pytest.mark.parametrize("name", [*INJECTIONS, *STRINGS])
def test_no_fact_of_a_file_begins_a_header(store: Store, name: str) -> None:
    text = INJECTIONS.get(name) or store.string(name)
    store.backend.put("inside", INSIDE)
    whole: dict[str, Any] = {"v": 1, "backend": "docs", "path": "inside", "size": len(INSIDE), "filename": "a.txt"}
    for changed in (
        {"filename": text},
        {"content_type": text},
        {"content_type": f"image/{text}"},
        {"etag": text},
        {"checksum": text},
    ):
        file = FileObject.from_dict({**whole, **changed, "metadata": {text: text}})
        for given in ({}, {"download_as": text or None}, {"inline": True}):
            for reply in (serve(file, **given), accelerate(file, **given), redirect(file, **{"inline": False, **given})):
                check_headers(reply)
            check_headers(answer("GET", *parts(file.sign(**{"inline": False, **given}))))


@LOCAL
def test_no_path_begins_a_header(store: Store) -> None:
    assert isinstance(store.backend, LocalBackend)
    for number, text in enumerate(text for name, text in INJECTIONS.items() if name not in {"long", "surrogate", "nul"}):
        path = f"old/{number}{text}".replace("/ ", "/")
        place = store.backend.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(INSIDE)
        file = FileObject.from_dict({"backend": "docs", "filename": path})
        for header in ("X-Accel-Redirect", "X-Sendfile"):
            reply = accelerate(file, header=header)  # type: ignore[arg-type]
            check_headers(reply)
            said = unquote(str(reply.header(header)))
            assert said == (f"/protected/{path}" if header == "X-Accel-Redirect" else str(place))
        check_headers(serve(file))
        check_headers(redirect(file))


@pytest.mark.parametrize("name", INJECTIONS)
def test_disposition_has_one_filename_the_cleaned_one(name: str) -> None:
    value = content_disposition(INJECTIONS[name])
    assert value.isascii()
    assert value.isprintable()
    message = Message()
    message["content-disposition"] = value
    assert message.get_content_disposition() == "attachment"
    names = [name for name, _ in message.get_params(header="content-disposition") or ()]
    assert names in (["attachment", "filename"], ["attachment", "filename", "filename"])  # the second is "filename*"
    found = filename_in(value)
    assert found
    assert not set(found) & set("\r\n\0\u2028\x85")


@pytest.mark.parametrize("name", INJECTIONS)
def test_what_is_stored_with_an_object_is_a_header_or_refused(name: str) -> None:
    text = INJECTIONS[name]
    kind, disposition = present(text, text)
    assert headers_of(PutOptions(kind, disposition), backend="docs", path="a")
    for options in (PutOptions(content_type=text), PutOptions(content_disposition=text), PutOptions(cache_control=text)):
        try:
            found = headers_of(options, backend="docs", path="a")
        except InvalidOptionError:
            continue
        assert all(value.isascii() and value.isprintable() for value in found.values())
    for metadata in ({"k": text}, {text: "v"}, {f"x-{text}": text}):
        found = encode_metadata(metadata, backend="docs", path="a")
        assert all(key.isascii() and key.isprintable() and ":" not in key for key in found)
        assert all(value.isascii() and value.isprintable() for value in found.values())


@LOCAL
def test_a_signed_url_is_one_line_and_binds_the_cleaned_name(store: Store) -> None:
    s3 = ObstoreBackend(
        "s3", "s3://bucket/pre", aws_access_key_id="AKID", aws_secret_access_key="made-up-for-tests", aws_region="x"
    )
    storages.register_backend(s3)
    for key, text in ((key, text) for key in ("docs", "s3") for text in INJECTIONS.values()):
        file = FileObject.from_dict({"v": 1, "backend": key, "path": "inside", "filename": text, "content_type": text})
        for url in (file.sign(download_as=text), file.sign(inline=True), file.sign()):
            assert url.isascii()
            assert url.isprintable()
            assert " " not in url
            values = parse_qs(urlsplit(url).query).values()
            assert all(len(one) == 1 and one[0].isprintable() for one in values)
        with pytest.raises((FilerowError, ValueError)):
            storages.get_backend(key).sign("inside", SignRequest("GET", 60, content_type="image/png\r\nX-Evil: 1"))


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_problem_document_has_no_text_in_its_headers(name: str) -> None:
    text = INJECTIONS[name]
    reply = problem(FileValidationError(text, field=text, limit=text, actual=text))
    check_headers(reply)


@LOCAL
@pytest.mark.parametrize("framework", ["starlette", "fastapi", "litestar", "flask"])
def test_a_framework_hands_on_the_headers_as_they_are(store: Store, framework: str) -> None:
    from tests.security.raw_requests import request

    store.backend.put("inside", INSIDE)
    for text in INJECTIONS.values():
        file = FileObject.from_dict({"v": 1, "backend": "docs", "path": "inside", "filename": text, "content_type": text})
        url = urlsplit(file.sign(download_as=text))
        status, headers, body = request(framework, "GET", url.path, url.query.encode())
        assert (status, body) == (200, INSIDE)
        assert all(value.isascii() and value.decode().isprintable() for _, value in headers)
        assert [name.lower() for name, _ in headers].count(b"content-disposition") == 1
        assert b"x-evil" not in {name.lower() for name, _ in headers}
    assert SECRET.encode() not in repr(headers).encode()
