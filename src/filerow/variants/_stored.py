"""Stored variants: read one, or make, store and return it.

No row, no lock and no job says that a variant exists. Its path follows from the original and the recipe, so whoever finds nothing
there makes it: GET, then make, PUT, and HEAD of the original, since whoever deletes that meanwhile may have looked for variants
before this one was stored. Two that make the same variant at once store the same image, and one of both stays.
"""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from typing import Any, NamedTuple

from filerow._document import Facts
from filerow._execution.steps import Call, Steps
from filerow._file.variant import VariantURL
from filerow._log import extras, logger
from filerow._presentation import present
from filerow._recipes import Recipe, failed_path, recipe_text, variant_id, variant_path
from filerow.backends._sign_request import whole_seconds
from filerow.backends._types import ObjectInfo, PutOptions, SignRequest
from filerow.backends.base import StorageBackend
from filerow.exceptions import (
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    UndecodableError,
    VariantError,
    VariantTimeoutError,
    VariantTooLargeError,
)
from filerow.variants._making import MadeVariant, made_once, making, making_of_object
from filerow.variants._urls import VariantLink, expiry, identity_of, variant_urls
from filerow.variants._workers import default_workers

_HONOURED = 24 * 3600
"""Seconds for which nobody tries again what could not be made."""

_FINAL = (UndecodableError, VariantTooLargeError, VariantTimeoutError)
"""What depends on the original's bytes, so it is not tried again soon."""

_KINDS = {kind.__name__: kind for kind in _FINAL}


class Wanted(NamedTuple):
    """A variant of a stored object.

    Attributes:
        original: The object that it is made of.
        recipe: What to make.
        path: Where it belongs.
        filename: Its name for a download.
    """

    original: Facts
    recipe: Recipe
    path: str
    filename: str

    @classmethod
    def of(cls, original: Facts, recipe: Recipe) -> Wanted:
        """Return a variant of an original."""
        stem, dot, _ = original.filename.rpartition(".")
        filename = f"{stem if dot else original.filename}{recipe.extension}"
        return cls(original, recipe, variant_path(original, recipe), filename)


def content_of(backend: StorageBackend, wanted: Wanted) -> Steps[bytes]:
    """Return the bytes of a variant; make and store it if it is not there.

    Raises:
        ObjectNotFoundError: The original is gone.
        VariantError: It cannot be made, or could not an hour ago.
    """
    found = yield from stored_content(backend, wanted.path)
    if found is not None:
        return found
    return (yield from made_once(("stored", backend.key, wanted.path), lambda: _made_and_stored(backend, wanted)))


def stored_content(backend: StorageBackend, path: str) -> Steps[bytes | None]:
    """Return the bytes of a stored variant; ``None`` if it is not there."""
    try:
        found: bytes = yield Call(backend.read, backend.read_async, (path,))
    except ObjectNotFoundError:
        return None
    return found


def store_at_commit(backend: StorageBackend, original: Facts, recipe: Recipe, content: bytes) -> Steps[str]:
    """Make and store a variant of an object that no row has yet; return its id.

    Whoever deletes the object, since its row is not written after all, deletes the variant after it.

    Args:
        backend: Where the object is.
        original: Its facts.
        recipe: What to make of it.
        content: Its bytes.

    Raises:
        VariantError: It cannot be made.
        StorageError: It cannot be stored.
    """
    wanted = Wanted.of(original, recipe)
    made = yield from making(content, recipe)
    yield from _put(backend, wanted, made)
    return variant_id(original, recipe)


def _made_and_stored(backend: StorageBackend, wanted: Wanted) -> Steps[bytes]:
    yield from _raise_noted(backend, wanted)
    try:
        made = yield from making_of_object(backend, wanted.original, wanted.recipe)
    except _FINAL as error:
        yield from _note(backend, wanted, error)
        raise
    mine = yield from _put(backend, wanted, made)
    yield from _expect_original(backend, wanted)
    if mine:
        return made.content
    theirs = yield from stored_content(backend, wanted.path)
    return made.content if theirs is None else theirs


def _put(backend: StorageBackend, wanted: Wanted, made: MadeVariant) -> Steps[bool]:
    """Store a variant; return False if somebody else has."""
    options = _options(made.content_type, wanted.filename, create_only=backend.capabilities.exclusive)
    try:
        yield Call(backend.put, backend.put_async, (wanted.path, made.content, options))
    except ObjectExistsError:
        return False
    return True


def _expect_original(backend: StorageBackend, wanted: Wanted) -> Steps[None]:
    """Delete a variant that was just stored if its original is gone or changed.

    Raises:
        ObjectNotFoundError: It is.
    """
    original = wanted.original
    try:
        found: ObjectInfo = yield Call(backend.head, backend.head_async, (original.path,))
        if not identity_of(original) or _is_same(original, found):
            return
        gone = ObjectNotFoundError("the file was replaced", operation="read", backend=backend.key, path=original.path)
    except ObjectNotFoundError as error:
        gone = error
    failed = yield Call(backend.delete, backend.delete_async, ([wanted.path],))
    if failed:
        message = "the variant %r of an object that is gone could not be deleted: %s; filerow sweep --delete removes it"
        logger.error(message, wanted.path, *failed.values(), extra=extras("delete", backend.key, objects=1))
    raise gone


def _is_same(original: Facts, found: ObjectInfo) -> bool:
    known = ((original.etag, found.etag), (original.size, found.size), (original.last_modified, found.last_modified))
    return all(None in pair or pair[0] == pair[1] for pair in known)


def _options(content_type: str, filename: str, *, create_only: bool) -> PutOptions:
    return PutOptions(*present(content_type, filename), create_only=create_only)


# -- what could not be made --------------------------------------------------------------------------------------------


def _note(backend: StorageBackend, wanted: Wanted, error: VariantError) -> Steps[None]:
    """Note for other processes that a variant cannot be made."""
    said = {"error": type(error).__name__, "code": error.code, "message": str(error), "time": time.time(), **_versions()}
    options = PutOptions("application/json", create_only=False)
    try:
        yield Call(backend.put, backend.put_async, (failed_path(wanted.path), json.dumps(said).encode(), options))
    except StorageError as failure:
        logger.warning("a variant that cannot be made could not be noted: %s", failure, extra=extras("variant", backend.key))


def _raise_noted(backend: StorageBackend, wanted: Wanted) -> Steps[None]:
    """Raise the error of an earlier attempt.

    That is done for a day, and while the libraries are the same.
    """
    noted = yield from stored_content(backend, failed_path(wanted.path))
    said = _read(noted) if noted else {}
    kind = _KINDS.get(said.pop("error", ""))
    if kind is None or _versions().items() - said.items():
        return
    if not 0 <= time.time() - said["time"] < _HONOURED:
        return
    raise kind(said["message"], code=said["code"])


def _read(noted: bytes) -> dict[str, Any]:
    try:
        said = json.loads(noted)
        return said if isinstance(said["time"], int | float) and {"message", "code"} <= said.keys() else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _versions() -> dict[str, str]:
    return {"pillow": version("pillow"), "filerow": version("filerow")}


# -- for files ---------------------------------------------------------------------------------------------------------


class StoredVariants:
    """Stores, reads and signs variants for the files that ask."""

    def capacity(self) -> tuple[int, float]:
        """Return how many images are decoded at a time, and the seconds for a flush."""
        workers = default_workers()
        return workers.workers, workers.queue_seconds + workers.limits.seconds

    def stored(self, backend: StorageBackend, original: Facts, recipe: Recipe, content: bytes) -> Steps[str]:
        """Make and store a variant of an object that no row has yet; return its id."""
        return store_at_commit(backend, original, recipe, content)

    def content(self, backend: StorageBackend, original: Facts, recipe: Recipe) -> Steps[bytes]:
        """Return a variant's bytes."""
        return content_of(backend, Wanted.of(original, recipe))

    def signed(self, backend: StorageBackend, original: Facts, recipe: Recipe, asked: VariantURL) -> Steps[str]:
        """Return the store's URL of what a commit stored, and our route's of others."""
        wanted, id_ = Wanted.of(original, recipe), variant_id(original, recipe)
        shown = present(recipe.content_type, asked.download_as or wanted.filename, inline=asked.download_as is None)
        if id_ in original.variants and backend.own_urls is None and backend.capabilities.sign_get:
            named = (shown.content_disposition, shown.content_type) if asked.download_as is not None else (None, None)
            request = SignRequest("GET", whole_seconds(asked.expires_in), *named).rounded(asked.round_expiry)
            url: str = yield Call(backend.sign, backend.sign_async, (wanted.path, request))
            return url
        link = VariantLink(
            id=id_,
            expires=expiry(asked.expires_in, asked.round_expiry),
            name=asked.name,
            recipe="" if asked.name else recipe_text(recipe),
            original=identity_of(original),
            content_type=recipe.content_type,
            disposition=shown.content_disposition,
            cache_control=asked.cache_control or "",
        )
        return variant_urls().sign(backend, original.path, link)
