"""Stored variants: read one, or make, store and return it.

No row, no lock and no job says that a variant exists. Its path follows from the original and the recipe, so whoever finds nothing
there makes it: GET, then make, PUT, and HEAD of the original, since whoever deletes that meanwhile may have looked for variants
before this one was stored. Two that make the same variant at once store the same image, and one of both stays.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from filerow._document import Facts
from filerow._execution.steps import Call, Steps
from filerow._file.variant import LargeVariant, VariantURL
from filerow._file.variant_objects import put_options
from filerow._log import extras, logger
from filerow._presentation import present
from filerow._recipes import Recipe, failed_path, recipe_text, variant_filename, variant_id, variant_path
from filerow._variant_plan import KILLED
from filerow.backends._sign_request import whole_seconds
from filerow.backends._stored_with import StoredWith
from filerow.backends._types import ObjectInfo, PutOptions, SignRequest
from filerow.backends.base import StorageBackend
from filerow.exceptions import (
    InvalidOptionError,
    ObjectExistsError,
    ObjectHiddenError,
    ObjectNotFoundError,
    StorageError,
    StoragePermissionError,
    UndecodableError,
    UnsupportedOperationError,
    VariantError,
    VariantTimeoutError,
    VariantTooLargeError,
)
from filerow.variants._making import MadeVariant, made_once, making, making_of_object
from filerow.variants._urls import VariantLink, expiry, identity_of, variant_urls
from filerow.variants._workers import default_workers

_HONOURED, _IN_DOUBT = 24 * 3600, 3600
"""Seconds for which nobody tries again what could not be made; if the system may be to blame, too."""

_FINAL = (UndecodableError, VariantTooLargeError, VariantTimeoutError)
"""What depends on the original's bytes, so it is not tried again soon."""

_KINDS = {kind.__name__: kind for kind in _FINAL}
_CODE = re.compile(r"[a-z][a-z-]{0,40}")
_LONGEST_NOTE = 4096
_MOST_HELD = 1 << 19
"""Bytes of a variant that are held while they are sent: a slow reader, of whom there may be hundreds, holds them long."""


class Wanted(NamedTuple):
    """A variant of a stored object.

    Attributes:
        original: The object that it is made of.
        recipe: What to make.
        path: Where it belongs.
        filename: Its name for a download.
        stored_with: What to store it with besides, where the backend keeps that.
    """

    original: Facts
    recipe: Recipe
    path: str
    filename: str
    stored_with: StoredWith | None = None

    @classmethod
    def of(cls, original: Facts, recipe: Recipe, stored_with: StoredWith | None = None) -> Wanted:
        """Return a variant of an original."""
        filename = variant_filename(original.filename, recipe)
        return cls(original, recipe, variant_path(original, recipe), filename, stored_with)


def content_of(backend: StorageBackend, wanted: Wanted) -> Steps[bytes]:
    """Return the bytes of a variant; make and store it if it is not there.

    Raises:
        ObjectNotFoundError: The original is gone.
        VariantError: It cannot be made, or could not an hour ago.
    """
    found = yield from stored_content(backend, wanted.path)
    if found is not None:
        return found
    # by the backend itself, since another registry may have another one under its key
    return (yield from made_once(("stored", id(backend), wanted.path), lambda: _made_and_stored(backend, wanted)))


def to_send(backend: StorageBackend, wanted: Wanted) -> Steps[bytes | LargeVariant]:
    """Return the bytes of a variant, or where they are if there are many.

    See :func:`content_of`. Many that could not be stored are returned all the same.
    """
    found = yield from stored_to_send(backend, wanted.path)
    if found is None:
        found = yield from content_of(backend, wanted)
        if len(found) > _MOST_HELD:
            return (yield from stored_to_send(backend, wanted.path)) or found
    return found


def stored_to_send(backend: StorageBackend, path: str) -> Steps[bytes | LargeVariant | None]:
    """Return the bytes of a stored variant, or where they are if there are many.

    It is ``None`` if it is not there.
    """
    found = yield from stored_content(backend, path, _MOST_HELD + 1)
    if found is None or len(found) <= _MOST_HELD:
        return found
    try:
        info: ObjectInfo = yield Call(backend.head, backend.head_async, (path,))
    except (ObjectNotFoundError, ObjectHiddenError):
        return None
    return LargeVariant(backend, path, info.size or 0)


def stored_content(backend: StorageBackend, path: str, most: int | None = None) -> Steps[bytes | None]:
    """Return the bytes of a stored variant; ``None`` if it is not there.

    Credentials that may not list do not show whether it is. If they may not read either, reading the original says so.

    Args:
        backend: Where it is.
        path: Its path.
        most: How many bytes to read; all, if left out.
    """
    try:
        found: bytes = yield Call(backend.read, backend.read_async, (path, 0, most))
    except (ObjectNotFoundError, ObjectHiddenError):
        return None
    return found


def store_at_commit(
    backend: StorageBackend, original: Facts, recipe: Recipe, content: bytes, stored_with: StoredWith | None
) -> Steps[str]:
    """Make and store a variant of an object that no row has yet; return its id.

    Whoever deletes the object, since its row is not written after all, deletes the variant after it. So nobody asks who has
    stored it, and no condition keeps its path: what a store makes of conditions is not found out in a commit's way.

    Args:
        backend: Where the object is.
        original: Its facts.
        recipe: What to make of it.
        content: Its bytes.
        stored_with: What to store it with besides.

    Raises:
        VariantError: It cannot be made.
        StorageError: It cannot be stored.
    """
    wanted = Wanted.of(original, recipe, stored_with)
    made = yield from making(content, recipe)
    options = put_options(backend, made.content_type, wanted.filename, stored_with)
    yield Call(backend.put, backend.put_async, (wanted.path, made.content, options))
    return variant_id(original, recipe)


def _made_and_stored(backend: StorageBackend, wanted: Wanted) -> Steps[bytes]:
    yield from _raise_noted(backend, wanted)
    before = yield from _seen(backend, wanted.original)
    try:
        made = yield from making_of_object(backend, wanted.original, wanted.recipe)
    except _FINAL as error:
        if (yield from _note(backend, wanted, error)):
            yield from _expect_original(backend, wanted, before, failed_path(wanted.path))
        raise
    mine = yield from _kept(backend, wanted, made)
    if mine is None:
        return made.content
    yield from _expect_original(backend, wanted, before, wanted.path if mine else "")
    if mine:
        return made.content
    theirs = yield from stored_content(backend, wanted.path)
    return made.content if theirs is None else theirs


def _put(backend: StorageBackend, wanted: Wanted, made: MadeVariant) -> Steps[bool]:
    """Store a variant; return False if somebody else has.

    The path is kept free of a second one where the store can do that; it may turn out now that it cannot.
    """
    exclusive = backend.capabilities.exclusive
    for create_only in (True, False) if exclusive else (False,):
        options = put_options(backend, made.content_type, wanted.filename, wanted.stored_with, create_only=create_only)
        try:
            yield Call(backend.put, backend.put_async, (wanted.path, made.content, options))
        except ObjectExistsError:
            return False
        except UnsupportedOperationError:
            if not create_only:
                raise
        else:
            break
    return True


def _kept(backend: StorageBackend, wanted: Wanted, made: MadeVariant) -> Steps[bool | None]:
    """Store a variant that is shown whether that succeeds or not.

    Returns:
        Whether it is this one that is stored, perhaps; ``None`` if it certainly is not.
    """
    try:
        mine = yield from _put(backend, wanted, made)
    except _FORBIDDEN as error:
        _log_forbidden(backend, error)
        return None
    except StorageError as error:
        logger.warning("a variant was made and not stored: %s", error, extra=extras("variant", backend.key))
        return True
    _forbidden.discard(backend.key)
    return mine


def _log_forbidden(backend: StorageBackend, error: StorageError) -> None:
    """Log once that a store takes no variants."""
    if backend.key not in _forbidden:
        _forbidden.add(backend.key)
        message = (
            "variants on backend %r are made for each view, since this process may not store them: %s; allow it to write below "
            "_filerow/"
        )
        logger.error(message, backend.key, error, extra=extras("variant", backend.key, error=type(error).__name__))


_FORBIDDEN = (StoragePermissionError, UnsupportedOperationError)
_forbidden: set[str] = set()
"""The backends of which it was logged that they take no variants."""


# -- the original, which may be deleted or replaced meanwhile --------------------------------------------------------------


def _seen(backend: StorageBackend, original: Facts) -> Steps[ObjectInfo | None]:
    """Return what is at a path that may be used again; ``None`` for one that is not.

    Raises:
        ObjectNotFoundError: Something else is there than the row says, or nothing.
    """
    if not identity_of(original):
        return None
    found: ObjectInfo = yield Call(backend.head, backend.head_async, (original.path,))
    known = ((_bare(original.etag), _bare(found.etag)), (original.size, found.size))
    if any(None not in pair and pair[0] != pair[1] for pair in known):
        raise _replaced(backend, original)
    return found


def _bare(etag: str | None) -> str | None:
    """Return an etag without the quotes that other libraries keep."""
    return etag and etag.removeprefix("W/").strip('"')


def _replaced(backend: StorageBackend, original: Facts) -> ObjectNotFoundError:
    return ObjectNotFoundError("the file was replaced", operation="read", backend=backend.key, path=original.path)


def _expect_original(backend: StorageBackend, wanted: Wanted, before: ObjectInfo | None, stored: str) -> Steps[None]:
    """Delete what was just stored if its original is gone or changed.

    Also where this process must not delete files: it is its own. Where the store does not answer, it stays.

    Args:
        backend: Where both are.
        wanted: The variant.
        before: What was at the original's path before, if that may be used again.
        stored: The path of what this process has stored; empty if another one did, which looks by itself.

    Raises:
        ObjectNotFoundError: It is gone, or another one.
        ObjectHiddenError: It is gone, as far as these credentials can see, which have read it before.
    """
    gone: StorageError
    try:
        found: ObjectInfo = yield Call(backend.head, backend.head_async, (wanted.original.path,))
    except (ObjectNotFoundError, ObjectHiddenError) as error:
        gone = error
    except StorageError as error:
        message = "nobody knows whether the original of a variant that was just stored still exists: %s"
        logger.warning(message, error, extra=extras("variant", backend.key))
        return
    else:
        if before is None or before[:5] == found[:5]:
            return
        gone = _replaced(backend, wanted.original)
    failed = (yield Call(backend.delete, backend.delete_async, ([stored],))) if stored else {}
    if failed:
        message = "the variant %r of an object that is gone could not be deleted: %s; filerow sweep --delete removes it"
        logger.error(message, stored, *failed.values(), extra=extras("delete", backend.key, objects=1))
    raise gone


# -- what could not be made --------------------------------------------------------------------------------------------


def _note(backend: StorageBackend, wanted: Wanted, error: VariantError) -> Steps[bool]:
    """Note for other processes that a variant cannot be made; return True if noted."""
    said = {"error": type(error).__name__, "code": error.code, "message": str(error), "time": time.time(), "by": _conditions()}
    options = PutOptions("application/json", create_only=False)
    try:
        yield Call(backend.put, backend.put_async, (failed_path(wanted.path), json.dumps(said).encode(), options))
    except _FORBIDDEN as failure:
        _log_forbidden(backend, failure)
        return False
    except StorageError as failure:
        logger.warning("a variant that cannot be made could not be noted: %s", failure, extra=extras("variant", backend.key))
    return True


def _raise_noted(backend: StorageBackend, wanted: Wanted) -> Steps[None]:
    """Raise the error of an earlier attempt.

    That is done for a day, and while libraries and limits are the same.
    """
    noted = yield from stored_content(backend, failed_path(wanted.path), _LONGEST_NOTE)
    error = noted and _noted_error(noted)
    if error:
        raise error


def _noted_error(noted: bytes) -> VariantError | None:
    """Return the error of a note; ``None`` if it is not to be honoured.

    Whoever may write to the store may have written it.
    """
    try:
        said = json.loads(noted)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("by") != _conditions():
        return None
    name, code, message, moment = (said.get(key) for key in ("error", "code", "message", "time"))
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None or not isinstance(message, str) or not isinstance(code, str) or not _CODE.fullmatch(code):
        return None
    now, life = time.time(), _IN_DOUBT if kind is VariantTimeoutError or code == KILLED else _HONOURED
    is_recent = isinstance(moment, int | float) and now - life < moment <= now  # nor in the future
    return kind(message, code=code) if is_recent else None


def _conditions() -> dict[str, Any]:
    """Return what an attempt depends on, besides the image."""
    workers = default_workers()
    drawn = {"svg": _versions("pyvips", "pyvips-binary")} if workers.svg else {}
    limits = [*workers.limits, workers.max_source, workers.max_output]
    return {**_versions("pillow", "filerow"), **drawn, "limits": limits}


@cache
def _versions(*distributions: str) -> dict[str, str]:
    return {name: _version_of(name) for name in distributions}


def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # in a program that is frozen
        return ""


# -- for files ---------------------------------------------------------------------------------------------------------


class StoredVariants:
    """Stores, reads and signs variants for the files that ask."""

    def capacity(self) -> tuple[int, float]:
        """Return how many images are decoded at a time, and the seconds for a flush."""
        workers = default_workers()
        return workers.workers, workers.queue_seconds + workers.limits.seconds

    def draws_svg(self) -> bool:
        """Return True if the application has allowed SVG."""
        return default_workers().svg

    def stored(
        self, backend: StorageBackend, original: Facts, recipe: Recipe, content: bytes, stored_with: StoredWith | None
    ) -> Steps[str]:
        """Make and store a variant of an object that no row has yet; return its id."""
        return store_at_commit(backend, original, recipe, content, stored_with)

    def content(self, backend: StorageBackend, original: Facts, recipe: Recipe, stored_with: StoredWith | None) -> Steps[bytes]:
        """Return a variant's bytes."""
        return content_of(backend, Wanted.of(original, recipe, stored_with))

    def to_send(
        self, backend: StorageBackend, original: Facts, recipe: Recipe, stored_with: StoredWith | None
    ) -> Steps[bytes | LargeVariant]:
        """Return a variant's bytes, or where they are if there are many."""
        return to_send(backend, Wanted.of(original, recipe, stored_with))

    def signed(self, backend: StorageBackend, original: Facts, recipe: Recipe, asked: VariantURL) -> Steps[str]:
        """Return the store's URL of what a commit stored, and our route's of others.

        A store signs for a week at most, say, and no disposition without its cloud's library.
        """
        wanted, id_ = Wanted.of(original, recipe), variant_id(original, recipe)
        shown = present(recipe.content_type, asked.download_as or wanted.filename, inline=asked.download_as is None)
        if id_ in original.variants and backend.own_urls is None and backend.capabilities.sign_get:
            named = (shown.content_disposition, shown.content_type) if asked.download_as is not None else (None, None)
            request = SignRequest("GET", whole_seconds(asked.expires_in), *named).rounded(asked.round_expiry)
            with contextlib.suppress(InvalidOptionError, UnsupportedOperationError):
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
