"""Carry out one flush's changes: upload, copy, adopt, move, drop.

``ownership`` decides, and ``_file.transfer`` moves the bytes. Everything that one flush does is
collected in a frame of its own, which joins the transaction's frame only when all of it has
succeeded. If anything fails, the frame is undone at once: the objects are deleted, and the files
are pending again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table
from sqlalchemy.orm import InstanceState

from filerow._content import Claimed
from filerow._document import Facts
from filerow._execution.batch import run_all
from filerow._file.object import (
    FileObject,
    FileState,
    Snapshot,
    attached,
    chosen_path,
    complete,
    content_in,
    facts_of,
    may_have_a_row,
    registry_of,
    restore,
    show_as,
    snapshot,
)
from filerow._file.transfer import Copy, Inspect, Upload, UseClaim, delete_all, wrong_column
from filerow._orm.column import variant_folders, variants_of_file
from filerow._orm.fields import Buried, Field, OutboxProtocol, Slot, SlotChange
from filerow._orm.ledger import Frame
from filerow._orm.ownership import Adopt, Plan, Ref, Store, pending, plan, ref_of
from filerow._orm.reports import failure_of
from filerow._orm.variants_before_commit import RowOf, StoredSource, make_variants
from filerow._paths import STAGING, PathRequest, generate_path, is_generated, safe_extension, uuid7_hex
from filerow._registry import in_force, is_plain, storages
from filerow._validation.rules import Rules
from filerow.backends._stored_with import StoredWith, check_kept
from filerow.backends.base import StorageBackend
from filerow.exceptions import BackendMismatchError, FileStateError, ObjectNotFoundError
from filerow.hooks import Event, subscriptions

Transfer = Upload | Copy | Inspect


class Applied(NamedTuple):
    """One file that a flush gave to one slot.

    Attributes:
        slot: The new owner.
        ref: The object.
        file: The file.
        before: The file's previous state.
        made: The object has no other owner to return to, so it is deleted if this slot turns out
            not to exist.
    """

    slot: Slot
    ref: Ref
    file: FileObject
    before: Snapshot
    made: bool


@dataclass
class Work:
    """The changes of one flush or one bulk statement, being carried out.

    Args:
        is_dropped: Returns True if an object lost its owner earlier in this transaction.
        may_move: Returns True if an object may move from one slot to another; otherwise it is
            copied.
        taken_by_rows: Returns those objects that a row names by now.
        assign: Assigns a copy to its slot: change, index within the slot, copy. Returns a callable
            that restores the original.

    Attributes:
        frame: What this work has done; the transaction's frame, once this work is part of it.
        applied: The files that slots were given.
        released: Objects that lost their owner, with the slot that released them.
        moved: Objects that changed their owner, with the new one.
        adopted: Objects that had no owner, such as a removed one that was restored, with the one
            they got.
        moved_from: The slots that objects moved from.
        claims: The claims that objects were made from, with the slots that got the objects.
        failures: Gets files that could not be stored, for those who listen to events.
    """

    is_dropped: Callable[[Ref], bool]
    may_move: Callable[[Slot, Slot], bool]
    taken_by_rows: Callable[[Sequence[tuple[Slot, Ref]]], set[Ref]]
    assign: Callable[[SlotChange, int, FileObject], Callable[[], None]]
    frame: Frame = field(default_factory=Frame)
    applied: list[Applied] = field(default_factory=list)
    released: dict[Ref, Slot] = field(default_factory=dict)
    moved: dict[Ref, Slot] = field(default_factory=dict)
    adopted: dict[Ref, Slot] = field(default_factory=dict)
    moved_from: dict[Ref, Slot] = field(default_factory=dict)
    claims: dict[Ref, tuple[Claimed, Slot]] = field(default_factory=dict)
    failures: list[Event] = field(default_factory=list)

    @cached_property
    def outbox_of(self) -> Callable[[Field], OutboxProtocol | None]:
        """Return a function that looks up each column's outbox once.

        There are many rows, and few columns.
        """
        return cache(_outbox_of)

    @contextmanager
    def undone_on_error(self) -> Generator[None]:
        """Undo everything if the block fails.

        A cancellation that arrives meanwhile is raised instead of the block's error.
        """
        try:
            yield
        except BaseException:
            error = delete_all(self.frame.revert())
            if error is not None:
                raise error from None
            raise

    def upload(self, changes: Sequence[SlotChange], row_of: RowOf | None = None) -> None:
        """Store all pending files of the changes concurrently.

        Args:
            changes: The slots.
            row_of: Returns what stands for a row without an object.
        """
        stores = pending(changes)
        if not stores:
            return
        sources = [
            StoredSource(one.change, one.file, content, choice)
            for one in stores
            if (choice := one.change.slot.field.type._at_commit) is not None and (content := content_in(one.file)) is not None
        ]
        claims = [(store, content.claimed) for store in stores if (content := content_in(store.file)) and content.claimed]
        with _exclusively([store.file for store in stores]):
            if claims:
                self._mark_claims(claims)
            self._run([self._upload_job(store) for store in stores], [(s.change, s.file) for s in stores])
        for store, claimed in claims:
            self.claims[ref_of(store.file)] = claimed, store.change.slot
            self.frame.uploads[Ref(claimed.backend, claimed.path)] = claimed.version
        if sources:
            self._make_variants(sources, row_of)

    def _make_variants(self, sources: Sequence[StoredSource], row_of: RowOf | None) -> None:
        """Make the variants that columns want before the commit."""
        batch = make_variants(sources, row_of)
        if batch.error is None:
            return
        if subscriptions and batch.failed is not None and isinstance(batch.error, Exception):
            source = batch.failed.source
            self.failures.append(failure_of(source.change, source.file, batch.error))
        raise batch.error

    def _mark_claims(self, claims: Sequence[tuple[Store[Slot], Claimed]]) -> None:
        """Mark claims as used, before their bytes are read.

        With an outbox, a row written later makes sure that a claim is used once.

        Raises:
            ClaimError: A claim was used before, or is for another column.
        """
        marked = []
        for store, claimed in claims:
            field = store.change.slot.field
            if claimed.column not in {"", field.name}:
                raise wrong_column(claimed.column, field.name)
            if self.outbox_of(field) is None:
                marked.append(claimed)
        if marked:
            batch = run_all([UseClaim(one, storages.get_backend(one.backend)) for one in marked], storages.max_concurrency)
            self.frame.stored.update({Ref(job.claimed.backend, job.claimed.marker): None for job in batch.done})
            if batch.error is not None:
                raise batch.error

    def settle_owners(self, changes: Sequence[SlotChange], made: Iterable[Ref] = ()) -> None:
        """Decide who owns which object, and carry it out.

        The pending files must be stored, and the old owners known.

        Args:
            changes: The slots.
            made: Objects that were made for these slots before, when the rows were others.
        """
        _refuse_other_registry(changes)
        if self._are_new(changes):
            return
        for change, file in [(c, f) for c in changes for f in c.new if not f.backend_key]:
            # to_filename= without backend= refers to the column's backend
            complete(file, facts_of(file)._replace(backend=storages.resolve(change.backend).key), file.state)
        owners = {ref: change.slot for change in changes if change.owned for ref in change.old}
        fresh = {*self.frame.stored, *made}
        decided = plan(changes, fresh, self.is_dropped, self._may_move, self._taken(changes, fresh))
        self._adopt(decided, fresh)  # first, because a copy takes over the facts that this finds
        self._copy(decided)
        for move in decided.move:
            ref = ref_of(move.file)
            self._note(move.change, move.file, facts_of(move.file), made=True)
            self.moved[ref] = move.change.slot
            if ref in owners:
                self.moved_from[ref] = owners[ref]
                self._declare(ref, owners[ref])
            if self.is_dropped(ref):
                self.frame.restore(ref)
        for ref in decided.drop:
            self.release(ref, owners[ref])

    def _taken(self, changes: Sequence[SlotChange], fresh: Container[Ref]) -> set[Ref]:
        """Return the objects of staged files that a row names by now.

        Other FileObjects may have named them, in this process or another.
        """
        staged = [(change, ref_of(file)) for change in changes if change.owned for file in change.new if may_have_a_row(file)]
        asked = [(change.slot, ref) for change, ref in staged if ref not in fresh and ref not in change.old]
        return self.taken_by_rows(asked) if asked else set()

    def _may_move(self, one: SlotChange, other: SlotChange) -> bool:
        source, target = one.slot, other.slot
        # an object keeps its storage options, so a column with other options gets a copy
        return source.field.type.stored_with == target.field.type.stored_with and self.may_move(source, target)

    def _are_new(self, changes: Sequence[SlotChange]) -> bool:
        """Return True if every file is new, in a new row, and used once.

        That is the usual case, and there is nothing to decide then.
        """
        seen: set[Ref] = set()
        for change in changes:
            if change.old:
                return False
            for file in change.new:
                ref = ref_of(file)
                if ref in seen or ref not in self.frame.stored:
                    return False
                seen.add(ref)
        return True

    def release(self, ref: Ref, slot: Slot) -> None:
        """Note that a slot's object has no owner any more."""
        self.released[ref] = slot
        field = slot.field
        self.frame.drop(ref, self.outbox_of(field))
        if variant_folders or field.type.variants:  # in few programs, and there may be many files
            self._declare(ref, slot)

    def _declare(self, ref: Ref, slot: Slot) -> None:
        field = slot.field
        variants = variants_of_file(ref.path, field.table, field.column.name, field.type.variants)
        if variants:
            self.frame.declare(ref, variants)

    def update_outbox(self, connection_of: Callable[[Slot], Connection]) -> None:
        """Write and remove the tombstones that triggers cannot.

        It writes those of tables without triggers, and removes those of objects that another row
        has now. A trigger cannot know the latter: when an object moves, its new row may be written
        before the old one releases it.

        Args:
            connection_of: Returns the connection that has written a slot.
        """
        self._use_claims(connection_of)
        if not any(
            map(self.outbox_of, {slot.field for slots in (self.released, self.moved, self.adopted) for slot in slots.values()})
        ):
            return
        buried: dict[tuple[OutboxProtocol, Connection], list[Buried]] = {}
        kept: dict[tuple[OutboxProtocol, Connection], list[Ref]] = {}
        for ref, slot in self.released.items():
            table, outbox = slot.field.column.table, self.outbox_of(slot.field)
            if outbox is not None and isinstance(table, Table) and ref in self.frame.dropped:
                connection = connection_of(slot)
                if not outbox._has_triggers(connection.dialect, table):
                    one = Buried(ref, table.fullname, slot.field.column.name, _row_key(slot))
                    buried.setdefault((outbox, connection), []).append(one)
        for ref, slot in (self.moved | self.adopted).items():
            table, outbox = slot.field.column.table, self.outbox_of(slot.field)
            if outbox is not None and isinstance(table, Table) and ref not in self.frame.dropped:
                connection = connection_of(slot)
                if ref in self.moved or not outbox._has_triggers(connection.dialect, table):
                    kept.setdefault((outbox, connection), []).append(ref)
        for (outbox, connection), those in buried.items():
            outbox._bury(connection, those)
        for (outbox, connection), refs in kept.items():
            outbox._take_back(connection, refs)

    def _use_claims(self, connection_of: Callable[[Slot], Connection]) -> None:
        used: dict[tuple[OutboxProtocol, Connection], list[Claimed]] = {}
        for claimed, slot in self.claims.values():
            outbox = self.outbox_of(slot.field)
            if outbox is not None:
                used.setdefault((outbox, connection_of(slot)), []).append(claimed)
        for (outbox, connection), claims in used.items():
            outbox._use_claims(connection, claims)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _copy(self, decided: Plan[Slot]) -> None:
        if not decided.copy:
            return
        jobs = []
        for copy in decided.copy:
            source = facts_of(copy.file)
            target, path, generated = _destination(copy.change, copy.file, "")
            options = _stored_with(copy.change, target)
            variants = copy.change.slot.field.type.variants
            origin = storages.resolve(source.backend)
            jobs.append(Copy(source, origin, target, path, generated=generated, stored_with=options, variants=variants))
        copies = [attached(facts_of(copy.file)) for copy in decided.copy]
        try:
            self._run(jobs, [(copy.change, file) for copy, file in zip(decided.copy, copies, strict=True)])
        except ObjectNotFoundError as error:
            error.message = f"{_GONE}. {error.message}"
            raise
        for copy, file in zip(decided.copy, copies, strict=True):
            self.frame.undo.append(self.assign(copy.change, copy.position, file))

    def _adopt(self, decided: Plan[Slot], fresh: Container[Ref]) -> None:
        staged = [adopt for adopt in decided.adopt if ref_of(adopt.file) not in self.frame.stored]
        again = {id(adopt): adopt for adopt in staged if _must_be_stored_again(adopt)}
        if again:
            self._store_again(list(again.values()))
            staged = [adopt for adopt in staged if id(adopt) not in again]
        self.adopted.update((ref_of(adopt.file), adopt.change.slot) for adopt in staged)
        if not staged:
            return
        # each is inspected, because it may have been deleted since it was stored
        jobs = [Inspect(facts_of(a.file), storages.resolve(facts_of(a.file).backend), _rules(a.change)) for a in staged]
        try:
            # fresh ones are this flush's own
            with _exclusively([adopt.file for adopt in staged if ref_of(adopt.file) not in fresh]):
                self._run(jobs, [(a.change, a.file) for a in staged], made=False)
        except ObjectNotFoundError as error:
            error.message = f"{_NEVER_STORED}. {error.message}"
            raise

    def _store_again(self, saved: Sequence[Adopt[Slot]]) -> None:
        """Copy files that ``save()`` stored without their columns' options.

        The originals are deleted after the commit.
        """
        jobs, before = [], [facts_of(adopt.file) for adopt in saved]
        for adopt, facts in zip(saved, before, strict=True):
            target, path, generated = _destination(adopt.change, adopt.file, "")
            options = _stored_with(adopt.change, target)
            variants = adopt.change.slot.field.type.variants
            origin = storages.resolve(facts.backend)
            jobs.append(Copy(facts, origin, target, path, generated=generated, stored_with=options, variants=variants))
        leftover: dict[Ref, str | None] = {}
        for adopt, facts in zip(saved, before, strict=True):
            if not may_have_a_row(adopt.file):
                ref = Ref(facts.backend, facts.path)
                leftover[ref] = facts.version_id
                self._declare(ref, adopt.change.slot)
        try:
            with _exclusively([adopt.file for adopt in saved]):
                self._run(jobs, [(adopt.change, adopt.file) for adopt in saved])
        except ObjectNotFoundError as error:
            error.message = f"{_NEVER_STORED}. {error.message}"
            raise
        self.frame.uploads.update(leftover)

    def _run(self, jobs: Sequence[Transfer], targets: Sequence[tuple[SlotChange, FileObject]], *, made: bool = True) -> None:
        """Run transfers concurrently.

        Those that succeeded are recorded before the first failure is raised.
        """
        batch = run_all(jobs, storages.max_concurrency)
        done = {id(job) for job in batch.done}
        for job, (change, file) in zip(jobs, targets, strict=True):
            if id(job) in done and job.facts is not None:
                ref = self._note(change, file, job.facts, made=made)
                if made:
                    self.frame.stored[ref] = None
            elif subscriptions and job is batch.failed and isinstance(batch.error, Exception):
                self.failures.append(failure_of(change, file, batch.error))
        if batch.error is not None:
            raise batch.error

    def _note(self, change: SlotChange, file: FileObject, facts: Facts, *, made: bool) -> Ref:
        before = snapshot(file)
        complete(file, facts, FileState.ATTACHED)
        show_as(file, change.slot.field.type.shown)
        self.frame.touched.append((file, before))
        ref = Ref(facts.backend, facts.path)
        if variant_folders or change.slot.field.type.variants:
            self._declare(ref, change.slot)
        self.applied.append(Applied(change.slot, ref, file, before, made))
        return ref

    def _upload_job(self, store: Store[Slot]) -> Upload:
        facts, content = facts_of(store.file), content_in(store.file)
        if content is None:
            deleted = store.file.state is FileState.DELETED
            missing = "has no content; pass content=, or to_filename= of an existing object"
            what = "was deleted; call save(data) on it, or assign another file" if deleted else missing
            raise FileStateError(f"{store.change.slot.field.key}: {store.file!r} {what}")
        backend, path, generated = _destination(store.change, store.file, facts.path)
        options = _stored_with(store.change, backend)
        return Upload(content, facts, backend, path, _rules(store.change), generated=generated, stored_with=options)

    def keep_only(self, held: set[Ref]) -> None:
        """Withdraw what no slot holds after all.

        Its files get their previous states.
        """
        for applied in self.applied:
            if applied.ref not in held:
                self.withdraw(applied)

    def forget(self, owners: Iterable[Any]) -> None:
        """Withdraw what was given to slots that turned out not to be rows.

        The files get their previous states.
        """
        gone = set(owners)
        for applied in self.applied:
            if applied.slot.owner in gone:
                self.withdraw(applied)

    def withdraw(self, applied: Applied) -> None:
        if applied.made and applied.ref in self.moved:
            self.release(applied.ref, applied.slot)
        elif applied.made:  # made for this slot, and no row has ever named it
            self.frame.drop(applied.ref)
            self._release_claim(applied.ref)
        restore(applied.file, applied.before)

    def _release_claim(self, ref: Ref) -> None:
        """Make a claim usable again if no row has a file of its upload."""
        claimed, _ = self.claims.pop(ref, (None, None))
        if claimed is not None:
            self.frame.uploads.pop(Ref(claimed.backend, claimed.path), None)
            marker = Ref(claimed.backend, claimed.marker)
            if marker in self.frame.stored:
                self.frame.drop(marker)


_GONE = (
    "this file has no bytes any more: they were deleted with its row, or when its row got another file or none, and that is "
    "committed. Pass the content again: FileObject(content=...)"
)

_NEVER_STORED = "this file's object was deleted, or never stored; call save(data) on it, or assign another file"

_under_way: dict[int, object] = {}
"""The files being stored or adopted, by their ``id()``, and by whom."""


@contextmanager
def _exclusively(files: Sequence[FileObject]) -> Generator[None]:
    """Refuse files that another session is giving to a row at this moment.

    Both rows would have the same object.
    """
    me = object()
    try:
        for file in files:
            if _under_way.setdefault(id(file), me) is not me or file.state is FileState.ATTACHED:
                raise FileStateError(f"another session is storing {file!r} at the same time; assign each row its own FileObject")
        yield
    finally:
        for file in files:
            if _under_way.get(id(file)) is me:
                del _under_way[id(file)]


def _outbox_of(field: Field) -> OutboxProtocol | None:
    return field.outbox


def _row_key(slot: Slot) -> dict[str, Any] | None:
    """Return the primary key of a slot's row, by column names.

    It is ``None`` where only the database knows it.
    """
    owner = slot.owner.key[1] if isinstance(slot.owner, InstanceState) and slot.owner.key is not None else slot.owner
    table = slot.field.column.table
    if not isinstance(owner, tuple) or not isinstance(table, Table):
        return None
    return {column.name: value for column, value in zip(table.primary_key.columns, owner, strict=False)}


def _rules(change: SlotChange) -> Rules:
    slot = change.slot
    return slot.field.type.rules(slot.field.key)


def _must_be_stored_again(adopt: Adopt[Slot]) -> bool:
    """Return True if a saved file lacks its column's storage options.

    It was saved before its column was known.
    """
    options, path = adopt.change.slot.field.type.stored_with, facts_of(adopt.file).path
    return options is not None and adopt.change.owned and is_generated(path) and path.startswith(f"{STAGING}/")


def _stored_with(change: SlotChange, backend: StorageBackend) -> StoredWith | None:
    """Return a column's storage options.

    Raises:
        UnsupportedOperationError: The backend does not support one, which could not be checked
            before the backend was known.
    """
    field = change.slot.field
    options = field.type.stored_with
    if options is not None:
        check_kept(backend, options, field.key)
    return options


def _destination(change: SlotChange, file: FileObject, wanted: str) -> tuple[StorageBackend, str, bool]:
    """Return the backend and path for a file.

    The third value is True if the path is generated, and so certain to be free.
    """
    owner, column = change.slot
    backend = storages.resolve(column.type.backend or (file.backend_key if file.state is FileState.PENDING else ""))
    if file.state is FileState.PENDING:
        check_backend(file, backend.key, column)
    if wanted:
        return backend, wanted, False
    name = column.column.name
    if column.type.path is None:
        return backend, generate_path(column.table, name, file.filename, shards=column.type.shards), True
    instance = owner.obj() if isinstance(owner, InstanceState) else None
    extension = safe_extension(file.filename)
    request = PathRequest(column.table, name, uuid7_hex(), extension, file.filename, instance)
    path = chosen_path(column.type.path(request), backend.key)
    return backend, path, request.token in path


def _refuse_other_registry(changes: Sequence[SlotChange]) -> None:
    """Refuse files whose keys mean the backends of another registry.

    Raises:
        BackendMismatchError: A file keeps to another registry.
    """
    if is_plain():
        return
    for change in changes:
        for file in (*change.new, *_held(change.slot)):
            if file.state in {FileState.STAGED, FileState.ATTACHED} and registry_of(file) is not in_force():
                raise BackendMismatchError(
                    f"{change.slot.field.key}: {file!r} comes from another registry than the one that this session uses; flush "
                    "in a block of that registry's active(), or assign FileObject(content=..., filename=...) with its content"
                )


def _held(slot: Slot) -> list[FileObject]:
    """Return the files that an object holds in a slot, or held when it was loaded."""
    owner, key = slot.owner, slot.field.key
    if not isinstance(owner, InstanceState):
        return []
    held = [owner.dict.get(key), owner.committed_state.get(key)]
    return [file for one in held for file in (one if isinstance(one, list) else [one]) if isinstance(file, FileObject)]


def check_backend(file: FileObject, key: str, column: Field) -> None:
    """Refuse a file that names another backend than its column's.

    Raises:
        BackendMismatchError: The file names another backend.
    """
    if key and file.backend_key and file.backend_key != key and file.state is not FileState.ATTACHED:
        raise BackendMismatchError(
            f"{column.key}: the file names backend {file.backend_key!r}, but this column stores to {key!r}; leave backend= out, "
            "or name the column's backend"
        )
