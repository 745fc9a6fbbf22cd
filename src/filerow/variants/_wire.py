"""What a process says to its workers, and they to it.

Both sides import this module, and a worker imports nothing of Filerow that imports SQLAlchemy, which takes a second.
"""

from __future__ import annotations

import json
import struct
from typing import NamedTuple, TypedDict

from filerow._variant_plan import VariantPlan

HEAD = struct.Struct("!cI")
"""Begins each message about one image: its kind and the length of the rest."""

READ, DATA, MADE, REFUSED = b"R", b"D", b"M", b"X"
"""A worker asks for bytes, gets them, returns an image, or says by a code why it cannot."""

SPAN = struct.Struct("!QI")
"""The bytes that a worker asks for: where they begin, and how many."""

SIZES = struct.Struct("!III")
"""Width, height and frames, before the bytes of an image."""

LENGTH = struct.Struct("!I")
"""Begins each message about the worker itself."""

REPORT = struct.Struct("!i")
"""How the process that made an image has ended, as ``waitpid`` says it; 0 if it goes on."""

BLOCK = 8 << 20
"""Bytes that a worker asks for at a time: a photo is one request to its store."""

MOST_DETAIL = 300
"""Characters that a worker may say about a function of the application."""


class Limits(NamedTuple):
    """What making one image may take.

    Attributes:
        pixels: Of an image, and of all frames of a result.
        frames: Of an animation.
        memory: Bytes beyond those that a worker has before it begins.
        seconds: Of processor time.
    """

    pixels: int
    frames: int
    memory: int
    seconds: float


class DecodeJob(TypedDict):
    """One image to make.

    Attributes:
        plan: What to make.
        size: Bytes of the original.
        limits: What it may take.
        fresh: A process makes it that has made no other.
        more: How many images that process may make afterwards.
    """

    plan: VariantPlan
    size: int
    limits: list[float]
    fresh: bool
    more: int


class Hello(TypedDict):
    """What a worker says when it has started.

    Attributes:
        protections: What its images are kept from.
        versions: Those of the libraries that it decodes with.
        shares: A process of it can make one image after the other.
    """

    protections: list[str]
    versions: dict[str, str]
    shares: bool


def framed(message: DecodeJob | Hello) -> bytes:
    """Return a message about the worker itself, with its length in front."""
    data = json.dumps(message).encode()
    return LENGTH.pack(len(data)) + data


class UnmakableError(Exception):
    """An image cannot be made.

    Args:
        code: Why, as one word.
        detail: What a function of the application raised.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
