"""Make variants before the commit, for columns that want them there.

They are made when the uploads of a flush or a bulk statement have succeeded, and before a row is
written. What is wrong with an image refuses it, as any other rule of its column does. What is wrong
with workers or the store only costs time: such a variant is left to its first use.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy.orm import InstanceState

from filerow._content import BytesContent, Content
from filerow._document import Facts
from filerow._execution.batch import Batch, StepsJob, run_all
from filerow._execution.steps import Call, Steps, threaded
from filerow._file.object import FileObject, FileState, complete, facts_of
from filerow._file.variant import VariantMaker, is_decoded, variant_maker
from filerow._log import extras, logger, named
from filerow._media_types import SVG
from filerow._orm.fields import Slot, SlotChange
from filerow._paths import is_generated
from filerow._recipes import Recipe, Variants, moments_of, variant_id
from filerow._registry import storages
from filerow._variant_plan import KILLED
from filerow.exceptions import (
    ContentError,
    FileStateError,
    IntegrityError,
    StorageError,
    UndecodableError,
    VariantBusyError,
    VariantError,
    VariantRefusedError,
    VariantTimeoutError,
    VariantTooLargeError,
    WorkerError,
)

MOST_BYTES = 32_000_000
"""Size up to which variants of a file are made before the commit: as many sources as workers may be in memory."""

_REFUSED = (UndecodableError, VariantTooLargeError)
"""What is wrong with the image."""

_LEFT = (VariantBusyError, VariantTimeoutError, WorkerError, StorageError)
"""What may be right at another time."""

RowOf: TypeAlias = Callable[[Slot], Any]
"""Returns what stands for a row without an object."""

Choice: TypeAlias = Variants | Callable[[Any], Any]
"""The recipes that a column wants before the commit, or a function of the row."""


class StoredSource(NamedTuple):
    """A file that was just stored, whose column may want variants now.

    Attributes:
        change: The change of the slot that has it.
        file: The file.
        content: Its bytes, as they were given.
        choice: What its column wants of it before the commit.
    """

    change: SlotChange
    file: FileObject
    content: Content
    choice: Choice


class MakeVariants(StepsJob):
    """Makes and stores variants of one file.

    Args:
        source: The file.
        recipes: What to make of it, by name.
        maker: Who makes it.
        ends: When to begin no more, by the monotonic clock.

    Attributes:
        source: The file.
        ids: What was stored.
        left: What was not made, by name.
        reason: Why not: the kind of error, and what it says. The error itself would keep the bytes in memory.
    """

    def __init__(self, source: StoredSource, recipes: Sequence[tuple[str, Recipe]], maker: VariantMaker, ends: float) -> None:
        self.source = source
        self.ids: list[str] = []
        self.left: list[str] = []
        self.reason: tuple[str, str] = ("", "")
        self._recipes = recipes
        self._maker = maker
        self._backend = storages.resolve(facts_of(source.file).backend)  # of the registry in force here, not in a task
        self._ends = ends

    def _steps(self) -> Steps[None]:
        facts, options, done = facts_of(self.source.file), self.source.change.slot.field.type.stored_with, 0
        try:
            if time.monotonic() >= self._ends:
                raise VariantTimeoutError(_TOO_LONG)
            content = yield from self._content(facts)
            for name, recipe in self._recipes:
                if time.monotonic() >= self._ends:
                    raise VariantTimeoutError(_TOO_LONG)
                try:
                    self.ids.append((yield from self._maker.stored(self._backend, facts, recipe, content, options)))
                except _REFUSED as error:
                    if error.code == KILLED:
                        raise
                    raise self._refusal(name, error) from error
                done += 1
        except (*_LEFT, *_REFUSED) as error:
            self.left = [name for name, _ in self._recipes[done:]]
            self.reason = type(error).__name__, error.message if isinstance(error, StorageError) else str(error)
            _forget_frames(error)

    def _content(self, facts: Facts) -> Steps[bytes]:
        """Return the bytes that were stored, whatever their source gives by now.

        What can be read only once is read back.

        Raises:
            StorageError: They cannot be read, or are others.
        """
        given = self.source.content
        if isinstance(given, BytesContent) and isinstance(given.data, bytes):
            return given.data
        if given.peekable:
            seen: bytes | None = yield threaded(_read_again, given, facts)
            if seen is not None:
                return seen
        backend = self._backend
        content: bytes = yield Call(backend.read, backend.read_async, (facts.path,))
        if not (yield threaded(_is_of, content, facts)):
            msg = "the store returned other bytes than it was given"
            raise IntegrityError(msg, operation="read", backend=facts.backend, path=facts.path)
        return content

    def _refusal(self, name: str, error: VariantError) -> VariantRefusedError:
        field, facts = self.source.change.slot.field.key, facts_of(self.source.file)
        msg = f"{field}: no {name!r} can be made of {facts.filename!r}, since {error}; choose another image"
        return VariantRefusedError(msg, field=field, actual=facts.content_type, code=f"variant-{error.code}")


def _forget_frames(error: BaseException) -> None:
    """Let go of what the frames of a handled error hold, such as an image's bytes.

    They may hold the error itself, and would wait for the garbage collector.
    """
    seen: BaseException | None = error
    while seen is not None and seen.__traceback__ is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__


_TOO_LONG = "making the variants of this flush took longer than queue_seconds and seconds of configure() together"


def _read_again(content: Content, facts: Facts) -> bytes | None:
    """Return the bytes of a source, or ``None`` if they have changed since."""
    try:
        seen = content.peek(0, facts.size or 0)
    except (OSError, ValueError, ContentError, FileStateError):  # it is closed, or gone
        return None
    return seen if _is_of(seen, facts) else None


def _is_of(content: bytes, facts: Facts) -> bool:
    return f"sha256:{hashlib.sha256(content).hexdigest()}" == facts.checksum


def is_wanted(source: StoredSource) -> bool:
    """Return True if variants of a file can be made before the commit.

    Clients' own uploads are not read by this process, large files take long, and what is not an
    image has none. SVG is a document, until the application allows that workers read it.
    """
    facts = facts_of(source.file)
    is_image = facts.content_type.startswith("image/") and (facts.content_type != SVG or is_decoded(SVG))
    return is_image and source.content.claimed is None and 0 < (facts.size or 0) <= MOST_BYTES


def make_variants(sources: Sequence[StoredSource], row_of: RowOf | None) -> Batch[MakeVariants]:
    """Make and store what columns want; note in the files what was stored.

    Args:
        sources: Files that were just stored, and whose documents are not written yet.
        row_of: Returns what stands for a row without an object.

    Returns:
        The jobs. Those that succeeded are noted, and what was left is logged.
    """
    wanted = [(one, recipes) for one in sources if is_wanted(one) and (recipes := _recipes(one, row_of))]
    if not wanted:
        return Batch(())
    maker = variant_maker()
    workers, seconds = maker.capacity()
    ends = time.monotonic() + seconds
    jobs_of: list[list[MakeVariants]] = []
    for one, recipes in wanted:
        # fewer files than workers: each gets a part of a file's recipes, if its bytes can be had twice
        parts = min(max(workers // len(wanted), 1), len(recipes)) if one.content.peekable else 1
        jobs_of.append([MakeVariants(one, recipes[part::parts], maker, ends) for part in range(parts)])
    jobs = [job for those in jobs_of for job in those]
    batch = run_all(jobs, workers)
    for (one, recipes), those in zip(wanted, jobs_of, strict=True):
        _note(one, recipes, {id_ for job in those for id_ in job.ids})
    _log_left([job for job in jobs if job.left])
    return batch


def _recipes(source: StoredSource, row_of: RowOf | None) -> Sequence[tuple[str, Recipe]]:
    """Return what a column wants of a file before the commit."""
    choice, slot = source.choice, source.change.slot
    if not callable(choice):
        return choice
    owner = slot.owner
    row = owner.obj() if isinstance(owner, InstanceState) else row_of(slot) if row_of is not None else None
    return moments_of(choice(row), slot.field.type.variants)


def _note(source: StoredSource, recipes: Sequence[tuple[str, Recipe]], stored: set[str]) -> None:
    """Note in a file what was stored, so that its document lists it.

    Not under a path that may be used again: who deletes the file that was there before may still
    delete its variants, and the URL of a listed one is the store's own.
    """
    facts = facts_of(source.file)
    if stored and is_generated(facts.path):
        listed = [one for _, recipe in recipes if (one := variant_id(facts, recipe)) in stored]
        complete(source.file, facts._replace(variants=tuple(dict.fromkeys(listed))), FileState.ATTACHED)


def _log_left(jobs: Sequence[MakeVariants]) -> None:
    """Log what is left to its first use, once for each reason."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for job in jobs:
        facts = facts_of(job.source.file)
        where = alike.setdefault((facts.backend, *job.reason), [])
        where += [f"{name} of {facts.path}" for name in job.left]
    for (backend, kind, said), variants in alike.items():
        logger.warning(
            "%d %s on backend %r not made before the commit, and left to first use: %s: %s",
            len(variants),
            "variant" if len(variants) == 1 else "variants",
            backend,
            named(variants),
            said,
            extra=extras("variant", backend, objects=len(variants), error=kind),
        )
