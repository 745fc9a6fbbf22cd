"""``<img>`` with the variants of a photo: which sizes it names, and that nothing breaks out of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Annotated, Any

import jinja2
import msgspec
import pytest
from markupsafe import Markup
from pydantic import BaseModel

from filerow import FileObject, FileObjectList
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import FileStateError, RecipeError
from filerow.ext.html import img, img_async, install
from filerow.ext.msgspec import VariantHooks
from filerow.ext.pydantic import SignedUrl
from filerow.variants import Custom, Resize, Thumbnail, configure_urls
from tests.variants.pictures import seen
from tests.variants.shop import KEY, SECRET, a_photo, parts, read, register, stored

WIDE, HIGH = Resize(width=640), Resize(height=30)


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "an attribute is there twice"
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def only_img(markup: str) -> dict[str, Any]:
    """Return the attributes of the one element of a text."""
    parser = Elements()
    parser.feed(markup)
    parser.close()
    [(tag, attributes)] = parser.found
    assert (tag, parser.text) == ("img", "")
    return attributes


@pytest.fixture(autouse=True)
def docs() -> Iterator[MemoryBackend]:
    backend = MemoryBackend(KEY, base_url="/files", secret=SECRET)
    register(backend)
    yield backend
    configure_urls()


@pytest.fixture
def photo() -> FileObject:
    return stored(a_photo(80, 40))


def unmeasured(photo: FileObject) -> FileObject:
    """Return a photo whose size nobody has looked at."""
    document = {name: value for name, value in photo.to_dict().items() if name not in {"width", "height"}}
    return FileObject.from_dict(document)


def candidates(srcset: str) -> list[tuple[str, str]]:
    return [tuple(one.split(" ")) for one in srcset.split(", ")] if srcset else []  # type: ignore[misc]


# -- sizes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "original", "size"),
    [
        (Resize(width=640), (4000, 3000), (640, 480)),
        (Resize(width=640), (300, 200), (300, 200)),
        (Resize(width=640, height=100), (4000, 3000), (133, 100)),
        (Resize(width=3), (10000, 1), (3, 1)),
        (Thumbnail(200, 100), (4000, 3000), (200, 100)),
        (Thumbnail(200, 100), (150, 150), (150, 75)),
        (Thumbnail(200, 100, fit="contain"), (4000, 3000), (133, 100)),
        (Custom("grey", "PIL.ImageOps:grayscale", version=1, width=5), (10, 10), None),
    ],
)
def test_size_follows_from_the_original(recipe: Any, original: tuple[int, int], size: tuple[int, int] | None) -> None:
    assert recipe.size_for(*original) == size


def test_size_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="its size is not 0 x 5"):
        WIDE.size_for(0, 5)


def test_variant_knows_its_size(photo: FileObject) -> None:
    assert (photo.width, photo.height) == (80, 40)
    thumb = photo.variant("thumb")
    assert (thumb.width, thumb.height) == (20, 20) == seen(thumb.get_content()).size
    odd = photo.variant(HIGH)
    assert (odd.width, odd.height) == (60, 30) == seen(odd.get_content()).size
    unknown = unmeasured(photo).variant(HIGH)
    assert (unknown.width, unknown.height) == (None, None)


def test_turned_photo_has_the_size_that_is_shown() -> None:
    from PIL import Image

    from tests.variants.pictures import four_colours, saved

    exif = Image.Exif()
    exif[0x0112] = 6
    photo = stored(saved(four_colours(80, 40), "JPEG", exif=exif))
    assert (photo.width, photo.height) == (40, 80)
    variant = photo.variant(Resize(width=10))
    assert (variant.width, variant.height) == (10, 20) == seen(variant.get_content()).size


# -- srcset ----------------------------------------------------------------------------------------------------------------


def test_srcset_is_ascending_without_duplicates(photo: FileObject) -> None:
    found = candidates(photo.srcset("w60", Resize(width=200), "thumb", "w40", WIDE, Resize(width=41)))
    assert [width for _, width in found] == ["20w", "40w", "41w", "60w", "80w"]
    assert found[-1][0] == photo.variant(Resize(width=200)).sign(), "of equally wide ones the first"
    assert [url for url, _ in found[:2]] == [photo.variant("thumb").sign(), photo.variant("w40").sign()]
    assert asyncio.run(photo.srcset_async("w40", "w60")) == photo.srcset("w40", "w60")
    assert photo.srcset("w40", expires_in=60, round_expiry=60) != photo.srcset("w40")
    assert photo.srcset() == ""


def test_srcset_of_an_unmeasured_photo_names_what_recipes_say(photo: FileObject) -> None:
    found = candidates(unmeasured(photo).srcset(WIDE, HIGH, Thumbnail(10, 10)))
    assert [width for _, width in found] == ["10w", "640w"]


def test_srcset_needs_widths(photo: FileObject) -> None:
    grey = Custom("grey", "PIL.ImageOps:grayscale", version=1)
    with pytest.raises(RecipeError, match="give its recipe a width="):
        photo.srcset(grey, WIDE)
    narrow = Custom("grey", "PIL.ImageOps:grayscale", version=1, width=30)
    assert candidates(photo.srcset(narrow))[0][1] == "30w"
    assert "srcset" not in only_img(img(photo, grey))
    with pytest.raises(RecipeError, match="there is no variant 'w9000'"):
        photo.srcset("w9000")
    with pytest.raises(FileStateError):
        FileObject(filename="a.jpg", content=b"x").srcset(WIDE)


# -- img -------------------------------------------------------------------------------------------------------------------


def test_img_has_all_that_a_browser_asks_for(photo: FileObject) -> None:
    markup = img(photo, "w40", "w60", sizes="50vw", alt="Me & <you>", class_="round", data_row_id=7, hidden=True, lang=None)
    assert only_img(markup) == {
        "src": photo.variant("w40").sign(),
        "srcset": photo.srcset("w40", "w60"),
        "sizes": "50vw",
        "width": "40",
        "height": "20",
        "decoding": "async",
        "alt": "Me & <you>",
        "loading": "lazy",
        "class": "round",
        "data-row-id": "7",
        "hidden": None,
    }
    assert isinstance(markup, Markup)
    assert markup == asyncio.run(
        img_async(photo, "w40", "w60", sizes="50vw", alt="Me & <you>", class_="round", data_row_id=7, hidden=True, lang=None)
    )


def test_img_of_one_variant_needs_no_srcset(photo: FileObject) -> None:
    found = only_img(img(photo, "thumb", sizes="50vw", loading=None))
    assert set(found) == {"src", "width", "height", "decoding", "alt"}
    assert found["alt"] == ""
    small = only_img(img(photo, WIDE, Resize(width=1280)))
    assert "srcset" not in small
    assert "sizes" not in small
    assert only_img(img(photo, "w40", "w60"))["sizes"] == "100vw"
    assert "width" not in only_img(img(unmeasured(photo), HIGH, WIDE))


def test_img_leaves_sizes_to_whoever_gives_one(photo: FileObject) -> None:
    found = only_img(img(photo, "thumb", width=10, decoding="sync"))
    assert found["width"] == "10"
    assert "height" not in found
    assert found["decoding"] == "sync"


@pytest.mark.parametrize("content_type", ["application/pdf", "text/plain", "video/mp4"])
def test_a_file_that_is_not_an_image_makes_no_element(photo: FileObject, content_type: str) -> None:
    other = FileObject.from_dict({**photo.to_dict(), "content_type": content_type})

    assert img(other, Resize(width=40)) == ""
    assert asyncio.run(img_async(other, WIDE, Resize(width=40))) == ""


@pytest.mark.parametrize("content_type", ["image/webp", "application/octet-stream", None])
def test_a_file_that_may_be_an_image_makes_an_element(photo: FileObject, content_type: str | None) -> None:
    other = FileObject.from_dict({**photo.to_dict(), "content_type": content_type})

    assert only_img(img(other, Resize(width=40)))["src"]


def test_img_of_no_photo_is_empty() -> None:
    assert img(None, "thumb") == ""
    with pytest.raises(TypeError, match="at least one variant"):
        img(None)
    with pytest.raises(TypeError, match="shows a FileObject, not str"):
        img("a.jpg", "thumb")  # type: ignore[arg-type]


BREAKING = [
    '"><script>alert(1)</script>', "' onerror='alert(1)", '" onload="alert(1)', "</img><b>", "&quot;&#34;>", "a\nb\0c", "<!--",
    Markup('"><script>alert(1)</script>'), Markup('" onerror="alert(1)'), Markup("&#34; onerror=&#34;x"), 'x" src="//evil"',
]  # fmt: skip


@pytest.mark.parametrize("value", BREAKING)
def test_no_value_breaks_out(photo: FileObject, value: Any) -> None:
    for markup in (
        img(photo, "thumb", "w40", alt=value),
        img(photo, "thumb", "w40", sizes=value),
        img(photo, "thumb", title=value),
    ):
        assert not {"onerror", "onload"} & set(only_img(markup.replace("\0", "")))
    if not isinstance(value, Markup):
        assert only_img(img(photo, "thumb", title=value))["title"] == value


def test_markup_is_shown_as_its_text(photo: FileObject) -> None:
    assert only_img(img(photo, "thumb", alt=Markup("Tom &amp; Jerry")))["alt"] == "Tom & Jerry"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("onclick", "handlers of events"), ("ONERROR", "handlers of events"), ("on_error", "handlers of events"),
        ("src", "writes src itself"), ("SrcSet", "writes SrcSet itself"), ("a b", "not a name"), ('x"', "not a name"),
        ("x>y", "not a name"), ("", "not a name"), ("__", "not a name"), ("a=b", "not a name"), ("é", "not a name"),
        ("a\n", "not a name"), ("x" * 65, "not a name"),
    ],
)  # fmt: skip
def test_no_name_breaks_out(photo: FileObject, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        img(photo, "thumb", **{name: "x"})  # type: ignore[arg-type]  # any name


@pytest.mark.parametrize(
    "filename", ['"><script>alert(1)</script>.jpg', "' onerror='x.jpg", "a b,c 2x.jpg", "雪, \u2028.jpg", "%22>.jpg"]
)
def test_hostile_filenames_stay_inside_the_url(filename: str) -> None:
    photo = stored(filename=filename)
    found = only_img(img(photo, "w40", "w60", alt=photo.filename))
    assert found["alt"] == photo.filename
    assert re.fullmatch(r"[!-~]+", found["src"])
    for url, width in candidates(found["srcset"]):
        assert re.fullmatch(r"\d+w", width)
        assert not url.endswith(",")


def test_urls_of_an_img_work(photo: FileObject) -> None:
    from filerow.http import answer

    found = only_img(img(photo, "w40", "w60"))
    for url, width in candidates(found["srcset"]):
        reply = answer("GET", *parts(url))
        assert reply.status == 200
        assert f"{seen(read(reply)).width}w" == width


# -- Jinja -----------------------------------------------------------------------------------------------------------------

TEMPLATE = '{{ img(photo, "w40", "w60", alt=name) }}{{ photo | img("thumb", class="x") }}{{ none | img("thumb") }}'


@pytest.mark.parametrize("autoescape", [True, False])
def test_jinja_has_it_as_function_and_filter(photo: FileObject, autoescape: bool) -> None:
    values = {"photo": photo, "name": '"<b>', "none": None}
    expected = img(photo, "w40", "w60", alt='"<b>') + img(photo, "thumb", class_="x")
    environment = jinja2.Environment(autoescape=autoescape)
    install(environment)
    assert environment.from_string(TEMPLATE).render(values) == expected
    asynchronous = jinja2.Environment(autoescape=autoescape, enable_async=True)
    install(asynchronous)
    assert asyncio.run(asynchronous.from_string(TEMPLATE).render_async(values)) == expected


# -- other views -----------------------------------------------------------------------------------------------------------


def shown_variant(photo: FileObject, name: str) -> dict[str, Any]:
    variant = photo.variant(name)
    size = {"width": variant.width, "height": variant.height}
    return {"url": variant.sign(), "content_type": variant.content_type, **size}


def test_pydantic_shows_variants_on_request(photo: FileObject) -> None:
    jsonschema = pytest.importorskip("jsonschema")

    class Shown(BaseModel):
        photo: Annotated[FileObject, SignedUrl(variants=("thumb", "w60"))]
        small: Annotated[FileObject, SignedUrl(variants=["thumb"], original=False)]  # what people write

    shown = Shown(photo=photo, small=photo).model_dump(mode="json")
    assert shown["photo"]["variants"] == {"thumb": shown_variant(photo, "thumb"), "w60": shown_variant(photo, "w60")}
    assert shown["photo"]["url"].startswith(f"/files/{KEY}/{photo.path}?")
    assert "url" not in shown["small"]
    assert list(shown["small"]["variants"]) == ["thumb"]
    text = stored(b"just text", "a.txt")
    assert Shown(photo=text, small=text).model_dump(mode="json")["photo"]["variants"] == {"thumb": None, "w60": None}
    jsonschema.validate(shown, Shown.model_json_schema(mode="serialization"))
    with pytest.raises(TypeError, match=r"a tuple of names, such as \('thumb',\)"):
        SignedUrl(variants="thumb")  # type: ignore[arg-type]


def test_msgspec_shows_variants_on_request(photo: FileObject) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    hooks = VariantHooks("thumb", "w60")
    found = msgspec.json.decode(msgspec.json.encode({"photo": photo}, enc_hook=hooks.enc_hook))
    assert found["photo"]["variants"] == {"thumb": shown_variant(photo, "thumb"), "w60": shown_variant(photo, "w60")}
    assert "url" not in found["photo"]
    schema = msgspec.json.schema(FileObject, schema_hook=hooks.schema_hook)
    jsonschema.validate(found["photo"], schema)
    assert msgspec.json.schema(FileObjectList, schema_hook=hooks.schema_hook)["items"]["title"] == "SignedFileObject"
    with pytest.raises(NotImplementedError):
        hooks.enc_hook(object())


def test_public_view_stays_as_it_is(photo: FileObject) -> None:
    assert set(photo.public_view()) == {"filename", "content_type", "size", "last_modified", "metadata"}
