"""Hostile filenames: what a client calls a file never chooses where it goes."""

from __future__ import annotations

import pytest

from tests.cases.world import World

HOSTILE = {
    "climbs": "../../etc/passwd",
    "absolute": "/etc/passwd",
    "nul": "a\x00b.png",
    "crlf": "a\r\nSet-Cookie: x=1.png",
    "300_characters": "x" * 300 + ".png",
    "empty": "",
    "dots": "..",
    "dot": ".",
    "right_to_left": "\u202egnp.exe",
    "quotes": "a\"b';DROP TABLE document;--.png",
    "percent_encoded": "..%2f..%2fetc%2fpasswd",
    "backslashes": "C:\\windows\\system32\\x.dll",
    "emoji_and_accents": "🐈 à la plage.png",
    "surrogate": "\udcff.png",
    "long_extension": "a." + "b" * 300,
    "html": "<script>alert(1)</script>.html",
    "json": '{"$ne": null}.png',
    "wildcards": "*?[a]#1.png",
}


@pytest.mark.parametrize("filename", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_filename_is_stored_safely(world: World, filename: str) -> None:
    document = world.add(file=world.file(b"one", filename=filename), pages=[world.file(b"two", filename=filename)])
    ((_, documents),) = world.database.rows()
    for row in documents:
        folder, column, name = row["path"].split("/")
        assert (folder, column) in {("document", "file"), ("document", "pages")}
        assert name.isascii()
        assert len(name) < 64
        assert row["filename"]
        assert not set(row["filename"]) & set("/\\\r\n\x00\u202e")
        assert len(row["filename"]) <= 255
    assert world.stored(document.file) == b"one"
    document.file = world.file(b"three", filename=filename)
    world.session.commit()
    assert world.stored(document.file) == b"three"
