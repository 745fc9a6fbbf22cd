"""Every image of Pillow's tests, broken and hostile ones included: the right variant, or a clear refusal."""

from __future__ import annotations

import io
import time
import warnings
from collections import Counter
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageOps

from filerow.exceptions import UndecodableError, VariantError, VariantTimeoutError, VariantTooLargeError
from filerow.variants import Resize, VariantWorkers, make_variant

pytestmark = pytest.mark.soak

READ = {"JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "TIFF"}
BOX = 64
SEEN_AS_THEY_ARE = {"L", "LA", "RGB", "RGBA"}
TOLERANCE = 12.0


def expected(path: Path) -> Image.Image | None:
    """Return how the first frame looks, decoded here by Pillow itself; ``None`` if it cannot, or need not agree."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                if image.format not in READ or image.width * image.height > 50_000_000:
                    return None
                has_profile = bool(image.info.get("icc_profile"))
                image.load()
                for xmp in ("xmp", "XML:com.adobe.xmp"):  # browsers do not turn an image by it
                    image.info.pop(xmp, None)
                upright = ImageOps.exif_transpose(image)
                upright = upright.convert({"P": "RGBA", "1": "L"}.get(upright.mode, upright.mode))
                small = upright.copy()
                small.thumbnail((BOX, BOX), Image.Resampling.LANCZOS, reducing_gap=None)
                small.info["comparable"] = (
                    not has_profile and upright.mode in SEEN_AS_THEY_ARE and "transparency" not in image.info
                )
                return small
        except Exception:  # noqa: BLE001 - the corpus has what breaks decoders
            return None


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of colours on a grey ground."""
    shown = []
    for image in (one, other):
        ground = Image.new("RGBA", image.size, (128, 128, 128, 255))
        ground.alpha_composite(image.convert("RGBA"))
        shown.append(ground.convert("RGB").tobytes())
    first, second = shown
    return sum(abs(a - b) for a, b in zip(first, second, strict=True)) / len(first)


def test_each_image_becomes_a_variant_or_an_error(pillow_images: Path) -> None:
    files = sorted(path for path in pillow_images.rglob("*") if path.is_file())
    assert len(files) > 400
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    before = psutil.Process().memory_info().rss
    with VariantWorkers(workers=2) as makers:
        for path in files:
            began = time.monotonic()
            outcomes[_judged(path, makers, wrong)] += 1
            if time.monotonic() - began > 60:
                wrong.append(f"{path.name}: took {time.monotonic() - began:.0f} s")
    grown = (psutil.Process().memory_info().rss - before) >> 20
    assert not wrong, "\n".join(wrong)
    assert grown < 200, f"RSS +{grown} MiB"
    assert outcomes["made"] > 250
    assert outcomes["crashed"] == outcomes["unloaded"] == 0


def _judged(path: Path, makers: VariantWorkers, wrong: list[str]) -> str:
    name = path.name
    wanted = expected(path)
    try:
        made = make_variant(path, Resize(width=BOX, height=BOX, format="png"), workers=makers)
    except (UndecodableError, VariantTooLargeError, VariantTimeoutError) as error:
        if wanted is not None and error.code != "mode":
            wrong.append(f"{name}: {error.code}, though Pillow decodes it")
        return error.code
    except VariantError as error:
        wrong.append(f"{name}: {type(error).__name__} {error}")
        return "unexpected"
    if wanted is None:
        return "made"
    found = Image.open(io.BytesIO(made.content))
    if any(abs(a - b) > 1 for a, b in zip(found.size, wanted.size, strict=True)):
        wrong.append(f"{name}: {found.size}, not {wanted.size}")
    elif wanted.info["comparable"] and found.size == wanted.size and (apart := difference(found, wanted)) > TOLERANCE:
        wrong.append(f"{name}: {apart:.1f} apart ({wanted.mode})")
    return "made"
