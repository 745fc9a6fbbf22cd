"""Thumbnails and other variants of images (extra ``filerow[images]``).

A variant is a pure function of an object, which never changes, and of a recipe, so it is never stale. Files of strangers are
decoded in processes that are confined, never in the one that calls.

    from filerow.variants import Resize, Thumbnail

    photo: Mapped[FileObject | None] = mapped_column(StoredObject("photos", variants={"thumb": Thumbnail(200, 200)}))

    user.photo.variant("thumb").sign()
"""

from __future__ import annotations

from filerow._requirements import needs

with needs("images", "filerow.variants"):
    import PIL  # only to see that it is there: this process decodes nothing

from filerow._file.variant import Variant, register_maker
from filerow._recipes import Custom, Recipe, Resize, Thumbnail, VariantFormat
from filerow.variants._making import MadeVariant, make_variant, make_variant_async
from filerow.variants._source import VariantSource
from filerow.variants._stored import StoredVariants
from filerow.variants._urls import configure_urls
from filerow.variants._workers import VariantWorkers, configure

__all__ = (
    "Custom",
    "MadeVariant",
    "Recipe",
    "Resize",
    "Thumbnail",
    "Variant",
    "VariantFormat",
    "VariantSource",
    "VariantWorkers",
    "configure",
    "configure_urls",
    "make_variant",
    "make_variant_async",
)

register_maker(StoredVariants())
del PIL
