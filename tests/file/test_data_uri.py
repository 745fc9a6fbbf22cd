"""Files from data URIs and base64."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filerow import FileObject
from filerow.exceptions import ContentError, FileTooLargeError


@pytest.mark.parametrize(
    ("uri", "content", "content_type"),
    [
        ("data:,A%20brief%20note", b"A brief note", "text/plain"),
        ("data:text/plain;charset=utf-8,%C3%A4", "ä".encode(), "text/plain"),
        ("data:text/plain;base64,aGk=", b"hi", "text/plain"),
        ("DATA:image/PNG;Base64,aGk", b"hi", "image/png"),
        ("data:;base64,aGk%3D", b"hi", "text/plain"),
        ("data:application/pdf;name=a%20b.pdf;base64,_-8=", b"\xff\xef", "application/pdf"),
        ("data:image/svg+xml,<svg/>", b"<svg/>", "image/svg+xml"),
        ("data:text/plain,a,b;base64", b"a,b;base64", "text/plain"),
        ("data:text/plain;base64,aG\nk=", b"hi", "text/plain"),
    ],
)
def test_data_uri_becomes_a_pending_file(uri: str, content: bytes, content_type: str) -> None:
    file = FileObject.from_data_uri(uri, metadata={"a": 1})
    assert (file.get_content(), file.content_type, file.metadata) == (content, content_type, {"a": 1})


@pytest.mark.parametrize("sent", [None, 3, 10**11, True, 1.5, [104, 105], {"a": 1}])
def test_other_values_of_json_are_refused_in_no_time(sent: Any) -> None:
    """A number would be taken for the number of bytes to make."""
    for read, what in (
        (FileObject.from_base64, "base64 is text or bytes, not"),
        (FileObject.from_data_uri, "a data URI is text"),
    ):
        with pytest.raises(ContentError, match=what):
            read(sent)


def test_data_uri_is_not_taken_for_base64() -> None:
    with pytest.raises(ContentError, match="from_data_uri"):
        FileObject.from_base64("data:image/png;base64,aGk=")
    with pytest.raises(FileTooLargeError):
        FileObject.from_base64(b" " * 10_000, max_size=100)


def test_data_uri_may_name_its_file() -> None:
    uri = "data:text/plain;name=a%20b.txt;base64,aGk="
    assert FileObject.from_data_uri(uri).filename == "a b.txt"
    assert FileObject.from_data_uri(uri, filename="c.txt").filename == "c.txt"
    assert FileObject.from_data_uri("data:text/plain;name=..%2F..%2Fpasswd,x").filename == "passwd"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://example.com/", "begins with 'data:'"),
        ("", "begins with 'data:'"),
        ("data:text/plain", "has a comma"),
        ("data:" + "a" * 2000 + ",x", "has a comma"),
        ("data:nonsense,x", "type/subtype"),
        ("data:text/<script>,x", "type/subtype"),
        ("data:,100%", "not a percent-encoded byte"),
        ("data:,ä", "is ASCII"),
        ("data:;base64,a", "not base64"),
        ("data:;base64,a!bc", "not base64"),
    ],
)
def test_what_is_not_a_data_uri_is_refused(text: str, message: str) -> None:
    with pytest.raises(ContentError, match=message) as caught:
        FileObject.from_data_uri(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("form", ["data:;base64,{}", "data:,{}", "{}"])
def test_text_is_limited_before_it_is_decoded(form: str) -> None:
    data = b"x" * 1000
    text = form.format(base64.b64encode(data).decode() if "data:," not in form else data.decode())
    read = FileObject.from_base64 if form == "{}" else FileObject.from_data_uri
    assert len(read(text, max_size=1000).get_content()) == 1000
    with pytest.raises(FileTooLargeError, match="max_size is 999"):
        read(text, max_size=999)
    with pytest.raises(FileTooLargeError):
        read(form.format("a" * 100_000), max_size="1 kB")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=100))
def test_all_bytes_survive_both_forms(data: bytes) -> None:
    for text in (base64.b64encode(data), base64.urlsafe_b64encode(data).rstrip(b"=")):
        assert FileObject.from_base64(text).get_content() == data
    percent = "".join(f"%{byte:02x}" for byte in data)
    assert FileObject.from_data_uri(f"data:,{percent}", max_size=len(data)).get_content() == data
