"""Small files that say they are huge, or that would grow if somebody decoded them: nothing does."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from filerow import FileObject, StoredObject
from filerow._validation.images import dimensions
from filerow._validation.types import sniff
from filerow.exceptions import FileValidationError, ImageDimensionsError

HUGE = 0xFFFF


def png(width: int, height: int, body: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int, int], following: int = 8) -> bytes:
    """A TIFF whose directory is followed by the one at an offset: its own, for instance."""
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, count, value) for tag, count, value in entries
    )
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", following)


def avif(width: int, height: int, boxes: int = 0) -> bytes:
    box = lambda kind, data: struct.pack(">I", len(data) + 8) + kind + data  # noqa: E731
    size = box(b"ispe", struct.pack(">III", 0, width, height))
    filler = box(b"free", b"") * boxes
    meta = box(b"meta", b"\0\0\0\0" + box(b"iprp", box(b"ipco", filler + size)))
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + meta


LAUGHS = b"".join(b'<!ENTITY l%d "%s">' % (number, b"&l%d;" % (number - 1) * 10 if number else b"lol") for number in range(10))
QUADRATIC = b'<!ENTITY a "%s">' % (b"a" * 40_000)

BOMBS: dict[str, tuple[str, bytes]] = {
    "png_of_zeros": ("image/png", png(HUGE, HUGE, zlib.compress(bytes(1 << 22), 9))),
    "png_of_the_largest_numbers": ("image/png", png(0x7FFFFFFF, 0x7FFFFFFF)),
    "gif": ("image/gif", b"GIF89a" + struct.pack("<HH", HUGE, HUGE) + b"\0\0\0;"),
    "webp": ("image/webp", b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\xff\xff" * 2 + bytes(10)),
    "webp_lossless": ("image/webp", b"RIFF\0\0\0\0WEBPVP8L" + struct.pack("<I", 10) + b"/" + b"\xff" * 4 + bytes(10)),
    "svg": ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" width="999999" height="999999"/>'),
    "tiff": ("image/tiff", tiff((256, 1, HUGE), (257, 1, HUGE))),
    "avif": ("image/avif", avif(HUGE, HUGE)),
    "jpeg": ("image/jpeg", b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x11\x08" + b"\xff\xff" * 2 + b"\x03" + bytes(9)),
    "bmp": ("image/bmp", b"BM" + bytes(12) + struct.pack("<IiiHH", 40, HUGE, HUGE, 1, 24) + bytes(24)),
}

# These say no size that could be believed, or none at all; a column with limits refuses them.
UNKNOWN: dict[str, tuple[str, bytes]] = {
    "billion_laughs": ("image/svg+xml", b"<!DOCTYPE svg [%s]><svg width='10' height='10'>&l9;</svg>" % LAUGHS),
    "billion_laughs_in_an_attribute": ("image/svg+xml", b"<!DOCTYPE svg [%s]><svg width='&l9;' height='10'/>" % LAUGHS),
    "quadratic_blowup": ("image/svg+xml", b"<!DOCTYPE svg [%s]><svg width='%s' height='10'/>" % (QUADRATIC, b"&a;" * 2000)),
    "external_entity": (
        "image/svg+xml",
        b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg width="&x;" height="10"/>',
    ),
    "parameter_entity": (
        "image/svg+xml",
        b'<!DOCTYPE svg [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x">%x;]><svg width="1" height="10"/>',
    ),
    "svg_nested_deeply": ("image/svg+xml", b"<a>" * 20_000 + b"<svg width='10' height='10'/>"),
    "svg_of_comments": ("image/svg+xml", b"<!--" + b"-" * 200_000),
    "tiff_in_a_circle": ("image/tiff", tiff((254, 1, 0), following=8)),
    "tiff_with_a_directory_without_end": ("image/tiff", b"II*\0\x08\0\0\0\xff\xff" + b"\xfe\0\x04\0\x01\0\0\0\0\0\0\0" * 65_535),
    "tiff_far_away": ("image/tiff", b"II*\0\xff\xff\xff\xff" + bytes(100)),
    "avif_of_many_boxes": ("image/avif", avif(10, 10, 30_000)),
    "avif_of_empty_boxes": ("image/avif", b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + b"\0\0\0\0meta" * 5000),
    "avif_of_64_bit_boxes": ("image/avif", b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + b"\0\0\0\x01meta" + b"\xff" * 8 + bytes(100)),
    "jpeg_of_segments": ("image/jpeg", b"\xff\xd8" + b"\xff\xe0\0\x02" * 100_000),
    "jpeg_of_fill_bytes": ("image/jpeg", b"\xff\xd8" + b"\xff" * 400_000),
    "jpeg_2000_of_boxes": ("image/jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x08free" * 50_000),
    "png_of_nothing": ("image/png", b"\x89PNG\r\n\x1a\n"),
}


def looked_at(kind: str, data: bytes) -> tuple[int, int] | None:
    """Return what is read of an image; the bytes are counted, and the end is said where it is."""
    total = 0

    def read_at(offset: int, size: int) -> bytes:
        nonlocal total
        total += size
        assert total < 8 << 20
        return data[offset : offset + size]

    try:
        return dimensions(read_at, kind, len(data))
    except (ValueError, OSError, struct.error):
        return None


def bounded(call: Callable[[], object]) -> object:
    """Return a result that took little memory and little time."""
    call()  # imports, and caches of patterns
    tracemalloc.start()
    begin = time.process_time()
    try:
        return call()
    finally:
        assert time.process_time() - begin < 2
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 << 20, peak


@pytest.mark.parametrize("name", BOMBS)
def test_the_header_of_a_bomb_says_how_large_it_is(name: str) -> None:
    kind, data = BOMBS[name]
    found = bounded(lambda: looked_at(kind, data))
    assert isinstance(found, tuple)
    assert found[0] * found[1] > 100_000_000
    column = StoredObject("docs", max_pixels=50_000_000)
    for content in (data, io.BytesIO(data)):
        with pytest.raises(ImageDimensionsError):
            bounded(lambda content=content: column.check(FileObject(filename="a", content=content)))  # type: ignore[misc]


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_look_at_a_trap_ends_soon_and_in_little_memory(name: str) -> None:
    kind, data = UNKNOWN[name]
    found = bounded(lambda: looked_at(kind, data))
    assert found is None or found == (10, 10)
    bounded(lambda: sniff(data[:8192]))
    column = StoredObject("docs", content_types=["image/*"], max_pixels=99, max_width=9)
    with pytest.raises(FileValidationError):
        bounded(lambda: column.check(FileObject(filename="a", content_type=kind, content=data)))


LOOK = """
import sys
from filerow import FileObject, StoredObject

column = StoredObject("docs", max_pixels=9)
png = bytes.fromhex("89504e470d0a1a0a0000000d49484452 00000002 00000002 0806") + bytes(9)
before = set(sys.modules)
for head in (png, b"PK\\3\\4" + bytes(99), b"\\x1f\\x8b" + bytes(99), b"BZh9" + bytes(99)):
    column.check(FileObject(filename="a", content=head))
decoders = {"PIL", "cairosvg", "lxml", "zipfile", "tarfile", "gzip", "bz2", "lzma", "zlib"}
print(sorted(decoders & (set(sys.modules) - before)))
"""


def test_nothing_decodes() -> None:
    """Neither a decoder of images nor of archives is even imported by looking at files."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")
