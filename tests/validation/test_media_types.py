"""The table of media types: aliases, families, what is shown; and containers, which are looked into within bounds."""

from __future__ import annotations

import io
import mimetypes
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filerow import FileObject, StoredObject
from filerow._media_types import by_extension, canonical, claimed_type, is_signed, known_names, may_be_called
from filerow._validation.types import is_announced_honestly, recognised, sniff
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
    # an "x-" before a registered name
    "image/x-gif": "image/gif", "image/x-jpeg": "image/jpeg", "image/x-jpg": "image/jpeg", "image/x-webp": "image/webp",
    "video/x-webm": "video/webm", "audio/x-webm": "audio/webm", "image/x-heic": "image/heic", "image/x-svg+xml": "image/svg+xml",
    "audio/x-opus+ogg": "audio/ogg", "audio/x-flac+ogg": "audio/ogg", "application/x-ogg": "application/ogg",
    "text/json": "application/json", "text/x-json": "application/json", "text/tsv": "text/tab-separated-values",
    "multipart/x-zip": "application/zip", "application/x-epub+zip": "application/epub+zip", "image/dng": "image/x-adobe-dng",
    "audio/m4b": "audio/mp4", "audio/mka": "audio/matroska", "audio/mp2": "audio/mpeg", "audio/aifc": "audio/aiff",
    "application/tgz": "application/gzip", "application/x-gz": "application/gzip",
    "application/sqlite": "application/vnd.sqlite3",
    "application/ms-excel": "application/vnd.ms-excel", "application/parquet": "application/vnd.apache.parquet",
    "text/x-tab-separated-values": "text/tab-separated-values",
    "application/wps-office.docx": DOCX, "application/kset": "application/vnd.ms-excel",
    "application/kswps": "application/msword",
    "application/jsonl": "application/x-ndjson", "application/ndjson": "application/x-ndjson", "text/toml": "application/toml",
    "application/x-sql": "application/sql", "application/vnd.ms-access": "application/x-msaccess",
    "application/x-xz-compressed-tar": "application/x-xz", "image/nef": "image/x-nikon-nef",
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
        # only an SVG would match it, which a pattern must name; and what is not recognised
        ("image/s*", "image/svg+xml"), ("image/x-tga", None), ("image/x-cion", "image/x-icon"),
        # parameters are not part of a rule, and one text is one rule
        ("text/plain; charset=utf-8", "text/plain"), ("audio/webm;codecs=opus", "audio/webm"), ("video/*;q=1", "video/*"),
        ("image/jpg; q=0.9", "image/jpeg"), ("text/csv, application/json", None), ("application/x foo", None),
        # what neither bytes nor a browser call so
        ("application/pfd", "application/pdf"), ("application/pdfs", "application/pdf"), ("application/docx", DOCX),
        ("text/cvs", "text/csv"), ("text/csvs", "text/csv"), ("application/jpg", "image/jpeg"), ("text/png", "image/png"),
        ("application/mp3", "audio/mpeg"), ("text/jpg", "image/jpeg"), ("text/pain", "text/plain"), ("text/md", "text/markdown"),
        ("application/image", "image/*"), ("application/jsn", "application/json"), ("text/markdwon", "text/markdown"),
        ("application/octetstream", "application/octet-stream"), ("text/pdfs", None), ("application/zips", "application/zip"),
        ("application/zipp", "application/zip"), ("application/vnd.openxmlformats", "application/vnd.openxmlformats*"),
        ("application/vnd.openxmlformats-officedocument", "application/vnd.openxmlformats-officedocument*"),
        # the bytes of such files prove another name
        ("application/odt", "application/vnd.oasis.opendocument.text"),
        ("application/deb", "application/vnd.debian.binary-package"),
        ("application/x-odt", "application/vnd.oasis.opendocument.text"), ("application/dcm", "application/dicom"),
        ("application/x-docx", DOCX), ("text/ods", "application/vnd.oasis.opendocument.spreadsheet"),
        ("application/msg", "application/vnd.ms-outlook"), ("application/glb", "model/gltf-binary"),
    ],
)  # fmt: skip
def test_rule_that_can_match_nothing_is_refused_when_declared(wrong: str, right: str | None) -> None:
    with pytest.raises(ValueError, match="content_types takes media types") as refused:
        StoredObject(content_types=["image/png", wrong])
    assert repr(wrong) in str(refused.value)
    if right:
        assert f"did you mean {right!r}?" in str(refused.value)


@pytest.mark.parametrize(
    "kind",
    ["*/*", "*", "image/*", "application/vnd.oasis.opendocument.*", "application/x-anything", "text/x-log", "model/*", "*/png",
     "x-world/x-vrml", "chemical/x-pdb", "image/svg+xml", "application/*+zip", "Image/PNG",
     "text/css", "text/vtt", "text/calendar", "text/html", "application/xhtml+xml", "application/json5",
     "application/toml", "application/sql", "application/xfdf", "application/rdf+xml", "application/dicom", "model/stl",
     "application/aml", "application/x-font",
     "application/vnd.acme.report", "message/rfc822", "application/x-pdff", "text/troff", "application/ld+json"],
)  # fmt: skip
def test_other_types_and_patterns_are_taken(kind: str) -> None:
    assert StoredObject(content_types=[kind]).content_types == (kind.lower(),)


@pytest.mark.parametrize("pattern", ["image/*", "image/**", "image*", "i*", "im?ge/*", "*/s*", "[a-z]*/*", "*ge/*"])
def test_only_explicit_or_catch_all_patterns_take_an_svg(pattern: str) -> None:
    svg = FileObject(filename="a.svg", content=b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    with pytest.raises(ContentTypeError, match="svg"):
        StoredObject(content_types=[pattern]).check(svg)
    for named in ("image/svg*", "*/svg+xml", "*/*", "*", "image/svg"):
        assert StoredObject(content_types=[named]).check(svg).content_type == "image/svg+xml"


def test_every_type_of_the_corpus_can_be_named_in_a_rule() -> None:
    for sample in samples():
        assert StoredObject(content_types=[sample.type]).content_types == (sample.type,)


# -- what an upload may be announced as ------------------------------------------------------------------------------------


def test_what_is_announced_honestly_agrees_with_what_it_is() -> None:
    for sample in samples():
        assert is_announced_honestly(claimed_type(sample.announced, sample.name), sample.type) is not sample.poses, sample


def test_a_browser_that_knows_no_better_calls_a_document_a_zip() -> None:
    for sample in samples():
        if sample.content.startswith(b"PK\3\4"):
            assert may_be_called("application/zip", sample.type), sample.name
            rules = StoredObject(content_types=[sample.type]).rules("")
            rules.check_announced("application/x-zip-compressed")
    assert not may_be_called("application/zip", "application/pdf")
    with pytest.raises(ContentTypeError):
        StoredObject(content_types=["image/png"]).rules("").check_announced("application/zip")


@pytest.mark.parametrize(
    ("announced", "actual"),
    [
        ("image/png", "image/jpeg"), ("image/png", "application/octet-stream"), ("image/png", "image/svg+xml"),
        ("text/plain", "text/html"),
        ("image/jpeg", "application/zip"), ("video/mp4", "text/html"), ("audio/mpeg", "application/pdf"),
        ("text/plain", "image/svg+xml"),
        ("application/pdf", "text/html"), ("font/woff", "text/javascript"), ("video/webm", "application/octet-stream"),
        ("application/x-anything", "text/html"), ("application/x-anything", "image/svg+xml"),
        ("image/x-anything", "image/svg+xml"), ("image/x-anything", "application/gzip"), ("image/svg+xml", "application/zip"),
        ("image/png", "application/gzip"), ("application/gzip", "image/svg+xml"),
    ],
)  # fmt: skip
def test_no_family_holds_something_more_dangerous(announced: str, actual: str) -> None:
    assert not is_announced_honestly(announced, actual)


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


def old_tar(name: bytes) -> bytes:
    """Return a tar as ``tar --format=v7`` writes it, with one file."""
    fields = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"00000000006\0" + b"14731512345\0"
    rest = b"\0" * (512 - len(fields) - 8)
    return fields + b"%06o\0 " % (sum(fields) + 8 * 32 + sum(rest)) + rest + b"hello\n".ljust(10_240 - 512, b"\0")


HOSTILE: dict[str, tuple[bytes | Callable[[], bytes], str | None]] = {
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
    "zip_of_many_members": (lambda: a_zip({f"a{n}": b"" for n in range(20_000)}), "application/zip"),  # a second to make
    "tar_of_unix_v7": (old_tar(b"a.txt"), "application/x-tar"),
    "tar_with_a_wrong_sum": (old_tar(b"a.txt")[:600].replace(b"a.txt", b"b.txt"), None),
    "page_with_the_sum_of_a_tar": (old_tar(HTML), "application/x-tar"),
    "zip_without_directory": (b"PK\3\4" + bytes(1 << 20), "application/zip"),
    "zip_of_ends": (b"PK\3\4" + b"PK\5\6" * 200_000, "application/zip"),
    "zip_bomb_of_types": (
        a_zip({"[Content_Types].xml": bytes(5_000_000), "word/a.xml": b""}, compression=zipfile.ZIP_DEFLATED), DOCX,
    ),
    "ole_that_goes_in_circles": (OLE + bytes(22) + b"\x09\0" + bytes(1 << 20), "application/x-ole-storage"),
    # a page is not a PDF, whatever it says further on
    "html_before_pdf": (HTML + b"%PDF-1.7\n", None),
    "script_before_pdf": (b"#!/bin/sh\n%PDF-1.7\n", None),
    "comment_before_pdf": (b"\xef\xbb\xbf<!-- %PDF-1.7", None),
    "code_before_pdf": (b"alert(1)//%PDF-1.7\n", None),
    "code_on_a_line_before_pdf": (b"x = 1;\n%PDF-1.7\n", None),
    "code_after_blanks_before_pdf": (b"\xef\xbb\xbf\r\n `%PDF-1.7\n", None),
    "code_with_a_nul_before_pdf": (b"/*\0*/alert(1)//%PDF-1.7\n", None),
    "call_before_pdf": (b"alert(1)\n%PDF-1.7\n", None),
    "words_before_pdf": (b"Content-Type: application/pdf\r\n\r\n%PDF-1.7\n", "application/pdf"),
    "mark_before_pdf": (b"\xef\xbb\xbf%PDF-1.7\n", "application/pdf"),
    "job_before_pdf": (b'\x1b%-12345X@PJL SET A=1\r\n@PJL JOB NAME="a (1)"\r\n%PDF-1.7\n', "application/pdf"),
    "binary_before_pdf": (b"\0\x05a.pdf(1);=%PDF-1.7\n", "application/pdf"),
    "postscript_before_pdf": (b"%!comment (1)\n%PDF-1.7\n", "application/pdf"),
    "pdf_too_late": (b"\n" * 1025 + b"%PDF-1.7\n", None),
    "pdf_after_newlines": (b"\n" * 1000 + b"%PDF-1.7\n", "application/pdf"),
    # a ZIP says what it is, and only of some types
    "mimetype_of_html": (a_zip({"mimetype": b"text/html"}), "application/zip"),
    "mimetype_of_svg": (a_zip({"mimetype": b"image/svg+xml"}), "application/zip"),
    "mimetype_with_more": (a_zip({"mimetype": b"application/epub+zip\ntext/html"}), "application/zip"),
    "types_of_html": (a_zip({"[Content_Types].xml": b'<a ContentType="text/html"/>'}), "application/zip"),
    "folder_of_word": (a_zip({"word/document.xml": b""}), "application/zip"),
    # letters are not a signature
    "text_of_bitmap": (b"BM25 ranks documents" + HTML, None),
    "text_of_program": (b"MZ is two letters", None),
    "text_of_netpbm": (b"P5 is the fifth", None),
    "text_of_transport_stream": (b"GET / HTTP/1.1\r\n" * 100, None),
    "text_of_flash": (b"FWSX and other words", None),
    "text_of_a_box": (b"<!--ftypheic--><script>alert(1)</script>", None),
    "text_of_a_brand": (b"<b>aftypavif" + HTML, None),
    "text_of_a_film": (b"/*aaftypisom*/alert(1)", None),
    "text_of_riff": (b"RIFF/*aaWEBP*/=1;alert(1)", None),
    "text_of_a_form": (b"FORM=1;aILBM;alert(1)", None),
    "text_of_aiff": (b"FORM/*aaAIFF*/=1;alert(1)", None),
    "text_of_amr": (b"#!AMR\n" + HTML, None),
    "text_of_djvu": (b"AT&TFORM" + HTML, None),
    "text_of_plain_netpbm": (b"P1 1 1 " + HTML, None),
    "text_of_netpbm_in_a_comment": (b"P2\n# " + HTML + b"\n1 1 255 1", None),
    "text_of_pam": (b"P7\nWIDTH 1\nDEPTH 1\n# " + HTML + b"\nENDHDR\n", None),
    "text_of_loas": (b"V\xe0\x09 la plage." + b"V\xe0\x09 la plage." + HTML, None),
    "frames_of_loas_that_do_not_follow": (b"V\xe0\x02\0\0" + HTML, None),
    "one_block_of_dv": (b"\x1f\x07\0\xbf" + HTML * 9, None),
    "start_code_alone": (b"\0\0\0\1" + HTML, None),
    "start_code_of_another_unit": (b"\0\0\0\1\x65" + HTML, None),
    "one_set_of_parameters_alone": (b"\0\0\0\1\x67\x42" + HTML, None),
    "one_set_of_parameters_of_h265": (b"\0\0\0\1\x40\1\x0c" + HTML, None),
    "start_code_of_no_profile": (b"\0\0\0\1\x67<" + HTML, None),
    "letters_of_wave64": (b"riff.=1;alert(1)" + HTML, None),
    "utf_16_is_no_sound": ("GIF und Töne".encode("utf-16"), None),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_containers_are_what_they_prove_within_bounds(data: bytes | Callable[[], bytes], expected: str | None) -> None:
    assert looked_at(data() if callable(data) else data) == expected


def track(handler: bytes) -> bytes:
    return box(b"trak", box(b"mdia", box(b"hdlr", bytes(8) + handler + bytes(12))))


def asf(*kinds: str, before: int = 0) -> bytes:
    """Return an ASF header: an object of ``before`` bytes, and a stream of each kind."""
    objects = [bytes.fromhex("40a4d0d207e3d21197f000a0c95ea850") + struct.pack("<Q", 24 + before) + bytes(before)]
    stream = bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365") + struct.pack("<Q", 78)
    objects += [stream + bytes.fromhex(kind) + bytes(38) for kind in kinds]
    body = b"".join(objects)
    return bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + struct.pack("<QIH", 30 + len(body), len(objects), 0x0201) + body


SOUND, PICTURES = "409e69f84d5bcf11a8fd00805f5c442b", "c0ef19bc4d5bcf11a8fd00805f5c442b"
QT = box(b"ftyp", b"qt  \0\0\2\0qt  ")
LAYER_2 = (b"\xff\xfd\x80\x04" + bytes(413)) * 3  # 44.1 kHz, 128 kbit/s

RECORDED: dict[str, tuple[bytes, str]] = {
    "sound_of_quicktime": (QT + box(b"moov", track(b"soun")), "audio/quicktime"),
    "film_of_quicktime": (QT + box(b"moov", track(b"soun") + track(b"vide")), "video/quicktime"),
    "quicktime_of_which_no_track_is_seen": (QT, "video/quicktime"),
    "sound_of_quicktime_without_ftyp": (box(b"wide") + box(b"mdat", bytes(9)) + box(b"moov", track(b"soun")), "audio/quicktime"),
    "sound_of_another_brand": (box(b"ftyp", b"isml\0\0\2\0piff") + box(b"moov", track(b"soun")), "audio/mp4"),
    "film_of_an_unknown_brand": (box(b"ftyp", b"zzzz\0\0\0\0zzzz") + box(b"moov", track(b"vide")), "video/mp4"),
    "sound_of_layer_2": (LAYER_2, "audio/mpeg"),
    "broadcast_wave": (b"BW64\xff\xff\xff\xffWAVEds64" + bytes(40), "audio/wav"),
    "windows_sound": (asf(SOUND), "audio/x-ms-wma"),
    "windows_film": (asf(SOUND, PICTURES), "video/x-ms-wmv"),
    "windows_sound_behind_a_cover": (asf(SOUND, before=90_000), "audio/x-ms-wma"),
    "windows_film_behind_a_cover": (asf(SOUND, PICTURES, before=90_000), "video/x-ms-wmv"),
    "windows_media_of_neither": (asf(), "video/x-ms-asf"),
    "windows_media_that_names_a_film_in_its_tags": (asf(SOUND) + bytes.fromhex(PICTURES), "audio/x-ms-wma"),
}


@pytest.mark.parametrize(("data", "expected"), RECORDED.values(), ids=RECORDED)
def test_a_recording_is_sound_or_a_film_by_its_streams(data: bytes, expected: str) -> None:
    assert looked_at(data) == expected
    family = StoredObject(content_types=[f"{expected[:5]}/*"])
    assert family.check(FileObject(filename="a", content=data)).content_type == expected


CALLED = {
    # filename, what a browser calls it: what the file is
    ("a.csv", "application/vnd.ms-excel"): "text/csv", ("a.tsv", "application/vnd.ms-excel"): "text/tab-separated-values",
    ("a.tsv", ""): "text/tab-separated-values", ("a.tab", "application/octet-stream"): "text/tab-separated-values",
    ("a.log", "application/octet-stream"): "text/plain", ("a.md", ""): "text/markdown", ("a.markdown", ""): "text/markdown",
    ("a.json", ""): "application/json", ("a.json", "text/json"): "application/json", ("a.geojson", ""): "application/geo+json",
    ("a.ics", ""): "text/calendar", ("a.vcf", "text/x-vcard"): "text/vcard", ("a.vtt", ""): "text/vtt",
    ("a.txt", ""): "text/plain",
    ("a.csv", "application/kset"): "text/csv", ("a.csv", "image/*"): "text/csv",
    ("a.csv", "text/plain"): "text/csv", ("a.csv", "application/csv"): "text/csv", ("a.csv", "text/x-csv"): "text/csv",
    ("a.csv", "application/octet-stream"): "text/csv", ("a.csv", ""): "text/csv",
    ("a.tsv", "text/plain"): "text/tab-separated-values",
    ("a.csv", "text/comma-separated-values"): "text/csv", ("a.csv", "TEXT/CSV; charset=utf-8; header=present"): "text/csv",
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize(("called", "expected"), CALLED.items(), ids=[f"{name} as {claim}" for name, claim in CALLED])
def test_text_is_what_its_name_says_where_a_browser_does_not(called: tuple[str, str], expected: str, encoding: str) -> None:
    file = FileObject(filename=called[0], content_type=called[1], content="Größe;Maß\r\n1;2\r\n".encode(encoding))
    assert StoredObject(content_types=[expected]).check(file).content_type == expected


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a.jsonl", "application/x-ndjson"), ("a.ndjson", "application/x-ndjson"), ("a.toml", "application/toml"),
        ("a.sql", "application/sql"), ("a.srt", "application/x-subrip"), ("a.ass", "text/x-ssa"),
        ("a.gpx", "application/gpx+xml"),
        ("a.kml", "application/vnd.google-earth.kml+xml"), ("a.xml", "text/xml"), ("A.XML", "text/xml"), ("a.html", "text/html"),
        ("a.ipynb", "application/x-ipynb+json"), ("a.rst", "text/x-rst"), ("a.tex", "application/x-tex"),
        ("a.eml", "message/rfc822"),
        ("a.stl", "model/stl"), ("a.obj", "model/obj"), ("a.step", "model/step"), ("a.gltf", "model/gltf+json"),
        ("a.iso", "application/x-iso9660-image"), ("a.torrent", "application/x-bittorrent"), ("a.p12", "application/x-pkcs12"),
        ("a.js", "text/javascript"), ("a.ini", "text/plain"), ("a.ts", "application/octet-stream"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("claim", ["", "application/octet-stream"])
def test_a_name_means_the_same_type_on_every_machine(
    filename: str, expected: str, claim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = FileObject(filename=filename, content_type=claim, content=b"a text; or bytes\n")
    for tables in ([], ["/etc/mime.types"]):  # a container has none
        monkeypatch.setattr(mimetypes, "_db", mimetypes.MimeTypes(tables))
        by_extension.cache_clear()
        assert StoredObject().check(text).content_type == expected
        assert StoredObject(content_types=[expected]).check(text).content_type == expected


@pytest.mark.parametrize(
    ("announced", "actual"),
    [
        # Linux, by its shared-mime-info or /etc/mime.types
        ("application/x-xz-compressed-tar", "application/x-xz"), ("application/x-bzip-compressed-tar", "application/x-bzip2"),
        ("application/x-zstd-compressed-tar", "application/zstd"), ("application/illustrator", "application/pdf"),
        ("application/vnd.ms-access", "application/x-msaccess"), ("application/x-netcdf", "application/x-hdf5"),
        ("application/geopackage+sqlite3", "application/vnd.sqlite3"), ("application/vnd.comicbook-rar", "application/vnd.rar"),
        ("application/x-cb7", "application/x-7z-compressed"), ("application/x-blender", "application/zstd"),
        ("application/vnd.amazon.mobi8-ebook", "application/x-mobipocket-ebook"), ("audio/x-m4r", "audio/mp4"),
        ("audio/x-pn-realaudio", "application/vnd.rn-realmedia"), ("image/x-cmu-raster", "image/x-sun-raster"),
        ("image/vnd.djvu+multipage", "image/vnd.djvu"),
        ("application/x-msdos-program", "application/vnd.microsoft.portable-executable"),
        ("text/vnd.trolltech.linguist", "video/mp2t"), ("model/vnd.mts", "video/mp2t"), ("audio/sp-midi", "audio/midi"),
        ("application/vnd.oasis.opendocument.database", "application/vnd.oasis.opendocument.base"),
        ("application/x-font-type1", "application/postscript"), ("image/x-samsung-srw", "image/tiff"),
        # Chrome, Windows and macOS
        ("image/svg+xml", "application/gzip"), ("application/postscript", "application/pdf"),
        ("application/msaccess", "application/x-msaccess"),
        ("image/nef", "image/tiff"), ("image/x-nikon-nef", "image/tiff"), ("application/msonenote", "application/onenote"),
        ("application/x-webarchive", "application/x-bplist"),
        # what messengers call a voice note
        ("video/mpeg", "audio/mpeg"),
    ],
)  # fmt: skip
def test_machines_have_many_names_for_a_file(announced: str, actual: str) -> None:
    assert is_announced_honestly(claimed_type(announced, "a"), actual)


def test_html_in_a_container_is_not_a_recording() -> None:
    for data, name in (
        (FTYP + HTML, "a.mp4"),
        (EBML + SEGMENT + HTML, "a.webm"),
        (box(b"moov", HTML), "a.mov"),
        (HTML, "a.weba"),
    ):
        with pytest.raises(ContentTypeError):
            StoredObject(content_types=["audio/*"]).check(FileObject(filename=name, content_type="audio/webm", content=data))


def test_document_with_macros_does_not_pass_as_one_without() -> None:
    docx = StoredObject(content_types=[DOCX])
    for name in ("document.docm", "macros-called.docx"):
        with pytest.raises(ContentTypeError, match="macroenabled"):
            docx.check(FileObject(filename="a.docx", content_type=DOCX, content=(FILES / name).read_bytes()))


@pytest.mark.parametrize("kind", ["pages", "numbers", "keynote"])
@pytest.mark.parametrize("claim", ["", "{kind}", "application/zip"])
def test_a_document_of_apple_is_known_by_its_parts_and_its_name(kind: str, claim: str) -> None:
    document = a_zip({"preview.jpg": b"", "Index/Document.iwa": b"\0", "Metadata/Properties.plist": b""})
    name, wanted = f"a.{'key' if kind == 'keynote' else kind}", f"application/vnd.apple.{kind}"
    column = StoredObject(content_types=[wanted])
    given = wanted if claim == "{kind}" else claim
    if claim == "application/zip":  # by direct upload alone, where it is announced
        assert is_announced_honestly(claim, wanted)
        return
    assert column.check(FileObject(filename=name, content_type=given, content=document)).content_type == wanted
    assert StoredObject().check(FileObject(filename="a", content=document)).content_type == "application/x-iwork"
    for other in (a_zip({"a": b""}), b"-----BEGIN PRIVATE KEY-----", HTML):
        with pytest.raises(ContentTypeError):
            column.check(FileObject(filename=name, content_type=given, content=other))


def test_netcdf_4_is_hdf5_by_its_bytes() -> None:
    file = FileObject(filename="a.nc", content=b"\x89HDF\r\n\x1a\n" + bytes(99))
    assert StoredObject(content_types=["application/x-netcdf"]).check(file).content_type == "application/x-netcdf"


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
