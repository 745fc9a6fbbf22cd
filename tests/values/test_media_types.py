"""The table of media types: aliases, families, what is shown; and containers, which are looked into within bounds."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filerow import FileObject, StoredObject
from filerow._media_types import canonical, claimed_type, is_signed, known_names, may_be_called
from filerow._validation.types import recognised, sniff
from filerow.exceptions import ContentTypeError
from tests.corpus import FILES, samples

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


# -- names -----------------------------------------------------------------------------------------------------------------

ALIASES = {
    "audio/x-wav": "audio/wav", "audio/wave": "audio/wav", "audio/vnd.wave": "audio/wav", "audio/x-flac": "audio/flac",
    "image/jpg": "image/jpeg", "audio/mp3": "audio/mpeg", "application/x-gzip": "application/gzip",
    "application/x-zip-compressed": "application/zip", "text/rtf": "application/rtf", "application/font-woff": "font/woff",
    "application/x-font-ttf": "font/ttf", "video/x-matroska": "video/matroska", "audio/x-m4a": "audio/mp4",
    "application/xml": "text/xml", "image/vnd.microsoft.icon": "image/x-icon",
}  # fmt: skip


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_and_its_type_are_one_for_rules(alias: str, name: str) -> None:
    assert canonical(alias) == canonical(name) == name
    column = StoredObject(content_types=[alias, name])
    assert column.content_types == (name,)
    assert f"content_types=['{name}']" in repr(column)


def test_no_canonical_name_is_an_alias() -> None:
    for name in known_names() | recognised():
        assert canonical(canonical(name)) == canonical(name)
    for name in recognised():
        assert canonical(name) == name


def test_a_stored_document_shows_its_type_by_the_canonical_name() -> None:
    assert FileObject("docs", "a.wav", content_type="audio/x-wav", content=b"x").content_type == "audio/wav"
    assert FileObject("docs", "a.mkv", content=b"x").content_type == "video/matroska"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("images/*", "image/*"), ("png", "image/png"), (".png", "image/png"), ("image/jpgg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("pdf", "application/pdf"), (".docx", DOCX), ("vidoe/*", "video/*"), ("audio/mpeg3000", "audio/mpeg"),
        ("image", "image/*"),
        ("font/woff3", "font/woff"), ("imag/png", "image/png"), ("image/x-foo*", None), ("/png", "image/png"), ("image/", None),
        ("", None), ("aplication/pdf", "application/pdf"),
    ],
)  # fmt: skip
def test_a_rule_that_can_match_nothing_is_refused_at_the_declaration(wrong: str, right: str | None) -> None:
    with pytest.raises(ValueError, match="content_types takes media types") as refused:
        StoredObject(content_types=["image/png", wrong])
    assert repr(wrong) in str(refused.value)
    if right:
        assert f"did you mean {right!r}?" in str(refused.value)


@pytest.mark.parametrize(
    "kind",
    ["*/*", "*", "image/*", "application/vnd.oasis.opendocument.*", "application/x-anything", "text/x-log", "model/*", "*/png",
     "x-world/x-vrml", "chemical/x-pdb", "image/svg+xml", "application/*+zip", "Image/PNG"],
)  # fmt: skip
def test_other_types_and_patterns_are_taken(kind: str) -> None:
    assert StoredObject(content_types=[kind]).content_types == (kind.lower(),)


def test_every_type_of_the_corpus_can_be_named_in_a_rule() -> None:
    for sample in samples():
        assert StoredObject(content_types=[sample.type]).content_types == (sample.type,)


# -- what an upload may be announced as ------------------------------------------------------------------------------------


def test_what_is_announced_honestly_agrees_with_what_it_is() -> None:
    for sample in samples():
        assert may_be_called(claimed_type(sample.announced, sample.name), sample.type), sample


@pytest.mark.parametrize(
    ("announced", "actual"),
    [
        ("image/png", "image/jpeg"), ("image/png", "application/octet-stream"), ("image/png", "image/svg+xml"),
        ("text/plain", "text/html"),
        ("image/jpeg", "application/zip"), ("video/mp4", "text/html"), ("audio/mpeg", "application/pdf"),
        ("text/plain", "image/svg+xml"),
        ("application/pdf", "text/html"), ("font/woff", "text/javascript"), ("video/webm", "application/octet-stream"),
        ("application/x-anything", "text/html"), ("application/x-anything", "image/svg+xml"),
    ],
)  # fmt: skip
def test_no_family_holds_something_more_dangerous(announced: str, actual: str) -> None:
    assert not may_be_called(announced, actual)


# -- containers are looked into within bounds --------------------------------------------------------------------------------


class Counted:
    """Bytes of which a recogniser may see some."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads = self.given = 0

    def __call__(self, offset: int, size: int) -> bytes:
        assert offset >= 0
        self.reads += 1
        part = self.data[offset : offset + size]
        self.given += len(part)
        return part


def looked_at(data: bytes) -> str | None:
    counted = Counted(data)
    found = sniff(data[:8192], counted, len(data))
    assert counted.reads <= 40, counted.reads
    assert counted.given <= 2 << 20, counted.given
    return found


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


FTYP = box(b"ftyp", b"isom\0\0\0\0isom")
EBML = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
SEGMENT = b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff"
HTML = b"<!doctype html><script>alert(1)</script>"


def a_zip(members: dict[str, bytes], **options: Any) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


HOSTILE: dict[str, tuple[bytes, str | None]] = {
    # only what a track proves is sound
    "mp4_without_tracks": (FTYP + HTML, "video/mp4"),
    "webm_without_tracks": (EBML + SEGMENT + HTML, "video/webm"),
    "ebml_of_nothing": (b"\x1a\x45\xdf\xa3" + HTML, None),
    "ebml_of_another_kind": (EBML.replace(b"webm", b"html") + HTML, None),
    "moov_of_html": (box(b"moov", HTML), None),
    "mdat_of_html": (box(b"mdat", HTML), None),
    "wide_then_html": (box(b"wide") + HTML, None),
    "brand_of_html": (box(b"ftyp", b"html\0\0\0\0html") + HTML, None),
    # they end
    "mp4_of_small_boxes": (FTYP + box(b"free") * 500_000, "video/mp4"),
    "mp4_of_nested_tracks": (FTYP + box(b"moov", box(b"trak", box(b"mdia", box(b"free") * 9)) * 60_000), "video/mp4"),
    "mp4_of_far_boxes": (FTYP + box(b"free", bytes(1 << 20)) * 20, "video/mp4"),
    "webm_of_small_elements": (EBML + SEGMENT + b"\xec\x80" * 2_000_000, "video/webm"),
    "webm_of_tracks": (EBML + SEGMENT + b"\x16\x54\xae\x6b\x10\x7f\xff\xff" + b"\xae\x80" * 500_000, "video/webm"),
    "zip_of_many_members": (a_zip({f"a{n}": b"" for n in range(20_000)}), "application/zip"),
    "zip_without_directory": (b"PK\3\4" + bytes(1 << 20), "application/zip"),
    "zip_of_ends": (b"PK\3\4" + b"PK\5\6" * 200_000, "application/zip"),
    "zip_bomb_of_types": (
        a_zip({"[Content_Types].xml": bytes(5_000_000), "word/a.xml": b""}, compression=zipfile.ZIP_DEFLATED), DOCX,
    ),
    "ole_that_goes_in_circles": (OLE + bytes(22) + b"\x09\0" + bytes(1 << 20), "application/x-ole-storage"),
    # a page is no PDF, whatever it says further on
    "html_before_pdf": (HTML + b"%PDF-1.7\n", None),
    "script_before_pdf": (b"#!/bin/sh\n%PDF-1.7\n", None),
    "comment_before_pdf": (b"\xef\xbb\xbf<!-- %PDF-1.7", None),
    "pdf_too_late": (b"\n" * 1025 + b"%PDF-1.7\n", None),
    "pdf_after_newlines": (b"\n" * 1000 + b"%PDF-1.7\n", "application/pdf"),
    # a ZIP says what it is, and only of some types
    "mimetype_of_html": (a_zip({"mimetype": b"text/html"}), "application/zip"),
    "mimetype_of_svg": (a_zip({"mimetype": b"image/svg+xml"}), "application/zip"),
    "mimetype_with_more": (a_zip({"mimetype": b"application/epub+zip\ntext/html"}), "application/zip"),
    "types_of_html": (a_zip({"[Content_Types].xml": b'<a ContentType="text/html"/>'}), "application/zip"),
    "folder_of_word": (a_zip({"word/document.xml": b""}), "application/zip"),
    # letters are no signature
    "text_of_bitmap": (b"BM25 ranks documents" + HTML, None),
    "text_of_program": (b"MZ is two letters", None),
    "text_of_netpbm": (b"P5 is the fifth", None),
    "text_of_transport_stream": (b"GET / HTTP/1.1\r\n" * 100, None),
    "text_of_flash": (b"FWSX and other words", None),
    "utf_16_is_no_sound": ("GIF und Töne".encode("utf-16"), None),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_containers_are_what_they_prove_within_bounds(data: bytes, expected: str | None) -> None:
    assert looked_at(data) == expected


def test_html_in_a_container_is_no_recording() -> None:
    for data, name in (
        (FTYP + HTML, "a.mp4"),
        (EBML + SEGMENT + HTML, "a.webm"),
        (box(b"moov", HTML), "a.mov"),
        (HTML, "a.weba"),
    ):
        with pytest.raises(ContentTypeError):
            StoredObject(content_types=["audio/*"]).check(FileObject(filename=name, content_type="audio/webm", content=data))


def test_a_document_with_macros_is_no_document_without() -> None:
    docx = StoredObject(content_types=[DOCX])
    for name in ("document.docm", "macros-called.docx"):
        with pytest.raises(ContentTypeError, match="macroenabled"):
            docx.check(FileObject(filename="a.docx", content_type=DOCX, content=(FILES / name).read_bytes()))


def test_a_long_stream_is_judged_by_its_first_members() -> None:
    whole = (FILES / "document-custom-xml.docx").read_bytes()
    assert sniff(whole[:8192], lambda offset, size: whole[offset : offset + size], None) == DOCX
    film = (FILES / "sound-moov-last.mp4").read_bytes()
    assert sniff(film[:8192], lambda offset, size: film[:1000][offset : offset + size], None) == "video/mp4"


def test_bytes_before_a_zip_do_not_hide_what_it_is() -> None:
    moved = b"PK\3\4" + bytes(60) + (FILES / "document.docx").read_bytes()
    assert looked_at(moved) == DOCX


WHOLE = [sample.content for sample in samples()]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_bytes_have_a_type_of_the_table_or_none(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, max(0, min(len(damaged), 600) - 1)))
        damaged[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    found = looked_at(bytes(damaged))
    assert found is None or (canonical(found) == found and not found.startswith("text/"))
    if found and found.startswith(("image/", "audio/", "video/", "font/")):
        assert found in recognised()
        assert is_signed(found)
