"""Small files of many types made by real programs, and the rules that each must and must not match.

``python -m tools.corpus.make`` makes the files and ``manifest.json``; ``python -m tools.corpus`` prints the table, and
``test_corpus.py`` checks every cell.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ("FILES", "HERE", "RULES", "Sample", "samples")

HERE = Path(__file__).parent
FILES = HERE / "files"

_OOXML = "application/vnd.openxmlformats-officedocument."
RULES: dict[str, list[str]] = {
    # a name for the column: what it takes, as people write it
    "image": ["image/*"],
    "audio": ["audio/*"],
    "video": ["video/*"],
    "font": ["font/*"],
    "text": ["text/*"],
    "jpg": ["image/jpg"],
    "png": ["image/png", "image/apng"],
    "photo": ["image/jpeg", "image/png", "image/webp", "image/heic", "image/heif", "image/avif"],
    "svg": ["image/svg+xml"],
    "wav": ["audio/x-wav"],
    "mp3": ["audio/mp3"],
    "flac": ["audio/flac"],
    "recording": ["audio/webm", "audio/mp4", "audio/ogg"],
    "clip": ["video/webm", "video/mp4", "video/quicktime"],
    "csv": ["text/csv"],
    "pdf": ["application/pdf"],
    "docx": [f"{_OOXML}wordprocessingml.document"],
    "xlsx": [f"{_OOXML}spreadsheetml.sheet"],
    "pptx": [f"{_OOXML}presentationml.presentation"],
    "odf": ["application/vnd.oasis.opendocument.*"],
    "office97": ["application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"],
    "rtf": ["text/rtf"],
    "epub": ["application/epub+zip"],
    "jar": ["application/java-archive", "application/vnd.android.package-archive"],
    "zip": ["application/x-zip-compressed"],
    "gzip": ["application/x-gzip"],
    # patterns wider than a family: an SVG is behind those alone that say so
    "any": ["*/*"],
    "i": ["i*"],
    "xml": ["*+xml"],
}


class Sample(NamedTuple):
    """One file of the corpus.

    Attributes:
        name: Its filename.
        program: What has made it, and the version.
        type: Its media type, by its canonical name.
        announced: What a browser on Windows, macOS or Linux calls it.
        matches: The keys of ``RULES`` that it must match; it must match no others.
        packed: It is kept compressed, for it is large and mostly zeros.
        poses: It is announced as what it is not, so that a direct upload of it is refused by every column.
    """

    name: str
    program: str
    type: str
    announced: str
    matches: tuple[str, ...]
    packed: bool = False
    poses: bool = False

    @property
    def content(self) -> bytes:
        """The bytes."""
        return gzip.decompress(_read(self.kept_as)) if self.packed else _read(self.kept_as)

    @property
    def kept_as(self) -> str:
        """The name of its file in ``FILES``."""
        return f"{self.name}.gz" if self.packed else self.name


@cache
def _read(name: str) -> bytes:
    return (FILES / name).read_bytes()


def samples() -> list[Sample]:
    """Return all files of the corpus, in the order of their names."""
    rows = json.loads((HERE / "manifest.json").read_text("utf-8"))
    return [Sample(**{**row, "matches": tuple(row["matches"])}) for row in rows]
