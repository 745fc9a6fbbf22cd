"""Real files, made here: a PNG, a PDF, a text, and a stream that is never in memory as a whole."""

from __future__ import annotations

import asyncio
import hashlib
import random
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ("BIG", "TEXT", "big_stream", "broken_stream", "draw_pdf", "draw_png", "endless_stream", "sha256_of")

BIG = 64 * 1024 * 1024
"""Bytes in the big stream."""

_BLOCK = 1 << 20

TEXT = (
    "Der Mond ist aufgegangen,\nDie goldnen Sternlein prangen\nAm Himmel hell und klar;\n"
    "Der Wald steht schwarz und schweiget,\nUnd aus den Wiesen steiget\nDer weiße Nebel wunderbar.\n"
).encode()
"""A text in UTF-8."""


def draw_png(seed: str, width: int = 180, height: int = 240) -> bytes:
    """Draw the cover of a book, different for every seed: a frame, a band for the title, two colours that run together.

    Args:
        seed: Decides the colours.
        width: In pixels.
        height: In pixels.

    Returns:
        A PNG (ISO/IEC 15948), eight bits per channel, not interlaced.
    """
    digest = hashlib.sha256(seed.encode()).digest()
    top, bottom, frame = digest[0:3], digest[3:6], bytes(255 - channel // 3 for channel in digest[6:9])
    lines = bytearray()
    for y in range(height):
        ground = bytes((a * (height - y) + b * y) // height for a, b in zip(top, bottom, strict=True))
        edge = y < 8 or y >= height - 8  # noqa: PLR2004 - the frame is eight pixels wide
        band = height // 5 <= y < height // 3
        inside = frame if edge or band else ground
        lines += b"\x00" + frame * 8 + inside * (width - 16) + frame * 8
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(lines), 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def draw_pdf(title: str, *paragraphs: str) -> bytes:
    """Set a page of text.

    Args:
        title: ASCII, set large.
        paragraphs: ASCII, one line each.

    Returns:
        A PDF 1.4 (ISO 32000) of one A4 page in Helvetica, which every reader has.
    """
    lines = "".join(f" 0 -22 Td ({_escape(line)}) Tj" for line in paragraphs)
    text = f"BT /F1 24 Tf 72 740 Td ({_escape(title)}) Tj /F1 12 Tf 0 -14 Td{lines} ET".encode("ascii")
    page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
    bodies = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        page.encode("ascii"),
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    pdf = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    table = bytearray(b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1))
    for number, body in enumerate(bodies, 1):
        table += b"%010d 00000 n \n" % len(pdf)
        pdf += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(bodies) + 1, len(pdf))
    return bytes(pdf + table + end)


def _escape(line: str) -> str:
    return line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def big_stream(size: int = BIG) -> Iterator[bytes]:
    """Yield ``size`` bytes that do not repeat, in blocks of 1 MiB; the same ones every time."""
    block = random.Random(size).randbytes(_BLOCK)  # noqa: S311 - noise, not a secret
    for start in range(0, size, _BLOCK):
        yield (start.to_bytes(8, "big") + block[8:])[: size - start]


def broken_stream(size: int) -> Iterator[bytes]:
    """Yield ``size`` bytes, then fail as a client does that goes away.

    Raises:
        ConnectionResetError: After the last of these bytes.
    """
    yield from big_stream(size)
    raise ConnectionResetError("the client went away in the middle of its upload")


async def endless_stream() -> AsyncIterator[bytes]:
    """Yield a block of 1 MiB every hundredth of a second, forever."""
    for block in big_stream(1 << 50):
        yield block
        await asyncio.sleep(0.01)


def sha256_of(content: bytes | Iterator[bytes]) -> str:
    """Return the SHA-256 of bytes, or of a stream of them, in hex."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256()
    for block in content:
        digest.update(block)
    return digest.hexdigest()
