"""Small valid files for tests and factories."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from hashlib import sha256
from struct import pack

from filerow._file.object import FileObject


def sample_file(
    content_type: str = "text/plain", *, filename: str | None = None, backend: str | None = None, seed: bytes | None = None
) -> FileObject:
    """Return a small pending file that proves to be of a type.

    Random bytes break the rules of a column with ``content_types=``. Each file has other bytes than the one before, unless
    ``seed`` chooses them.

    Args:
        content_type: ``text/plain``, ``image/png``, ``application/pdf`` or ``application/octet-stream``.
        filename: Its name. Default: ``sample`` with the type's extension.
        backend: Key of the backend. Default: the column's.
        seed: The same seed makes the same bytes.

    Raises:
        ValueError: There is no sample of this type.
    """
    if content_type not in _SAMPLES:
        raise ValueError(f"there are samples of {', '.join(_SAMPLES)}, not of {content_type!r}")
    extension, make = _SAMPLES[content_type]
    name = filename or f"sample{extension}"
    salt = os.urandom(8) if seed is None else sha256(seed).digest()[:8]
    return FileObject(backend, filename=name, content_type=content_type, content=make(salt))


def _text(salt: bytes) -> bytes:
    return f"A sample, {salt.hex()}\n".encode()


def _png(salt: bytes) -> bytes:
    """Return 2 x 1 pixels."""
    parts = (b"IHDR", pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" + salt[:6])), (b"IEND", b"")
    chunks = (pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data)) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _pdf(salt: bytes) -> bytes:
    """Return one empty page."""
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>",
    )
    found, places = b"%PDF-1.4\n%" + salt.hex().encode() + b"\n", list[int]()
    for number, text in enumerate(objects, 1):
        places.append(len(found))
        found += b"%d 0 obj\n%s\nendobj\n" % (number, text)
    table = b"xref\n0 4\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return found + table + b"trailer\n<</Size 4/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(found)


_SAMPLES: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
    "text/plain": (".txt", _text),
    "image/png": (".png", _png),
    "application/pdf": (".pdf", _pdf),
    "application/octet-stream": (".bin", bytes),
}
