"""The stored variants of objects: list, copy and delete them.

Originals are deleted first, then their variants. In the other order, or in one request, a variant that is made meanwhile would
stay: its maker stores it, looks for the original, and finds that still there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from filerow._document import Facts
from filerow._execution.batch import StepsJob, run_all, run_all_async
from filerow._execution.steps import Call, Steps
from filerow._log import cause_of, extras, logger, named
from filerow._paths import is_generated
from filerow._presentation import present
from filerow._recipes import (
    Variants,
    computed_paths,
    parted_variant,
    variant_filename,
    variant_id,
    variant_path,
    variants_of,
)
from filerow._registry import storages
from filerow.backends._stored_with import StoredWith, kept_by, with_options
from filerow.backends._types import ObjectInfo, PutOptions
from filerow.backends.base import StorageBackend
from filerow.exceptions import InvalidPathError, ObjectNotFoundError, StorageError, StoragePermissionError, VariantError


def stored_variants(backend: StorageBackend, path: str) -> Steps[list[ObjectInfo]]:
    """Return what is stored of an object's variants and notes; one LIST request.

    Variants of an object whose path goes on after this one's are not among them.
    """
    folder = variants_of(path).removesuffix("/")

    def here() -> list[ObjectInfo]:
        return list(backend.list(folder))

    async def there() -> list[ObjectInfo]:
        return [info async for info in backend.list_async(folder)]

    found: list[ObjectInfo] = yield Call(here, there)
    return [info for info in found if (parted := parted_variant(info.path)) is not None and parted[0] == path]


class ListVariants(StepsJob):
    """Lists the variants of one object and the notes of failed ones.

    Credentials that may not list find those that columns declare, by their names: they may be there or not.

    Args:
        backend: Where the object is, or was.
        path: Its path.
        declared: The variants that there may be.

    Attributes:
        found: Their paths; ``None`` until they are known.
        error: Why they could not be listed.
    """

    def __init__(self, backend: StorageBackend, path: str, declared: Variants = ()) -> None:
        self.found: list[str] | None = None
        self.error: StorageError | None = None
        self.path = path
        self._backend = backend
        self._declared = declared

    def _steps(self) -> Steps[None]:
        try:
            self.found = [info.path for info in (yield from stored_variants(self._backend, self.path))]
        except InvalidPathError:  # no object can be there
            self.found = []
        except StorageError as error:
            if isinstance(error, StoragePermissionError) and (is_generated(self.path) or not self._declared):
                self.found = computed_paths(self.path, self._declared)
            else:
                self.error = error


def list_all(jobs: Sequence[ListVariants]) -> Call:
    """Return the call that lists the variants of several objects at once."""
    return Call(run_all, run_all_async, (jobs, storages.max_concurrency))


def delete_variants(backend: StorageBackend, gone: Mapping[str, Variants], *, exactly: bool = False) -> Steps[None]:
    """Delete the variants of objects that were deleted; what fails is logged.

    Where one request deletes many objects, missing ones too, the variants that the columns declare have names that need not be
    asked for. Elsewhere a listing for each object finds them, where credentials may list.

    Args:
        backend: Where the objects were.
        gone: Their paths, each with what its column declares.
        exactly: Find those of other recipes too.
    """
    names: list[str] = []
    asked: list[ListVariants] = []
    for path, variants in gone.items():
        computed = computed_paths(path, variants) if backend._deletes_unseen and not exactly else []  # noqa: SLF001 - for us
        if computed:
            names += computed
        else:
            asked.append(ListVariants(backend, path, variants))
    if asked:
        yield list_all(asked)
        names += (path for job in asked for path in job.found or ())
        _log_unlisted(backend, asked)
    if names:
        failed: Mapping[str, StorageError] = yield Call(backend.delete, backend.delete_async, (names,))
        _log_failed(backend, failed)


def copy_variants(
    origin: StorageBackend,
    source: Facts,
    backend: StorageBackend,
    copy: Facts,
    variants: Variants,
    stored_with: StoredWith | None = None,
    *,
    differs: bool = False,
) -> Steps[tuple[str, ...]]:
    """Copy the variants that a file lists; return the ids of those that were there.

    What cannot be copied is left out, and made at its first use.

    Args:
        origin: Where the file is.
        source: Its facts.
        backend: Where its copy is.
        copy: The copy's facts.
        variants: What the copy's column declares. Others have other names, or nobody asks for them.
        stored_with: What the copy's column stores its objects with besides.
        differs: The store's own copy might have other options than these.
    """
    copied: list[str] = []
    for recipe in dict.fromkeys(recipe for _, recipe in variants):
        try:
            known = variant_id(source, recipe)
            if known not in source.variants or variant_id(copy, recipe) != known:
                continue
            there, here = variant_path(source, recipe), variant_path(copy, recipe)
            if origin is backend and not differs:
                yield Call(backend.copy, backend.copy_async, (there, here), {"create_only": False})
            else:
                content: bytes = yield Call(origin.read, origin.read_async, (there,))
                options = put_options(backend, recipe.content_type, variant_filename(copy.filename, recipe), stored_with)
                yield Call(backend.put, backend.put_async, (here, content, options))
        except (ObjectNotFoundError, VariantError):
            continue
        except StorageError as error:
            logger.warning("a variant was not copied: %s; it is made at first use", error, extra=extras("copy", backend.key))
            continue
        copied.append(known)
    return tuple(copied)


def put_options(
    backend: StorageBackend, content_type: str, filename: str, stored_with: StoredWith | None, *, create_only: bool = False
) -> PutOptions:
    """Return how to store a variant.

    As its original's column says, where the backend keeps that.
    """
    options = PutOptions(*present(content_type, filename), create_only=create_only)
    return with_options(options, kept_by(backend, stored_with))


def _log_unlisted(backend: StorageBackend, jobs: Iterable[ListVariants]) -> None:
    alike: dict[str, list[str]] = {}
    for job in jobs:
        if job.error is not None:
            alike.setdefault(cause_of(job.error.message, job.path), []).append(job.path)
    for cause, paths in alike.items():
        storages.failed_deletes += len(paths)
        message = "the variants of deleted objects could not be listed: those of %s on backend %r: %s; %s"
        _log(message, named(paths), backend, cause, len(paths))


def _log_failed(backend: StorageBackend, failed: Mapping[str, StorageError]) -> None:
    alike: dict[str, list[str]] = {}
    for path, error in failed.items():
        alike.setdefault(cause_of(error.message, path), []).append(path)
    storages.failed_deletes += len(failed)
    for cause, paths in alike.items():
        message = "variants of deleted objects could not be deleted: %s on backend %r: %s; %s"
        _log(message, named(paths), backend, cause, len(paths))


def _log(message: str, what: str, backend: StorageBackend, cause: str, count: int) -> None:
    fields = extras("delete", backend.key, objects=count, error=cause)
    logger.error(message, what, backend.key, cause, "filerow sweep --delete removes them", extra=fields)
