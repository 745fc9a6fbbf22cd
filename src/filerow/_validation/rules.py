"""What a column demands of its files: size, type, width and height."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple, TypeAlias

from filerow._media_types import SVG, is_signed, may_turn_out
from filerow._validation.patterns import means_svg
from filerow.exceptions import ContentTypeError, FileTooLargeError, FileTooSmallError, ImageDimensionsError

ImageSize: TypeAlias = Literal["shown", "stored"]
"""Which width and height of an image count: as it is shown, turned by EXIF, or as it is stored."""

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*((?:[kmgt]i?)?b?)\s*$", re.IGNORECASE)
_UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(value: int | str | None, name: str = "max_size") -> int | None:
    """Return a number of bytes from an integer, ``"25 MB"`` or ``"25 MiB"`` (2^20).

    Raises:
        ValueError: It is neither, or negative.
    """
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{name} is a number of bytes or a text like "25 MB" or "25 MiB", not {value!r}')
    unit = match[2].lower()
    base = 1024 if "i" in unit else 1000
    return int(float(match[1]) * base ** _UNITS[unit[:1]])


def checked_sizes(least: int | str, most: int | str | None) -> tuple[int, int | None]:
    """Return a column's ``min_size`` and ``max_size`` in bytes.

    Raises:
        ValueError: One is not a number of bytes, or the minimum is above the maximum.
    """
    fewest, largest = parse_size(least, "min_size") or 0, parse_size(most)
    if largest is not None and fewest > largest:
        raise ValueError(f"min_size={fewest} is above max_size={largest}, so no file could pass")
    return fewest, largest


def checked_image_size(given: ImageSize) -> ImageSize:
    """Return a column's ``image_size``.

    Raises:
        ValueError: It is neither ``"shown"`` nor ``"stored"``.
    """
    if given not in {"shown", "stored"}:
        raise ValueError(f'image_size is "shown" (turned by EXIF) or "stored", not {given!r}')
    return given


def checked_keys(given: Sequence[str]) -> tuple[str, ...]:
    """Return a column's ``public_metadata``.

    Raises:
        TypeError: It is one text, where a list of them is meant, or not of texts.
    """
    if isinstance(given, str) or not all(isinstance(key, str) for key in given):
        raise TypeError(f"public_metadata is a list of keys of metadata, not {given!r}")
    return tuple(given)


class ImageLimits(NamedTuple):
    """What a column demands of images, in pixels; ``None`` for no limit."""

    max_pixels: int | None = None
    min_width: int | None = None
    max_width: int | None = None
    min_height: int | None = None
    max_height: int | None = None

    def checked(self) -> ImageLimits:
        """Return these limits.

        Raises:
            ValueError: One is not a positive number, or a smallest size is above the largest.
        """
        for name, value in self._asdict().items():
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"{name} is a positive number of pixels, not {value!r}")
        for side, least, most in (("width", self.min_width, self.max_width), ("height", self.min_height, self.max_height)):
            if least is not None and most is not None and least > most:
                raise ValueError(f"min_{side}={least} is above max_{side}={most}, so no image could pass")
        return self


NO_LIMITS = ImageLimits()


class Rules(NamedTuple):
    """The checks of one column.

    Attributes:
        max_size: Maximum size of a file in bytes.
        content_types: Media types, or patterns such as ``image/*``, of which one must match.
        field: The column's name, for messages.
        image: The limits of an image's width and height.
        validators: The application's own checks.
        min_size: Minimum size of a file in bytes.
        image_size: Which width and height of an image count.
        measures: Width and height are read whether there are limits or not.
    """

    max_size: int | None = None
    content_types: tuple[str, ...] = ()
    field: str = ""
    image: ImageLimits = NO_LIMITS
    validators: tuple[Any, ...] = ()
    min_size: int = 0
    image_size: ImageSize = "shown"
    measures: bool = False

    def check_size(self, size: int, filename: str = "") -> None:
        """Refuse more than ``max_size`` bytes.

        Raises:
            FileTooLargeError: More bytes than allowed have passed.
        """
        if self.max_size is not None and size > self.max_size:
            what = f"{filename!r} " if filename else "the file "
            msg = f"{self.field or 'file'}: {what}has more than the {self.max_size:,} bytes allowed ({size:,} or more)"
            raise FileTooLargeError(msg, field=self.field, limit=self.max_size, actual=size)

    def check_least(self, size: int, filename: str = "") -> None:
        """Refuse fewer than ``min_size`` bytes, once it is known how many there are.

        Raises:
            FileTooSmallError: There are fewer than allowed.
        """
        if size < self.min_size:
            what = f"{filename!r} " if filename else "the file "
            msg = f"{self.field or 'file'}: {what}has {size:,} bytes, fewer than the {self.min_size:,} that are needed"
            raise FileTooSmallError(msg, field=self.field, limit=self.min_size, actual=size)

    def check_type(self, content_type: str, *, proven: bool, called: str = "") -> None:
        """Refuse a type that matches no pattern, or that should have a signature.

        Args:
            content_type: The type.
            proven: Whether the bytes prove it.
            called: What the client calls it, for the message.

        Raises:
            ContentTypeError: The type is not allowed.
        """
        if not self.content_types or (self._allows(content_type) and (proven or not is_signed(content_type))):
            return
        doubted = called or content_type
        doubt = f"it is {content_type}"
        if not proven and self._allows(doubted):
            doubt = f"it is called {doubted} but its first bytes are not"
        *others, last = self.content_types
        allowed = f"{', '.join(others)} and {last} are" if others else f"{last} is"
        msg = f"{self.field or 'file'}: only {allowed} allowed; {doubt}"
        raise ContentTypeError(msg, field=self.field, limit=self.content_types, actual=content_type)

    def check_announced(self, content_type: str) -> None:
        """Refuse an announced type with which no honest file could pass.

        Raises:
            ContentTypeError: The type is not allowed, nor any that its container may turn out to be.
        """
        if not any(self._allows(kind) for kind in may_turn_out(content_type)):
            self.check_type(content_type, proven=True)

    def _allows(self, content_type: str) -> bool:
        """Return True if a pattern matches. SVG must be named: ``image/*`` is not enough."""
        if content_type == SVG:
            return any(map(means_svg, self.content_types))
        return any(fnmatchcase(content_type, pattern) for pattern in self.content_types)

    @property
    def looks_at_images(self) -> bool:
        """Whether anything here depends on an image's width and height."""
        return self.image != NO_LIMITS or bool(self.validators) or self.measures

    def check_dimensions(self, content_type: str, found: tuple[int, int] | None, filename: str = "") -> None:
        """Refuse an image that breaks a limit or has no readable width and height.

        Raises:
            ImageDimensionsError: The image is refused.
        """
        if self.image == NO_LIMITS or not content_type.startswith("image/"):
            return
        what = f"{self.field or 'file'}: {filename!r}" if filename else f"{self.field or 'file'}: the image"
        if found is None:
            limits = {name: value for name, value in self.image._asdict().items() if value is not None}
            msg = f"{what} ({content_type}) is limited in width and height, but its header does not say them in a way we can read"
            raise ImageDimensionsError(msg, field=self.field, limit=limits)
        width, height = found
        for rule, actual, broken in (
            ("max_pixels", width * height, "at most {:,} pixels are allowed"),
            ("max_width", width, "it may be at most {:,} wide"),
            ("max_height", height, "it may be at most {:,} high"),
            ("min_width", -width, "it must be at least {:,} wide"),
            ("min_height", -height, "it must be at least {:,} high"),
        ):
            limit: int | None = getattr(self.image, rule)
            if limit is not None and (actual > limit if actual > 0 else -actual < limit):
                msg = f"{what} has {width:,} x {height:,} pixels; {broken.format(limit)}"
                raise ImageDimensionsError(msg, field=self.field, limit=limit, actual=abs(actual), rule=rule)


NO_RULES = Rules()
