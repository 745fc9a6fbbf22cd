"""What a column demands of its files, and which type a file is believed to have."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from filerow import FileObject, StoredObject
from filerow.exceptions import ContentTypeError, FilerowError, FileTooLargeError, FileTooSmallError, FileValidationError
from tests.file.rows import stored_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.file.conftest import WatchedBackend

HTML = b"<!DOCTYPE html><script>alert(1)</script>"
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
ZIP = b"PK\x03\x04" + bytes(60)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(40)


def a_png() -> bytes:
    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\0\0")) + part(b"IEND", b"")


PNG = a_png()

# -- sizes ---------------------------------------------------------------------------------------------------------------

SIZES: dict[Any, int | None] = {
    None: None, 0: 0, 5: 5, "0": 0, "5": 5, "5 B": 5, "5b": 5, "1k": 1000, "1 KB": 1000, "1kb": 1000, "1 KiB": 1024, "1Ki": 1024,
    "25 MB": 25_000_000, "25 MiB": 25 << 20, "1.5 GB": 1_500_000_000, "2 GiB": 2 << 30, "1 TB": 10**12, " 1 tib ": 1 << 40,
    "0.1 MB": 100_000, "4.35 MB": 4_350_000,
}  # fmt: skip


@pytest.mark.parametrize(("text", "size"), SIZES.items(), ids=repr)
def test_sizes_are_read_in_decimal_and_binary_units(text: Any, size: int | None) -> None:
    assert StoredObject(max_size=text).max_size == size


@pytest.mark.parametrize(
    "wrong",
    ["", "MB", "five MB", "-1", -1, "1 XB", "1 MB MB", "1,000", "5 i", "5 ib", "1e3", True, 1.5, b"1", [], "1 MBit"],
    ids=repr,
)
def test_other_sizes_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="max_size"):
        StoredObject(max_size=wrong)


# -- types ---------------------------------------------------------------------------------------------------------------

TYPES: list[tuple[bytes, str | None, str, str]] = [
    # what the bytes prove wins over claim and name
    (PNG, None, "cat.png", "image/png"),
    (PNG, "text/plain", "cat.txt", "image/png"),
    (PDF, "text/html", "x.html", "application/pdf"),
    (JPEG, "image/png", "cat.png", "image/jpeg"),
    (ZIP, None, "x", "application/zip"),
    # where they prove nothing, the claim is a hint
    (b"hello", "text/markdown", "x.txt", "text/markdown"),
    (b"hello", "Text/Markdown; charset=utf-8", "x.txt", "text/markdown"),
    # and after it the name
    (b"hello", None, "x.txt", "text/plain"),
    (b"hello", "application/octet-stream", "x.txt", "text/plain"),
    (b"hello", "not a type", "x.txt", "text/plain"),
    (b"hello", "text/html\r\nX-Evil: 1", "x.txt", "text/plain"),
    (b"hello", "", "x.TXT", "text/plain"),
    (b"hello", None, "x", "application/octet-stream"),
    (b"", None, "x", "application/octet-stream"),
    (b"", None, "x.csv", "text/csv"),
]


@pytest.mark.parametrize(("head", "claim", "filename", "expected"), TYPES)
def test_a_file_s_type_is_what_its_bytes_prove(head: bytes, claim: str | None, filename: str, expected: str) -> None:
    file = FileObject("docs", filename, content_type=claim, content=head).save()
    assert file.content_type == expected
    assert file.backend.head(file.path).content_type == expected


def test_nothing_is_proven_by_text() -> None:
    for head in (b"", b"hello", HTML, b"<?xml version='1.0'?><x/>", b"#!/bin/sh"):
        assert FileObject("docs", content_type="x/claimed", content=head).save().content_type == "x/claimed"


# -- rules ---------------------------------------------------------------------------------------------------------------


def upload(kind: StoredObject, content: bytes, filename: str, claim: str | None = None) -> str:
    return stored_by(kind, FileObject("docs", filename, content_type=claim, content=content)).content_type


IMAGES = StoredObject("docs", content_types=["image/*"])

ALLOWED = [
    (("image/*",), PNG, "cat.txt", "text/plain"),
    (("image/png", "image/jpeg"), JPEG, "cat", None),
    (("text/*",), b"hello", "x.txt", None),
    (("image/svg+xml",), SVG, "x.svg", "image/svg+xml"),
    (("*/*",), b"\0\1", "x", None),
    ((), HTML, "x.html", None),
]


@pytest.mark.parametrize(("allowed", "content", "filename", "claim"), ALLOWED)
def test_types_that_match_are_stored(
    allowed: tuple[str, ...], content: bytes, filename: str, claim: str | None, docs: WatchedBackend
) -> None:
    upload(StoredObject("docs", content_types=allowed), content, filename, claim)
    assert len(docs.paths) == 1


REFUSED = [
    (HTML, "cat.png", None, "first bytes are not"),
    (HTML, "cat.png", "image/png", "first bytes are not"),
    (HTML, "cat.html", "image/png", "first bytes are not"),
    (PDF, "cat.png", "image/png", "it is application/pdf"),
    (b"hello", "cat.txt", None, "it is text/plain"),
    (b"", "cat.png", "image/png", "first bytes are not"),
]


@pytest.mark.parametrize(("content", "filename", "claim", "reason"), REFUSED)
def test_types_only_the_client_vouches_for_are_refused_early(
    content: bytes, filename: str, claim: str | None, reason: str, docs: WatchedBackend
) -> None:
    with pytest.raises(ContentTypeError, match=reason) as refused:
        upload(IMAGES, content, filename, claim)
    assert docs.puts == []
    assert refused.value.field == "photo"
    assert refused.value.limit == ("image/*",)
    assert refused.value.status_code == 415


def test_the_size_limit_is_the_last_byte_allowed() -> None:
    upload(StoredObject("docs", max_size=5), b"12345", "x")
    with pytest.raises(FileTooLargeError, match="5 bytes allowed") as refused:
        upload(StoredObject("docs", max_size=5), b"123456", "big.bin")
    assert isinstance(refused.value, FileValidationError | FilerowError | ValueError)
    assert (refused.value.limit, refused.value.actual, refused.value.status_code) == (5, 6, 413)
    assert "'big.bin'" in str(refused.value)
    assert upload(StoredObject("docs", max_size=0), b"", "x") == "application/octet-stream"


def pieces(*parts: bytes) -> Iterator[bytes]:
    yield from parts


LITTLE: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"1234",
    "nothing": lambda: b"",
    "file": lambda: io.BytesIO(b"1234"),
    "stream": lambda: pieces(b"12", b"34"),
    "empty stream": pieces,
}


@pytest.mark.parametrize("kind", LITTLE)
def test_fewer_bytes_than_needed_are_refused_and_nothing_is_left(kind: str, docs: WatchedBackend) -> None:
    column = StoredObject("docs", min_size=5)
    with pytest.raises(FileTooSmallError, match="fewer than the 5 that are needed") as refused:
        stored_by(column, FileObject("docs", "little.bin", content=LITTLE[kind]()))
    assert (refused.value.limit, refused.value.field, refused.value.status_code) == (5, "photo", 422)
    assert list(docs.list()) == []
    for content in (b"12345", pieces(b"123", b"45")):
        assert stored_by(column, FileObject("docs", "enough.bin", content=content)).size == 5


def test_a_smallest_size_is_a_number_of_bytes() -> None:
    assert StoredObject(min_size="1 KiB").min_size == 1024
    assert "min_size=1" in repr(StoredObject(min_size=1))
    for wrong in ("x", -1, True):
        with pytest.raises(ValueError, match="min_size is a number of bytes"):
            StoredObject(min_size=wrong)
    with pytest.raises(ValueError, match="no file could pass"):
        StoredObject(min_size=2, max_size=1)


def test_a_column_takes_its_rules_as_written() -> None:
    column = StoredObject(max_size="1 MB", content_types=["image/*", "application/pdf"])
    assert (column.max_size, column.content_types) == (1_000_000, ("image/*", "application/pdf"))
    with pytest.raises(TypeError, match=r"content_types=\['image/\*'\]"):
        StoredObject(content_types="image/*")


def test_types_are_compared_without_regard_to_case() -> None:
    upload(StoredObject("docs", content_types=["Image/PNG"]), PNG, "x.png")
