"""Responds to requests for variants: read it, or make it, and show it.

The URL names one variant of one object, and is the permission for it. A process that knows another recipe under its name serves
the variant that it was signed for if that is stored, and else its own, which no cache may keep.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from filerow._document import Facts
from filerow._execution.steps import Steps
from filerow._file.variant import LargeVariant
from filerow._log import extras, logger
from filerow._orm.column import options_called, recipes_called
from filerow._presentation import safe_headers
from filerow._recipes import Recipe, extension_of, recipe_from, variant_id, variants_of
from filerow._registry import storages
from filerow.backends._stored_with import StoredWith
from filerow.backends.base import StorageBackend
from filerow.exceptions import (
    BackendNotFoundError,
    FilerowError,
    InvalidTokenError,
    ObjectNotFoundError,
    RecipeError,
    SecretError,
)
from filerow.http._problem import problem, variant_refusal
from filerow.http._reply import Headers, Reply, RequestHeaders
from filerow.http._respond import respond_with_variant, whole
from filerow.variants._stored import Wanted, stored_to_send, to_send
from filerow.variants._urls import VariantLink, variant_urls


class _Found(NamedTuple):
    """A variant to show.

    Attributes:
        content: Its bytes, or where they are.
        content_type: Its media type.
        cached: It is the one that was asked for, which is the same forever.
    """

    content: bytes | LargeVariant
    content_type: str
    cached: bool


def variant_steps(
    method: str, key: str, path: str, query: str, headers: RequestHeaders, cache_control: str | None
) -> Steps[Reply]:
    """Respond to a request for the URL of a variant."""
    try:
        backend, link = _permitted(key, path, query)
        cached = cache_control or link.cache_control or f"private, max-age={max(link.expires - int(time.time()), 0)}, immutable"
        identity = respond_with_variant(link.id, method, headers, cached)
        if isinstance(identity, Reply):
            return identity
        found = yield from _found(backend, path, link)
    except RecipeError as error:  # the function of a Custom recipe fails: of a request for our route, nobody else hears of it
        return variant_refusal(error)
    except FilerowError as error:
        return problem(error)
    return _shown(found, link, method, identity)


def _permitted(key: str, path: str, query: str) -> tuple[StorageBackend, VariantLink]:
    """Return the backend and what its URL names."""
    try:
        backend = storages.get_backend(key)
        return backend, variant_urls().verify(backend, path, query)
    except BackendNotFoundError:
        pass
    except SecretError as error:
        message = "the URL of a variant on backend %r was refused, since there is no secret to check it with: %s"
        logger.error(message, key, error, extra=extras("serve", key, error=type(error).__name__))
    raise InvalidTokenError("this link was not made by this application, or was changed")


def _found(backend: StorageBackend, path: str, link: VariantLink) -> Steps[_Found]:
    """Return the wanted variant, or else this process's own of that name."""
    original = link.facts(backend.key, path)
    recipe = _recipe(link, original)
    if recipe is not None and variant_id(original, recipe) == link.id:
        content = yield from to_send(backend, Wanted.of(original, recipe, _stored_with(link, recipe)))
        return _Found(content, recipe.content_type, cached=True)
    extension = extension_of(link.content_type)
    stored = (yield from stored_to_send(backend, f"{variants_of(path)}{link.id}{extension}")) if extension else None
    if stored is not None:
        return _Found(stored, link.content_type, cached=True)
    if recipe is None:
        msg = f"this process knows no recipe {link.name or link.recipe!r}, and the variant is not stored"
        raise ObjectNotFoundError(msg, operation="read", backend=backend.key, path=path)
    content = yield from to_send(backend, Wanted.of(original, recipe, _stored_with(link, recipe)))
    return _Found(content, recipe.content_type, cached=False)


def _recipe(link: VariantLink, original: Facts) -> Recipe | None:
    """Return the recipe that a URL means, of several under one name."""
    if link.recipe:
        try:
            return recipe_from(link.recipe)
        except RecipeError:  # another release signed it, while both run
            return None
    known = recipes_called(link.name)
    return next((one for one in known if variant_id(original, one) == link.id), known[0] if known else None)


def _stored_with(link: VariantLink, recipe: Recipe) -> StoredWith | None:
    """Return what a variant is stored with besides, as its column says."""
    declared = options_called(link.name, recipe) if link.name else None
    return declared or (StoredWith(cache_control=link.cache_control) if link.cache_control else None)


def _shown(found: _Found, link: VariantLink, method: str, identity: Headers) -> Reply:
    safe = dict(safe_headers(found.content_type, ""))
    safe["content-disposition"] = link.disposition or "inline"
    more: Headers = (("cross-origin-resource-policy", "cross-origin"), ("referrer-policy", "no-referrer"))
    kept = identity if found.cached else (("cache-control", "no-store"),)
    return whole(found.content, method, (*safe.items(), *more, *kept))
