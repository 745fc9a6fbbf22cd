"""Thumbnails and other variants of images (extra ``filerow[images]``).

A variant is a pure function of an object, which never changes, and of a recipe, so it is never stale. Files of strangers are
decoded in processes that are confined, never in the one that calls.

    from filerow.variants import Resize, Thumbnail, make_variant

    made = make_variant(user.photo, Thumbnail(200, 200))
    made.content, made.content_type, made.width, made.height
"""

from __future__ import annotations

from filerow._requirements import needs

with needs("images", "filerow.variants"):
    import PIL  # only to see that it is there: this process decodes nothing

from filerow.variants._making import MadeVariant, make_variant, make_variant_async
from filerow.variants._recipes import Custom, Recipe, Resize, Thumbnail, VariantFormat, variant_id, variant_path
from filerow.variants._source import VariantSource
from filerow.variants._workers import VariantWorkers, configure

__all__ = (
    "Custom",
    "MadeVariant",
    "Recipe",
    "Resize",
    "Thumbnail",
    "VariantFormat",
    "VariantSource",
    "VariantWorkers",
    "configure",
    "make_variant",
    "make_variant_async",
    "variant_id",
    "variant_path",
)

del PIL
