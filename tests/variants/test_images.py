"""What comes of images: size, orientation, colours, transparency, animation, and no metadata."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from filerow import FileObject, storages
from filerow.exceptions import UndecodableError
from filerow.variants import Custom, Recipe, Resize, Thumbnail, VariantWorkers, make_variant
from tests.variants.pictures import (
    BLUE,
    CORNERS,
    GREEN,
    RED,
    WHITE,
    alike,
    animation,
    colour,
    corners,
    four_colours,
    saved,
    seen,
)

FORMATS = ("avif", "gif", "jpeg", "png", "tiff", "webp")

SIZES: list[tuple[Recipe, tuple[int, int], tuple[int, int]]] = [
    (Thumbnail(40, 40), (400, 200), (40, 40)),
    (Thumbnail(40, 20), (200, 400), (40, 20)),
    (Thumbnail(40, 40, fit="contain"), (400, 200), (40, 20)),
    (Thumbnail(40, 40), (30, 20), (20, 20)),  # nothing is enlarged
    (Thumbnail(40, 40, fit="contain"), (30, 20), (30, 20)),
    (Thumbnail(40, 10), (30, 20), (30, 8)),
    (Resize(width=100), (400, 200), (100, 50)),
    (Resize(height=100), (400, 200), (200, 100)),
    (Resize(width=100, height=10), (400, 200), (20, 10)),
    (Resize(width=500), (400, 200), (400, 200)),
    (Resize(width=10), (1000, 1), (10, 1)),
]


@pytest.mark.parametrize(("recipe", "before", "after"), SIZES, ids=[f"{r!r}-{b}" for r, b, _ in SIZES])
def test_size(makers: VariantWorkers, recipe: Recipe, before: tuple[int, int], after: tuple[int, int]) -> None:
    made = make_variant(saved(Image.new("RGB", before, RED)), recipe, workers=makers)
    assert (made.width, made.height) == seen(made).size == after


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_read_and_written(makers: VariantWorkers, kind: str) -> None:
    source = saved(four_colours(), kind, **({"quality": 95} if kind in {"avif", "jpeg", "webp"} else {}))
    for target in FORMATS if kind == "png" else ("png",):
        made = make_variant(source, Resize(width=40, format=target), workers=makers)  # type: ignore[arg-type]
        image = seen(made)
        assert (image.format or "").lower() == target
        assert made.content_type == f"image/{target}"
        assert all(alike(found, wanted, 40) for found, wanted in zip(corners(image), CORNERS, strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", *(pytest.param(kind, marks=pytest.mark.thorough) for kind in ("PNG", "TIFF", "WEBP"))])
def test_orientation_is_applied(makers: VariantWorkers, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = saved(four_colours(160, 80), kind, exif=exif)
    wanted = ImageOps.exif_transpose(Image.open(io.BytesIO(source)))
    made = make_variant(source, Resize(width=40, height=40, format="png"), workers=makers)
    assert (made.width, made.height) == ((40, 20) if orientation < 5 else (20, 40))
    assert all(alike(one, other) for one, other in zip(corners(seen(made)), corners(wanted), strict=True))
    assert not seen(made).getexif()


def test_orientation_of_avif_is_applied(makers: VariantWorkers) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = saved(four_colours(160, 80), "AVIF", exif=exif, quality=95)
    made = make_variant(source, Resize(width=40, height=40, format="png"), workers=makers)
    assert corners(seen(made))[1][0] > 180  # red was at the upper left
    assert (made.width, made.height) == (20, 40)


@pytest.mark.parametrize("crop", ["centre", "attention"])
def test_crop_is_of_the_upright_image(makers: VariantWorkers, crop: str) -> None:
    image = Image.new("RGB", (300, 100), (90, 90, 90))
    image.paste(RED, (10, 10, 60, 90))  # lies on its left, so that the phone was held upright
    exif = Image.Exif()
    exif[0x0112] = 8
    made = make_variant(saved(image, "JPEG", exif=exif), Thumbnail(50, 50, crop=crop, format="png"), workers=makers)  # type: ignore[arg-type]
    found = seen(made)
    red = sum(alike(colour(found, x, y), RED, 60) for x in range(0, 50, 5) for y in range(0, 50, 5))
    assert (red > 25) == (crop == "attention")


@pytest.mark.parametrize("target", FORMATS)
def test_position_and_other_metadata_are_gone(makers: VariantWorkers, target: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRETCAMERA"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.0), 29: "2026:SECRETDATE"})
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>SECRETXMP</x:xmpmeta>"
    source = saved(four_colours(), "JPEG", exif=exif, xmp=xmp, comment=b"SECRETCOMMENT")
    assert source.count(b"SECRET") == 4
    made = make_variant(source, Resize(width=40, format=target), workers=makers)  # type: ignore[arg-type]
    assert b"SECRET" not in made.content
    assert b"Exif" not in made.content
    assert not seen(made).getexif().get_ifd(0x8825)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "L", "I;16", "CMYK", "YCbCr", "LAB"])
def test_kinds_of_pixels(makers: VariantWorkers, mode: str) -> None:
    plain = four_colours()
    if mode == "I;16":
        image = Image.new("I;16", plain.size, 40000)
    elif mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(plain, ImageCms.createProfile("sRGB"), lab, outputMode="LAB") or plain
    else:
        image = plain.convert(mode)
    source = saved(image, "TIFF" if mode in {"CMYK", "YCbCr", "LAB"} else "PNG")
    found = corners(seen(make_variant(source, Resize(width=40, format="png"), workers=makers)))
    wanted = [(155, 155, 155)] * 4 if mode == "I;16" else corners(plain.convert("1" if mode == "1" else "L").convert("RGB"))
    if mode in {"RGBA", "P", "CMYK", "YCbCr", "LAB"}:
        wanted = list(CORNERS)
    tolerance = 255 if mode == "1" else 6 if mode == "I;16" else 30
    assert all(alike(one, other, tolerance) for one, other in zip(found, wanted, strict=True)), found


def test_twelve_bits_are_scaled_by_twelve_bits(makers: VariantWorkers) -> None:
    """Scanners of X-rays write them. Pillow reads them and cannot write them, so here are the bytes."""
    pixels = bytes([0x80, 0x08, 0x00]) * 32  # two pixels of 2048
    entries = [
        (256, 8), (257, 8), (258, 12), (259, 1), (262, 1), (273, 200), (277, 1), (278, 8), (279, len(pixels)),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory
    source = (head + bytes(4)).ljust(200, b"\0") + pixels
    found = seen(make_variant(source, Resize(width=8, format="png"), workers=makers))
    assert colour(found, 3, 3) == (127,)


def test_transparency_stays(makers: VariantWorkers) -> None:
    image = Image.new("RGBA", (80, 80), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 40, 80))
    for source in (saved(image), saved(image, "GIF"), saved(image, "WEBP", lossless=True), saved(image, "TIFF")):
        found = seen(make_variant(source, Resize(width=20), workers=makers)).convert("RGBA")
        assert colour(found, 2, 10)[3] == 255
        assert colour(found, 17, 10)[3] == 0
        edge = colour(found, 9, 10)  # black of what cannot be seen does not bleed in
        assert edge[0] > 150
    jpeg = seen(make_variant(saved(image), Resize(width=20, format="jpeg"), workers=makers))
    assert alike(colour(jpeg, 17, 10), WHITE)


def test_one_transparent_colour_is_seen(makers: VariantWorkers) -> None:
    source = saved(four_colours(), "PNG", transparency=RED)
    found = seen(make_variant(source, Resize(width=40, format="png"), workers=makers))
    assert colour(found, 5, 5)[3] == 0
    assert colour(found, 35, 5)[3] == 255


def test_colours_of_another_profile_are_converted(makers: VariantWorkers) -> None:
    """A profile that swaps red and green cannot be mistaken for none."""
    swapped = _profile_with_red_and_green_swapped()
    source = saved(Image.new("RGB", (40, 40), (255, 0, 0)), "PNG", icc_profile=swapped)
    found = seen(make_variant(source, Resize(width=20, format="png"), workers=makers))
    assert alike(colour(found, 5, 5), (0, 255, 0), 40)
    assert "icc_profile" not in found.info
    seen_alpha = Image.new("RGBA", (40, 40), (255, 0, 0, 128))
    found = seen(make_variant(saved(seen_alpha, icc_profile=swapped), Resize(width=20, format="png"), workers=makers))
    assert alike(colour(found, 5, 5), (0, 255, 0, 128), 40)


def _profile_with_red_and_green_swapped() -> bytes:
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132])
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data).replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))


def test_a_broken_profile_is_ignored(makers: VariantWorkers) -> None:
    source = saved(four_colours(), icc_profile=b"nonsense" * 30)
    assert alike(corners(seen(make_variant(source, Resize(width=40), workers=makers)))[0], RED)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("target", ["gif", "webp"])
def test_animations_stay_animations(makers: VariantWorkers, kind: str, target: str) -> None:
    made = make_variant(animation(kind=kind), Thumbnail(20, 20, format=target), workers=makers)  # type: ignore[arg-type]
    found = Image.open(io.BytesIO(made.content))
    assert (getattr(found, "n_frames", 1), made.frames, found.size) == (3, 3, (20, 20))
    shown = []
    for number in range(3):
        found.seek(number)
        found.load()
        assert found.info["duration"] == 70
        shown.append(colour(found.convert("RGB"), 10, 10))
    assert all(alike(one, (number * 40, 200, 30), 30) for number, one in enumerate(shown))
    assert found.info.get("loop") == 0


@pytest.mark.parametrize("loops", [None, 2])
def test_an_animation_is_shown_as_often_as_before(makers: VariantWorkers, loops: int | None) -> None:
    source = animation(loop=loops) if loops else _once()
    gif = Image.open(io.BytesIO(make_variant(source, Thumbnail(20, 20, format="gif"), workers=makers).content))
    webp = Image.open(io.BytesIO(make_variant(source, Thumbnail(20, 20), workers=makers).content))
    assert gif.info.get("loop") == loops
    assert webp.info["loop"] == (1 if loops is None else loops + 1)  # GIF says how often to repeat


def _once() -> bytes:
    pictures = [Image.new("RGB", (60, 40), (number * 80, 0, 0)) for number in range(3)]
    return saved(pictures[0], "GIF", save_all=True, append_images=pictures[1:], duration=70)


def test_an_animation_stands_still_in_other_formats(makers: VariantWorkers) -> None:
    made = make_variant(animation(), Thumbnail(20, 20, format="jpeg"), workers=makers)
    assert made.frames == 1
    assert alike(colour(seen(made), 5, 5), (0, 200, 30), 30)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"<html><svg xmlns='http://www.w3.org/2000/svg'/></html>", b"BM" + bytes(60), b"%PDF-1.7\n"]
)
def test_other_files_are_refused(makers: VariantWorkers, content: bytes) -> None:
    with pytest.raises(UndecodableError, match="not an image in JPEG, PNG, GIF, WebP, AVIF or TIFF") as refused:
        make_variant(content, Thumbnail(20, 20), workers=makers)
    assert refused.value.code == "not-an-image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_a_cut_image_is_refused(makers: VariantWorkers, kind: str) -> None:
    whole = saved(Image.effect_noise((200, 200), 90), kind)
    with pytest.raises(UndecodableError) as refused:
        make_variant(whole[: len(whole) // 2], Thumbnail(20, 20), workers=makers)
    assert refused.value.code == "broken"


def test_floating_point_pixels_are_refused(makers: VariantWorkers) -> None:
    with pytest.raises(UndecodableError, match="kind of pixels") as refused:
        make_variant(saved(Image.new("F", (40, 40), 0.5), "TIFF"), Thumbnail(20, 20), workers=makers)
    assert refused.value.code == "mode"


def test_a_function_of_ones_own_makes_the_variant(makers: VariantWorkers) -> None:
    grey = Custom("grey", ImageOps.grayscale, version=1, width=40, format="png")
    found = seen(make_variant(saved(four_colours()), grey, workers=makers))
    assert (found.mode, found.size) == ("L", (40, 20))
    few = Custom("few", ImageOps.posterize, version=1, arguments={"bits": 1}, format="png")
    assert colour(seen(make_variant(saved(four_colours()), few, workers=makers)), 1, 1) == (128, 0, 0)


def test_bytes_paths_and_files_are_sources(makers: VariantWorkers, tmp_path: Path) -> None:
    content = saved(four_colours())
    path = tmp_path / "a.png"
    path.write_bytes(content)
    storages.register_backend("memory://", key="docs")
    try:
        file = FileObject("docs", "a.png", content=content)
        sources = (content, bytearray(content), memoryview(content), path, file, FileObject("docs", content=content).save())
        made = {make_variant(source, Thumbnail(20, 20), workers=makers).content for source in sources}
    finally:
        storages.clear_backends()
    assert len(made) == 1
    with pytest.raises(TypeError, match=r"a FileObject, bytes or a pathlib.Path, not str"):
        make_variant("a.png", Thumbnail(20, 20), workers=makers)  # type: ignore[arg-type]


def test_colours_stay_in_their_corners(makers: VariantWorkers) -> None:
    found = corners(seen(make_variant(saved(four_colours(800, 400), "JPEG"), Thumbnail(40, 20, format="png"), workers=makers)))
    assert [alike(one, wanted, 30) for one, wanted in zip(found, (RED, GREEN, BLUE, WHITE), strict=True)] == [True] * 4


@given(
    original=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    recipe=st.one_of(
        st.builds(Resize, width=st.integers(1, 200), format=st.just("png")),
        st.builds(Resize, height=st.integers(1, 200), format=st.just("png")),
        st.builds(Resize, width=st.integers(1, 200), height=st.integers(1, 200), format=st.just("jpeg")),
        st.builds(Thumbnail, st.integers(1, 200), st.integers(1, 200), format=st.just("png")),
        st.builds(Thumbnail, st.integers(1, 200), st.integers(1, 200), fit=st.just("contain"), format=st.just("png")),
        st.builds(Thumbnail, st.integers(1, 200), st.integers(1, 200), crop=st.just("attention"), format=st.just("png")),
    ),
    turned=st.sampled_from([1, 3, 6, 8]),
)
@settings(deadline=None, max_examples=60)
def test_size_is_the_one_that_the_recipe_says(original: tuple[int, int], recipe: Recipe, turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    made = make_variant(saved(Image.new("RGB", original), "JPEG", exif=exif), recipe, workers=VariantWorkers(inline=True))
    width, height = original if turned < 5 else original[::-1]
    assert (made.width, made.height) == recipe.size_for(width, height)
