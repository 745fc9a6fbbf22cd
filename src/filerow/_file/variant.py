"""``Variant``: an image derived from a stored file, as a value.

It names an object: where it is and what it is follows from the original and its recipe, so nothing is looked up. Whoever imports
a recipe imports ``filerow.variants``, which registers here what makes, stores and signs variants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from filerow._document import Facts
from filerow._execution.steps import Steps, run, run_async
from filerow._media_types import SVG
from filerow._recipes import DECODED, Recipe, checked_recipe, variant_filename, variant_id, variant_path
from filerow._registry import StorageRegistry, storages
from filerow.backends._stored_with import StoredWith
from filerow.backends.base import StorageBackend
from filerow.exceptions import FileStateError, RecipeError


class VariantURL(NamedTuple):
    """What a URL of a variant must allow.

    Attributes:
        name: ``table.column:name`` of a declared variant; empty for another one.
        expires_in: Seconds for which it works.
        round_expiry: Length in seconds of a window in which all URLs are the same.
        download_as: The filename of an attachment.
        cache_control: The ``Cache-Control`` of responses of our route.
    """

    name: str
    expires_in: float
    round_expiry: float | None
    download_as: str | None
    cache_control: str | None = None


class LargeVariant(NamedTuple):
    """A stored variant that is too large to be held for each of its readers.

    Attributes:
        backend: Where it is.
        path: Its path.
        size: How many bytes it has.
    """

    backend: StorageBackend
    path: str
    size: int


class VariantMaker(Protocol):
    """What stores variants and makes their URLs: ``filerow.variants``."""

    def capacity(self) -> tuple[int, float]:
        """Return how many images are decoded at a time, and the seconds for a flush."""
        ...

    def draws_svg(self) -> bool:
        """Return True if the application has allowed SVG."""
        ...

    def stored(
        self, backend: StorageBackend, original: Facts, recipe: Recipe, content: bytes, stored_with: StoredWith | None
    ) -> Steps[str]:
        """Make and store a variant of an object that no row has yet; return its id."""
        ...

    def content(self, backend: StorageBackend, original: Facts, recipe: Recipe, stored_with: StoredWith | None) -> Steps[bytes]:
        """Return a variant's bytes; make and store it first if need be."""
        ...

    def to_send(
        self, backend: StorageBackend, original: Facts, recipe: Recipe, stored_with: StoredWith | None
    ) -> Steps[bytes | LargeVariant]:
        """Return a variant's bytes, or where they are if there are many."""
        ...

    def signed(self, backend: StorageBackend, original: Facts, recipe: Recipe, asked: VariantURL) -> Steps[str]:
        """Return a URL of a variant."""
        ...


_makers: list[VariantMaker] = []


def register_maker(maker: VariantMaker) -> None:
    """Set what makes variants."""
    _makers[:] = [maker]


def variant_maker() -> VariantMaker:
    """Return what makes variants.

    Raises:
        RecipeError: Nothing does in this process.
    """
    if not _makers:
        raise RecipeError("nothing makes variants in this process: import filerow.variants, of the extra filerow[images]")
    return _makers[0]


def makes_variants() -> bool:
    """Return True if this process can make some, of any file and recipe."""
    return bool(_makers)


def is_decoded(content_type: str) -> bool:
    """Return True if this process makes variants of originals of a media type."""
    return content_type in DECODED or (content_type == SVG and bool(_makers) and _makers[0].draws_svg())


EXPIRY = 3600
"""Seconds for which the URL of a variant works, and of the window in which all of them are the same."""


class Variant:
    """An image derived from a stored file by a recipe.

    :meth:`filerow.FileObject.variant` returns it. It need not exist yet: whoever reads it first makes and stores it.
    """

    __slots__ = ("_cache_control", "_column", "_facts", "_name", "_recipe", "_registry", "_stored_with")

    def __init__(
        self,
        original: Facts,
        registry: StorageRegistry,
        recipe: Recipe,
        name: str = "",
        column: str = "",
        cache_control: str | None = None,
        stored_with: StoredWith | None = None,
    ) -> None:
        self._facts = original
        self._registry = registry
        self._recipe = recipe
        self._name = name
        self._column = column
        self._cache_control = cache_control
        self._stored_with = stored_with

    @property
    def recipe(self) -> Recipe:
        """What to make of it."""
        return self._recipe

    @property
    def name(self) -> str:
        """Its name in the column's ``variants=``; empty if it is not declared there."""
        return self._name

    @property
    def column(self) -> str:
        """``table.column`` that declares it; empty if unknown."""
        return self._column

    @property
    def content_type(self) -> str:
        """Its media type."""
        return self._recipe.content_type

    @property
    def cache_control(self) -> str | None:
        """The ``Cache-Control`` of its column; ``None`` if that sets none."""
        return self._cache_control

    @property
    def id(self) -> str:
        """32 hex digits that depend on the recipe.

        Where the original's path may be used again, they depend on its content too.
        """
        return variant_id(self._facts, self._recipe)

    @property
    def path(self) -> str:
        """Its path inside the original's backend.

        Raises:
            VariantError: The path is too long.
        """
        return variant_path(self._facts, self._recipe)

    @property
    def width(self) -> int | None:
        """Its width in pixels; ``None`` if unknown.

        It is unknown where the original's is, and of a ``Custom`` recipe, whose function may return any size.
        """
        return self._size[0]

    @property
    def height(self) -> int | None:
        """Its height in pixels; ``None`` where the width is."""
        return self._size[1]

    @property
    def _size(self) -> tuple[int, int] | tuple[None, None]:
        width, height = self._facts.width, self._facts.height
        vector = self._facts.content_type == SVG
        return (width and height and self._recipe.size_for(width, height, vector=vector)) or (None, None)

    @property
    def filename(self) -> str:
        """The original's filename, with the extension of the variant."""
        return variant_filename(self._facts.filename, self._recipe)

    def get_content(self) -> bytes:
        """Return its bytes, which are made and stored at first use.

        Raises:
            ObjectNotFoundError: The original is gone.
            UndecodableError: The original is not an image that can be decoded.
            VariantTooLargeError: The original is too large to be decoded.
            VariantTimeoutError: It took too long.
            VariantBusyError: No worker was free in time.
        """
        return run(self._content())

    async def get_content_async(self) -> bytes:
        """Return its bytes; see :meth:`get_content`."""
        return await run_async(self._content())

    def sign(self, *, expires_in: float = EXPIRY, round_expiry: float | None = EXPIRY, download_as: str | None = None) -> str:
        """Return a URL that shows it until it expires.

        Of a variant that was stored with its row it is the store's own, if the store signs such a URL; of others that of our
        route, which makes it at first use. Without ``routes()`` in the application the latter leads nowhere.

        Args:
            expires_in: Seconds for which the URL works.
            round_expiry: Length in seconds of a window in which all URLs are the same, for caches; ``None`` for none.
            download_as: Send this filename, as an attachment.

        Raises:
            SecretError: No secret is set.
        """
        return run(self._signed(expires_in, round_expiry, download_as))

    async def sign_async(
        self, *, expires_in: float = EXPIRY, round_expiry: float | None = EXPIRY, download_as: str | None = None
    ) -> str:
        """Return a URL that shows it; see :meth:`sign`."""
        return await run_async(self._signed(expires_in, round_expiry, download_as))

    def url(self) -> str:
        """Return its permanent URL; everybody may read it.

        Raises:
            FileStateError: It was not stored with its row, so nothing may be there yet.
            UnsupportedOperationError: The backend is private.
        """
        if self.id not in self._facts.variants:
            raise FileStateError(
                f"{self!r} was not stored with its row, so nothing may be at its permanent URL yet: declare it with "
                'make_variants="commit" before the file is stored, or use sign(), whose URL makes it'
            )
        return self._backend.url(self.path)

    def _content(self) -> Steps[bytes]:
        return variant_maker().content(self._backend, self._facts, self._recipe, self._stored_with)

    def _signed(self, expires_in: float, round_expiry: float | None, download_as: str | None) -> Steps[str]:
        name = f"{self._column}:{self._name}" if self._column else ""
        asked = VariantURL(name, expires_in, round_expiry, download_as, self._cache_control)
        return variant_maker().signed(self._backend, self._facts, self._recipe, asked)

    @property
    def _backend(self) -> StorageBackend:
        return self._registry.resolve(self._facts.backend)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Variant):
            return NotImplemented
        return self._facts[:2] == other._facts[:2] and self._recipe == other._recipe

    def __hash__(self) -> int:
        return hash((self._facts[:2], self._recipe))

    def __reduce__(self) -> tuple[Any, ...]:
        facts = self._facts
        plain = tuple(facts._replace(metadata=dict(facts.metadata), extra=dict(facts.extra)))
        return _unpickle, (plain, self._recipe, self._name, self._column, self._cache_control, self._stored_with)

    def __repr__(self) -> str:
        return f"<Variant {self._name or self._recipe!r} of {self._facts.filename!r} {self._facts.backend}:{self._facts.path}>"


def _unpickle(facts: tuple[Any, ...], *rest: Any) -> Variant:
    return Variant(Facts(*facts), storages, *rest)


def signed(variant: Variant, expires_in: float, round_expiry: float | None) -> Steps[str]:
    """Return the URL of one variant."""
    return variant._signed(expires_in, round_expiry, None)  # noqa: SLF001 - of this module


def to_send(variant: Variant) -> Steps[bytes | LargeVariant]:
    """Return a variant's bytes, or where they are if there are many.

    It is made and stored first if need be.
    """
    place = variant._backend, variant._facts, variant._recipe, variant._stored_with  # noqa: SLF001 - of this module
    return variant_maker().to_send(*place)


def view_of(variant: Variant, expires_in: float, round_expiry: float | None) -> dict[str, Any] | None:
    """Return what clients may see of a variant, with its URL.

    It is ``None`` if its original is not an image that can be decoded.
    """
    if not is_decoded(variant._facts.content_type):  # noqa: SLF001 - of this module
        return None
    url = variant.sign(expires_in=expires_in, round_expiry=round_expiry)
    return {"url": url, "content_type": variant.content_type, "width": variant.width, "height": variant.height}


class SignedSet(NamedTuple):
    """The URLs of several variants of one file.

    Attributes:
        src: The URL of the variant that was named first.
        candidates: Widths and URLs, ascending; of variants of the same width the first.
    """

    src: str
    candidates: tuple[tuple[int, str], ...]

    @property
    def srcset(self) -> str:
        """The value of the attribute of this name."""
        return ", ".join(f"{url} {width}w" for width, url in self.candidates)


def signed_set(variants: Sequence[Variant], expires_in: float, round_expiry: float | None) -> Steps[SignedSet]:
    """Return the URLs of several variants, with their widths.

    Raises:
        RecipeError: The width of one cannot be known.
    """
    known: dict[int, str] = {}
    src = ""
    for one in variants:
        width = _width_in_set(one)
        if not src or (width is not None and width not in known):
            url = yield from signed(one, expires_in, round_expiry)
            src = src or url
            if width is not None:
                known.setdefault(width, url)
    return SignedSet(src, tuple(sorted(known.items())))


def _width_in_set(variant: Variant) -> int | None:
    """Return a variant's width, or the one of its recipe.

    It is ``None`` where it depends on an original that nobody has measured.
    """
    plan = variant.recipe.plan
    if plan["function"] and plan["width"] is None:
        raise RecipeError(f"the width of {variant!r} is not known, which srcset needs: give its recipe a width=")
    return variant.width or plan["width"]


def variant_of(
    original: Facts,
    registry: StorageRegistry,
    wanted: str | Recipe,
    declared: Iterable[tuple[str, Recipe]],
    column: str,
    cache_control: str | None = None,
    stored_with: StoredWith | None = None,
) -> Variant:
    """Return a file's variant by its name in the column, or by a recipe.

    Raises:
        RecipeError: The column declares no variant of this name.
        TypeError: It is neither a name nor a recipe.
    """
    if not isinstance(wanted, str):
        recipe = checked_recipe(wanted)
        name = next((name for name, one in declared if one == recipe), "")
        return Variant(original, registry, recipe, name, column if name else "", cache_control, stored_with)
    recipes = dict(declared)
    if wanted in recipes:
        return Variant(original, registry, recipes[wanted], wanted, column, cache_control, stored_with)
    if recipes:
        where = f"the column {column}" if column else "the column"
        raise RecipeError(f"there is no variant {wanted!r}; {where} declares {', '.join(recipes)}")
    raise RecipeError(
        f"{original.filename!r} knows no variant {wanted!r}: variants= of a column names them for files that its rows load or "
        "store; otherwise pass the recipe, variant(Thumbnail(64, 64))"
    )
