"""Recipes: what they refuse, and how they name their variants."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
from PIL import ImageOps

from filerow import FileObject, StoredObject
from filerow.exceptions import FileStateError, RecipeError, VariantError
from filerow.variants import Custom, Recipe, Resize, Thumbnail

TOKEN = "0190aaaaaaaa7000800000000000abcd"
GENERATED = f"document/photo/{TOKEN}.jpg"


def stored(path: str = GENERATED, **facts: Any) -> FileObject:
    return FileObject.from_dict(
        {"v": 1, "backend": "docs", "path": path, "filename": "a.jpg", "content_type": "image/jpeg", **facts}
    )


def one_of_our_own(image: Any) -> Any:
    return image


WRONG: list[tuple[Callable[[], Recipe], str]] = [
    (lambda: Thumbnail(0, 10), "Thumbnail: width must be a whole number of pixels from 1 to 16383, not 0"),
    (lambda: Thumbnail(10, 16384), "height must be a whole number"),
    (lambda: Thumbnail(True, 10), "width must be a whole number"),
    (lambda: Thumbnail(10.5, 10), "not 10.5"),  # type: ignore[arg-type]
    (lambda: Thumbnail(10, 10, fit="fill"), "fit must be 'cover' or 'contain', not 'fill'"),  # type: ignore[arg-type]
    (lambda: Thumbnail(10, 10, crop="top"), "crop must be 'centre' or 'attention'"),  # type: ignore[arg-type]
    (lambda: Thumbnail(10, 10, fit="contain", crop="attention"), "crop must be left out with fit='contain'"),
    (lambda: Thumbnail(10, 10, format="jpg"), "format must be one of avif, gif, jpeg, png, tiff, webp, not 'jpg'"),  # type: ignore[arg-type]
    (lambda: Thumbnail(10, 10, quality=101), "quality must be a whole number from 1 to 100"),
    (lambda: Thumbnail(10, 10, format="png", quality=80), "quality must be left out, since png has none, not 80"),
    (Resize, "Resize needs a width, a height or both"),
    (lambda: Resize(width=-1), "Resize: width must be"),
    (lambda: Custom("a b", one_of_our_own, version=1), "name must be 1 to 64 letters"),
    (lambda: Custom("a", one_of_our_own, version=0), "version must be a whole number from 1"),
    (lambda: Custom("a", lambda image: image, version=1), "function must be defined at the top level of a module"),
    (lambda: Custom("a", "os.system", version=1), "function must be a function, or a name like 'package.module:function'"),
    (lambda: Custom("a", len, version=1), "function must be a function of a module"),
    (lambda: Custom("a", one_of_our_own, version=1, arguments={"a": [1]}), "arguments['a'] must be a text"),  # type: ignore[dict-item]
    (lambda: Custom("a", one_of_our_own, version=1, arguments={"a": float("nan")}), "a finite number"),
    (lambda: Custom("a", one_of_our_own, version=1, arguments={"a": "b" * 5000}), "arguments may have 4096 characters"),
    (lambda: Custom("a", one_of_our_own, version=1, arguments={"a": 10**5000}), "an integer of more than 4096 bits"),
    (lambda: Thumbnail(10**5000, 10), "width must be a whole number of pixels from 1 to 16383, not this one"),
    (lambda: Thumbnail(10, 10, format=["webp"]), "format must be one of avif, gif, jpeg, png, tiff, webp, not ['webp']"),  # type: ignore[arg-type]
    (lambda: Thumbnail(10, 10, fit={}), "fit must be 'cover' or 'contain', not {}"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("declare", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_wrong_recipe_is_refused_when_it_is_declared(declare: Callable[[], Recipe], message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)) as refused:
        declare()
    assert isinstance(refused.value, ValueError)


ALL: list[Recipe] = [
    Thumbnail(200, 100),
    Thumbnail(200, 100, fit="contain", format="jpeg", quality=70),
    Resize(width=640),
    Custom("grey", ImageOps.grayscale, version=2, arguments={"b": 1, "a": "x"}),
]


@pytest.mark.parametrize("recipe", ALL, ids=repr)
def test_recipes_are_values(recipe: Recipe) -> None:
    same = pickle.loads(pickle.dumps(recipe))
    assert same == recipe
    assert hash(same) == hash(recipe)
    assert len({*ALL, same}) == len(ALL)
    with pytest.raises(AttributeError):
        recipe.format = "png"  # type: ignore[misc]


def test_canonical_json_does_not_change() -> None:
    """Whoever changes one of these makes all variants of all applications again."""
    assert [recipe.canonical() for recipe in ALL] == [
        (
            '{"args":{"crop":"centre","fit":"cover","format":"webp","height":100,"quality":80,"width":200},'
            '"kind":"thumbnail","v":1,"version":1}'
        ),
        '{"args":{"fit":"contain","format":"jpeg","height":100,"quality":70,"width":200},"kind":"thumbnail","v":1,"version":1}',
        '{"args":{"format":"webp","height":null,"quality":80,"width":640},"kind":"resize","v":1,"version":1}',
        (
            '{"args":{"arguments":{"a":"x","b":1},"format":"webp","height":null,"name":"grey","quality":80,"width":null},'
            '"kind":"custom","v":1,"version":2}'
        ),
    ]


class Format(str, Enum):  # noqa: UP042 - the texts of a StrEnum are right already
    WEBP = "webp"


def test_a_member_of_an_enumeration_is_its_text() -> None:
    recipe = Thumbnail(1, 1, format=Format.WEBP)  # type: ignore[arg-type]
    assert recipe.content_type == "image/webp"
    assert repr(recipe) == repr(Thumbnail(1, 1))


def test_the_usual_quality_is_that_quality() -> None:
    assert Thumbnail(1, 1) == Thumbnail(1, 1, quality=80)
    assert Thumbnail(1, 1).content_type == "image/webp"
    assert Thumbnail(1, 1, format="jpeg").extension == ".jpg"


def test_a_function_may_move_and_keep_its_variants() -> None:
    here, there = Custom("grey", ImageOps.grayscale, version=1), Custom("grey", "pictures.grey:grayscale", version=1)
    assert here.function == "PIL.ImageOps:grayscale"
    assert here != there
    assert stored().variant(here).id == stored().variant(there).id
    assert stored().variant(here).id != stored().variant(Custom("grey", ImageOps.grayscale, version=2)).id


def test_path_is_a_mirror_of_the_original_path() -> None:
    path = stored().variant(Thumbnail(200, 200)).path
    assert path == f"_filerow/variants/{GENERATED}/{stored().variant(Thumbnail(200, 200)).id}.webp"
    assert re.fullmatch(r"[0-9a-f]{32}", stored().variant(Thumbnail(200, 200)).id)


def test_id_of_a_generated_path_needs_nothing_else() -> None:
    ids = {stored(etag=etag).variant(ALL[0]).id for etag in ("a", "b", None)}
    assert len(ids) == 1
    assert len({stored().variant(recipe).id for recipe in ALL}) == len(ALL)


def test_id_of_a_reusable_path_changes_with_the_content() -> None:
    facts: list[dict[str, Any]] = [
        {"checksum": f"sha256:{'a' * 64}", "etag": "1"}, {"checksum": f"sha256:{'b' * 64}", "etag": "1"},
        {"etag": "1"}, {"etag": "2"}, {"size": 1, "last_modified": 2.0}, {"size": 1, "last_modified": 3.0},
    ]  # fmt: skip
    ids = [stored("logo.png", **known).variant(ALL[0]).id for known in facts]
    assert len(set(ids)) == len(facts)
    assert stored("logo.png", **{**facts[0], "etag": "9"}).variant(ALL[0]).id == ids[0]


def test_unknown_content_at_a_reusable_path_is_refused() -> None:
    with pytest.raises(VariantError, match="could be stale") as refused:
        _ = stored("logo.png").variant(ALL[0]).id
    assert refused.value.code == "unidentified"


def test_path_has_at_most_960_bytes() -> None:
    room = 960 - len(f"_filerow/variants//{'0' * 32}.webp")
    longest = f"/{TOKEN}.jpg".rjust(room - 2, "d")
    longest = f"é{longest}"  # two bytes
    assert len(stored(longest).variant(ALL[0]).path.encode()) == 960
    with pytest.raises(VariantError, match="has at most 960 bytes, and this one would have 961") as refused:
        _ = stored(f"x{longest}").variant(ALL[0]).path
    assert refused.value.code == "path-too-long"


def test_a_pending_file_has_no_variants() -> None:
    with pytest.raises(FileStateError, match="is not stored yet, so it has no variants"):
        FileObject(content=b"a").variant(ALL[0])


def test_what_is_not_a_recipe_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a recipe is a Thumbnail, Resize or Custom of filerow.variants, not int"):
        stored().variant(200)  # type: ignore[arg-type]


def test_an_undeclared_name_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"knows no variant 'thumb': variants= of a column .* pass the recipe"):
        stored().variant("thumb")


def test_id_says_what_the_protocol_says() -> None:
    document = {**json.loads(ALL[0].canonical()), "original": ["etag", "1"]}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert stored("logo.png", etag="1").variant(ALL[0]).id == hashlib.sha256(text.encode()).hexdigest()[:32]


@pytest.mark.parametrize("moment", ["commit", {"thumb": "commit"}, lambda _: "commit"])
def test_moments_without_variants_are_refused(moment: Any) -> None:
    with pytest.raises(ValueError, match="variants= declares none"):
        StoredObject("docs", make_variants=moment)
