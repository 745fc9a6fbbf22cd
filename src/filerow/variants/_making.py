"""Makes variants, each once at a time, and believes no worker."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from filerow._document import Facts
from filerow._execution.steps import Call, Steps, run, run_async
from filerow._file.object import FileObject, facts_of
from filerow._recipes import Recipe, checked_recipe, variant_id
from filerow._validation.images import dimensions
from filerow._validation.types import sniff
from filerow._variant_plan import MOVING, VariantPlan
from filerow.backends.base import StorageBackend
from filerow.exceptions import RecipeError, UndecodableError, VariantError, VariantTooLargeError, WorkerError
from filerow.variants._process import Raw
from filerow.variants._source import Original, VariantSource, opened, opened_object
from filerow.variants._wire import MOST_DETAIL, Limits, UnmakableError
from filerow.variants._workers import VariantWorkers, default_workers

T = TypeVar("T")

_HEAD = 1 << 12
_MODULE = re.compile(r"[A-Za-z_][\w.]{0,99}", re.ASCII)
_TOO_LARGE = {
    "too-many-pixels": "the image has more than {pixels:,} pixels, which configure(max_pixels=...) allows",
    "too-many-frames": "the animation has too many frames, or too many pixels in all; configure(max_frames=...) allows more",
    "too-complex": "the drawing has too many elements, too many in each other, or one that is too long",
    "memory": "the image needs more memory to decode than configure(memory=...) allows",
}
_REFUSED = {
    "not-an-image": "these bytes are not an image in JPEG, PNG, GIF, WebP, AVIF or TIFF",
    "svg": "the image is an SVG, of which variants are made only where configure(svg=True) allows it",
    "text": "the drawing has text, and workers have no fonts: convert it to paths",
    "embedded": "the drawing has an image in it that is broken, or neither PNG, JPEG nor SVG, or labelled as another one",
    "size": "the drawing has no size that can be used: its root needs a viewBox, or a width and a height, of a pixel at least",
    "broken": "the image is broken, or cut short",
    "mode": "the image has a kind of pixels that cannot be shown, such as floating-point numbers",
    "format": "the variant cannot be stored in the format of its recipe, which may not take an image of this size",
}


@dataclass(frozen=True)
class MadeVariant:
    """An image that was made.

    Attributes:
        content: Its bytes.
        content_type: Its media type, that of the recipe.
        width: Its width in pixels.
        height: Its height.
        frames: How many frames it has; 1 unless it is an animation.
    """

    content: bytes
    content_type: str
    width: int
    height: int
    frames: int = 1

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.content)

    def __repr__(self) -> str:
        return f"<MadeVariant {self.content_type} {self.width} x {self.height}, {self.size} bytes>"


def make_variant(source: VariantSource, recipe: Recipe, *, workers: VariantWorkers | None = None) -> MadeVariant:
    """Make a variant of an image, in a confined process.

    Args:
        source: A ``FileObject``, whose backend is asked for the ranges that are needed; bytes; or a ``pathlib.Path``.
        recipe: What to make of it.
        workers: Who makes it. Default: the workers of this process; see :func:`configure`.

    Raises:
        UndecodableError: It is not an image that can be decoded.
        VariantTooLargeError: It has too many bytes, pixels or frames, or needs too much memory.
        VariantTimeoutError: It took too long.
        VariantBusyError: No worker was free in time.
        RecipeError: The function of a ``Custom`` recipe fails.
        WorkerError: No worker can be started here.
        ObjectNotFoundError: The file's object is gone.
        FileStateError: The file has no bytes, or some that can be read only once.
    """
    return run(making(source, recipe, workers))


async def make_variant_async(source: VariantSource, recipe: Recipe, *, workers: VariantWorkers | None = None) -> MadeVariant:
    """Make a variant of an image; see :func:`make_variant`."""
    return await run_async(making(source, recipe, workers))


def making(source: VariantSource, recipe: Recipe, workers: VariantWorkers | None = None) -> Steps[MadeVariant]:
    """Make a variant, or wait for whoever makes it already; see :func:`make_variant`."""
    checked_recipe(recipe)
    makers = workers or default_workers()
    original = yield from opened(source, makers.max_source)
    if original.place is None or not isinstance(source, FileObject):
        return (yield from _made(original, recipe, makers))
    backend, path = original.place  # the backend itself, since another registry may have another one under its key
    key = (id(makers), id(backend), path, variant_id(facts_of(source), recipe))
    return (yield from made_once(key, lambda: _made(original, recipe, makers)))


def making_of_object(backend: StorageBackend, facts: Facts, recipe: Recipe) -> Steps[MadeVariant]:
    """Make a variant of a stored object."""
    makers = default_workers()
    original = yield from opened_object(backend, facts.path, facts.size, makers.max_source)
    return (yield from _made(original, recipe, makers))


def _made(original: Original, recipe: Recipe, workers: VariantWorkers) -> Steps[MadeVariant]:
    if not original.size:
        raise _error(UnmakableError("not-an-image"), workers, recipe)
    try:
        return (yield from workers.make(recipe.plan, original, lambda raw: _proven(raw, recipe, workers.limits)))
    except UnmakableError as error:
        raise _error(error, workers, recipe) from None


def _proven(raw: Raw, recipe: Recipe, limits: Limits) -> MadeVariant:
    """Return what a worker has made if it is what it was to make.

    Raises:
        UndecodableError: It is something else, so a hostile file runs the worker.
    """

    def read_at(start: int, size: int) -> bytes:
        return raw.content[start : start + size]

    kind = sniff(raw.content[:_HEAD], read_at, len(raw.content))
    found = dimensions(read_at, recipe.content_type, len(raw.content)) if _may_be(raw, recipe.plan, limits) else None
    if kind != recipe.content_type or found != (raw.width, raw.height):
        raise UndecodableError("the process that decoded the image returned something else than the variant", code="crashed")
    return MadeVariant(raw.content, recipe.content_type, raw.width, raw.height, raw.frames)


def _may_be(raw: Raw, plan: VariantPlan, limits: Limits) -> bool:
    """Return True if a recipe may make an image of such a size."""
    most_frames = limits.frames if plan["format"] in MOVING and not plan["function"] else 1
    box = (None, None) if plan["function"] else (plan["width"], plan["height"])
    fits = all(most is None or side <= most for side, most in zip((raw.width, raw.height), box, strict=True))
    return fits and 1 <= raw.frames <= most_frames and raw.width * raw.height * raw.frames <= limits.pixels


def _error(error: UnmakableError, workers: VariantWorkers, recipe: Recipe) -> VariantError:
    if error.code in _TOO_LARGE:
        return VariantTooLargeError(_TOO_LARGE[error.code].format(pixels=workers.limits.pixels), code=error.code)
    if error.code == "function" and recipe.plan["function"]:
        said = "".join(character if character.isprintable() else " " for character in error.detail[:MOST_DETAIL])
        return RecipeError(f"the function {recipe.plan['function']} of a variant {said}", code="function")
    if error.code == "unloaded" and _MODULE.fullmatch(error.detail):
        return WorkerError(f"Pillow asked for a module that workers do not load: {error.detail!r}; please report it")
    code = error.code if error.code in _REFUSED else "broken"
    also = ", nor an SVG" if code == "not-an-image" and workers.svg else ""
    return UndecodableError(_REFUSED[code] + also, code=code)


# -- one making at a time --------------------------------------------------------------------------------------------------

_Promise = concurrent.futures.Future[Any]


class _LeaderGoneError(Exception):
    """Whoever made a variant was cancelled; somebody else must make it."""


_running: dict[tuple[Any, ...], _Promise] = {}
_lock = threading.Lock()


def made_once(key: tuple[Any, ...], make: Callable[[], Steps[T]]) -> Steps[T]:
    """Make something, or wait for whoever in this process makes the same already.

    Calls that block wait only for others that block, and awaited ones only for those of their own event loop: nobody may hold up
    what it waits for.

    Args:
        key: Tells it from others.
        make: Returns the steps that make it.
    """
    key = (*key, (yield Call(_no_loop, _this_loop)))
    while True:
        mine: _Promise = concurrent.futures.Future()
        with _lock:
            promise = _running.setdefault(key, mine)
        if promise is mine:
            return (yield from _leading(mine, key, make))
        with contextlib.suppress(_LeaderGoneError):
            made: T = yield _waiting_for(promise)
            return made


def _no_loop() -> None:
    return None


async def _this_loop() -> int:
    return id(asyncio.get_running_loop())


def _leading(promise: _Promise, key: tuple[Any, ...], make: Callable[[], Steps[T]]) -> Steps[T]:
    try:
        made = yield from make()
    except Exception as error:
        _end(key, promise)
        promise.set_exception(error)
        raise
    except BaseException:  # others are not cancelled with this one
        _end(key, promise)
        promise.set_exception(_LeaderGoneError())
        raise
    _end(key, promise)
    promise.set_result(made)
    return made


def _end(key: tuple[Any, ...], promise: _Promise) -> None:
    with _lock:
        if _running.get(key) is promise:
            del _running[key]


def _waiting_for(promise: _Promise) -> Call:
    async def wait() -> Any:
        awaited = asyncio.wrap_future(promise)
        awaited.add_done_callback(_seen)
        return await asyncio.shield(awaited)  # the promise is not cancelled with whoever waits

    return Call(promise.result, wait)


def _seen(awaited: asyncio.Future[Any]) -> None:
    """Keep asyncio from reporting an error that nobody waits for any more."""
    if not awaited.cancelled():
        awaited.exception()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.Lock()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
