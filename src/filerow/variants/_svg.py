"""Draws SVG with librsvg, through libvips, which may do nothing else.

Only workers that may draw import this, before they fork. What is drawn is what a browser shows in ``<img>``: no script runs, and
nothing is loaded from elsewhere, since the document is handed over as bytes and has no address that a link could begin at.
librsvg leaves out what it cannot draw, and says nothing, so such documents are refused before.

All is done by the thread that asks: libvips starts others only for operations that are blocked here.
"""

from __future__ import annotations

import binascii
import codecs
import math
import re
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.parsers import expat

try:
    import pyvips
except (ImportError, OSError) as error:  # OSError: libvips is missing
    raise ImportError(f"variants of SVG need pyvips and libvips: pip install 'filerow[svg]' ({error})") from error

from filerow._media_types import SVG
from filerow._validation.images import dimensions
from filerow._validation.types import sniff
from filerow._variant_plan import Geometry
from filerow.variants._pillow import Pixels
from filerow.variants._wire import Limits, UnmakableError

_ALLOWED = ("VipsForeignLoadSvgBuffer", "VipsTileCache")
_ENCODINGS = ("cp1252",)  # libxml2 knows no others, and expat Latin-1 and Unicode by itself
_HEAD = 8192  # bytes by which a type is recognised
_FINE = 256  # pixels of the shorter side when the size is measured
_LONGEST = 8_000_000  # pixels of any side, below what cairo can count
_NEARLY = 0.01
_SCALES = (1.0, 1e2, 1e-2, 1e-4, 1e-6)
_SHARPER = 2.0  # a drawing whose ratio is not that of the result in whole pixels is drawn so much larger, then shrunk
_MOST_SHARPER = 1 << 24  # pixels that it may then have
_MOST_ELEMENTS = 250_000
_MOST_WITHIN = 3  # documents in each other
_BYTES_OF_PIXEL = 8  # an embedded image is decoded, then turned into what is drawn
_WORDS = frozenset({"text", "foreignObject"})
_DATA = re.compile(r"\s*data:([^,;]*)([^,]*),", re.IGNORECASE)
_EMBEDDED = frozenset({"image/jpeg", "image/png", SVG})
_BELIEVED = _EMBEDDED | {"image/gif"}  # types by which librsvg decodes an image, which has another one without being drawn
_REASONS = {
    "memory": re.compile(r"out of memory|unable to (?:re)?alloc", re.IGNORECASE),
    "too-complex": re.compile(r"referenced elements|more than \d+ elements|Excessive depth|amplification|XML_PARSE_HUGE"),
    "size": re.compile(r"bad dimensions|zero-sized"),
}
"""What libvips, librsvg, libxml2 and expat say, by our word for it."""

_SAMPLE = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><circle cx="4" cy="4" r="4" fill="red"/></svg>'


def prepare() -> None:
    """Block all of libvips that is not needed, and see that the rest works.

    Raises:
        RuntimeError: This libvips cannot draw SVG.
    """
    for name in _ENCODINGS:
        codecs.lookup(name)
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(state=True)
    pyvips.operation_block_set("VipsOperation", state=True)
    for name in _ALLOWED:
        pyvips.operation_block_set(name, state=False)
    try:
        Drawing(_SAMPLE, Limits(1000, 1, 1 << 20, 1.0))
    except UnmakableError as error:
        raise RuntimeError("this libvips cannot draw SVG: pip install 'filerow[svg]'") from error


def versions() -> dict[str, str]:
    """Return the version of what draws."""
    return {"libvips": ".".join(str(pyvips.version(place)) for place in range(3))}


class Drawing:
    """An SVG document.

    Args:
        content: Its bytes.
        limits: What images in it may be.

    Attributes:
        size: Its width and height in pixels, as ``dimensions`` says them, or else as it is drawn.

    Raises:
        UnmakableError: It cannot be drawn.
    """

    def __init__(self, content: bytes, limits: Limits) -> None:
        _SvgLook(limits).at(content)
        self._limits = limits
        self._content = content
        said = dimensions(lambda start, size: content[start : start + size], SVG, len(content))
        self._width, self._height = self._measured(said)
        self.size: tuple[float, float] = said if said and self._has_ratio(said) else (self._width, self._height)

    def part(self, geometry: Geometry) -> Pixels:
        """Return a part of it, in about the size that is wanted, and not less.

        Args:
            geometry: The part, and its size.
        """
        left, top, right, bottom = geometry.part
        wide, high = geometry.size
        scale = max(wide / (self._width * (right - left)), high / (self._height * (bottom - top)))
        drawn = self._scaled(scale)
        if not _fits(drawn, geometry):
            is_small = wide * high * _SHARPER**2 <= min(_MOST_SHARPER, self._limits.pixels)
            drawn = self._scaled(scale * (_SHARPER if is_small else 1.0))
            wide = min(drawn.width, math.ceil(drawn.width * (right - left)))
            high = min(drawn.height, math.ceil(drawn.height * (bottom - top)))
        if wide * high > self._limits.pixels or max(drawn.width, drawn.height) > _LONGEST:
            raise UnmakableError("too-many-pixels")
        start = min(round(left * drawn.width), drawn.width - wide), min(round(top * drawn.height), drawn.height - high)
        try:
            return Pixels(bytes(pyvips.Region.new(drawn).fetch(*start, wide, high)), wide, high)
        except pyvips.Error as error:
            raise _refused(error) from None

    def _measured(self, said: tuple[int, int] | None) -> tuple[float, float]:
        """Return width and height as they are drawn, not rounded."""
        refused = UnmakableError("size")
        for scale in (_measure(*said), *_SCALES) if said else _SCALES:
            try:
                rough = self._scaled(scale)
                exact = scale * _measure(rough.width, rough.height)
                found = self._scaled(exact)
            except UnmakableError as error:
                if error.code != "size":
                    raise
                refused = error
                continue
            wanted = max(rough.width, rough.height) * exact / scale
            if abs(max(found.width, found.height) - wanted) <= 1 + wanted / max(rough.width, rough.height):
                return found.width / exact, found.height / exact
        raise refused  # a side is beyond libvips's numbers, which it then forgets

    def _has_ratio(self, said: tuple[int, int]) -> bool:
        """Return True if a size in whole pixels has nearly the drawing's ratio."""
        return abs(said[0] * self._height / (said[1] * self._width) - 1) < _NEARLY

    def _scaled(self, scale: float) -> Any:
        try:
            return pyvips.Image.svgload_buffer(self._content, scale=scale)
        except pyvips.Error as error:
            raise _refused(error) from None


def _measure(width: float, height: float) -> float:
    """Return by how much to scale a size to measure it."""
    return min(_FINE / min(width, height), _LONGEST / max(width, height))


def _fits(drawn: Any, geometry: Geometry) -> bool:
    """Return True if the part of an image has the size that is wanted."""
    width: int = drawn.width
    height: int = drawn.height
    left, top, right, bottom = geometry.part
    wide, high = geometry.size
    apart = abs(width * (right - left) - wide), abs(height * (bottom - top) - high)
    return max(apart) <= 0.5 and width >= wide and height >= high  # noqa: PLR2004 - half a pixel


def _refused(error: Exception) -> UnmakableError:
    said = str(error)
    for code, words in _REASONS.items():
        if words.search(said):
            return UnmakableError(code)
    return UnmakableError("broken")


class _SvgLook:
    """A look at a document before it is drawn, for what would be left out of it.

    Args:
        limits: What images in it may be, all together.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._elements = 0
        self._pixels = 0
        self._within = 0
        self._words = 0

    def at(self, content: bytes) -> None:
        """Look at a document, and at those in it.

        Raises:
            UnmakableError: It cannot be drawn as it is meant.
        """
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._begun
        parser.EndElementHandler = self._ended
        parser.CharacterDataHandler = self._said
        words, self._words = self._words, 0
        try:
            parser.Parse(content, True)  # noqa: FBT003 - positional in the standard library
        except (expat.ExpatError, LookupError, ValueError) as error:
            raise _refused(error) from None
        self._words = words

    def _begun(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            raise UnmakableError("too-complex")
        kind = name.rpartition(":")[2]
        if self._elements == 1 and not _has_size(attributes):
            raise UnmakableError("size")
        self._words += kind in _WORDS
        if kind != "a":
            for key, value in attributes.items():
                if key.rpartition(":")[2] == "href":
                    self._linked(value)

    def _ended(self, name: str) -> None:
        self._words -= name.rpartition(":")[2] in _WORDS

    def _said(self, text: str) -> None:
        if self._words and not text.isspace():
            raise UnmakableError("text")

    def _linked(self, link: str) -> None:
        """Look at what a document has in itself: images, and other documents."""
        found = _DATA.match(link)
        if found is None:
            return
        data = _decoded(link[found.end() :], is_base64=found[2].strip().lower().endswith(";base64"))

        def read_at(start: int, size: int) -> bytes:
            return data[start : start + size]

        kind, label = sniff(data[:_HEAD], read_at, len(data)), found[1].strip().lower()
        if kind not in _EMBEDDED or (label != kind and label in _BELIEVED):
            raise UnmakableError("embedded")
        if kind == SVG:
            self._within += 1
            if self._within > _MOST_WITHIN:
                raise UnmakableError("too-complex")
            self.at(data)
            self._within -= 1
            return
        sides = dimensions(read_at, kind, len(data))
        if sides is None:
            raise UnmakableError("embedded")
        self._pixels += sides[0] * sides[1]
        if self._pixels > self._limits.pixels:
            raise UnmakableError("too-many-pixels")
        if sides[0] * sides[1] * _BYTES_OF_PIXEL > self._limits.memory:
            raise UnmakableError("memory")


def _has_size(root: dict[str, str]) -> bool:
    """Return True if it can be drawn in any size.

    What has no size is drawn without scaling it, whatever the scale.
    """
    return "viewBox" in root or all(root.get(side, "%").strip()[-1:] not in {"", "%"} for side in ("width", "height"))


def _decoded(text: str, *, is_base64: bool) -> bytes:
    data = unquote_to_bytes(text)
    if not is_base64:
        return data
    try:
        return binascii.a2b_base64(data + b"==")  # which may be left out
    except ValueError:
        raise UnmakableError("embedded") from None
