"""What a file holds follows from its name: whoever sees the name in a row knows every byte of the object."""

from __future__ import annotations

import hashlib

__all__ = ("content_of", "token")


def token(worker: str, number: int, size: int) -> str:
    """Return a filename that was never used before."""
    return f"{worker}-{number}-{size}.bin"


def content_of(name: str) -> bytes:
    """Return the bytes of the file of a name."""
    size = int(name.removesuffix(".bin").rpartition("-")[2])
    return hashlib.shake_256(name.encode()).digest(size)
