"""Uploads that the applications of ``refusing.py`` refuse; apart from them, for they fill the process that imports them."""

from __future__ import annotations

from filerow.backends.base import SignRequest
from filerow.backends.memory import MemoryBackend

SIZE = 10 << 20
CROWDED = 30 << 20
"""Bytes of an upload that finds no room, though one of :data:`SIZE` bytes does."""


def make_backend() -> MemoryBackend:
    return MemoryBackend("docs", base_url="/files", secret="a secret of these tests, and no other")


def signed(path: str, size: int) -> str:
    return make_backend().sign(path, SignRequest("PUT", 600, content_length=size))


def refused_urls() -> dict[int, tuple[str, int]]:
    """Return by the status that refuses it the URL of an upload and its size."""
    return {
        403: ("/files/docs/a.txt?expires=1&signature=x", SIZE),
        409: (signed("taken.txt", SIZE), SIZE),
        413: (signed("a.txt", SIZE - 1), SIZE),
        503: (signed("b.txt", CROWDED), CROWDED),
    }
