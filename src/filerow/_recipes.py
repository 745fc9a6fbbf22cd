"""Recipes: what to make of an image, and how the variant is named. Pure.

``filerow.variants`` shows them to users, and makes the variants. Columns, files, URLs and maintenance need only their names.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import lru_cache
from types import FunctionType, MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias, cast

from filerow._document import Facts
from filerow._paths import RESERVED, is_generated, is_reserved
from filerow._variant_plan import VariantPlan, geometry_of
from filerow.exceptions import RecipeError, VariantError

VariantFormat: TypeAlias = Literal["avif", "gif", "jpeg", "png", "tiff", "webp"]
"""A format of variants."""

Scalar: TypeAlias = str | int | float | bool | None

VARIANTS = f"{RESERVED}/variants"
"""The folder of all variants of a backend: each lies below the whole path of its original."""

MOST_PATH_BYTES = 960
FAILED = ".failed"
"""The extension of the notes that a variant cannot be made."""

_PROTOCOL = 1
_MOST_SIDE = 16383  # WebP's
_MOST_ARGUMENTS = 4096
_MOST_BITS = 4096
_MOST_QUALITY = 100
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_STORED = re.compile(rf"{VARIANTS}/(.+)/([0-9a-f]{{32}})\.[a-z0-9]{{1,10}}", re.DOTALL)
_EXTENSIONS = {"avif": ".avif", "gif": ".gif", "jpeg": ".jpg", "png": ".png", "tiff": ".tiff", "webp": ".webp"}
DECODED = frozenset(f"image/{kind}" for kind in _EXTENSIONS)
"""The media types of originals that variants are made of."""

_QUALITIES = {"avif": 65, "jpeg": 82, "webp": 80}


class Recipe(ABC):
    """What to make of an image; see the classes derived from it."""

    __slots__ = ()

    kind: ClassVar[str]
    recipe_version: ClassVar[int] = 1  # goes up when the same recipe makes another image

    format: VariantFormat
    quality: int | None

    @property
    def content_type(self) -> str:
        """The media type of its variants."""
        return f"image/{self.format}"

    @property
    def extension(self) -> str:
        """The extension of the paths of its variants, such as ``.webp``."""
        return _EXTENSIONS[self.format]

    @property
    @abstractmethod
    def plan(self) -> VariantPlan:
        """What a worker is to do."""

    @abstractmethod
    def _arguments(self) -> dict[str, Any]:
        """Return what the variant depends on, besides the original."""

    def size_for(self, width: int, height: int, *, vector: bool = False) -> tuple[int, int] | None:
        """Return width and height of the variant of an image of a size.

        Args:
            width: The original's, in pixels, as it is shown (a photo of a phone may be stored on its side).
            height: Likewise.
            vector: It is an SVG, which fills the box whatever its own size; other images are never enlarged.

        Returns:
            Exactly what will be made; ``None`` of a ``Custom`` recipe, whose function may return any size.

        Raises:
            ValueError: One of both is not positive.
        """
        if width < 1 or height < 1:
            raise ValueError(f"an image has at least one pixel, so its size is not {width} x {height}")
        plan = self.plan
        box = plan["width"], plan["height"]
        return None if plan["function"] else geometry_of((width, height), box, plan["fit"], vector=vector).size

    def canonical(self) -> str:
        """Return it as JSON that is the same in each process and release."""
        return _json({"args": self._arguments(), "kind": self.kind, "v": _PROTOCOL, "version": self._version()})

    def _version(self) -> int:
        return self.recipe_version

    def _check_format(self) -> None:
        _check_choice(self, "format", tuple(sorted(_EXTENSIONS)))
        usual = _QUALITIES.get(self.format)
        if self.quality is None:
            object.__setattr__(self, "quality", usual)
        elif usual is None:
            raise _wrong(self, "quality", f"left out, since {self.format} has none", self.quality)
        elif not _is_whole(self.quality) or not 1 <= self.quality <= _MOST_QUALITY:
            raise _wrong(self, "quality", "a whole number from 1 to 100", self.quality)


@dataclass(frozen=True)
class Thumbnail(Recipe):
    """A small image that fits into a box; nothing is enlarged.

    Args:
        width: Width of the box in pixels.
        height: Its height.
        fit: ``cover`` fills the box and crops what is too much; ``contain`` shows all, and leaves the rest of the box out. Of an
            image that is smaller than the box, ``cover`` keeps the largest part with the box's ratio.
        crop: Which part ``cover`` keeps: the ``centre``, or what most probably draws ``attention``.
        format: ``webp``, ``jpeg``, ``png``, ``gif``, ``avif`` or ``tiff``.
        quality: 1 to 100 for WebP, JPEG and AVIF. Default: 80, 82 and 65.

    Raises:
        RecipeError: An argument makes no sense; also a ``ValueError``.
    """

    kind = "thumbnail"

    width: int
    height: int
    fit: Literal["cover", "contain"] = field(default="cover", kw_only=True)
    crop: Literal["centre", "attention"] = field(default="centre", kw_only=True)
    format: VariantFormat = field(default="webp", kw_only=True)
    quality: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_side(self, "width", self.width)
        _check_side(self, "height", self.height)
        _check_choice(self, "fit", ("cover", "contain"))
        _check_choice(self, "crop", ("centre", "attention"))
        if self.fit == "contain" and self.crop != "centre":
            raise _wrong(self, "crop", "left out with fit='contain', which crops nothing", self.crop)
        self._check_format()

    def _arguments(self) -> dict[str, Any]:
        found = {"fit": self.fit, "format": self.format, "height": self.height, "quality": self.quality, "width": self.width}
        return found | ({"crop": self.crop} if self.fit == "cover" else {})

    @property
    def plan(self) -> VariantPlan:
        """What a worker is to do."""
        return _plan(self, self.fit, self.width, self.height, crop=self.crop)


@dataclass(frozen=True)
class Resize(Recipe):
    """The whole image, no wider and no higher than this; nothing is enlarged.

    Args:
        width: Maximum width in pixels; any, if left out.
        height: Maximum height, likewise; one of both is needed.
        format: As for :class:`Thumbnail`.
        quality: As for :class:`Thumbnail`.

    Raises:
        RecipeError: An argument makes no sense; also a ``ValueError``.
    """

    kind = "resize"

    width: int | None = field(default=None, kw_only=True)
    height: int | None = field(default=None, kw_only=True)
    format: VariantFormat = field(default="webp", kw_only=True)
    quality: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.width is None and self.height is None:
            raise RecipeError("Resize needs a width, a height or both, such as Resize(width=640)")
        _check_box(self, self.width, self.height)
        self._check_format()

    def _arguments(self) -> dict[str, Any]:
        return {"format": self.format, "height": self.height, "quality": self.quality, "width": self.width}

    @property
    def plan(self) -> VariantPlan:
        """What a worker is to do."""
        return _plan(self, "contain", self.width, self.height)


@dataclass(frozen=True, eq=False)
class Custom(Recipe):
    """An image that a function of the application makes.

    The function gets an image of Pillow, upright and in sRGB, of an animation the first frame, and returns one. It runs in a
    worker, which imports its module, and can then read no file and reach no network.

    Args:
        name: What the variant is called; part of its identity, so keep it when the function moves.
        function: A function at the top level of a module, or its name as ``package.module:function``.
        version: Increase it when the function makes another image than before.
        arguments: What the function is called with, besides the image: texts, numbers, booleans.
        width: Shrink the image to this width first; any, if left out.
        height: To this height, likewise.
        format: As for :class:`Thumbnail`.
        quality: As for :class:`Thumbnail`.

    Raises:
        RecipeError: An argument makes no sense; also a ``ValueError``.
    """

    kind = "custom"

    name: str
    function: Callable[..., Any] | str
    version: int = field(kw_only=True)
    arguments: Mapping[str, Scalar] = field(default_factory=dict, kw_only=True)
    width: int | None = field(default=None, kw_only=True)
    height: int | None = field(default=None, kw_only=True)
    format: VariantFormat = field(default="webp", kw_only=True)
    quality: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise _wrong(self, "name", "1 to 64 letters, digits, '.', '_' or '-'", self.name)
        if not _is_whole(self.version) or self.version < 1:
            raise _wrong(self, "version", "a whole number from 1", self.version)
        object.__setattr__(self, "function", _reference_to(self, self.function))
        object.__setattr__(self, "arguments", _checked_arguments(self, self.arguments))
        _check_box(self, self.width, self.height)
        self._check_format()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Custom) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.name, self.function, {**vars(self), "arguments": dict(self.arguments)})

    def _identity(self) -> tuple[str, object]:
        return self.canonical(), self.function

    def _version(self) -> int:
        return self.version

    def _arguments(self) -> dict[str, Any]:
        sides = {"height": self.height, "width": self.width}
        return {"arguments": dict(self.arguments), "format": self.format, "name": self.name, "quality": self.quality, **sides}

    @property
    def plan(self) -> VariantPlan:
        """What a worker is to do."""
        plan = _plan(self, "contain", self.width, self.height)
        return {**plan, "function": str(self.function), "arguments": dict(self.arguments)}


def recipe_text(recipe: Recipe) -> str:
    """Return a recipe as JSON, from which :func:`recipe_from` makes it again.

    It goes into URLs, so it leaves out what is the default.
    """
    given = {one.name: getattr(recipe, one.name) for one in fields(cast("Any", recipe)) if not _is_usual(recipe, one)}
    if isinstance(recipe, Custom) and recipe.arguments:
        given["arguments"] = dict(recipe.arguments)
    return _json({"kind": recipe.kind, **given})


def _is_usual(recipe: Recipe, one: Field[Any]) -> bool:
    value: object = getattr(recipe, one.name)
    usual: object = _QUALITIES.get(recipe.format) if one.name == "quality" else one.default
    return value is None or value == usual or one.name == "arguments"


@lru_cache(maxsize=256)
def recipe_from(text: str) -> Recipe:
    """Return the recipe of a text that this application has signed.

    Raises:
        RecipeError: Another release made the text.
    """
    try:
        given = json.loads(text)
        kind = {one.kind: one for one in (Thumbnail, Resize, Custom)}[given.pop("kind")]
        return kind(**given)
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError(f"this recipe is of another release of Filerow: {text[:200]}") from error


def _rebuild(name: str, function: str, options: dict[str, Any]) -> Custom:
    return Custom(name, function, **{key: value for key, value in options.items() if key not in {"name", "function"}})


def variant_id(facts: Facts, recipe: Recipe) -> str:
    """Return the 32 hex digits that name a variant of a stored file.

    They depend on the recipe, and on the file's content where its path may be used again.

    Args:
        facts: The original's.
        recipe: What to make of it.

    Raises:
        VariantError: The file has a path that may be used again, and nothing is known of its content.
    """
    if is_generated(facts.path):
        return _digest(recipe.canonical())
    return _digest(_json({**json.loads(recipe.canonical()), "original": _content_of(facts)}))


@lru_cache(maxsize=256)  # one for each recipe, mostly
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def variant_path(facts: Facts, recipe: Recipe) -> str:
    """Return the path of a variant of a stored file; see :func:`variant_id`.

    Raises:
        VariantError: The path has more than 960 bytes.
    """
    path = f"{variants_of(facts.path)}{variant_id(facts, recipe)}{recipe.extension}"
    length = len(path.encode())
    if length > MOST_PATH_BYTES:
        msg = (
            f"the path of a variant has at most {MOST_PATH_BYTES} bytes, and this one would have {length}: {facts.path!r} is too "
            "long to have variants; store the file under a shorter path"
        )
        raise VariantError(msg, code="path-too-long")
    return path


def variants_of(path: str) -> str:
    """Return the prefix of all variants of the object at a path."""
    return f"{VARIANTS}/{path}/"


def parted_variant(path: str) -> tuple[str, str] | None:
    """Return original and id of a variant, or of its failure, by its path.

    Returns:
        ``None`` for the path of anything else.
    """
    found = _STORED.fullmatch(path)
    return None if found is None or is_reserved(found[1]) else (found[1], found[2])


def variant_filename(original: str, recipe: Recipe) -> str:
    """Return the name to save a variant under, from the original's filename."""
    stem, dot, _ = original.rpartition(".")
    return f"{stem if dot else original}{recipe.extension}"


def extension_of(content_type: str) -> str | None:
    """Return the extension of variants of a media type; ``None`` if there are none."""
    return _EXTENSIONS.get(content_type.removeprefix("image/"))


def failed_path(path: str) -> str:
    """Return where it is noted that the variant at a path cannot be made."""
    return f"{path.rpartition('.')[0]}{FAILED}"


def computed_paths(path: str, variants: Variants) -> list[str]:
    """Return where declared variants of an object can be, if its path tells.

    Args:
        path: The original's.
        variants: Those that its column declares.

    Returns:
        The paths of the variants and of their failures; empty if the ids depend on more than the path.
    """
    if not is_generated(path):
        return []
    folder, facts = variants_of(path), Facts(path=path)
    names = {f"{folder}{variant_id(facts, recipe)}": recipe.extension for _, recipe in variants}
    return [name + end for name, extension in names.items() for end in (extension, FAILED)]


Variants: TypeAlias = tuple[tuple[str, Recipe], ...]
"""The recipes of a column by name, hashable."""

MakeTime: TypeAlias = Literal["commit", "first_use"]
"""When a variant is made."""

MakeChoice: TypeAlias = MakeTime | Mapping[str, MakeTime] | Callable[[Any], MakeTime | Mapping[str, MakeTime]]
"""When the variants of a column are made: all alike, by name, or as a function of the row says."""


def checked_variants(given: Mapping[str, Recipe] | None) -> Variants:
    """Return a column's ``variants=``.

    Raises:
        TypeError: It is not a mapping of recipes by name.
        RecipeError: A name has other characters than letters, digits, ``.``, ``_`` and ``-``.
    """
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise TypeError(f'variants is a mapping such as {{"thumb": Thumbnail(200, 200)}}, not {type(given).__name__}')
    for name, recipe in given.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise RecipeError(f"the name of a variant has 1 to 64 letters, digits, '.', '_' or '-', unlike {name!r}")
        checked_recipe(recipe)
    return tuple(given.items())


def checked_make(given: MakeChoice, variants: Variants) -> MakeChoice:
    """Return a column's ``make_variants=``.

    Raises:
        ValueError: It is neither ``"commit"`` nor ``"first_use"``, or names a variant that the column does not have, or it has
            none at all.
    """
    if not variants and given != "first_use":
        raise ValueError(f"make_variants={given!r} says when variants are made, and variants= declares none")
    if callable(given):
        return given
    moments_of(given, variants)
    return given if isinstance(given, str) else dict(given)


def moments_of(given: object, variants: Variants) -> list[tuple[str, Recipe]]:
    """Return those variants that a choice makes at the commit."""
    names = [name for name, _ in variants]
    wanted = given if isinstance(given, Mapping) else dict.fromkeys(names, given)
    for name, moment in wanted.items():
        if moment not in ("commit", "first_use"):
            raise ValueError(f'make_variants is "commit" or "first_use", for all variants or by name, not {moment!r}')
        if name not in names:
            raise ValueError(f"make_variants names {name!r}, and the column declares {', '.join(names) or 'no variants'}")
    return [(name, recipe) for name, recipe in variants if wanted.get(name) == "commit"]


def _content_of(facts: Facts) -> list[Any]:
    """Return what identifies the bytes at a path that may be used again."""
    if facts.checksum:
        return ["checksum", facts.checksum]
    if facts.etag:
        return ["etag", facts.etag]
    if facts.size is None or facts.last_modified is None:
        msg = (
            f"the file at {facts.path!r} may be replaced, and its row knows neither checksum nor etag, nor size and time, so its "
            "variants could be stale; store it again, or let `filerow adopt` read it"
        )
        raise VariantError(msg, code="unidentified")
    return ["size", facts.size, facts.last_modified]


def checked_recipe(recipe: object) -> Recipe:
    """Return a recipe.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"a recipe is a Thumbnail, Resize or Custom of filerow.variants, not {type(recipe).__name__}")
    return recipe


def _plan(recipe: Recipe, fit: str, width: int | None, height: int | None, *, crop: str = "centre") -> VariantPlan:
    return {
        "fit": fit,
        "crop": crop,
        "width": width,
        "height": height,
        "format": recipe.format,
        "quality": recipe.quality,
        "function": "",
        "arguments": {},
    }


def _reference_to(recipe: Recipe, function: object) -> str:
    """Return the name by which a worker finds a function."""
    if isinstance(function, str):
        module, colon, name = function.partition(":")
        if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise _wrong(recipe, "function", "a function, or a name like 'package.module:function'", function)
        return function
    if not isinstance(function, FunctionType):
        raise _wrong(recipe, "function", "a function of a module, or a name like 'package.module:function'", function)
    module, name = function.__module__, function.__qualname__
    if module == "__main__" or getattr(sys.modules.get(module), name, None) is not function:
        where = f"at the top level of a module that can be imported, as workers import it; {module}:{name} is not"
        raise RecipeError(f"{type(recipe).__name__}: function must be defined {where}")
    return f"{module}:{name}"


def _checked_arguments(recipe: Recipe, arguments: object) -> Mapping[str, Scalar]:
    if not isinstance(arguments, Mapping) or not all(isinstance(key, str) and key.isidentifier() for key in arguments):
        raise _wrong(recipe, "arguments", "a mapping of names", arguments)
    for key, value in arguments.items():
        if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
            raise _wrong(recipe, f"arguments[{key!r}]", "a text, a finite number, a boolean or None", value)
    if any(isinstance(value, int) and value.bit_length() > _MOST_BITS for value in arguments.values()):
        raise RecipeError(f"{type(recipe).__name__}: arguments have an integer of more than {_MOST_BITS} bits; pass it as a text")
    if len(_json(dict(arguments))) > _MOST_ARGUMENTS:
        raise RecipeError(f"{type(recipe).__name__}: arguments may have {_MOST_ARGUMENTS} characters as JSON, and have more")
    return MappingProxyType(dict(sorted(arguments.items())))


def _check_box(recipe: Recipe, width: object, height: object) -> None:
    for name, side in (("width", width), ("height", height)):
        if side is not None:
            _check_side(recipe, name, side)


def _check_side(recipe: Recipe, name: str, side: object) -> None:
    if not _is_whole(side) or not isinstance(side, int) or not 1 <= side <= _MOST_SIDE:
        raise _wrong(recipe, name, f"a whole number of pixels from 1 to {_MOST_SIDE}", side)


def _check_choice(recipe: Recipe, name: str, choices: tuple[str, ...]) -> None:
    """Keep the plain text of a choice, which may be a member of an enumeration."""
    given = getattr(recipe, name)
    for choice in choices:
        if isinstance(given, str) and given == choice:
            object.__setattr__(recipe, name, choice)
            return
    wanted = " or ".join(map(repr, choices)) if len(choices) < 3 else f"one of {', '.join(choices)}"  # noqa: PLR2004 - a list
    raise _wrong(recipe, name, wanted, given)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(recipe: Recipe, name: str, wanted: str, value: object) -> RecipeError:
    try:
        said = repr(value)
    except ValueError:  # an integer of thousands of digits
        said = "this one"
    return RecipeError(f"{type(recipe).__name__}: {name} must be {wanted}, not {said}")


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
