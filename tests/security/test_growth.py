"""The time that a client's text takes grows with its length, not with the square of it.

Each text is made twice as long, and must not take four times as long. What is bounded before any work takes no longer at all.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from filerow import FileObject, storages
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


def seconds(parse: Callable[[str], Any], text: str) -> float:
    times = []
    for _ in range(3):
        start = time.thread_time()
        with suppress(FilerowError, ValueError):
            parse(text)
        times.append(time.thread_time() - start)
    return min(times)


@pytest.mark.parametrize("name", PARSERS)
def test_twice_the_text_does_not_take_four_times_as_long(name: str) -> None:
    parse = PARSERS[name]
    for kind, text in TEXTS.items():
        size = 2_000
        once = seconds(parse, text(size))
        while once < 0.02 and size < 256_000:  # until a clock can tell
            size *= 2
            once = seconds(parse, text(size))
        twice = seconds(parse, text(2 * size))
        assert twice < 3.2 * once + 0.03, (
            f"{name} takes {once:.3f} s for {size} characters of {kind}, and {twice:.3f} s for twice"
        )
        assert twice < 2, f"{name} takes {twice:.1f} s for {2 * size} characters of {kind}"
