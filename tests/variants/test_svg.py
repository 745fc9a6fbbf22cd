"""SVG: refused until the application allows it, and then drawn as large as the recipe says, or refused for a reason."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import (
    UndecodableError,
    VariantError,
    VariantRefusedError,
    VariantTimeoutError,
    VariantTooLargeError,
    WorkerError,
)
from filerow.ext.msgspec import VariantHooks
from filerow.maintenance import variants
from filerow.variants import Custom, Recipe, Resize, Thumbnail, VariantFormat, VariantWorkers, configure, make_variant
from tests.variants.pictures import (
    CORNERS,
    GREEN,
    RED,
    WHITE,
    alike,
    colour,
    corners,
    four_colours,
    png_of_zeros,
    saved,
    seen,
)

needs_pyvips = pytest.mark.skipif(
    find_spec("pyvips") is None, reason="not covered: pyvips is not installed; to install it: pip install 'filerow[svg]'"
)
NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
PNG = Resize(width=100, height=100, format="png")


def svg(inner: str, size: str = 'width="100" height="50"', *, before: str = "") -> bytes:
    return f"{before}<svg {NAMESPACES} {size}>{inner}</svg>".encode()


def box(fill: str = "#dc1e1e", width: float = 100, height: float = 100, **more: str) -> str:
    return f'<rect width="{width}" height="{height}" fill="{fill}" {" ".join(f"{k}={v!r}" for k, v in more.items())}/>'


def four(width: int = 80, height: int = 40) -> str:
    """The four colours of other tests."""
    places = [(x, y) for y in (0, height / 2) for x in (0, width / 2)]
    shapes = [
        f'<rect x="{x}" y="{y}" width="{width / 2}" height="{height / 2}" fill="rgb{fill}"/>'
        for (x, y), fill in zip(places, CORNERS, strict=True)
    ]
    return "".join(shapes)


COLOURS = svg(four(), 'width="80" height="40"')
RED_BOX = svg(box())


@pytest.fixture(scope="module")
def drawers() -> Iterator[VariantWorkers]:
    """Workers that draw SVG."""
    with VariantWorkers(workers=2, queue_seconds=120, svg=True) as found:
        yield found


# -- off -------------------------------------------------------------------------------------------------------------------


class Base(DeclarativeBase):
    pass


class Logo(Base):
    __tablename__ = "logo"
    id: Mapped[int] = mapped_column(primary_key=True)
    anything: Mapped[FileObject | None] = mapped_column(StoredObject("logos", variants={"thumb": Thumbnail(20, 20)}))
    early: Mapped[FileObject | None] = mapped_column(
        StoredObject(
            "logos",
            content_types=["image/*", "image/svg+xml"],
            variants={"thumb": Thumbnail(200, 200, fit="contain")},
            make_variants="commit",
        )
    )


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    storages.register_backend(MemoryBackend("logos", base_url="/files", secret="a secret that only these tests know"))
    engine = create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    Base.metadata.create_all(engine)
    with Session(engine) as found:
        yield found
    engine.dispose()
    storages.clear_backends()


@pytest.fixture
def allowed() -> Iterator[VariantWorkers]:
    with configure(workers=1, queue_seconds=120, svg=True) as found:
        yield found
    configure()


def refused_as_svg(make: Callable[[], object]) -> None:
    with pytest.raises(UndecodableError, match=r"is an SVG.*configure\(svg=True\)") as refused:
        make()
    assert (refused.value.code, refused.value.status_code) == ("svg", 422)


@pytest.mark.parametrize("content", [RED_BOX, RED_BOX.decode().encode("utf-16"), b"\xef\xbb\xbf\n<!-- a -->" + RED_BOX])
def test_svg_is_refused_until_it_is_allowed(makers: VariantWorkers, content: bytes) -> None:
    refused_as_svg(lambda: make_variant(content, PNG, workers=makers))


def test_svg_in_a_column_that_takes_everything_is_refused(session: Session) -> None:
    logo = Logo(
        anything=FileObject(filename="a.png", content_type="image/png", content=RED_BOX),
        early=FileObject(filename="a.svg", content=RED_BOX),
    )
    session.add(logo)
    session.commit()
    assert logo.anything is not None
    assert logo.early is not None
    refused_as_svg(logo.anything.variant("thumb").get_content)
    refused_as_svg(logo.early.variant("thumb").get_content)


def test_svg_that_a_row_calls_png_is_refused(session: Session) -> None:
    """Another library wrote the row, and took the client's word."""
    stored = FileObject("logos", filename="a.svg", content=RED_BOX).save().to_dict()
    file = FileObject.from_dict({**stored, "filename": "a.png", "content_type": "image/png"})
    refused_as_svg(file.variant(PNG).get_content)


def test_a_process_without_svg_shows_no_variants_of_it(session: Session) -> None:
    shown = VariantHooks("thumb").enc_hook
    logo = Logo(anything=FileObject(filename="a.svg", content=RED_BOX))
    session.add(logo)
    session.commit()
    assert shown(logo.anything)["variants"] == {"thumb": None}


def test_svg_is_never_drawn_in_the_process_that_asks() -> None:
    with pytest.raises(ValueError, match=r"svg=True needs processes"):
        VariantWorkers(svg=True, inline=True)
    with VariantWorkers(inline=True) as inline:
        refused_as_svg(lambda: make_variant(RED_BOX, PNG, workers=inline))


def test_a_missing_package_is_named_where_svg_is_allowed() -> None:
    program = "import sys; sys.modules['pyvips'] = None; from filerow.variants import configure; configure(svg=True)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=240)
    assert re.search(r"ImportError: configure\(svg=True\) needs .*pyvips.*: pip install 'filerow\[svg\]'", done.stderr)


@needs_pyvips
def test_the_process_that_allows_svg_loads_no_decoder() -> None:
    program = "import sys; from filerow.variants import configure; configure(svg=True); print('pyvips' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=240)
    assert (done.stdout, done.stderr) == ("False\n", "")


@needs_pyvips
def test_a_libvips_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pyvips is there, and what it is for is not."""
    (tmp_path / "pyvips.py").write_text("raise OSError('cannot load libvips.so.42')")
    monkeypatch.syspath_prepend(tmp_path)
    with VariantWorkers(workers=1, svg=True) as broken:
        with pytest.raises(WorkerError, match=r"could not start: .*libvips: pip install 'filerow\[svg\]' \(cannot load"):
            make_variant(RED_BOX, PNG, workers=broken)


# -- on --------------------------------------------------------------------------------------------------------------------

SIZES: list[tuple[str, Recipe, tuple[int, int]]] = [
    ('viewBox="0 0 24 24"', Thumbnail(200, 200), (200, 200)),  # drawn as large as the box: nothing is enlarged
    ('width="24" height="24"', Thumbnail(200, 100), (200, 100)),
    ('width="300" height="200"', Thumbnail(200, 200), (200, 200)),
    ('width="300" height="200"', Thumbnail(200, 200, fit="contain"), (200, 133)),
    ('width="300" height="200"', Thumbnail(150, 50, crop="attention"), (150, 50)),
    ('width="30" height="20"', Resize(width=640), (640, 427)),
    ('width="30" height="20"', Resize(height=100), (150, 100)),
    ('width="30" height="20"', Resize(width=640, height=100), (150, 100)),
    ('width="1e9" height="5e8"', Resize(width=64), (64, 32)),
    ('viewBox="0 0 1000000 1"', Resize(width=64), (64, 1)),
    ('viewBox="0 0 1 1"', Resize(width=64), (64, 64)),
    ('width="100mm" height="50mm"', Resize(width=64), (64, 32)),
    ('width="100%" height="100%" viewBox="5 5 40 10"', Resize(width=64), (64, 16)),
    ('width="50" viewBox="0 0 10 20"', Resize(width=64), (64, 128)),
]


@needs_pyvips
@pytest.mark.parametrize(("size", "recipe", "after"), SIZES, ids=[f"{size}-{recipe!r}" for size, recipe, _ in SIZES])
def test_drawing_has_the_size_that_its_variant_says(
    drawers: VariantWorkers, size: str, recipe: Recipe, after: tuple[int, int]
) -> None:
    content = svg('<path d="M0 0H9V9"/>', size)
    made = make_variant(content, recipe, workers=drawers)
    assert (made.width, made.height) == seen(made).size == after
    found = StoredObject("a", max_pixels=10**19).check(content)
    assert found.width is not None
    assert found.height is not None
    assert recipe.size_for(found.width, found.height, vector=True) == after


@needs_pyvips
@pytest.mark.parametrize("size", ['width="15" height="10.2"', 'viewBox="0 0 1.5 1"', 'width="9em" height="6em"'])
def test_ratio_is_that_of_the_drawing(drawers: VariantWorkers, size: str) -> None:
    made = make_variant(svg(box(), size), Resize(width=300), workers=drawers)
    assert abs(made.width / made.height - 1.5) < 0.05


@needs_pyvips
def test_row_knows_the_size_of_a_variant(session: Session, allowed: VariantWorkers) -> None:
    logo = Logo(early=FileObject(filename="a.svg", content=COLOURS))
    session.add(logo)
    session.commit()
    assert logo.early is not None
    variant = logo.early.variant("thumb")
    assert (variant.width, variant.height) == (200, 100)
    assert variant.id in logo.early.to_dict()["variants"]  # made at the commit
    assert seen(variant.get_content()).size == (200, 100)
    assert VariantHooks("thumb").enc_hook(logo.early)["variants"]["thumb"]["width"] == 200


@needs_pyvips
@pytest.mark.parametrize("kind", ["avif", "gif", "jpeg", "png", "tiff", "webp"])
def test_variant_is_an_image_in_the_recipe_s_format(drawers: VariantWorkers, kind: Any) -> None:
    made = make_variant(COLOURS, Resize(width=160, format=kind), workers=drawers)
    assert made.content_type == f"image/{kind}"
    assert all(alike(one, other, 40) for one, other in zip(corners(seen(made)), CORNERS, strict=True))


@needs_pyvips
def test_drawing_is_sharp_at_any_size(drawers: VariantWorkers) -> None:
    """An icon of two pixels is drawn anew, not enlarged: no pixel is between black and white."""
    icon = svg('<rect width="1" height="2"/><rect x="1" width="1" height="2" fill="white"/>', 'viewBox="0 0 2 2"')
    found = seen(make_variant(icon, Resize(width=1000, format="png"), workers=drawers)).convert("L")
    assert {colour(found, x, 500)[0] for x in range(1000)} == {0, 255}


@needs_pyvips
def test_transparency_of_a_drawing_stays(drawers: VariantWorkers) -> None:
    half = svg(box("red", width=50) + box("blue", width=50, x="50", opacity="0.5"), 'width="100" height="100"')
    third = svg(box("red", width=33), 'width="100" height="66.7"')  # drawn larger, then shrunk
    kinds: tuple[VariantFormat, ...] = ("png", "webp")
    for kind in kinds:
        found = seen(make_variant(half, Resize(width=50, format=kind), workers=drawers)).convert("RGBA")
        assert alike(colour(found, 5, 25), (255, 0, 0, 255), 5)
        assert alike(colour(found, 45, 25), (0, 0, 255, 128), 5)
        found = seen(make_variant(third, Resize(width=50, format=kind), workers=drawers)).convert("RGBA")
        assert colour(found, 40, 15)[3] == 0
        assert alike(colour(found, 5, 15), (255, 0, 0, 255), 5)
    jpeg = seen(make_variant(third, Resize(width=50, format="jpeg"), workers=drawers))
    assert alike(colour(jpeg, 40, 15), WHITE)


@needs_pyvips
def test_crop_of_a_drawing(drawers: VariantWorkers) -> None:
    left = svg(box("#c0c0c0", 300, 100) + four(60, 60), 'width="300" height="100"')
    centre = seen(make_variant(left, Thumbnail(50, 50, format="png"), workers=drawers))
    assert alike(colour(centre, 5, 5), (192, 192, 192, 255))
    attention = seen(make_variant(left, Thumbnail(50, 50, crop="attention", format="png"), workers=drawers))
    assert alike(colour(attention, 5, 5), (*RED, 255))
    wide = seen(make_variant(COLOURS, Thumbnail(40, 10, format="png"), workers=drawers))
    assert [colour(wide, x, y) for x, y in ((5, 2), (35, 2), (5, 7), (35, 7))] == [(*one, 255) for one in CORNERS]


@needs_pyvips
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_documents_in_other_encodings(drawers: VariantWorkers, encoding: str) -> None:
    named = "" if encoding.startswith("utf") else f'<?xml version="1.0" encoding="{encoding}"?>'
    content = (named + svg(f"<desc>Größe</desc>{box()}").decode()).encode(encoding)
    assert alike(colour(seen(make_variant(content, PNG, workers=drawers)), 50, 25), (*RED, 255))


@needs_pyvips
def test_a_function_of_ones_own_gets_the_drawing(drawers: VariantWorkers) -> None:
    grey = Custom("grey", "PIL.ImageOps:grayscale", version=1, width=320, format="png")
    opaque = seen(make_variant(COLOURS, Custom("own", "tests.variants.attacks:opaque", version=1, format="png"), workers=drawers))
    assert (opaque.mode, opaque.size) == ("RGB", (80, 40))
    assert seen(make_variant(COLOURS, grey, workers=drawers)).width == 320


@needs_pyvips
def test_other_images_are_made_as_before(drawers: VariantWorkers, makers: VariantWorkers) -> None:
    for content in (saved(four_colours()), saved(four_colours(), "JPEG")):
        assert make_variant(content, PNG, workers=drawers) == make_variant(content, PNG, workers=makers)


# -- what a document says --------------------------------------------------------------------------------------------------


def uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture(link: str) -> str:
    return f'<image width="100" height="50" preserveAspectRatio="none" xlink:href="{link}"/>'


def documents_in_documents(deep: int) -> bytes:
    found = RED_BOX
    for _ in range(deep):
        found = svg(picture(uri(found, "image/svg+xml")))
    return found


GREEN_PICTURE = saved(Image.new("RGB", (20, 10), GREEN))
OF_ITS_OWN = {
    "png": picture(uri(GREEN_PICTURE)),
    "jpeg": picture(uri(saved(Image.new("RGB", (20, 10), GREEN), "JPEG", quality=95), "image/jpeg")),
    "unlabelled": picture(uri(GREEN_PICTURE, "")),
    "unpadded": picture(uri(GREEN_PICTURE).rstrip("=")),
    "svg": picture(uri(svg(box(f"rgb{GREEN}")), "image/svg+xml")),
    "svg_as_text": picture("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='9' height='9'%3E"
                           f"%3Crect width='9' height='9' fill='rgb{GREEN}'/%3E%3C/svg%3E"),
    "style": f"<style>.a {{ fill: rgb{GREEN} }}</style><rect class='a' width='100' height='50'/>",
    "entity": box("&green;"),
    "use": f'<defs><g id="a">{box(f"rgb{GREEN}")}</g></defs><use xlink:href="#a"/>',
    "gradient": f'<linearGradient id="a"><stop stop-color="rgb{GREEN}"/></linearGradient>{box("url(#a)")}',
    "script": f'<script>document.documentElement.remove()</script>{box(f"rgb{GREEN}", onload="alert(1)")}',
    "title": f"<title>Logo</title><text> \n</text>{box(f'rgb{GREEN}')}",
}  # fmt: skip


@needs_pyvips
@pytest.mark.parametrize("name", OF_ITS_OWN)
def test_what_a_document_has_in_itself_is_drawn(drawers: VariantWorkers, name: str) -> None:
    before = f'<!DOCTYPE svg [<!ENTITY green "rgb{GREEN}">]>' if name == "entity" else ""
    found = seen(make_variant(svg(OF_ITS_OWN[name], before=before), PNG, workers=drawers))
    assert alike(colour(found, 50, 25), (*GREEN, 255))


ELSEWHERE = {
    "image": '<image width="100" height="50" xlink:href="{link}"/>',
    "image_svg": '<image width="100" height="50" href="{folder}/green.svg"/>',
    "relative": '<image width="100" height="50" href="green.png"/>',
    "use": '<use xlink:href="{folder}/green.svg#a"/>',
    "style": '<style>@import url("{folder}/green.css");</style><rect class="a" width="100" height="50" fill="none"/>',
    "sheet": '<rect class="a" width="100" height="50" fill="none"/>',
    "filter": '<filter id="f"><feImage href="{link}"/></filter><rect width="100" height="50" filter="url(#f)"/>',
    "pattern": '<pattern id="p" width="9" height="9"><image href="{link}" width="9" height="9"/></pattern>'
               '<rect width="100" height="50" fill="url(#p)"/>',
    "paint": '<rect width="100" height="50" fill="url({folder}/green.svg#b)"/>',
    "include": '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{folder}/green.svg"/>',
    "font": "<style>@font-face {{ font-family: a; src: url({folder}/a.ttf) }}</style>",
    "web": '<image width="100" height="50" href="http://127.0.0.1:9/green.png"/>',
}  # fmt: skip


@needs_pyvips
@pytest.mark.parametrize("scheme", ["file://", ""])
@pytest.mark.parametrize("name", ELSEWHERE)
def test_nothing_is_loaded_from_elsewhere(drawers: VariantWorkers, tmp_path: Path, name: str, scheme: str) -> None:
    """As in ``<img>``: what is somewhere else is not seen."""
    (tmp_path / "green.png").write_bytes(GREEN_PICTURE)
    (tmp_path / "green.svg").write_bytes(svg(f'<linearGradient id="b"/><g id="a">{box(f"rgb{GREEN}")}</g>'))
    (tmp_path / "green.css").write_text(f".a {{ fill: rgb{GREEN} !important }}")
    link = f"{scheme}{tmp_path}/green.png"
    sheet = f'<?xml-stylesheet type="text/css" href="{scheme}{tmp_path}/green.css"?>' if name == "sheet" else ""
    document = svg(ELSEWHERE[name].format(link=link, folder=f"{scheme}{tmp_path}"), before=sheet)
    (tmp_path / "a.svg").write_bytes(document)
    found = seen(make_variant(tmp_path / "a.svg", PNG, workers=drawers))
    assert colour(found, 50, 25) in {(0, 0, 0, 0), (0, 0, 0, 255)}
    assert GREEN not in {one[:3] for _, one in found.getcolors(10000) or ()}  # type: ignore[index]


WITHOUT_PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {
    "text": (lambda: svg("<text>Hello</text>"), "text"),
    "text_in_use": (lambda: svg("<defs><g id='a'><text x='5'><tspan>Hello</tspan></text></g></defs><use href='#a'/>"), "text"),
    "text_of_an_entity": (lambda: svg("&a;", before="<!DOCTYPE svg [<!ENTITY a '<text>Hello</text>'>]>"), "text"),
    "text_in_an_image": (lambda: svg(picture(uri(svg("<text>Hello</text>"), "image/svg+xml"))), "text"),
    "html": (lambda: svg("<foreignObject><p xmlns='http://www.w3.org/1999/xhtml'>Hello</p></foreignObject>"), "text"),
    "no_size": (lambda: svg(box(), ""), "size"),
    "size_in_percent": (lambda: svg(box(), 'width="100%" height="100%"'), "size"),
    "size_of_nothing": (lambda: svg(box(), 'width="0" height="0"'), "size"),
    "too_small": (lambda: svg(box(), 'viewBox="0 0 .1 .1"'), "size"),
    "too_wide": (lambda: svg(box(), 'viewBox="0 0 1e30 1"'), "size"),
    "cut": (lambda: COLOURS[:-7], "broken"),
    "not_xml": (lambda: b"<svg onload=alert(1)>", "broken"),
    "another_namespace": (lambda: b"<svg xmlns='urn:a' width='9' height='9'/>", "broken"),
    "unknown_entity": (lambda: svg("&a;"), "broken"),
    "entity_of_a_file": (lambda: svg(box() + "&a;", before='<!DOCTYPE svg [<!ENTITY a SYSTEM "/etc/passwd">]>'), "broken"),
    "picture_of_nothing": (lambda: svg(picture("data:image/png;base64,AAAA")), "embedded"),
    "picture_cut_in_base64": (lambda: svg(picture("data:image/png;base64,A")), "embedded"),
    "picture_of_a_gif": (lambda: svg(picture(uri(saved(four_colours(), "GIF"), "image/gif"))), "embedded"),
    "picture_of_a_webp": (lambda: svg(picture(uri(saved(four_colours(), "WEBP"), "image/webp"))), "embedded"),
    "picture_labelled_wrongly": (lambda: svg(picture(uri(saved(four_colours(), "JPEG"), "image/png"))), "embedded"),
    "zipped_picture": (lambda: svg(picture(uri(gzip.compress(RED_BOX), "image/svg+xml"))), "embedded"),
    "svgz": (lambda: gzip.compress(RED_BOX), "not-an-image"),
}  # fmt: skip


@needs_pyvips
@pytest.mark.parametrize("name", WITHOUT_PICTURES)
def test_what_cannot_be_drawn_is_refused(drawers: VariantWorkers, name: str) -> None:
    content, code = WITHOUT_PICTURES[name]
    with pytest.raises(UndecodableError) as refused:
        make_variant(content(), PNG, workers=drawers)
    assert refused.value.code == code
    assert ("nor an SVG" in str(refused.value)) == (code == "not-an-image")


# -- hostile documents -----------------------------------------------------------------------------------------------------


def uses(levels: int, each: int) -> bytes:
    """A drawing that is drawn again and again: ``each`` to the power of ``levels``."""
    found = '<rect id="a0" width="1" height="1"/>'
    for level in range(1, levels):
        use = f'<use xlink:href="#a{level - 1}"/>'
        found += f'<g id="a{level}">{use * each}</g>'
    return svg(f'<defs>{found}</defs><use xlink:href="#a{levels - 1}"/>')


def laughs() -> bytes:
    words = "".join(f'<!ENTITY {chr(98 + level)} "{f"&{chr(97 + level)};" * 10}">' for level in range(9))
    return svg("&j;", before=f'<!DOCTYPE svg [<!ENTITY a "<g/>">{words}]>')


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "uses": (lambda: uses(41, 2), "too-complex"),
    "laughs": (laughs, "too-complex"),
    "deep": (lambda: svg("<g>" * 100_000 + "</g>" * 100_000), "too-complex"),
    "nested": (lambda: svg("<svg>" * 100_000 + "</svg>" * 100_000), "too-complex"),
    "unclosed": (lambda: b"<svg width='9' height='9'>" + b"<g>" * 1_000_000, "too-complex"),
    "documents": (lambda: documents_in_documents(12), "too-complex"),
    "elements": (lambda: svg("<g/>" * 1_000_000), "too-complex"),
    "path": (lambda: svg(f'<path d="M0 0{" L 1 1" * 3_000_000}"/>'), "too-complex"),
    "picture": (lambda: svg(picture(uri(png_of_zeros(50_000, 50_000, rows=2)))), "too-many-pixels"),
    "pictures": (lambda: svg(picture(uri(png_of_zeros(3000, 3000, rows=2))) * 20), "too-many-pixels"),
    "picture_in_a_document": (
        lambda: svg(picture(uri(svg(picture(uri(png_of_zeros(50_000, 50_000, rows=2)))), "image/svg+xml"))),
        "too-many-pixels",
    ),
    "picture_of_memory": (lambda: svg(picture(uri(png_of_zeros(9900, 9900, rows=2)))), "memory"),
    "tower": (lambda: svg(box(), 'viewBox="0 0 1 1000000"'), "too-many-pixels"),
}  # fmt: skip
SLOW = {"uses", "path", "elements"}


@needs_pyvips
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.thorough] * (name in SLOW)) for name in BOMBS])
def test_bombs_of_svg_are_refused(drawers: VariantWorkers, name: str) -> None:
    bomb, code = BOMBS[name]
    before = time.monotonic()
    with pytest.raises(VariantTooLargeError) as refused:
        make_variant(bomb(), Resize(width=100), workers=drawers)
    assert refused.value.code == code
    assert time.monotonic() - before < 60
    assert make_variant(RED_BOX, PNG, workers=drawers).width == 100


SLOW_TO_DRAW = {
    "curves": svg(f'<path stroke="black" d="M0 0{" C 1 2 3 4 5 6" * 100_000}"/>'),
    "blur": svg(f'<filter id="f"><feGaussianBlur stdDeviation="5000"/></filter>{box(filter="url(#f)") * 5000}'),
    "selectors": svg(
        f"<style>{'g g g g g g g g rect{fill:red} ' * 9000}</style>{'<g>' * 200}{box() * 9000}{'</g>' * 200}"
    ),
}  # fmt: skip


@needs_pyvips
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.thorough] * (name != "blur")) for name in SLOW_TO_DRAW])
def test_time_for_a_drawing_is_limited(name: str) -> None:
    with VariantWorkers(workers=1, seconds=1, queue_seconds=60, svg=True) as drawers:
        make_variant(RED_BOX, PNG, workers=drawers)
        before = time.monotonic()
        with pytest.raises(VariantTimeoutError):
            make_variant(SLOW_TO_DRAW[name], Resize(width=1000), workers=drawers)
        assert time.monotonic() - before < 30
        assert make_variant(RED_BOX, PNG, workers=drawers).width == 100


@needs_pyvips
def test_memory_for_a_drawing_is_limited() -> None:
    """Librsvg ends its process when it gets none, which is no fault of the document."""
    with VariantWorkers(workers=1, memory="34 MB", seconds=60, queue_seconds=60, svg=True) as drawers:
        for content in (svg(box() * 40_000), svg(f"<!--{'a' * 60_000_000}-->")):
            with pytest.raises(VariantTooLargeError) as refused:
                make_variant(content, PNG, workers=drawers)
            assert refused.value.code == "memory"
        assert make_variant(RED_BOX, PNG, workers=drawers).width == 100


RECURSIVE = {
    "pattern": '<pattern id="a" width="1" height="1"><rect width="9" height="9" fill="url(#a)"/></pattern>{}'.format(
        box("url(#a)")
    ),
    "mask": f'<mask id="a">{box("white", mask="url(#a)")}</mask>{box(mask="url(#a)")}',
    "use": '<g id="a"><use href="#a"/></g>',
    "clip": '<clipPath id="a"><path d="M0 0L9 9" clip-path="url(#a)"/></clipPath><path d="M0 0L9 9" clip-path="url(#a)"/>',
    "marker": '<marker id="a"><path d="M0 0L9 9" marker-end="url(#a)"/></marker><path d="M0 0L9 9" marker-end="url(#a)"/>',
    "turbulence": '<filter id="f"><feTurbulence numOctaves="1000000000" baseFrequency="0.1"/></filter>' + box(filter="url(#f)"),
    "morphology": '<filter id="f"><feMorphology radius="1000000"/></filter>' + box(filter="url(#f)"),
    "dashes": '<path stroke="black" stroke-dasharray="0.00001" d="M0 0 L100000 100000"/>',
    "tiles": f'<pattern id="a" width="0.00001" height="0.00001" patternUnits="userSpaceOnUse">{box()}</pattern>{box("url(#a)")}',
}  # fmt: skip


@needs_pyvips
@pytest.mark.parametrize("name", RECURSIVE)
def test_documents_that_never_end_are_drawn_or_refused_soon(drawers: VariantWorkers, name: str) -> None:
    with contextlib.suppress(UndecodableError, VariantTooLargeError):
        assert make_variant(svg(RECURSIVE[name]), PNG, workers=drawers).width == 100
    assert make_variant(RED_BOX, PNG, workers=drawers).width == 100


# -- what a worker can do --------------------------------------------------------------------------------------------------


def attack(drawers: VariantWorkers, name: str, **arguments: str | int) -> list[str]:
    recipe = Custom(name, f"tests.variants.attacks:{name}", version=1, arguments=arguments, format="png")
    return seen(make_variant(RED_BOX, recipe, workers=drawers)).tobytes().decode().split("\n")


@needs_pyvips
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can take this much from a process")
def test_a_worker_that_draws_is_confined_as_others(drawers: VariantWorkers, tmp_path: Path) -> None:
    assert drawers.protections() == {"files", "memory", "network", "processes", "time"}
    there = tmp_path / "secret.txt"
    there.write_text("secret")
    for answers in (attack(drawers, "files", there=str(there)), attack(drawers, "processes")):
        assert [line for line in answers if not line.endswith(": PermissionError")] == []
    assert [line for line in attack(drawers, "network", port=9) if ": reached" in line] == []
    environment, descriptors, loaded, _ = attack(drawers, "surroundings")
    assert set(environment.split(",")) <= {"GLIBC_TUNABLES", "LC_CTYPE"}
    assert (descriptors, loaded) == ("6", "")


@needs_pyvips
def test_libvips_does_nothing_but_draw(drawers: VariantWorkers, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(GREEN_PICTURE)
    (tmp_path / "a.svg").write_bytes(RED_BOX)
    answers = attack(drawers, "libvips", folder=str(tmp_path))
    assert len(answers) == 8
    assert [line for line in answers if line.startswith("reached")] == []
    assert answers.count("blocked") >= 4  # the others open a file first


@needs_pyvips
def test_a_failure_of_another_setting_is_not_honoured(session: Session) -> None:
    """A process without SVG notes that it cannot be made; one with it makes it."""
    file = FileObject("logos", filename="a.svg", content=RED_BOX).save()
    broken = FileObject("logos", filename="a.svg", content=svg("<text>a</text>")).save()
    try:
        configure(workers=1)
        for one in (file, broken):
            refused_as_svg(one.variant(PNG).get_content)
        configure(workers=1, svg=True)
        assert seen(file.variant(PNG).get_content()).size == (100, 50)
        with pytest.raises(UndecodableError, match="has text"):
            broken.variant(PNG).get_content()
        noted = json.loads(storages.get_backend("logos").read(f"{broken.variant(PNG).path.rpartition('.')[0]}.failed"))
        assert set(noted["by"]["svg"]) == {"pyvips", "pyvips-binary"}
        configure(workers=1)
        assert seen(file.variant(PNG).get_content()).size == (100, 50)  # it is stored
    finally:
        configure()


@needs_pyvips
def test_a_drawing_that_cannot_be_made_is_refused_at_its_field(session: Session, allowed: VariantWorkers) -> None:
    session.add(Logo(early=FileObject(filename="a.svg", content=svg("<text>Hello</text>"))))
    with pytest.raises(VariantRefusedError, match="the drawing has text") as refused:
        session.commit()
    assert (refused.value.field, refused.value.code) == ("early", "variant-text")


@needs_pyvips
def test_maintenance_makes_variants_of_drawings_where_they_are_allowed(session: Session) -> None:
    session.add(Logo(anything=FileObject(filename="a.svg", content=RED_BOX)))
    session.commit()
    engine = session.get_bind()
    try:
        for svg_allowed, wanted in ((False, 0), (True, 1)):
            configure(workers=1, svg=svg_allowed)
            assert [one.changed for one in variants(Base.metadata, engine, "logo.anything")][-1:] == [wanted]  # type: ignore[arg-type]
    finally:
        configure()


def test_vector_fills_its_box_and_others_do_not() -> None:
    assert Thumbnail(200, 100).size_for(20, 20) == (20, 10)
    assert Thumbnail(200, 100).size_for(20, 20, vector=True) == (200, 100)
    assert Resize(width=640).size_for(20, 10) == (20, 10)
    assert Resize(width=640).size_for(20, 10, vector=True) == (640, 320)


@needs_pyvips
def test_broken_bytes_in_a_document_harm_nobody(drawers: VariantWorkers) -> None:
    """Each byte of a document with all kinds of content is changed in turn."""
    whole = svg(OF_ITS_OWN["png"] + OF_ITS_OWN["style"] + OF_ITS_OWN["gradient"])
    outcomes = set()
    for place in range(0, len(whole), 7):
        content = whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :]
        try:
            outcomes.add("made" if make_variant(content, Thumbnail(8, 8), workers=drawers).width == 8 else "wrong")
        except VariantError as error:
            outcomes.add(error.code)
    assert outcomes <= {"made", "broken", "size", "not-an-image", "embedded"}
