"""What a worker is to make of an image.

Workers import this, so it imports nothing of ours.
"""

from __future__ import annotations

from typing import TypedDict

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
