"""Width and height are read from headers, of every format that browsers show, and from hostile ones without harm."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from filerow import FileObject, StoredObject
from filerow._validation.images import dimensions
from filerow._validation.types import sniff
from filerow.exceptions import ImageDimensionsError
from tests.corpus import FILES
from tests.file.rows import stored_by
from tests.validation.images import jpeg_with_metadata, picture, png, tiff_with_directory_at_the_end

if TYPE_CHECKING:
    from tests.file.conftest import WatchedBackend

GIF = "image/gif"
SVG = "image/svg+xml"


def size_of(data: bytes) -> tuple[int, int] | None:
    kind = sniff(data[:8192])
    return dimensions(lambda offset, size: data[offset : offset + size], kind or "", len(data))


def several(kind: str, width: int, height: int, **options: Any) -> bytes:
    frames = [Image.new("RGB", (width, height), color) for color in ("red", "green", "blue")]
    target = io.BytesIO()
    frames[0].save(target, kind, save_all=True, append_images=frames[1:], **options)
    return target.getvalue()


REAL = {
    "png": (picture("PNG", 31, 17), "image/png"),
    "apng": (several("PNG", 31, 17), "image/apng"),
    "jpeg": (picture("JPEG", 31, 17), "image/jpeg"),
    "jpeg_progressive": (picture("JPEG", 31, 17, progressive=True), "image/jpeg"),
    "jpeg_exif": (picture("JPEG", 31, 17, exif=b"Exif\0\0" + bytes(60_000)), "image/jpeg"),
    "gif": (picture("GIF", 31, 17), GIF),
    "gif_animated": (several("GIF", 31, 17), GIF),
    "webp_vp8": (picture("WEBP", 31, 17), "image/webp"),
    "webp_vp8l": (picture("WEBP", 31, 17, lossless=True), "image/webp"),
    "webp_vp8x": (several("WEBP", 31, 17), "image/webp"),
    "avif": (picture("AVIF", 31, 17), "image/avif"),
    "tiff": (picture("TIFF", 31, 17), "image/tiff"),
    "tiff_lzw": (picture("TIFF", 31, 17, compression="tiff_lzw"), "image/tiff"),
    "tiff_big": (picture("TIFF", 31, 17, big_tiff=True), "image/tiff"),
    "bmp": (picture("BMP", 31, 17), "image/bmp"),
}


@pytest.mark.parametrize(("data", "kind"), REAL.values(), ids=REAL)
def test_width_and_height_of_real_images_are_read(data: bytes, kind: str) -> None:
    assert sniff(data) == kind
    assert size_of(data) == (31, 17) == Image.open(io.BytesIO(data)).size


def test_a_big_endian_tiff_and_a_heic_are_read() -> None:
    entries = struct.pack(">HHIHH", 256, 3, 1, 31, 0) + struct.pack(">HHIHH", 257, 3, 1, 17, 0)
    assert size_of(b"MM\0*" + struct.pack(">IH", 8, 2) + entries + bytes(4)) == (31, 17)
    avif = picture("AVIF", 31, 17)
    heic = avif.replace(b"avif", b"heic").replace(b"avis", b"hevc")
    assert sniff(heic) == "image/heic"
    assert size_of(heic) == (31, 17)


def test_the_bits_that_other_readers_get_wrong_are_read_right() -> None:
    assert size_of(b"GIF89a" + struct.pack("<HH", 65_535, 40_000) + bytes(9)) == (65_535, 40_000)
    vp8 = picture("WEBP", 31, 17)
    scaled = vp8[:26] + struct.pack("<HH", 31 | 0x4000, 17 | 0xC000) + vp8[30:]
    assert size_of(scaled) == (31, 17)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_frame_that_is_larger_than_its_gif_counts() -> None:
    whole = picture("GIF", 310, 170)
    comment = b"!\xfe" + b"\xff" + bytes(255) + b"\x03abc\0"
    small = whole[:6] + struct.pack("<HH", 1, 1) + whole[10:]
    table = 13 + (3 << (whole[10] & 7) + 1)
    for data in (small, small[:table] + comment * 100 + small[table:]):
        assert Image.open(io.BytesIO(data)).size == (310, 170)  # what a decoder makes room for
        assert size_of(data) == (310, 170)


def test_a_png_with_two_headers_has_no_size() -> None:
    whole = picture("PNG", 31, 17)
    header, rest = whole[8:33], whole[33:]
    small = chunk(b"IHDR", struct.pack(">II", 1, 1) + header[16:21])
    text = chunk(b"tEXt", b"Comment\0" + bytes(100_000))
    signature = whole[:8]
    assert size_of(signature + header + text + rest) == (31, 17)
    assert Image.open(io.BytesIO(signature + small + text + header + rest)).size == (31, 17)  # a decoder takes the last one
    assert size_of(signature + small + text + header + rest) is None
    assert size_of(signature + header + text + small + rest) is None
    hidden = signature + small + text

    def read_at(offset: int, size: int) -> bytes:
        return hidden[offset : offset + size]

    assert dimensions(read_at, "image/png") is None  # of a stream, of which more may come


def test_a_jpeg_with_two_frames_has_no_size() -> None:
    whole = picture("JPEG", 31, 17)
    start = whole.index(b"\xff\xc0")
    end = start + 2 + int.from_bytes(whole[start + 2 : start + 4])
    small = whole[start : start + 5] + struct.pack(">HH", 1, 1) + whole[start + 9 : end]
    twice = whole[:start] + small + whole[start:]
    assert Image.open(io.BytesIO(twice)).size == (31, 17)  # a decoder makes room for the last one
    assert size_of(twice) is None
    assert size_of(whole[:start] + b"\xff\xff\xff" + whole[start + 1 :]) == (31, 17)
    assert size_of(whole[:start] + b"junk" + whole[start:]) == (31, 17)


SVGS: dict[str, tuple[str, tuple[int, int] | None]] = {
    "plain": ('<svg width="31" height="17"/>', (31, 17)),
    "single_quotes": ("<svg height='17px' width='31px'>", (31, 17)),
    "fractions": ('<svg width="30.2" height="1.65e1"/>', (31, 17)),
    "inches": ('<svg width="1in" height="2.54cm"/>', (96, 96)),
    "view_box": ('<svg viewBox="0 0 31 17"/>', (31, 17)),
    "view_box_with_commas": ('<svg viewBox="-1,-2, 31 ,17"/>', (31, 17)),
    "percent": ('<svg width="100%" height="100%" viewBox="0 0 31 17"/>', (31, 17)),
    "one_side_and_ratio": ('<svg width="62" viewBox="0 0 31 17"/>', (62, 34)),
    "declaration": ('<?xml version="1.0" encoding="UTF-8"?>\n<!-- a > b -->\n<svg width="31" height="17">', (31, 17)),
    "doctype": (
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "a" [ <!ENTITY n "urn:x"> ]><svg xmlns="&n;" width="31" height="17"/>',
        (31, 17),
    ),
    "prefix": ('<s:svg xmlns:s="http://www.w3.org/2000/svg" width="31" height="17"/>', (31, 17)),
    "of_the_root_only": ('<svg><rect width="31" height="17"/></svg>', None),
    "stroke": ('<svg stroke-width="3" width="31" height="17"/>', (31, 17)),
    "nothing": ("<svg/>", None),
    "percent_alone": ('<svg width="100%" height="100%"/>', None),
    "em": ('<svg width="3em" height="3em"/>', None),
    "negative": ('<svg width="-31" height="17"/>', None),
    "infinite": ('<svg width="1e99" height="17"/>', None),
    "long_number": (f'<svg width="{"9" * 5000}" height="17"/>', None),
    "not_well_formed": ("<svg width=31 height=17>", None),
    "unfinished": ('<svg width="31" height="17', None),
}


@pytest.mark.parametrize(("text", "expected"), SVGS.values(), ids=SVGS)
def test_the_size_of_an_svg_is_that_of_its_root(text: str, expected: tuple[int, int] | None) -> None:
    assert dimensions(lambda offset, size: text.encode()[offset : offset + size], SVG) == expected
    if expected and "encoding" not in text:
        wide = text.encode("utf-16")
        assert sniff(wide) == SVG
        assert dimensions(lambda offset, size: wide[offset : offset + size], SVG) == expected


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&#38;l{n - 1};" * 10}">' for n in range(1, 12))
HOSTILE_SVGS = {
    "a_billion_laughs": f'<!DOCTYPE svg [<!ENTITY l0 "ha">{LAUGHS}]><svg width="&l11;" height="17"/>',
    "quadratic_blow_up": f'<!DOCTYPE svg [<!ENTITY a "{"a" * 30_000}">]><svg width="{"&a;" * 10_000}" height="1"/>',
    "many_short_entities": f'<!DOCTYPE svg [<!ENTITY a "{"1" * 200}">]><svg width="{"&a;" * 20_000}" height="1"/>',
    "a_parameter_entity": '<!DOCTYPE svg [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]><svg width="1" height="1"/>',
    "an_external_entity": '<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/hostname">]><svg width="&a;" height="1"/>',
    "many_attributes": "<svg " + " ".join(f"a{n}='1'" for n in range(5_000)) + " width='1'/>",
    "a_comment_without_end": f"<!-- {'<!--' * 16_000}",
}


@pytest.mark.parametrize("text", HOSTILE_SVGS.values(), ids=HOSTILE_SVGS)
def test_a_hostile_svg_costs_nothing(text: str) -> None:
    started = time.process_time()
    data = text.encode()
    sniff(data[:8192])
    assert dimensions(lambda offset, size: data[offset : offset + size], SVG) is None
    assert time.process_time() - started < 0.5


# -- how far a header is looked for ------------------------------------------------------------------------------------------

WIDE = StoredObject("docs", max_width=50)
NARROW = StoredObject("docs", max_width=10)


def chunks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


FAR: dict[str, bytes] = {
    "jpeg_behind_3_mib_of_metadata": jpeg_with_metadata(31, 17, 48),
    "tiff_with_its_directory_behind_3_mib": tiff_with_directory_at_the_end(31, 17, 3 << 20),
}
FARTHER: dict[str, bytes] = {
    "jpeg_behind_12_mib_of_metadata": jpeg_with_metadata(31, 17, 192),
    "tiff_with_its_directory_behind_12_mib": tiff_with_directory_at_the_end(31, 17, 12 << 20),
}


def refused(docs: WatchedBackend, content: object, kind: StoredObject = NARROW) -> ImageDimensionsError:
    file = FileObject("docs", "x.png", content=content)
    with pytest.raises(ImageDimensionsError) as error:
        stored_by(kind, file)
    assert docs.puts == []
    return error.value


@pytest.mark.parametrize("data", [*FAR.values(), *FARTHER.values()], ids=[*FAR, *FARTHER])
def test_seekable_content_is_read_as_far_as_its_header_reaches(data: bytes, docs: WatchedBackend, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(data)
    with path.open("rb") as opened:
        for content in (data, path, opened, bytearray(data)):
            assert refused(docs, content).actual == 31
            opened.seek(0)
            file = FileObject("docs", "x.png", content=content)
            stored_by(WIDE, file)
            assert docs.paths == {file.path}
            assert docs.read(file.path) == data
            docs.delete([file.path])
            docs.puts.clear()


@pytest.mark.parametrize("data", FAR.values(), ids=FAR)
def test_of_a_stream_the_first_five_mebibytes_are_looked_at(data: bytes, docs: WatchedBackend) -> None:
    assert refused(docs, chunks(data)).actual == 31
    assert refused(docs, chunks(data + bytes(9 << 20))).actual == 31


@pytest.mark.parametrize("data", FARTHER.values(), ids=FARTHER)
def test_an_image_whose_size_is_not_found_is_refused(data: bytes, docs: WatchedBackend) -> None:
    error = refused(docs, chunks(data), WIDE)
    assert error.actual is None
    assert error.limit == {"max_width": 50}
    assert "'x.png' (image/" in str(error)
    assert error.status_code == 422


@pytest.mark.parametrize(
    "data",
    [b"8BPS\0\1" + bytes(40), b"\x89PNG\r\n\x1a\n" + bytes(40), png(0, 5), b"GIF89a", b"<svg/>", b"\xff\xd8\xff\xe0" + bytes(40)],
)
def test_image_without_a_size_is_refused_where_sizes_are_limited(data: bytes, docs: WatchedBackend) -> None:
    assert refused(docs, data, WIDE).field == "photo"


# -- how a picture lies ----------------------------------------------------------------------------------------------------

TURNED = ["jpg", "png", "webp", "avif", "tif", "heic"]
TALL = StoredObject("docs", content_types=["image/*"], max_width=50, min_height=50)
LYING = StoredObject("docs", content_types=["image/*"], min_width=50, max_height=50, image_size="stored")


@pytest.mark.parametrize("extension", TURNED)
def test_a_portrait_counts_as_it_is_shown_or_as_it_is_stored(extension: str) -> None:
    """Each file of the corpus is 60 by 40 pixels, and is to be shown turned by 90 degrees."""
    data = (FILES / f"picture-turned.{extension}").read_bytes()
    kind = sniff(data) or ""
    for shown, expected in ((True, (40, 60)), (False, (60, 40))):
        assert dimensions(lambda offset, size: data[offset : offset + size], kind, len(data), shown=shown) == expected
    assert TALL.check(data).content_type == kind
    assert LYING.check(data).content_type == kind
    plain = (FILES / f"picture.{'tiff' if extension == 'tif' else extension}").read_bytes()
    with pytest.raises(ImageDimensionsError, match="60 x 40"):
        TALL.check(plain)
    with pytest.raises(ImageDimensionsError, match="40 x 60"):
        StoredObject(max_height=50).check(data)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_four_of_the_eight_orientations_turn_a_picture(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = picture(form, 31, 17, exif=exif)
    assert size_of(data) == ((17, 31) if orientation in {5, 6, 7, 8} else (31, 17))


def test_exif_that_makes_no_sense_says_nothing() -> None:
    whole = picture("JPEG", 31, 17)
    endless = b"II*\0\x08\0\0\0\xff\xff" + b"\1\0\3\0" * 3000
    far = b"MM\0*\xff\xff\xff\xf0"
    here = b"II*\0\0\0\0\0"
    for block in (endless, far, here, b"", b"II", b"II*\0\x08\0\0\0\1\0\x12\1\2\0\1\0\0\0\6\0\0\0"):
        segment = b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block
        assert size_of(whole[:2] + segment + whole[2:]) == (31, 17)


def test_which_size_counts_is_one_of_two() -> None:
    assert StoredObject().image_size == "shown"
    assert "image_size" not in repr(StoredObject())
    assert repr(StoredObject(image_size="stored")) == "StoredObject(image_size='stored')"
    with pytest.raises(ValueError, match='"shown"'):
        StoredObject(image_size="turned")  # type: ignore[arg-type]


# -- hostile headers -------------------------------------------------------------------------------------------------------

HEADS = [data for data, _ in REAL.values()]
KINDS = ["image/png", "image/jpeg", GIF, "image/webp", "image/avif", "image/heic", "image/tiff", "image/bmp", "image/jpx", SVG]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(HEADS)))
    for _ in range(draw(st.integers(1, 8))):
        position = draw(st.integers(0, len(data) - 1))
        data[position : position + 4] = draw(
            st.binary(max_size=8) | st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
        )
        data = data or bytearray(b"x")
    return bytes(data)


def looked_at(data: bytes, kind: str) -> tuple[int, int] | None:
    """Look at an image, and notice a look that goes on and on."""
    given = 0

    def read_at(offset: int, size: int) -> bytes:
        nonlocal given
        assert offset >= 0
        assert 0 < size <= 1 << 16
        given += 1
        return data[offset : offset + size]

    found = dimensions(read_at, kind, len(data))
    assert given <= 20_000
    return found


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300) | damaged(), st.sampled_from(KINDS))
def test_any_bytes_have_a_size_or_none(data: bytes, kind: str) -> None:
    sniff(data)
    found = looked_at(data, kind)
    assert found is None or all(isinstance(side, int) and 0 < side < 1 << 32 for side in found)


def boxes(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data) + 8, kind) + data


FTYP = boxes(b"ftyp", b"avif\0\0\0\0avifmif1miaf")
ENDLESS = {
    "jpeg_without_markers": (b"\xff\xd8\xff\xe0" + bytes(8 << 20), "image/jpeg"),
    "jpeg_of_fill_bytes": (b"\xff\xd8" + b"\xff" * (8 << 20), "image/jpeg"),
    "jpeg_of_empty_segments": (b"\xff\xd8" + b"\xff\xe1\0\2" * (2 << 20), "image/jpeg"),
    "tiff_of_other_entries": (b"II*\0\x08\0\0\0\xff\xff" + b"\1\0\3\0" * (2 << 20), "image/tiff"),
    "big_tiff_of_other_entries": (b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 8 + b"\1" * (8 << 20), "image/tiff"),
    "gif_of_extensions": (b"GIF89a" + bytes(7) + b"!\xfe\1x\0" * (2 << 20), "image/gif"),
    "gif_of_small_blocks": (b"GIF89a" + bytes(7) + b"!\xfe" + b"\1x" * (2 << 20), "image/gif"),
    "gif_of_nothing": (b"GIF89a" + bytes(8 << 20), "image/gif"),
    "png_of_empty_chunks": (b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"") * (1 << 20), "image/png"),
    "avif_of_many_boxes": (FTYP + boxes(b"free", b"") * (1 << 20), "image/avif"),
    "avif_of_many_properties": (
        FTYP + boxes(b"meta", bytes(4) + boxes(b"iprp", boxes(b"ipco", boxes(b"ispe", bytes(12)) * 300_000))),
        "image/avif",
    ),
    "avif_of_many_associations": (
        FTYP + boxes(b"meta", bytes(4) + boxes(b"iprp", boxes(b"ipma", bytes(4) + b"\xff\xff\xff\xff" + bytes(4 << 20)))),
        "image/avif",
    ),
    "jpeg_2000_of_many_boxes": (b"\0\0\0\x0cjP  \r\n\x87\n" + boxes(b"free", b"") * (1 << 20), "image/jpx"),
}


@pytest.mark.parametrize(("data", "kind"), ENDLESS.values(), ids=ENDLESS)
def test_a_header_without_end_is_given_up_soon(data: bytes, kind: str) -> None:
    started = time.process_time()
    assert looked_at(data, kind) is None
    assert time.process_time() - started < 1


# -- limits ----------------------------------------------------------------------------------------------------------------

BROKEN = [
    ({"max_pixels": 526}, 526, 527, "at most 526 pixels"),
    ({"max_width": 30}, 30, 31, "at most 30 wide"),
    ({"max_height": 16}, 16, 17, "at most 16 high"),
    ({"min_width": 32}, 32, 31, "at least 32 wide"),
    ({"min_height": 18}, 18, 17, "at least 18 high"),
]


@pytest.mark.parametrize(("limits", "limit", "actual", "text"), BROKEN)
def test_each_limit_says_what_it_is_and_what_the_image_has(
    limits: dict[str, int], limit: int, actual: int, text: str, docs: WatchedBackend
) -> None:
    error = refused(docs, png(31, 17), StoredObject("docs", **limits))  # type: ignore[arg-type]
    assert (error.field, error.limit, error.actual) == ("photo", limit, actual)
    assert text in str(error)
    assert "31 x 17" in str(error)
    assert isinstance(error, ValueError)


def test_the_limits_themselves_are_allowed(docs: WatchedBackend) -> None:
    kind = StoredObject("docs", max_pixels=527, min_width=31, max_width=31, min_height=17, max_height=17)
    files = (("x.png", png(31, 17)), ("x.txt", b"no image at all"))
    stored = [stored_by(kind, FileObject("docs", name, content=content)) for name, content in files]
    assert docs.paths == {file.path for file in stored}
    assert len(docs.paths) == 2


@pytest.mark.parametrize(
    "wrong", [{"max_pixels": 0}, {"max_width": -1}, {"min_width": "5"}, {"min_height": True}, {"min_width": 6, "max_width": 5}]
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StoredObject(**wrong)
