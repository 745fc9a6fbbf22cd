"""The second step of a drain: delete objects in bulk, and then their variants.

A tombstone is settled when both are gone, so a drain that dies in between is repeated. Variants are found by listing, at most
16 originals at once, so those of recipes that no column declares any more go too. Credentials that may not list delete those that
columns declare, by their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from sqlalchemy import MetaData, Table

from filerow._execution.batch import StepsJob, run_all
from filerow._execution.steps import Call, Steps
from filerow._file.variant_objects import ListVariants
from filerow._orm.column import StoredObject
from filerow._paths import COPIES, STAGING, folders_of
from filerow._recipes import Variants
from filerow._registry import storages
from filerow.backends.base import StorageBackend
from filerow.exceptions import StorageError
from filerow.hooks import Event
from filerow.outbox._table import Tombstone


@dataclass(slots=True)
class Erased:
    """The results of the bulk deletes.

    Attributes:
        gone: Tombstones of objects that are gone, with all variants.
        failed: Those of others, each with the reason.
        left: Those of which an interruption kept us from knowing.
        refusing: The keys of backends that delete nothing.
        interruption: What ended the deletes early.
        events: What is to be reported.
    """

    gone: list[Tombstone] = field(default_factory=list)
    failed: list[tuple[Tombstone, str]] = field(default_factory=list)
    left: list[Tombstone] = field(default_factory=list)
    refusing: set[str] = field(default_factory=set)
    interruption: BaseException | None = None
    events: list[Event] = field(default_factory=list)


class _Erase(StepsJob):
    """Deletes the objects of one backend in one bulk call.

    It may be cancelled at any time, unlike the delete after a commit: the tombstones stay until the result is recorded.
    """

    def __init__(self, backend: StorageBackend, paths: Sequence[str]) -> None:
        self.failed: dict[str, StorageError] | None = None
        self.key = backend.key
        self.paths = list(dict.fromkeys(paths))
        self._backend = backend

    def _steps(self) -> Steps[None]:
        self.failed = dict((yield Call(self._backend.delete, self._backend.delete_async, (self.paths,))))

    def errors(self, error: BaseException | None) -> dict[str, BaseException]:
        """Return what failed; everything, if the call did."""
        if self.failed is None and isinstance(error, Exception):
            return dict.fromkeys(self.paths, error)
        return dict(self.failed or {})


def erase(tombstones: Sequence[Tombstone], broken: Mapping[str, str], metadata: MetaData) -> Erased:
    """Delete the objects of tombstones, and their variants.

    Args:
        tombstones: What to delete.
        broken: Backends of which nothing may be deleted, with the reasons.
        metadata: The models, which say where there can be variants.
    """
    outcome = Erased()
    by_backend: dict[str, list[Tombstone]] = {}
    for one in tombstones:
        by_backend.setdefault(one.backend, []).append(one)
    jobs = []
    for key, ones in by_backend.items():
        if key in broken:
            outcome.failed += [(one, broken[key]) for one in ones]
            outcome.refusing.add(key)
            continue
        try:
            jobs.append(_Erase(storages.get_backend(key), [one.path for one in ones]))
        except LookupError as error:
            outcome.failed += [(one, str(error)) for one in ones]
            outcome.refusing.add(key)
    ended = run_all(jobs, storages.max_concurrency)
    for job in jobs:
        _sort(job, by_backend[job.key], ended.error, outcome)
    _note_interruption(outcome, ended.error)
    _erase_variants(outcome, metadata)
    return outcome


def _sort(job: _Erase, ones: Sequence[Tombstone], error: BaseException | None, outcome: Erased) -> None:
    """Separate what is gone, what failed, and what an interruption has left."""
    if job.failed is None and not isinstance(error, Exception):
        outcome.left += ones
        return
    failed = job.errors(error)
    for one in ones:
        if one.path in failed:
            outcome.failed.append((one, _text(failed[one.path])))
        else:
            outcome.gone.append(one)
    if len(failed) > 1 and len(failed) == len(job.paths):
        outcome.refusing.add(job.key)


def _text(error: BaseException) -> str:
    return error.message if isinstance(error, StorageError) else str(error)


def _note_interruption(outcome: Erased, error: BaseException | None) -> None:
    if error is not None and not isinstance(error, Exception):
        outcome.interruption = error


# -- variants ----------------------------------------------------------------------------------------------------------


def _erase_variants(outcome: Erased, metadata: MetaData) -> None:
    """Delete the variants of what is gone; what keeps some is not settled."""
    may_declare = cache(lambda table, column: _may_declare(metadata, table, column))
    homes, declared = _homes(metadata), _declared(metadata)

    def may_have_some(one: Tombstone) -> bool:
        return may_declare(one.table_name, one.column_name) or one.path.startswith(homes)

    varied = {(one.backend, one.path) for one in outcome.gone if may_have_some(one)}
    if not varied:
        return
    if outcome.interruption is not None:
        _withdraw(outcome, varied, {})
        return
    listings = {(key, path): ListVariants(storages.get_backend(key), path, declared) for key, path in sorted(varied)}
    error = run_all(list(listings.values()), storages.max_concurrency).error
    owners: dict[str, dict[str, tuple[str, str]]] = {}
    unknown: set[tuple[str, str]] = set()
    errors: dict[tuple[str, str], BaseException] = {}
    for place, listing in listings.items():
        if listing.error is not None:
            errors[place] = listing.error
        elif listing.found is None:
            unknown.add(place)
        elif listing.found:
            owners.setdefault(place[0], {}).update(dict.fromkeys(listing.found, place))
    jobs = [_Erase(storages.get_backend(key), list(found)) for key, found in owners.items()] if error is None else []
    error = error or run_all(jobs, storages.max_concurrency).error
    done = {job.key for job in jobs if job.failed is not None}
    for job in jobs:
        errors.update({owners[job.key][path]: failed for path, failed in job.errors(error).items()})
    unknown |= {place for key, found in owners.items() if key not in done for place in found.values()}
    if error is not None and isinstance(error, Exception):
        errors = dict.fromkeys(unknown, error) | errors
    _note_interruption(outcome, error)
    _withdraw(outcome, unknown, errors)


def _withdraw(outcome: Erased, left: set[tuple[str, str]], errors: Mapping[tuple[str, str], BaseException]) -> None:
    """Settle no tombstone of objects that may have variants left."""
    gone, outcome.gone = outcome.gone, []
    for one in gone:
        place = (one.backend, one.path)
        if place in errors:
            outcome.failed.append((one, f"its variants could not be deleted: {_text(errors[place])}"))
        elif place in left:
            outcome.left.append(one)
        else:
            outcome.gone.append(one)


def _may_declare(metadata: MetaData, table: str | None, column: str | None) -> bool:
    """Return True if a column declares variants, or nobody knows it any more.

    A table's schema may be another one than in the models.
    """
    name = (table or "").rpartition(".")[2]
    known = metadata.tables.get(table or "")
    tables: list[Table] = [known] if known is not None else [one for one in metadata.tables.values() if one.name == name]
    types = [one.columns[column].type for one in tables if column is not None and column in one.columns]
    return not types or any(not isinstance(kind, StoredObject) or bool(kind.variants) for kind in types)


def _declared(metadata: MetaData) -> Variants:
    """Return what all columns declare, since an object may have been in any of them."""
    kinds = [column.type for table in metadata.tables.values() for column in table.columns]
    return tuple(dict.fromkeys(one for kind in kinds if isinstance(kind, StoredObject) for one in kind.variants))


def _homes(metadata: MetaData) -> tuple[str, ...]:
    """Return folders whose files may have variants, whichever column they are in.

    These are those of columns that declare some, and of copies: a file that moves keeps its path.
    """
    columns = [column for table in metadata.tables.values() for column in table.columns]
    varied = [one for one in columns if isinstance(one.type, StoredObject) and one.type.variants]
    folders = [folders_of(one.table.name, one.name)[0] for one in varied]
    return tuple(f"{folder}/" for folder in (folders_of(STAGING, COPIES)[0], *folders)) if folders else ()
