"""Paths are ours and in the order of time; a client's filename is only ever shown."""

from __future__ import annotations

import mimetypes
import os
import time
import unicodedata
from email.message import EmailMessage
from email.parser import HeaderParser
from email.policy import HTTP

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from filerow import FileObject, PathRequest
from filerow._media_types import canonical
from filerow._paths import (
    MAX_FILENAME_BYTES,
    clean_filename,
    content_disposition,
    generate_path,
    safe_extension,
    uuid7_hex,
)
from filerow._presentation import present
from filerow.backends._paths import check_path

# -- extensions ----------------------------------------------------------------------------------------------------------

EXECUTED = (
    "rng owl wadl webapp mime sh "
    "html htm xhtml shtml svg svgz xml xsl xslt rdf rss atom mathml js mjs cjs jsx css wasm swf htc hta mht mhtml eml appcache "
    "php php5 phtml phar asp aspx jsp cgi pl py kml gpx smil x3d "
    "xer xca xcs xdm atomsvc ccmp clue lgr mads rsheet senmlx sensmlx wif u8msg ent"
)
KEPT = "png jpg webp pdf txt csv json yaml yml toml docx xlsx zip gz mp4 webm ts heic"


@pytest.mark.parametrize("extension", EXECUTED.split())
def test_no_path_ends_in_what_somebody_executes(extension: str) -> None:
    for name in (f"a.{extension}", f"A.{extension.upper()}", f"a.png.{extension}", f"{'x' * 5000}.{extension}"):
        assert "." not in generate_path("document", "file", name)


def test_no_path_has_a_type_that_a_page_could_use_as_code() -> None:
    """Stores, and servers of directories, guess a type from the name: Apache by a list with most registered types."""
    known = mimetypes.MimeTypes([name for name in mimetypes.knownfiles if os.path.exists(name)])
    for extension in known.types_map[True]:
        kind = known.guess_type(generate_path("document", "file", f"a{extension}"))[0]
        assert kind is None or present(kind, "a").content_type == canonical(kind.lower()), extension
        assert kind != "image/svg+xml"


@pytest.mark.parametrize("extension", KEPT.split())
def test_extensions_that_nobody_executes_stay(extension: str) -> None:
    assert generate_path("document", "file", f"a.{extension}").endswith(f".{extension}")


# -- tokens --------------------------------------------------------------------------------------------------------------


def test_tokens_are_uuids_of_version_7() -> None:
    before = time.time_ns() // 1_000_000
    tokens = [uuid7_hex() for _ in range(2000)]
    after = time.time_ns() // 1_000_000
    for token in tokens:
        assert len(token) == 32
        assert token[12] == "7"
        assert token[16] in "89ab"
        assert before <= int(token[:12], 16) <= after
    assert len(set(tokens)) == 2000
    random = [int(token, 16) for token in tokens]
    for bit in [*range(62), *range(64, 76)]:  # all 74 random bits are random
        assert 700 < sum(value >> bit & 1 for value in random) < 1300


def test_tokens_of_different_milliseconds_sort_by_time() -> None:
    tokens = []
    for _ in range(5):
        tokens.append(uuid7_hex())
        time.sleep(0.002)
    assert tokens == sorted(tokens)


# -- paths ---------------------------------------------------------------------------------------------------------------

EXTENSIONS = {
    "cat.png": ".png", "CAT.PNG": ".png", "a.tar.gz": ".gz", "a.7z": ".7z", "none": "", "": "", ".png": "", "a.": "",
    "a..png": ".png", "a.png ": "", "a.p/ng": "", "a.p\xf1g": "", "a.toolongextension": "", "a.abcdefghij": ".abcdefghij",
    "a.png\n": "", "a.p\0g": "", "a.php%00.png": ".png", "a.\u041a": "", "a.K": ".k",
}  # fmt: skip


@pytest.mark.parametrize(("filename", "extension"), EXTENSIONS.items())
def test_only_short_plain_extensions_are_kept(filename: str, extension: str) -> None:
    assert safe_extension(filename) == extension


def test_a_path_says_table_column_and_time() -> None:
    table, column, name = generate_path("document", "file", "cat.PNG").split("/")
    assert (table, column) == ("document", "file")
    assert len(name) == 36
    assert name.endswith(".png")
    assert int(name[:12], 16) <= time.time_ns() // 1_000_000


def test_shards_spread_paths_over_folders() -> None:
    paths = [generate_path("t", "c", "a.bin", shards=16) for _ in range(400)]
    assert {path.split("/")[2] for path in paths} == {f"{shard:x}" for shard in range(16)}
    assert {len(generate_path("t", "c", "", shards=300).split("/")[2]) for _ in range(50)} == {3}
    assert len(generate_path("t", "c", "", shards=1).split("/")) == 3


@given(st.text(), st.text(), st.text(), st.integers(0, 5000))
@example("../..", ".", "..", 0)
@example("", "", "", 0)
def test_a_generated_path_is_valid_whatever_it_is_made_of(table: str, column: str, filename: str, shards: int) -> None:
    path = generate_path(table, column, filename, shards=shards)
    assert check_path(path, "docs", "put") == path
    assert path.isascii()
    assert " " not in path


def test_a_path_request_says_what_a_callable_needs() -> None:
    request = PathRequest("document", "file", uuid7_hex(), ".png", "cat.png")
    assert request.instance is None
    assert (request.table, request.column, request.extension, request.filename) == ("document", "file", ".png", "cat.png")


# -- filenames -----------------------------------------------------------------------------------------------------------

HOSTILE = {
    "../../etc/passwd": "passwd",
    "/etc/passwd": "passwd",
    "..\\..\\windows\\system32\\cmd.exe": "cmd.exe",
    "C:\\Users\\me\\cat.png": "cat.png",
    "cat\0.png": "cat.png",
    "cat\r\nSet-Cookie: x=1.png": "catSet-Cookie: x=1.png",
    "": "file",
    " ": "file",
    ".": "file",
    "..": "file",
    "...": "file",
    "/": "file",
    "a/..": "file",
    "a/": "a",
    ".htaccess": ".htaccess",
    "gpj.\u202eexe.cat": "gpj.exe.cat",
    "zero\u200bwidth\ufeff.png": "zerowidth.png",
    "quo\"te's.png": "quo\"te's.png",
    "%2e%2e%2fpasswd": "%2e%2e%2fpasswd",
    "x" * 300: "x" * 255,
    "x" * 300 + ".png": "x" * 251 + ".png",
    "ä" * 300 + ".png": "ä" * 125 + ".png",
    "cafe\u0301.png": "café.png",
    "e\u200b\u0301.png": "é.png",
    "lone\ud800surrogate": "lonesurrogate",
    "line\u2028separator": "lineseparator",
    "\x85next line\x9b": "next line",
    "tab\tbed": "tabbed",
    "  spaced out .txt ": "spaced out .txt",
    "CON": "CON",
    "🐈.png": "🐈.png",
}


@pytest.mark.parametrize(("name", "expected"), HOSTILE.items(), ids=lambda name: ascii(name)[:30])
def test_hostile_filenames_are_cleaned(name: str, expected: str) -> None:
    assert clean_filename(name) == expected
    assert FileObject("docs", name, content=b"").filename == expected


def test_no_name_is_a_name() -> None:
    assert clean_filename(None) == "file"


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Zs", "Mn", "Lm", "Po", "Cs"])))
@example("e\u200b\u0301")
@example("a" * 254 + "\u0301")
@example("a." + "b" * 300)
@example("x" * 240 + "." + "ä" * 9)
@example("a" * 250 + " .tar.gz")
@example("\u1100" * 90 + "\u1161")
@example("." + "\u3000" + ".")
def test_a_cleaned_filename_is_fit_to_be_shown(name: str) -> None:
    clean = clean_filename(name)
    assert clean
    assert clean == clean.strip()
    assert len(clean.encode()) <= MAX_FILENAME_BYTES
    assert not {"/", "\\"} & set(clean)
    assert clean.strip(". "), "'.' and '..' are not names"
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in clean)
    assert clean_filename(clean) == clean


# -- Content-Disposition -------------------------------------------------------------------------------------------------

DISPOSITIONS = {
    "cat.png": 'attachment; filename="cat.png"',
    "two words.png": 'attachment; filename="two words.png"',
    "naïve.txt": "attachment; filename=\"na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt",
    'quo"te.txt': "attachment; filename=\"quo_te.txt\"; filename*=UTF-8''quo%22te.txt",
    "100%.txt": "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt",
    "a;b.txt": 'attachment; filename="a;b.txt"',
    "€ rates": "attachment; filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates",  # RFC 6266, section 5
    "../../x\r\ny.txt": 'attachment; filename="xy.txt"',
    "": 'attachment; filename="file"',
}


@pytest.mark.parametrize(("name", "value"), DISPOSITIONS.items())
def test_a_disposition_is_rfc_6266_s(name: str, value: str) -> None:
    assert content_disposition(name) == value
    assert content_disposition(name, inline=True) == value.replace("attachment", "inline")


@given(st.text(), st.booleans())
@example("it's (1)*.txt", False)
@example("a\u2019b~`|^.txt", True)
def test_a_disposition_is_ascii_and_parses_back(name: str, inline: bool) -> None:
    value = content_disposition(name, inline=inline)
    assert all(" " <= character <= "~" for character in value)
    kind, options = parse_options_header(value)
    assert kind == ("inline" if inline else "attachment")
    assert options["filename"] == clean_filename(name)
    assert content_disposition(options["filename"], inline=inline) == value
    if "filename*" not in value and name[:1] != "<":  # which it strips, as of an address
        assert by_email(value) == options["filename"]


@pytest.mark.parametrize("name", [*DISPOSITIONS, *HOSTILE], ids=lambda name: ascii(name)[:30])
def test_a_disposition_is_understood_by_pythons_mail_parser(name: str) -> None:
    message = HeaderParser(EmailMessage, policy=HTTP).parsestr(f"Content-Disposition: {content_disposition(name)}\n\n")
    assert message.get_content_disposition() == "attachment"
    if "filename*" not in content_disposition(name):  # which it takes for a second "filename"
        assert not message["Content-Disposition"].defects
        assert message.get_filename() == clean_filename(name)


def by_email(value: str) -> str | None:
    message = HeaderParser().parsestr(f"Content-Disposition: {value}\n\n")
    return message.get_filename()
