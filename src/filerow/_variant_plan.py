"""What a worker is to make of an image.

Workers import this, so it imports nothing of ours.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict

MOVING = ("gif", "webp")
"""Formats of variants that keep an animation."""


class VariantPlan(TypedDict):
    """What to make of an image, from a recipe.

    Attributes:
        fit: ``cover`` crops to the ratio of the box; ``contain`` does not.
        crop: Which part ``cover`` keeps, ``centre`` or ``attention``.
        width: Width of the box in pixels; ``None`` for any.
        height: Its height.
        format: The format of the result.
        quality: 1 to 100, where the format has one.
        function: ``module:name`` of a function of the application, or empty.
        arguments: Its arguments.
    """

    fit: str
    crop: str
    width: int | None
    height: int | None
    format: str
    quality: int | None
    function: str
    arguments: dict[str, str | int | float | bool | None]


WHOLE = (0.0, 0.0, 1.0, 1.0)
"""All of an image."""


class Geometry(NamedTuple):
    """The part of an image that is kept, by its sides, and its size."""

    part: tuple[float, float, float, float]
    size: tuple[int, int]


def geometry_of(size: tuple[float, float], box: tuple[int | None, int | None], fit: str, *, vector: bool = False) -> Geometry:
    """Return what to keep of an image, and in which size.

    Args:
        size: Its width and height.
        box: Those of the recipe.
        fit: ``cover`` or ``contain``.
        vector: It has no pixels, and fills the box; others are never enlarged.
    """
    width, height = size
    wide, high = box
    largest = math.inf if vector else 1.0
    if fit != "cover" or wide is None or high is None:
        scales = [side / length for side, length in ((wide, width), (high, height)) if side is not None]
        scale = min(largest, *scales) if scales else 1.0
        return Geometry(WHOLE, (max(1, round(width * scale)), max(1, round(height * scale))))
    kept = min(1.0, height * wide / (high * width)), min(1.0, width * high / (wide * height))
    scale = min(largest, wide / (kept[0] * width), high / (kept[1] * height))
    out = max(1, round(kept[0] * width * scale)), max(1, round(kept[1] * height * scale))
    left, top = (1 - kept[0]) / 2, (1 - kept[1]) / 2
    return Geometry((left, top, left + kept[0], top + kept[1]), out)


KILLED = "killed"
"""The code where a decoder was killed, which may be the system's fault as well as the image's."""
