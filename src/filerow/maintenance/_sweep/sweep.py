"""Sweep: finds objects that no row owns, and removes them on request.

It lists only the folders of known columns, and of files that were saved before they had a row. It judges only paths that our
generator can have made, and that are older than the grace period by their path and by the store's clock. An object is removed if
no row of any file column names it and it has no tombstone (otherwise the outbox deletes it).

Paths sort by time. So a sweep that remembers how far everything was judged lists only newer objects.

Variants come last. Nothing but their paths says that they exist, and one that was made while its original was deleted may appear
at any time. So all of them are gone through now and then, beside the objects that they were made of, and no row is asked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple, TypeAlias

from sqlalchemy import Engine, MetaData, select

from filerow._execution.batch import call
from filerow._orm.ownership import Ref
from filerow._orm.references import FileColumn, column_named, file_columns
from filerow._orm.visibility import unfiltered
from filerow._registry import storages
from filerow.backends._types import ObjectInfo, Unfinished
from filerow.backends.base import StorageBackend
from filerow.exceptions import BackendNotFoundError, StorageError
from filerow.maintenance._awaited import awaited
from filerow.maintenance._derived import missing, stored_variant
from filerow.maintenance._doubts import about_place, doubts
from filerow.maintenance._listing import STAGED, Folder, Mirror, folders, in_pages, mirrors, pages, share
from filerow.maintenance._report import Finding, Progress
from filerow.maintenance._sweep import judge
from filerow.maintenance._sweep.findings import (
    custom_paths,
    guest,
    open_transaction,
    orphan,
    orphaned_variant,
    suspicious,
    unasked,
    unfinished,
    unknown_originals,
)
from filerow.maintenance._sweep.memory import Memory, memory_of
from filerow.outbox import outbox_of
from filerow.outbox._census import Also, Census
from filerow.outbox._isolation import snapshot
from filerow.outbox._places import Places
from filerow.outbox._table import now_of

Listing: TypeAlias = Callable[[str, str], Iterable[ObjectInfo]]

_AT_ONCE = 1_000
"""Objects of one bulk delete."""

_PAGES = 10
"""Maximum number of pages before found objects are removed, so that an interruption loses little."""

_WITHOUT_OUTBOX = timedelta(days=7)


class _SweepOptions(NamedTuple):
    """The options of :func:`sweep`."""

    grace: timedelta
    delete: bool
    full: bool
    full_every: timedelta | None
    state: str | os.PathLike[str] | None
    batch: int
    allow_many: bool
    listing: Listing | None
    take_over: bool
    variants_every: timedelta


def sweep(  # noqa: PLR0913 - each is a keyword, and says what it does
    metadata: MetaData,
    engine: Engine,
    *,
    grace: timedelta = timedelta(hours=24),
    delete: bool = False,
    full: bool = False,
    full_every: timedelta | None = None,
    columns: Sequence[str] = (),
    backends: Sequence[str] = (),
    former: Sequence[str] = (),
    shards: tuple[int, int] | str | None = None,
    state: str | os.PathLike[str] | None = None,
    batch: int = 1_000,
    allow_many: bool = False,
    listing: Listing | None = None,
    also: Also = (),
    take_over: bool = False,
    variants_every: timedelta = timedelta(days=7),
) -> Iterator[Progress]:
    """Find unreferenced objects and unfinished uploads; ``delete`` removes them.

    Args:
        metadata: The models of everything that stores files under these backends' prefixes.
        engine: Their database: the primary, since a replica may lag behind.
        grace: Younger objects are left alone; must be longer than any upload and any transaction.
        delete: Remove what is found.
        full: List everything, not only what is new since the last sweep.
        full_every: Time after which a sweep lists everything by itself. Default: 7 days without an outbox, since then only
            this finds objects that could not be deleted; never with one.
        columns: Only these (``table.column``, and ``staged`` for files that were saved on their own).
        backends: Keys of backends to look into besides each column's own, for example one used in the past.
        former: ``table/column`` of columns that were renamed or dropped, whose folders are swept as well.
        shards: ``(3, 8)`` or ``"3/8"`` for the third of eight workers.
        state: A JSON file in which to remember progress, for one worker. Default: the outbox's table; without an outbox
            nothing is remembered, so every sweep is full.
        batch: Objects listed and looked up at a time.
        allow_many: Delete even if more than half of the objects have no row.
        listing: A function of a backend's key and a folder's path that returns the objects in it, in any order, from an inventory
            written by the store; it replaces list requests. Such a sweep is full, and its progress is not remembered, since an
            inventory does not have newer objects.
        also: Others that store files in these places: other models of the same database, engines of the same models in other
            databases or schemas, or pairs of both.
        take_over: Make this database the owner of these places from now on, even if another one has deleted there before.
        variants_every: Time after which all variants are gone through again. A sweep that is full, or remembers nothing, does
            that in any case.

    Returns:
        The progress after each batch, by column. Findings: ``orphan``, ``orphan-variant``, ``unfinished-upload``,
        ``too-many-orphans`` (nothing more was deleted), ``unreadable`` (a backend could not be listed or asked, or does not
        exist), ``custom-paths``, ``unreadable-documents`` and ``unknown-backend`` (what a row may own is kept), ``first-run`` (no
        run had deleted in this place before, so this one deleted nothing), ``open-transaction`` (of one older than the grace
        period, newer objects are kept), ``another-database`` and ``another-server`` (in a dry run: one that deletes would be
        refused).

    Raises:
        LookupError: There is no such column, or a column has no backend.
        BackendNotFoundError: One of ``backends`` is not registered.
        ValueError: An option is invalid.
        MaintenanceRefusedError: The database may hide rows, has files that these models do not know, or is not the one that
            has deleted in these places before. Raised before anything is deleted, like the database's own errors.
    """
    for key in backends:
        storages.get_backend(key)
    chosen = _chosen(metadata, columns)
    found = folders(file_columns(metadata), columns, backends, former)
    variants = mirrors(file_columns(metadata), columns, backends, former, apart=shards is not None)
    options = _SweepOptions(grace, delete, full, full_every, state, batch, allow_many, listing, take_over, variants_every)
    return _Sweep(metadata, engine, also, options).run([*share(found, shards), *share(variants, shards)], chosen)


sweep_async: Final = awaited(sweep)


def _chosen(metadata: MetaData, names: Sequence[str]) -> list[FileColumn]:
    if not names:
        return file_columns(metadata)
    return [column_named(metadata, name) for name in names if name != STAGED]


def _noted(metadata: MetaData, engine: Engine, paths: Sequence[str]) -> Iterator[str]:
    """Yield the paths with a tombstone for any backend's key; ask the rows first."""
    outbox = outbox_of(metadata)
    if outbox is not None:
        path = outbox.table.c.path
        with snapshot(engine) as connection, unfiltered(connection):
            for start in range(0, len(paths), _AT_ONCE):
                yield from connection.scalars(select(path).where(path.in_(paths[start : start + _AT_ONCE])))


class _Sweep:
    def __init__(self, metadata: MetaData, engine: Engine, also: Also, options: _SweepOptions) -> None:
        self._engine = engine
        self._census = Census(metadata, engine, also)
        self._tables = {column.table.name for models, _ in self._census.databases for column in file_columns(models)}
        self._outbox = outbox_of(metadata)
        self._options = options
        self._memory: Memory = memory_of(metadata, engine, options.state)
        grace = options.grace
        if grace < timedelta(0) or options.batch < 1:
            raise ValueError(f"a sweep's grace period must be 0 or more and its batch 1 or more, not {grace} and {options.batch}")
        if options.take_over and not options.delete:
            raise ValueError(
                "a dry run cannot take over a place: use take_over=True (--take-over) together with delete=True (--delete)"
            )
        self._places = Places(self._census, "sweep", take_over=options.take_over)
        self._reserved: set[str] = set()
        self._barred: dict[str, StorageError | BackendNotFoundError] = {}
        every = options.full_every
        if every is None:
            every = _WITHOUT_OUTBOX if self._outbox is None else timedelta.max
        now = time.time()
        self._remembers = options.delete and options.listing is None
        full = options.full or not self._memory.lasts or options.listing is not None
        self._limits = judge.SweepLimits(now, grace.total_seconds(), full, every.total_seconds(), resume=self._remembers)
        self._total = judge.Count()
        self._counts: dict[str, judge.Count] = {}
        self._reported: set[str] = set()
        self._stopped = False
        self._doubts: list[tuple[dict[str, int], dict[str, str]]] = []

    def run(self, todo: Sequence[Folder | Mirror], columns: Sequence[FileColumn]) -> Iterator[Progress]:
        self._census.check()
        with self._engine.connect() as connection:
            moment = now_of(connection)
        if moment < self._limits.now - judge.CLOCKS:  # with a fast clock, running uploads would look old
            self._limits = replace(self._limits, now=moment)
        self._limits = replace(self._limits, open_since=self._census.oldest_writer())
        if self._limits.open_since <= self._limits.now - self._limits.grace:
            yield Progress("columns", findings=(open_transaction(self._limits.open_since),))
        custom = [custom_paths(column) for column in columns if column.type.path is not None and column.type.lifecycle]
        if custom:
            yield Progress("columns", findings=tuple(custom))
        yield from self._enter(todo)
        for folder in todo:
            if self._options.delete and not storages.may_delete(folder.backend):
                yield self._progress(folder, self._once(f"guest {folder.backend}", guest(folder)))
                continue
            try:
                if folder.backend in self._barred:
                    raise self._barred[folder.backend]
                yield from self._folder(folder) if isinstance(folder, Folder) else self._mirror(folder)
            except (StorageError, BackendNotFoundError) as error:  # other backends may work
                message = f"{folder.path}/ cannot be swept: {error}"
                yield self._progress(folder, [Finding("unreadable", message, where=folder.step, backend=folder.backend)])
            if self._stopped:
                return

    def _enter(self, todo: Sequence[Folder | Mirror]) -> Iterator[Progress]:
        """Check that all places are ours before anything is deleted in one of them."""
        for folder in {folder.backend: folder for folder in reversed(todo)}.values():
            key = folder.backend
            findings: list[Finding] = []
            try:
                if not self._options.delete:
                    refusal = self._places.look(key)
                    findings += [] if refusal is None else [Finding(refusal.code, str(refusal), backend=key)]
                elif storages.may_delete(key):
                    note = self._places.enter(key)
                    findings += [] if note is None else [about_place(note)]
                    self._reserved |= set() if note is None else {key}
            except (StorageError, BackendNotFoundError) as error:
                self._barred[key] = error
            if findings:
                yield self._progress(folder, findings)

    def _deletes(self, folder: Folder | Mirror) -> bool:
        return self._options.delete and folder.backend not in self._reserved

    # -- one folder ----------------------------------------------------------------------------------------------------

    def _folder(self, folder: Folder) -> Iterator[Progress]:
        backend = storages.get_backend(folder.backend)
        name = f"sweep:{folder.backend}:{folder.path}"
        known = self._memory.read(name)
        start = judge.begin(folder, known, self._limits)
        ordered = backend.capabilities.ordered_list and self._options.listing is None
        low = start.low
        remembers = self._remembers and self._deletes(folder)
        found: judge.Found = {}
        for findings, pending in self._uploads(folder, backend, start.until):
            low = min(low, pending)
            yield self._progress(folder, findings)
        with closing(self._pages(folder, backend, start.after)) as listing:
            for number, page in enumerate(listing, 1):
                old = judge.old_ones(folder, page, start.until, low)
                low = old.low
                found |= self._orphans(folder, old, len(page))
                findings = []
                if len(found) >= _AT_ONCE or number % _PAGES == 0 or not self._deletes(folder):
                    findings, left = self._settle(folder, backend, found)
                    low, found = min(low, left), {}
                if not found and ordered and remembers and not self._stopped:
                    self._memory.write(name, start.interrupted(page[-1].path, low, (known or {}).get("until")))
                yield self._progress(folder, findings)
                if self._stopped or (old.reached and ordered):
                    break
        findings, left = self._settle(folder, backend, found)
        if remembers and not self._stopped:
            self._memory.write(name, start.finished(min(low, left), self._limits.now))
        yield self._progress(folder, findings)

    def _pages(self, folder: Folder | Mirror, backend: StorageBackend, after: str) -> Generator[list[ObjectInfo]]:
        listing, size = self._options.listing, self._options.batch
        if listing is None:
            return pages(backend.list, backend.list_async, folder.path, after, size=size)
        return in_pages(listing(folder.backend, folder.path), size)

    def _orphans(self, folder: Folder, old: judge.Old, listed: int) -> judge.Found:
        unowned = self._unowned(folder, list(old.paths))
        for count in (self._count(folder), self._total):
            count.listed += listed
            count.judged += len(old.paths)
            count.young += old.young
            count.orphans += len(unowned)
        return {path: old.paths[path] for path in unowned}

    def _unowned(self, folder: Folder, paths: Sequence[str]) -> list[str]:
        """Return the paths in a folder that no row and no tombstone names at one moment."""
        if not paths:
            return []
        with snapshot(self._engine) as connection:
            named = self._census.named([Ref(folder.backend, path) for path in paths], connection)
        noted = {path for metadata, engine in self._census.databases for path in _noted(metadata, engine, paths)}
        self._doubts.append((named.unreadable_columns, named.strange))
        if named.unreadable and not self._tables.intersection(owner.table for owner in folder.owners):
            return []  # the folder of a former name, so any row may own it
        kept = {ref.path for ref in named.kept} | noted
        return [path for path in paths if path not in kept]

    def _settle(self, folder: Folder, backend: StorageBackend, found: judge.Found) -> tuple[list[Finding], float]:
        """Report or remove what was found; return the oldest object's time, too."""
        count = self._count(folder)
        if found and judge.too_many(count, self._total) and not self._options.allow_many:
            self._stopped = self._deletes(folder)
            found_ones = [] if self._stopped else self._report(folder, found)
            return [*found_ones, *self._once(f"many {folder.step}", suspicious(folder, count, self._total))], self._limits.now
        if not self._deletes(folder):
            return self._report(folder, found), self._limits.now
        # Ask again: a row may have adopted one of them since, for example a file saved two days ago.
        certain = self._unowned(folder, list(found))
        failed = call(backend.delete, backend.delete_async, certain) if certain else {}
        count.changed += len(certain) - len(failed)
        findings = [orphan(folder, path, found[path][1], error=failed.get(path), fixed=path not in failed) for path in certain]
        return findings, min((found[path][0] for path in failed), default=self._limits.now)

    def _report(self, folder: Folder, found: judge.Found) -> list[Finding]:
        self._count(folder).would_change += len(found)
        return [orphan(folder, path, size, dry=True) for path, (_, size) in found.items()]

    # -- variants ------------------------------------------------------------------------------------------------------

    def _mirror(self, mirror: Mirror) -> Iterator[Progress]:
        """Go through variants, unless that was done not long ago."""
        name = f"sweep:{mirror.backend}:{mirror.path}"
        tour = judge.begin_tour(self._memory.read(name), self._limits, self._options.variants_every.total_seconds())
        if tour is None:
            return
        backend = storages.get_backend(mirror.backend)
        remembers = self._remembers and self._deletes(mirror)
        for findings, _ in self._uploads(mirror, backend, tour.until):
            if findings:
                yield self._progress(mirror, findings)
        is_complete = True
        with closing(self._variants(mirror, backend, tour.after)) as listing:
            for page in listing:
                findings, is_certain = self._judge(mirror, backend, page, tour.until)
                is_complete = is_complete and is_certain
                if remembers and backend.capabilities.ordered_list:
                    self._memory.write(name, tour.interrupted(page[-1].path))
                yield self._progress(mirror, findings)
        if remembers:
            self._memory.write(name, tour.finished(complete=is_complete))

    def _variants(self, mirror: Mirror, backend: StorageBackend, after: str) -> Generator[list[ObjectInfo]]:
        """Yield the variants in pages; jump over folders that others go through."""
        if self._options.listing is not None or not backend.capabilities.ordered_list:
            yield from self._pages(mirror, backend, after)
            return
        place: str | None = after
        while place is not None:
            with closing(self._pages(mirror, backend, place)) as listing:
                place = None
                for page in listing:
                    yield page
                    last, other = page[-1].path, mirror.other(page[-1].path)
                    if other is not None and last < f"{other}/~":  # behind all generated names, and not yet in another folder
                        place = f"{other}/~"
                        break

    def _judge(
        self, mirror: Mirror, backend: StorageBackend, page: Sequence[ObjectInfo], until: float
    ) -> tuple[list[Finding], bool]:
        """Remove variants whose originals are gone; return False if some stay."""
        variants = [one for one in map(stored_variant, page) if one is not None and mirror.other(one.info.path) is None]
        old = judge.old_variants(variants, until)
        gone, unknown = missing(backend, {one.original for one in old})
        orphans = [one for one in old if one.original in gone]
        count = self._count(mirror)
        count.listed += len(variants)
        count.judged += len(old)
        count.young += len(variants) - len(old)
        doubt = self._once(f"originals {mirror.backend}", unknown_originals(mirror, unknown)) if unknown else []
        if not self._deletes(mirror):
            count.would_change += len(orphans)
            return [*(orphaned_variant(mirror, one, dry=True) for one in orphans), *doubt], not unknown
        failed = call(backend.delete, backend.delete_async, [one.info.path for one in orphans]) if orphans else {}
        count.changed += len(orphans) - len(failed)
        found = [
            orphaned_variant(mirror, one, error=failed.get(one.info.path), fixed=one.info.path not in failed) for one in orphans
        ]
        return [*found, *doubt], not (unknown or failed)

    # -- uploads that never ended ----------------------------------------------------------------------------------------------

    def _uploads(
        self, folder: Folder | Mirror, backend: StorageBackend, until: float
    ) -> Iterator[tuple[Sequence[Finding], float]]:
        """Abort old uploads; yield with the time of the oldest still running."""
        try:
            for page in pages(backend.unfinished, backend.unfinished_async, folder.path, size=self._options.batch):
                yield self._abort(folder, backend, page, until)
        except StorageError as error:
            yield self._once(f"uploads {folder.backend}", unasked(folder, error)), self._limits.now

    def _abort(
        self, folder: Folder | Mirror, backend: StorageBackend, uploads: Sequence[Unfinished], until: float
    ) -> tuple[list[Finding], float]:
        findings: list[Finding] = []
        low = self._limits.now
        for upload in uploads:
            moment = upload.started if upload.temporary else folder.generated_at(upload.path)
            if moment is None:
                continue
            if max(moment, upload.started) > until:
                self._count(folder).young += 1
                low = low if upload.temporary else min(low, moment)
                continue
            error = None
            if self._deletes(folder):
                try:
                    call(backend.abort, backend.abort_async, upload)
                except StorageError as failure:
                    error = failure
            deletes, count = self._deletes(folder), self._count(folder)
            count.changed += deletes and error is None
            count.would_change += not deletes
            findings.append(unfinished(folder, upload, error=error, dry=not deletes))
        return findings, low

    # -- reporting -------------------------------------------------------------------------------------------------------------

    def _count(self, folder: Folder | Mirror) -> judge.Count:
        return self._counts.setdefault(folder.step, judge.Count())

    def _progress(self, folder: Folder | Mirror, findings: Sequence[Finding]) -> Progress:
        count = self._count(folder)
        found = [finding for doubt in self._doubts for finding in doubts(*doubt)]
        self._doubts.clear()
        new = [one for finding in found for one in self._once(f"{finding.code} {finding.where} {finding.backend}", finding)]
        figures = (count.listed, None, 0, count.changed, count.would_change, count.young)
        return Progress(folder.step, *figures, findings=(*findings, *new))

    def _once(self, what: str, finding: Finding) -> list[Finding]:
        known = what in self._reported
        self._reported.add(what)
        return [] if known else [finding]
