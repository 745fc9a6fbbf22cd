"""``python -m tools.drawings`` draws docs/drawings/*.svg: one for each concept, of boxes, arrows and words.

All are 420 wide, so that their words stay readable on a telephone. On GitHub an SVG brings its own colours, for light and dark;
the site takes them out and uses those of docs/_static/filerow.css.
"""

from __future__ import annotations

import html
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "drawings"
WIDTH = 420
_COLOURS = {
    "line": ("#3c5a64", "#8fb4bf"),
    "fill": ("#eef5f6", "#1d2b30"),
    "strong": ("#d5ecef", "#17414a"),
    "warm": ("#fbeedd", "#463621"),
    "text": ("#17262b", "#e8f1f3"),
    "soft": ("#47606a", "#a9c0c8"),
}
_RULES = (
    ".d-box,.d-strong,.d-warm,.d-gone{{stroke:{line};stroke-width:1.5;fill:{fill}}}"
    ".d-strong{{fill:{strong}}}.d-warm{{fill:{warm}}}.d-gone{{fill:none;stroke-dasharray:5 4}}"
    ".d-line{{stroke:{line};stroke-width:1.5;fill:none}}.d-tip{{fill:{line}}}"
    ".d-text{{fill:{text};font:13px sans-serif}}.d-code{{fill:{text};font:12px monospace}}"
    ".d-note{{fill:{soft};font:12px sans-serif}}"
)


class Drawing:
    """A picture that grows by boxes, arrows and words.

    Args:
        height: Its height; the width is that of all.
    """

    def __init__(self, height: int) -> None:
        self.height = height
        self.parts: list[str] = []

    def box(self, x: int, y: int, width: int, words: str, kind: str = "box", *, code: bool = False) -> Drawing:
        """Add a box around lines of words, 18 high each."""
        lines = words.split("\n")
        height = 18 * len(lines) + 14
        self.parts.append(f'<rect class="d-{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>')
        for number, line in enumerate(lines):
            self.words(x + width // 2, y + 20 + 18 * number, line, "code" if code else "text", anchor="middle")
        return self

    def words(self, x: int, y: int, text: str, kind: str = "note", *, anchor: str = "start") -> Drawing:
        """Add a line of words."""
        self.parts.append(f'<text class="d-{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{html.escape(text)}</text>')
        return self

    def line(self, x1: int, y1: int, x2: int, y2: int, kind: str = "line") -> Drawing:
        """Add a line."""
        self.parts.append(f'<path class="d-{kind}" d="M{x1} {y1}L{x2} {y2}"/>')
        return self

    def arrow(self, x1: int, y1: int, x2: int, y2: int) -> Drawing:
        """Add an arrow, across or down or up."""
        self.line(x1, y1, x2, y2)
        if y1 == y2:
            back = -8 if x2 > x1 else 8
            tip = f"{x2} {y2}L{x2 + back} {y2 - 4}L{x2 + back} {y2 + 4}"
        else:
            back = -8 if y2 > y1 else 8
            tip = f"{x2} {y2}L{x2 - 4} {y2 + back}L{x2 + 4} {y2 + back}"
        self.parts.append(f'<path class="d-tip" d="M{tip}Z"/>')
        return self

    def svg(self) -> str:
        """Return the picture with its own colours."""
        light, dark = (_RULES.format(**{name: both[which] for name, both in _COLOURS.items()}) for which in (0, 1))
        style = f"<style>{light}@media(prefers-color-scheme:dark){{{dark}}}</style>"
        size = f'width="{WIDTH}" height="{self.height}"'
        body = "\n".join(self.parts)
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" {size}>{style}\n{body}\n</svg>\n'


def drawings() -> dict[str, Drawing]:
    """Return all pictures by name."""
    return {
        "value": Drawing(196)
        .box(10, 14, 180, "pending\nbytes at hand, no path", "warm")
        .box(230, 14, 180, "stored\na path, a size, a hash", "strong")
        .arrow(190, 39, 230, 39)
        .words(210, 30, "flush", anchor="middle")
        .box(230, 130, 180, "gone\nno row names it", "gone")
        .arrow(320, 64, 320, 130)
        .words(310, 92, "row deleted, file", anchor="end")
        .words(310, 108, "replaced, rollback", anchor="end")
        .line(230, 155, 100, 155)
        .arrow(100, 155, 100, 64)
        .words(110, 128, "rolled back:")
        .words(110, 146, "pending again"),
        "column": Drawing(222)
        .words(10, 22, "table document")
        .box(10, 32, 190, "id: 7\ntitle: Letter\nfile: { JSON document }", "box", code=True)
        .box(10, 130, 190, "path, filename, type,\nsize, SHA-256, etag,\nmetadata", "strong")
        .arrow(105, 100, 105, 130)
        .words(240, 22, "backend docs")
        .box(240, 130, 170, "document/file/\n01a2….txt\nthe bytes", "strong", code=True)
        .arrow(200, 162, 240, 162)
        .box(240, 32, 170, "rules of the column:\nmax_size,\ncontent_types, …", "box"),
        "unit-of-work": Drawing(392)
        .box(110, 10, 200, "session.add(document)", "box", code=True)
        .arrow(210, 42, 210, 66)
        .box(110, 66, 200, "flush: check the file", "box")
        .arrow(210, 98, 210, 122)
        .box(110, 122, 200, "store the bytes,\nthen write the row", "strong")
        .arrow(210, 172, 210, 196)
        .words(210, 212, "how does the transaction end?", anchor="middle")
        .arrow(110, 222, 110, 250)
        .words(102, 240, "commit", anchor="end")
        .arrow(310, 222, 310, 250)
        .words(318, 240, "rollback")
        .box(10, 250, 190, "the row names the file", "strong")
        .box(220, 250, 190, "the row is as before", "box")
        .arrow(105, 282, 105, 312)
        .arrow(315, 282, 315, 312)
        .box(10, 312, 190, "delete what it replaced\nor removed", "gone")
        .box(220, 312, 190, "delete what was\nstored for it", "gone"),
        "backend": Drawing(232)
        .box(10, 14, 120, "FileObject\nbackend: docs", "box")
        .arrow(130, 39, 160, 39)
        .box(160, 14, 110, "storages\nkey → backend", "strong")
        .arrow(215, 64, 215, 92)
        .box(30, 92, 370, "put · read · stream · head · list · copy · delete · sign", "strong")
        .arrow(75, 124, 75, 150)
        .arrow(165, 124, 165, 150)
        .arrow(255, 124, 255, 150)
        .arrow(350, 124, 350, 150)
        .box(30, 150, 88, "directory\nfile://", "box")
        .box(124, 150, 84, "memory\nmemory://", "box")
        .box(214, 150, 84, "S3, GCS,\nAzure", "box")
        .box(304, 150, 96, "fsspec:\nSFTP, SMB, …", "box")
        .words(215, 222, "the key is in every row; the place behind it may move", anchor="middle"),
        "claim": Drawing(330)
        .box(10, 10, 110, "browser", "warm")
        .box(155, 10, 110, "application", "strong")
        .box(300, 10, 110, "store", "box")
        .line(65, 42, 65, 228, "gone")
        .line(210, 42, 210, 240, "gone")
        .line(355, 42, 355, 228, "gone")
        .arrow(65, 62, 210, 62)
        .words(137, 57, "I want to upload", anchor="middle")
        .arrow(210, 100, 65, 100)
        .words(137, 94, "ticket and claim", anchor="middle")
        .arrow(65, 138, 355, 138)
        .words(210, 132, "the bytes, with the ticket", anchor="middle")
        .arrow(65, 176, 210, 176)
        .words(137, 170, "form with the claim", anchor="middle")
        .arrow(210, 214, 355, 214)
        .words(282, 208, "check, copy", anchor="middle")
        .box(110, 240, 200, "a file of a row", "strong")
        .words(210, 296, "A claim is signed, expires, is for one column and", anchor="middle")
        .words(210, 314, "one upload, and is good once.", anchor="middle"),
        "lease": Drawing(240)
        .words(10, 22, "outbox: tombstones that are due")
        .box(10, 32, 60, "1", "gone")
        .box(78, 32, 60, "2", "gone")
        .box(146, 32, 60, "3", "gone")
        .box(214, 32, 60, "4", "gone")
        .box(282, 32, 60, "5", "gone")
        .box(350, 32, 60, "6", "gone")
        .box(10, 110, 196, "worker A\nlease on 1, 2, 3", "strong")
        .box(214, 110, 196, "worker B\nlease on 4, 5, 6", "strong")
        .arrow(108, 110, 108, 66)
        .arrow(312, 110, 312, 66)
        .words(210, 190, "If A is killed, its lease ends by time,", anchor="middle")
        .words(210, 208, "and another worker takes 1, 2 and 3.", anchor="middle"),
        "tombstone": Drawing(270)
        .box(10, 10, 160, "DELETE FROM document\nWHERE id = 7", "box", code=True)
        .arrow(170, 35, 230, 35)
        .words(200, 28, "trigger", anchor="middle")
        .box(230, 10, 180, "filerow_outbox\na tombstone", "strong")
        .words(10, 84, "both in one transaction, or neither")
        .arrow(320, 60, 320, 110)
        .box(230, 110, 180, "retention: a week, say\nundelete is possible", "warm")
        .arrow(320, 160, 320, 196)
        .words(310, 182, "drain", anchor="end")
        .box(230, 196, 180, "does a row name it? if\nnot, delete the object", "gone"),
        "orphan": Drawing(250)
        .words(10, 20, "rows")
        .words(230, 20, "objects")
        .box(10, 30, 180, "document 1", "box")
        .arrow(190, 46, 230, 46)
        .box(230, 30, 180, "document/file/a1.txt", "strong")
        .box(10, 76, 180, "document 2", "box")
        .arrow(190, 92, 230, 92)
        .box(230, 76, 180, "document/file/b2.txt", "strong")
        .box(230, 122, 180, "document/file/c3.txt", "gone")
        .words(220, 143, "orphan: no row names it", anchor="end")
        .box(10, 168, 180, "document 4", "warm")
        .arrow(190, 184, 230, 184)
        .words(240, 189, "missing: nothing is there")
        .words(210, 238, "sweep finds orphans, check finds what is missing", anchor="middle"),
        "variant": Drawing(250)
        .box(10, 14, 180, "original\nphoto/image/a1.jpg", "strong")
        .box(230, 14, 180, "recipe\nThumbnail(200, 200)", "warm")
        .arrow(100, 64, 100, 98)
        .arrow(320, 64, 320, 98)
        .box(10, 98, 400, "a worker process that can open no file and no network", "box")
        .arrow(210, 130, 210, 164)
        .box(110, 164, 200, "variant\nfound by both together", "strong")
        .words(210, 236, "same original, same recipe: same variant, never stale", anchor="middle"),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, drawing in drawings().items():
        (FOLDER / f"{name}.svg").write_text(drawing.svg())
