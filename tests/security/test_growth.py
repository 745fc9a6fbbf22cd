"""The time that a client's text or file takes grows with its length, not with the square of it.

Each text is made twice as long, and must not take four times as long. What is bounded before any work takes no longer at all.
"""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from filerow import FileObject, StoredObject, storages
from filerow._media_types import claimed_type
from filerow._paths import clean_filename, content_disposition, safe_extension
from filerow._presentation import is_shown, safe_headers
from filerow._tokens import Keys, Purpose
from filerow.backends.base import SignRequest
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import FilerowError
from filerow.ext._uploads import payload_of
from filerow.http import serve
from filerow.http._conditional import Validators, evaluate
from filerow.http._ranges import requested_range
from filerow.http._reply import lowered

SECRET = "a secret of these tests, and no other"
MARKS = "e\u0323\u0301\u0302"
KEYS = Keys(SECRET)
BACKEND = MemoryBackend("growing", base_url="/files", secret=SECRET)

TEXTS: dict[str, Callable[[int], str]] = {
    "combining marks": lambda size: MARKS * (size // 4),
    "marks in one row": lambda size: "e" + "\u0301\u0323" * (size // 2),
    "spaces": lambda size: "a" + " " * size,
    "dots": lambda size: "." * size,
    "separators": lambda size: "/\\" * (size // 2),
    "semicolons": lambda size: "text/plain" + ";a=b" * (size // 4),
    "commas": lambda size: "bytes=" + "0-0, " * (size // 5),
    "quotes": lambda size: '"a", ' * (size // 5),
    "brackets": lambda size: "[" * size,
    "backslashes": lambda size: '"' + "\\" * size,
    "percents": lambda size: "%41" * (size // 3),
    "invisible": lambda size: "a\u200b" * (size // 2),
    "xml": lambda size: "a/" + "/xml-" * (size // 5),
}


def file_of(text: str) -> FileObject:
    upload = SimpleNamespace(filename=text, file=io.BytesIO(b"x"), content_type=text)
    return FileObject.from_upload(upload)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    storages.clear_backends()
    storages.register_backend(BACKEND)
    yield
    storages.clear_backends()


def stored() -> FileObject:
    return FileObject("growing", "a.txt", content=b"x").save()


PARSERS: dict[str, Callable[[str], Any]] = {
    "clean_filename": clean_filename,
    "content_disposition": content_disposition,
    "safe_extension": safe_extension,
    "from_upload": lambda text: (file_of(text).filename, file_of(text).content_type),
    "claimed_type": lambda text: claimed_type(text, text),
    "is_shown": is_shown,
    "safe_headers": lambda text: safe_headers(text, text),
    "range": lambda text: requested_range(text, 1000),
    "fields": lambda text: lowered([("accept", character * 32) for character in text]),
    "conditions": lambda text: evaluate(
        "GET", {"if-none-match": text, "if-match": text, "if-modified-since": text, "if-range": text}, Validators('"b"', 0)
    ),
    "unseal": lambda text: KEYS.unseal(Purpose.CLAIM, text),
    "signature": lambda text: KEYS.is_signature(Purpose.URL, "message", text),
    "url": lambda text: BACKEND.own_urls.verify("GET", "a.txt", text) if BACKEND.own_urls else None,
    "signed name": lambda text: BACKEND.sign("a.txt", SignRequest("GET", 60, content_disposition(text))),
    "payload": lambda text: payload_of("application/json", text.encode()),
    "payload type": lambda text: payload_of(text, b"{}"),
    "serve": lambda text: serve(stored(), "GET", {"range": text, "if-none-match": text}, download_as=text),
}


def seconds(parse: Callable[[Any], Any], text: str | bytes, times: int = 1) -> float:
    taken = []
    for _ in range(times):
        start = time.thread_time()
        with suppress(FilerowError, ValueError):
            parse(text)
        taken.append(time.thread_time() - start)
    return min(taken)


def check_growth(kind: str, parse: Callable[[Any], Any], make: Callable[[int], str | bytes], sizes: range, most: float) -> None:
    """Check that twice the size does not take four times as long; what seems to is measured again."""
    size = sizes.start
    while (once := seconds(parse, make(size))) < 0.02 and size < sizes.stop:  # until a clock can measure it
        size *= 2
    twice = seconds(parse, make(2 * size))
    if twice >= min(2.6 * once, most):
        once, twice = seconds(parse, make(size), 3), seconds(parse, make(2 * size), 3)
    assert twice < 3.2 * once + 0.03, f"{kind}: {once:.3f} s for a size of {size}, and {twice:.3f} s for twice"
    assert twice < most, f"{kind}: {twice:.1f} s for a size of {2 * size}"


@pytest.mark.parametrize("name", PARSERS)
def test_twice_the_text_does_not_take_four_times_as_long(name: str) -> None:
    for kind, text in TEXTS.items():
        check_growth(kind, PARSERS[name], text, range(2_000, 256_000), most=2)


# -- contents, whose headers can be chains of what says nothing -------------------------------------------------------------


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def heif(size: int) -> bytes:
    """Return an image of very many associations, none of which is the primary item's."""
    sides = b"".join(box(b"ispe", struct.pack(">III", 0, 1, 1)) for _ in range(200))
    many = b"".join(struct.pack(">HBB", number % 65536, 1, 1) for number in range(size // 4))
    properties = box(b"ipco", sides) + box(b"ipma", struct.pack(">II", 0, size // 4) + many)
    return box(b"ftyp", b"heic\0\0\0\0heic") + box(
        b"meta", bytes(4) + box(b"pitm", b"\0\0\0\0\xff\xff") + box(b"iprp", properties)
    )


def member(number: int) -> bytes:
    """Return a member of a ZIP whose length stands behind it, and does not."""
    return b"PK\3\4" + struct.pack("<HHHHHIIIHH", 20, 8, 0, 0, 0, 0, 0, 0, 1, 0) + b"%d" % (number % 10)


PNG_HEAD = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 1, 1, 8, 2, 0, 0, 0, 0)
CONTENTS: dict[str, Callable[[int], bytes]] = {
    "chunks of PNG": lambda size: PNG_HEAD + (bytes(4) + b"tEXt" + bytes(4)) * (size // 12),
    "segments of JPEG": lambda size: b"\xff\xd8" + b"\xff\xe0\0\2" * (size // 4),
    "fill bytes of JPEG": lambda size: b"\xff\xd8" + b"\xff" * size,
    "blocks of GIF": lambda size: b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\x01x\0" * (size // 5),
    "chunks of WebP": lambda size: b"RIFF\0\0\0\0WEBPVP8X\n\0\0\0\x08" + bytes(9) + b"JUNK\0\0\0\0" * (size // 8),
    "boxes of HEIF": lambda size: box(b"ftyp", b"heic\0\0\0\0heic") + box(b"meta", bytes(4) + box(b"free") * (size // 8)),
    "associations of HEIF": heif,
    "tags of TIFF": lambda size: b"II*\0\x08\0\0\0\xff\xff" + b"\0\1\3\0\1\0\0\0\0\0\0\0" * (size // 12),
    "boxes of JPEG 2000": lambda size: (
        box(b"jP  ", b"\r\n\x87\n")
        + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"free") * (size // 8)
    ),
    "tracks of MP4": lambda size: box(b"ftyp", b"isom\0\0\0\0isom") + box(b"moov", box(b"trak", box(b"mdia")) * (size // 16)),
    "elements of Matroska": lambda size: b"\x1a\x45\xdf\xa3\x80" + b"\xec\x80" * (size // 2),
    "members of ZIP": lambda size: b"".join(map(member, range(size // 31))),
    "attributes of SVG": lambda size: b"<svg " + b"".join(b"a%d='1' " % number for number in range(size // 9)) + b">",
    "comments of SVG": lambda size: b"<!--" * (size // 4),
    "quotes of a DOCTYPE": lambda size: b"<!DOCTYPE svg " + b"'\"" * (size // 2),
    "digits of SVG": lambda size: b"<svg width='" + b"1" * size + b"' viewBox='" + b"1," * size + b"'>",
    "entities of SVG": lambda size: (
        b"<!DOCTYPE svg [<!ENTITY a '" + b"x" * 190
        + b"'>]><svg width='" + b"&a;" * (size // 3) + b"'/>"
    ),
    "comments of PNM": lambda size: b"P6\n" + b"#\n" * (size // 2),
    "objects of ASF": lambda size: (
        bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(14)
        + (bytes(16) + b"\x18" + bytes(7)) * (size // 24)
    ),
}  # fmt: skip
COLUMN = StoredObject("growing", max_pixels=1_000_000, max_size="64 MB")


def look_at(content: bytes) -> None:
    """Look at a file as a form does, before a byte is stored; its bytes are counted and hashed by nobody yet."""
    COLUMN.check(FileObject(content=content, filename="a.bin"))


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_header_twice_as_long_does_not_take_four_times_as_long(kind: str) -> None:
    check_growth(kind, look_at, CONTENTS[kind], range(32_000, 2_000_000), most=1)
