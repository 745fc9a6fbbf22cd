"""Decodes, shrinks and encodes images with Pillow.

Only workers import this, and processes that decode inline.
"""

from __future__ import annotations

import io
import math
import mmap
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import accumulate
from typing import IO, Any, NamedTuple, Protocol

import PIL
from PIL import Image, ImageCms, ImageFilter, features

from filerow._media_types import SVG
from filerow._validation.types import sniff
from filerow._variant_plan import MOVING, WHOLE, Geometry, VariantPlan, geometry_of
from filerow.variants._wire import Limits, UnmakableError

Function = Callable[..., Image.Image]

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF")
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # the pages of a TIFF, and the pictures of an MPO, are no frames of a film
# What Pillow imports only when it comes upon something.
_LATE = (
    "colorsys",
    "copy",
    "PIL.ImageColor",
    "PIL.ImagePalette",
    "PIL.MpoImagePlugin",
    "PIL.TiffImagePlugin",
    "PIL.TiffTags",
)
_HEAD = 8192  # bytes by which a type is recognised
_ENCODED = 16  # bytes of a pixel that encoders need at most, as has been seen
_AVIF_ENCODED = 20  # that of AVIF needs more, and ends its process where it gets less
_SOME = 2 << 20  # bytes that any decoder may need besides
_GAP = 2.0  # an image is shrunk roughly to this many times its size, then precisely
_MOST_WORK = 4  # an animation may have this many times the pixels of an image, in all frames together
_LONGEST_GIF = 65535
_ATTENTION = 256  # pixels of the longer side of the copy that is looked at
_MOST_12_BITS, _MOST_16_BITS = 0xFFF, 0xFFFF
_BITS = 0x0102
_SIDE_BITS = 0x3FFF
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
_SAVED: dict[str, dict[str, Any]] = {
    "avif": {"speed": 7, "max_threads": 1},
    "gif": {},
    "jpeg": {"optimize": True, "progressive": True},
    "png": {},
    "tiff": {"compression": "tiff_adobe_deflate"},
    "webp": {"method": 4},
}
_PLAIN = {
    "1": "L", "LA": "LA", "La": "LA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB",
    "CMYK": "CMYK", "LAB": "LAB",
}  # fmt: skip


class Pixels(NamedTuple):
    """A drawing in straight RGBA, 8 bits each."""

    content: bytes
    width: int
    height: int


class Vector(Protocol):
    """A document that says how to draw an image of any size."""

    size: tuple[float, float]

    def part(self, geometry: Geometry) -> Pixels:
        """Return a part of it, in about the size that is wanted, and not less."""
        ...


Drawer = Callable[[bytes, Limits], Vector]
_Frames = tuple[list[Image.Image], list[int], int]


class Picture(NamedTuple):
    """An image that was made."""

    content: bytes
    width: int
    height: int
    frames: int


def prepare() -> None:
    """Load all that may be needed, since no file can be opened later."""
    Image.init()
    for module in _LATE:
        import_module(module)
    sample = Image.new("P", (8, 8))
    target = io.BytesIO()
    sample.save(target, "GIF", save_all=True, append_images=[Image.new("RGB", (8, 8), "white")])
    plan = VariantPlan(fit="cover", crop="attention", width=2, height=4, format="gif", quality=None, function="", arguments={})
    make(target, plan, Limits(1000, 2, 0, 0))


def versions() -> dict[str, str]:
    """Return the versions of what decodes and encodes."""
    found = {name: features.version(name) for name in ("jpg", "libjpeg_turbo", "zlib", "webp", "avif", "libtiff", "littlecms2")}
    return {"pillow": PIL.__version__} | {name: version for name, version in found.items() if version}


def make(
    file: IO[bytes], plan: VariantPlan, limits: Limits, function: Function | None = None, drawer: Drawer | None = None
) -> Picture:
    """Make an image of another.

    Args:
        file: The original, seekable.
        plan: What to make.
        limits: What the original may be.
        function: What the application makes of the image, before it is encoded.
        drawer: Draws SVG, where that is allowed.

    Raises:
        UnmakableError: It is not an image that can be decoded, or too large.
    """
    Image.MAX_IMAGE_PIXELS = limits.pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            frames, durations, loop = _decoded(file, plan, limits, drawer)
            if function is not None:
                frames = [_applied(function, frames[0], plan, limits)]
            return _encoded(frames, durations, loop, plan)
        except MemoryError:
            raise UnmakableError("memory") from None


def _decoded(file: IO[bytes], plan: VariantPlan, limits: Limits, drawer: Drawer | None) -> _Frames:
    buffered = 0  # bytes that the decoder needs, beyond the image
    try:
        if _is_svg(file):
            return [_drawn(file, plan, limits, drawer)], [], 0
        with _opened(file, limits) as image:
            buffered = _buffered_for(image)
            return _frames(image, plan, limits)
    except (UnmakableError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnmakableError("too-many-pixels") from None
    except ImportError as error:  # not foreseen in prepare()
        raise UnmakableError("unloaded", error.name or "") from None
    except Exception:  # noqa: BLE001 - decoders of broken files raise anything
        raise UnmakableError("memory" if _is_lacking(buffered or _buffered_for_webp(file)) else "broken") from None


def _buffered_for(image: Image.Image) -> int:
    """Return the memory of a decoder that does not say when it lacks some.

    That of a progressive JPEG keeps all coefficients; of others these are the bytes that one has been seen to need.
    """
    if image.format in {"JPEG", "MPO"}:
        each = 3 * len(image.getbands()) if image.info.get("progressive") else 0
    else:
        each = {"AVIF": 10, "TIFF": 4, "WEBP": 12}.get(image.format or "", 0)
    return image.width * image.height * each + _SOME


def _is_lacking(size: int) -> bool:
    """Return True if this process cannot have so much more memory.

    Asked when a decoder has just failed, while the image still has its own.
    """
    try:
        mmap.mmap(-1, size).close()
    except (OSError, ValueError, MemoryError):
        return True
    return False


def _buffered_for_webp(file: IO[bytes]) -> int:
    """Return the same of WebP's decoder; of others what any may need.

    It keeps two images and returns a third, and asks for them before Pillow says how large the image is.
    """
    file.seek(0)
    head = file.read(30)
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":  # noqa: PLR2004 - the shortest header
        return _SOME
    if head[12:16] == b"VP8X":
        width, height = int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    elif head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = (bits & _SIDE_BITS) + 1, (bits >> 14 & _SIDE_BITS) + 1
    else:
        width, height = (int.from_bytes(head[at : at + 2], "little") & _SIDE_BITS for at in (26, 28))
    return width * height * 12


def _is_svg(file: IO[bytes]) -> bool:
    """Return True if a file is an SVG by its first bytes."""
    head = file.read(_HEAD)
    file.seek(0)
    return sniff(head) == SVG


def _drawn(file: IO[bytes], plan: VariantPlan, limits: Limits, drawer: Drawer | None) -> Image.Image:
    """Return a drawing in the size that is wanted."""
    if drawer is None:
        raise UnmakableError("svg")
    drawing = drawer(file.read(), limits)
    box = plan["width"], plan["height"]
    geometry = geometry_of(drawing.size, box, plan["fit"], vector=True)
    if geometry.size[0] * geometry.size[1] > limits.pixels:
        raise UnmakableError("too-many-pixels")
    if plan["fit"] == "cover" and plan["crop"] == "attention":
        view = geometry_of(drawing.size, (_ATTENTION, _ATTENTION), "contain", vector=True)
        geometry = _moved(_image_of(drawing.part(view)), geometry)
    return _resized(_image_of(drawing.part(geometry)), Geometry(WHOLE, geometry.size))


def _image_of(pixels: Pixels) -> Image.Image:
    return Image.frombytes("RGBA", (pixels.width, pixels.height), pixels.content)


def _opened(file: IO[bytes], limits: Limits) -> Image.Image:
    """Read an image's header, and refuse too many pixels before decoding."""
    try:
        image = Image.open(file, formats=_FORMATS)
    except PIL.UnidentifiedImageError:
        raise UnmakableError("not-an-image") from None
    if image.width * image.height > limits.pixels:
        image.close()
        raise UnmakableError("too-many-pixels")
    return image


def _frames(image: Image.Image, plan: VariantPlan, limits: Limits) -> _Frames:
    """Return a result's frames, their durations, and how often all are shown.

    Always is 0.
    """
    may_move = plan["format"] in MOVING and not plan["function"] and image.format in _ANIMATED
    if not may_move or not getattr(image, "is_animated", False):
        return [_made(image, plan)], [], 0
    loop = image.info.get("loop")
    if image.format == "GIF":  # it says how often to repeat, the others how often to show
        loop = 1 if loop is None else loop and loop + 1
    frames: list[Image.Image] = []
    durations: list[int] = []
    done = 0
    for number, frame in enumerate(_each(image)):
        done += frame.width * frame.height
        if number >= limits.frames or done > limits.pixels * _MOST_WORK:
            raise UnmakableError("too-many-frames")
        frames.append(_made(frame, plan))
        if len(frames) * frames[0].width * frames[0].height > limits.pixels:
            raise UnmakableError("too-many-frames")
        durations.append(max(0, min(round(frame.info.get("duration") or 0), _LONGEST_GIF)))
    return frames, durations, int(loop or 0)


def _each(image: Image.Image) -> Iterator[Image.Image]:
    number = 0
    while True:
        try:
            image.seek(number)
        except EOFError:
            return
        yield image
        number += 1


def _made(image: Image.Image, plan: VariantPlan) -> Image.Image:
    """Return an image in its new size, upright, in sRGB, and only its pixels."""
    turn = _turn_of(image)
    box = plan["width"], plan["height"]
    if turn in _ON_ITS_SIDE:
        box = box[1], box[0]
    geometry = geometry_of(image.size, box, plan["fit"])
    _draft(image, geometry)
    image.load()
    if image.format == "TIFF":  # Pillow turns those when it loads them
        geometry = geometry_of(image.size, box, plan["fit"])
    profile = image.info.get("icc_profile")
    plain = _plain(image)
    if plan["fit"] == "cover" and plan["crop"] == "attention":
        geometry = _moved(plain, geometry)
    small = _resized(plain, geometry)
    if turn in _TURNS:
        small = small.transpose(_TURNS[turn])
    small = _in_srgb(small, profile)
    small.info = {}
    return small


def _turn_of(image: Image.Image) -> int:
    """Return EXIF's orientation; XMP is not asked, as browsers do not ask it either."""
    if image.format == "TIFF":
        return 1
    if image.format == "PNG" and "exif" not in image.info:
        image.load()  # the chunk may come after the pixels
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        found = exif.get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - a broken EXIF turns nothing
        return 1
    return found if found in _TURNS else 1


def _draft(image: Image.Image, geometry: Geometry) -> None:
    """Let a decoder of JPEG shrink, which costs it less than not to."""
    left, top, right, bottom = geometry.part
    shrunk = min((right - left) * image.width / geometry.size[0], (bottom - top) * image.height / geometry.size[1])
    image.draft(None, (math.ceil(image.width * _GAP / shrunk), math.ceil(image.height * _GAP / shrunk)))


def _plain(image: Image.Image) -> Image.Image:
    """Return an image as L, LA, RGB, RGBA, CMYK or LAB."""
    mode = image.mode
    if mode in {"L", "RGB"}:
        return image.convert({"L": "LA", "RGB": "RGBA"}[mode]) if "transparency" in image.info else image
    if mode == "P":
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if mode.startswith("I"):
        return _eight_bits(image)
    if mode not in _PLAIN:
        raise UnmakableError("mode")
    plain = "RGBA" if mode == "1" and "transparency" in image.info else _PLAIN[mode]
    return image if mode == plain else image.convert(plain)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of 12 or 16 bits a pixel with 8."""
    tags: Any = getattr(image, "tag_v2", {})
    full = _MOST_12_BITS if tuple(tags.get(_BITS, ())) == (12,) else _MOST_16_BITS
    wide = image if image.mode == "I" else image.convert("I")
    least, most = wide.getextrema()
    if not 0 <= int(least) <= int(most) <= _MOST_16_BITS:  # type: ignore[arg-type]  # one band
        raise UnmakableError("mode")
    return wide.point(lambda value: value * (255 / full)).convert("L")


def _moved(image: Image.Image, geometry: Geometry) -> Geometry:
    """Move what is kept to where there is most to see: edges, colour, skin."""
    left, top, right, bottom = geometry.part
    kept = right - left, bottom - top
    if min(kept) >= 1:
        return geometry
    view = image.convert("RGB")
    view.thumbnail((_ATTENTION, _ATTENTION), Image.Resampling.BOX)
    edges = view.convert("L").filter(ImageFilter.FIND_EDGES)
    hue, saturation, value = (band.tobytes() for band in view.convert("HSV").split())
    across = kept[0] < 1
    lines = [0.0] * (view.width if across else view.height)
    for place, strength in enumerate(edges.tobytes()):
        row, column = divmod(place, view.width)
        if 0 < row < view.height - 1 and 0 < column < view.width - 1:  # the filter finds an edge at the border
            skin = 60 if hue[place] < 36 and 40 < saturation[place] < 180 and value[place] > 60 else 0  # noqa: PLR2004
            lines[column if across else row] += strength + saturation[place] * value[place] / 1024 + skin
    start = _best(lines, kept[0] if across else kept[1])
    if across:
        return geometry._replace(part=(start, 0.0, start + kept[0], 1.0))
    return geometry._replace(part=(0.0, start, 1.0, start + kept[1]))


def _best(lines: list[float], kept: float) -> float:
    """Return where the heaviest window begins, in parts; of equals the middle."""
    length = max(1, round(len(lines) * kept))
    last = len(lines) - length
    if last <= 0:
        return (1 - kept) / 2
    sums = [0.0, *accumulate(lines)]
    best = max(range(last + 1), key=lambda at: (round(sums[at + length] - sums[at], 3), -abs(at - last / 2)))
    return best / last * (1 - kept)


def _resized(image: Image.Image, geometry: Geometry) -> Image.Image:
    left, top, right, bottom = geometry.part
    box = left * image.width, top * image.height, min(right, 1.0) * image.width, min(bottom, 1.0) * image.height
    if geometry.size == image.size and geometry.part == WHOLE:
        return image.copy()
    # colours of what cannot be seen must not show at the edges
    with_alpha = {"LA": "La", "RGBA": "RGBa"}.get(image.mode)
    flat = image.convert(with_alpha) if with_alpha else image
    small = flat.resize(geometry.size, Image.Resampling.LANCZOS, box=box, reducing_gap=_GAP)
    return small.convert(image.mode) if with_alpha else small


def _in_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Return an image as L, LA, RGB or RGBA with the colours of sRGB."""
    alpha = image.getchannel("A") if image.mode in {"LA", "RGBA"} else None
    seen = image if alpha is None else image.convert(image.mode[:-1])
    found = _by_profile(seen, profile)
    if found is None:
        found = image if image.mode in {"L", "LA", "RGB", "RGBA"} else _guessed(image)
    elif alpha is not None:
        found.putalpha(alpha)
    return found


def _by_profile(image: Image.Image, profile: object) -> Image.Image | None:
    """Return an image by its profile; ``None`` if none fits, or it is sRGB."""
    if not isinstance(profile, bytes) or not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        known: Any = source.profile  # its type is wider than it is
        described = str(known.profile_description or "")
        if known.xcolor_space.strip() != _SPACES.get(image.mode) or described.startswith("sRGB"):
            return None
        return _transformed(image, source)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _transformed(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image | None:
    target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.profileToProfile(
        image,
        source,
        target,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _guessed(image: Image.Image) -> Image.Image:
    if image.mode != "LAB":
        return image.convert("RGB")
    found = _transformed(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    if found is None:
        raise UnmakableError("mode")
    return found


def _applied(function: Function, image: Image.Image, plan: VariantPlan, limits: Limits) -> Image.Image:
    """Return what a function of the application makes of an image."""
    try:
        found = function(image, **plan["arguments"])
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the application's
        raise UnmakableError("function", f"raised {type(error).__name__}: {error}") from None
    if not isinstance(found, Image.Image):
        raise UnmakableError("function", f"returned {type(found).__name__}, not an image of Pillow")
    if found.width * found.height > limits.pixels or not found.width or not found.height:
        raise UnmakableError("function", f"returned an image of {found.width} x {found.height} pixels")
    found.info = {}
    return _in_srgb(_plain(found), None)


def _encoded(frames: list[Image.Image], durations: list[int], loop: int, plan: VariantPlan) -> Picture:
    kind = plan["format"]
    options: dict[str, Any] = dict(_SAVED[kind])
    if plan["quality"] is not None:
        options["quality"] = plan["quality"]
    if len(frames) > 1:
        options |= {"save_all": True, "append_images": frames[1:], "duration": durations}
        if kind == "webp":
            options["loop"] = loop
        elif loop != 1:
            options["loop"] = loop and loop - 1
    first = _opaque(frames[0]) if kind == "jpeg" else frames[0]
    if kind == "avif" and _is_lacking(first.width * first.height * _AVIF_ENCODED + _SOME):
        raise UnmakableError("memory")
    target = io.BytesIO()
    try:
        first.save(target, kind.upper(), **options)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a side that is too long for WebP, say
        raise UnmakableError("memory" if _is_lacking(first.width * first.height * _ENCODED + _SOME) else "format") from None
    return Picture(target.getvalue(), *first.size, len(frames))


def _opaque(image: Image.Image) -> Image.Image:
    """Return an image on white if it has an alpha channel."""
    if image.mode not in {"LA", "RGBA"}:
        return image
    ground = Image.new(image.mode[:-1], image.size, "white")
    ground.paste(image.convert(image.mode[:-1]), mask=image.getchannel("A"))
    return ground
