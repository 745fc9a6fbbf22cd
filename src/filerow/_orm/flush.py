"""Carries out one flush's changes: upload, copy, adopt, move, drop. ``ownership`` decides, ``_file.transfer`` moves the bytes.

Everything one flush does is gathered in a frame of its own, which joins the transaction's only when all of it has succeeded. When
anything fails, the frame is undone on the spot: the objects are deleted, and the files are pending again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
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
    complete,
    content_in,
    facts_of,
    may_have_a_row,
    restore,
    show_as,
    snapshot,
)
from filerow._file.transfer import Copy, Inspect, Upload, UseClaim, delete_all, wrong_column
from filerow._orm.fields import Buried, Field, OutboxProtocol, Slot, slot_of
from filerow._orm.ledger import Frame
from filerow._orm.ownership import Adopt, Change, Plan, Ref, Store, pending, plan, ref_of
from filerow._paths import STAGING, PathRequest, generate_path, is_generated, safe_extension, uuid7_hex
from filerow._registry import storages
from filerow._validation.rules import Rules
from filerow.backends._paths import check_path
from filerow.backends._stored_with import StoredWith, check_kept
from filerow.backends.base import StorageBackend
from filerow.exceptions import BackendMismatchError, FileStateError, ObjectNotFoundError

__all__ = ("Applied", "Work")

Transfer = Upload | Copy | Inspect


class Applied(NamedTuple):
    """One file that a flush gave to one slot.

    Attributes:
        slot: The new owner.
        ref: The object.
        file: The file.
        before: What the file was.
        made: The object has no other owner to go back to, so it goes when this slot turns out not to exist.
    """

    slot: Slot
    ref: Ref
    file: FileObject
    before: Snapshot
    made: bool


@dataclass(slots=True)
class Work:
    """The changes of one flush or one bulk statement, being carried out.

    Args:
        is_dropped: Says whether an object lost its owner earlier in this transaction.
        may_move: Says whether an object may move from one slot to another, or must be copied.
        taken_by_rows: Returns those objects that a row names by now.
        assign: Puts a copy into its slot: change, index within the slot, copy. Returns what puts the original back.

    Attributes:
        frame: What this work has done; the transaction's frame, once this work is part of it.
        applied: The files that slots were given.
        left: Objects that lost their owner, with the slot that let go.
        moved: Objects that changed their owner, with the new one.
        adopted: Objects that had none, such as a removed one that was restored, with the owner they got.
        givers: The slots that moved objects come from.
        claims: The uploads of clients that objects were made of, with the slots that got them.
        outbox_of: The outbox of a column, looked up once: there are many rows, and few columns.
    """

    is_dropped: Callable[[Ref], bool]
    may_move: Callable[[Slot, Slot], bool]
    taken_by_rows: Callable[[Sequence[tuple[Slot, Ref]]], set[Ref]]
    assign: Callable[[Change, int, FileObject], Callable[[], None]]
    frame: Frame = field(default_factory=Frame)
    applied: list[Applied] = field(default_factory=list)
    left: dict[Ref, Slot] = field(default_factory=dict)
    moved: dict[Ref, Slot] = field(default_factory=dict)
    adopted: dict[Ref, Slot] = field(default_factory=dict)
    givers: dict[Ref, Slot] = field(default_factory=dict)
    claims: dict[Ref, tuple[Claimed, Slot]] = field(default_factory=dict)
    outbox_of: Callable[[Field], OutboxProtocol | None] = field(default_factory=lambda: cache(_outbox_of))

    @contextmanager
    def undone_on_error(self) -> Generator[None]:
        """Undo everything when the block fails; a cancellation that arrives during that is raised instead."""
        try:
            yield
        except BaseException:
            error = delete_all(self.frame.revert())
            if error is not None:
                raise error from None
            raise

    def upload(self, changes: Sequence[Change]) -> None:
        """Store all pending files of the changes, side by side."""
        stores = pending(changes)
        if not stores:
            return
        claims = [(store, content.claimed) for store in stores if (content := content_in(store.file)) and content.claimed]
        with _alone([store.file for store in stores]):
            if claims:
                self._mark_claims(claims)
            self._run([self._upload_job(store) for store in stores], [(s.change, s.file) for s in stores])
        for store, claimed in claims:
            self.claims[ref_of(store.file)] = claimed, slot_of(store.change)
            self.frame.uploads[Ref(claimed.backend, claimed.path)] = claimed.version

    def _mark_claims(self, claims: Sequence[tuple[Store, Claimed]]) -> None:
        """Have each claim used but once, before its bytes are read; with an outbox a row sees to that, later.

        Raises:
            ClaimError: One was used before, or is for another column.
        """
        marked = []
        for store, claimed in claims:
            field = slot_of(store.change).field
            own = f"{getattr(field.column.table, 'fullname', field.table)}.{field.column.name}"
            if claimed.column not in {"", own}:
                raise wrong_column(claimed.column, own)
            if self.outbox_of(field) is None:
                marked.append(claimed)
        if marked:
            batch = run_all([UseClaim(one, storages.get_backend(one.backend)) for one in marked], storages.max_concurrency)
            self.frame.stored.update({Ref(job.claimed.backend, job.claimed.marker): None for job in batch.done})
            if batch.error is not None:
                raise batch.error

    def settle_owners(self, changes: Sequence[Change], made: Iterable[Ref] = ()) -> None:
        """Decide who owns what and carry it out; the pending files must be stored, and the old owners known, by now.

        Args:
            changes: The slots.
            made: Objects that were made for these very slots before, when the rows were others.
        """
        if self._are_new(changes):
            return
        for change, file in [(c, f) for c in changes for f in c.new if not f.backend_key]:
            # a reference by to_filename= alone is to the column's backend
            complete(file, facts_of(file)._replace(backend=storages.resolve(change.backend).key), file.state)
        owners = {ref: slot_of(change) for change in changes if change.owned for ref in change.old}
        fresh = {*self.frame.stored, *made}
        decided = plan(changes, fresh, self.is_dropped, self._may_move, self._taken(changes, fresh))
        self._adopt(decided, fresh)  # first, for a copy takes over the facts that this finds out
        self._copy(decided)
        for move in decided.move:
            ref = ref_of(move.file)
            self._note(move.change, move.file, facts_of(move.file), made=True)
            self.moved[ref] = slot_of(move.change)
            if ref in owners:
                self.givers[ref] = owners[ref]
            if self.is_dropped(ref):
                self.frame.restore(ref)
        for ref in decided.drop:
            self.let_go(ref, owners[ref])

    def _taken(self, changes: Sequence[Change], fresh: Container[Ref]) -> set[Ref]:
        """Return the objects of staged files that a row has by now: other FileObjects may have named them, here or elsewhere."""
        staged = [(change, ref_of(file)) for change in changes if change.owned for file in change.new if may_have_a_row(file)]
        asked = [(slot_of(change), ref) for change, ref in staged if ref not in fresh and ref not in change.old]
        return self.taken_by_rows(asked) if asked else set()

    def _may_move(self, one: Change, other: Change) -> bool:
        source, target = slot_of(one), slot_of(other)
        # an object keeps what it is stored with, so a column that wants something else gets a copy
        return source.field.type.stored_with == target.field.type.stored_with and self.may_move(source, target)

    def _are_new(self, changes: Sequence[Change]) -> bool:
        """Return True if these are new files for new rows, one for each, as most are: then there is nothing to decide."""
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

    def let_go(self, ref: Ref, slot: Slot) -> None:
        """Note that a slot's object has no owner any more."""
        self.left[ref] = slot
        self.frame.drop(ref, self.outbox_of(slot.field))

    def tell_outbox(self, connection_of: Callable[[Slot], Connection]) -> None:
        """Write the tombstones that no trigger writes, and take back those of objects that another row has now.

        A trigger cannot know the latter: when an object moves, its new row may be written before the old one lets go.

        Args:
            connection_of: The connection that has written a slot.
        """
        self._use_claims(connection_of)
        if not any(
            map(self.outbox_of, {slot.field for slots in (self.left, self.moved, self.adopted) for slot in slots.values()})
        ):
            return
        buried: dict[tuple[OutboxProtocol, Connection], list[Buried]] = {}
        kept: dict[tuple[OutboxProtocol, Connection], list[Ref]] = {}
        for ref, slot in self.left.items():
            table, outbox = slot.field.column.table, self.outbox_of(slot.field)
            if outbox is not None and isinstance(table, Table) and ref in self.frame.dropped:
                connection = connection_of(slot)
                if not outbox.has_triggers(connection.dialect, table):
                    one = Buried(ref, table.fullname, slot.field.column.name, _row_key(slot))
                    buried.setdefault((outbox, connection), []).append(one)
        for ref, slot in (self.moved | self.adopted).items():
            table, outbox = slot.field.column.table, self.outbox_of(slot.field)
            if outbox is not None and isinstance(table, Table) and ref not in self.frame.dropped:
                connection = connection_of(slot)
                if ref in self.moved or not outbox.has_triggers(connection.dialect, table):
                    kept.setdefault((outbox, connection), []).append(ref)
        for (outbox, connection), those in buried.items():
            outbox.bury(connection, those)
        for (outbox, connection), refs in kept.items():
            outbox.take_back(connection, refs)

    def _use_claims(self, connection_of: Callable[[Slot], Connection]) -> None:
        used: dict[tuple[OutboxProtocol, Connection], list[Claimed]] = {}
        for claimed, slot in self.claims.values():
            outbox = self.outbox_of(slot.field)
            if outbox is not None:
                used.setdefault((outbox, connection_of(slot)), []).append(claimed)
        for (outbox, connection), claims in used.items():
            outbox.use_claims(connection, claims)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _copy(self, decided: Plan) -> None:
        if not decided.copy:
            return
        jobs = []
        for copy in decided.copy:
            source = facts_of(copy.file)
            target, path, generated = _destination(copy.change, copy.file, "")
            options = _stored_with(copy.change, target)
            jobs.append(Copy(source, storages.resolve(source.backend), target, path, generated=generated, stored_with=options))
        copies = [attached(facts_of(copy.file)) for copy in decided.copy]
        try:
            self._run(jobs, [(copy.change, file) for copy, file in zip(decided.copy, copies, strict=True)])
        except ObjectNotFoundError as error:
            error.message = f"{_GONE}. {error.message}"
            raise
        for copy, file in zip(decided.copy, copies, strict=True):
            self.frame.undo.append(self.assign(copy.change, copy.position, file))

    def _adopt(self, decided: Plan, fresh: Container[Ref]) -> None:
        staged = [adopt for adopt in decided.adopt if ref_of(adopt.file) not in self.frame.stored]
        again = {id(adopt): adopt for adopt in staged if _must_be_stored_again(adopt)}
        if again:
            self._store_again(list(again.values()))
            staged = [adopt for adopt in staged if id(adopt) not in again]
        self.adopted.update((ref_of(adopt.file), slot_of(adopt.change)) for adopt in staged)
        if not staged:
            return
        # each is looked at, for it may have been deleted since it was stored
        jobs = [Inspect(facts_of(a.file), storages.resolve(facts_of(a.file).backend), _rules(a.change)) for a in staged]
        try:
            with _alone([adopt.file for adopt in staged if ref_of(adopt.file) not in fresh]):  # those are this flush's own
                self._run(jobs, [(a.change, a.file) for a in staged], made=False)
        except ObjectNotFoundError as error:
            error.message = f"{_NEVER_STORED}. {error.message}"
            raise

    def _store_again(self, saved: Sequence[Adopt]) -> None:
        """Give columns copies, with their own options, of files that ``save()`` has stored without; these go after the commit."""
        jobs, before = [], [facts_of(adopt.file) for adopt in saved]
        for adopt, facts in zip(saved, before, strict=True):
            target, path, generated = _destination(adopt.change, adopt.file, "")
            options = _stored_with(adopt.change, target)
            jobs.append(Copy(facts, storages.resolve(facts.backend), target, path, generated=generated, stored_with=options))
        left: dict[Ref, str | None] = {}
        for adopt, facts in zip(saved, before, strict=True):
            if not may_have_a_row(adopt.file):
                left[Ref(facts.backend, facts.path)] = facts.version_id
        try:
            with _alone([adopt.file for adopt in saved]):
                self._run(jobs, [(adopt.change, adopt.file) for adopt in saved])
        except ObjectNotFoundError as error:
            error.message = f"{_NEVER_STORED}. {error.message}"
            raise
        self.frame.uploads.update(left)

    def _run(self, jobs: Sequence[Transfer], targets: Sequence[tuple[Change, FileObject]], *, made: bool = True) -> None:
        """Run transfers together; note the ones that succeeded before the first failure is raised."""
        batch = run_all(jobs, storages.max_concurrency)
        done = {id(job) for job in batch.done}
        for job, (change, file) in zip(jobs, targets, strict=True):
            if id(job) in done and job.facts is not None:
                ref = self._note(change, file, job.facts, made=made)
                if made:
                    self.frame.stored[ref] = None
        if batch.error is not None:
            raise batch.error

    def _note(self, change: Change, file: FileObject, facts: Facts, *, made: bool) -> Ref:
        before = snapshot(file)
        complete(file, facts, FileState.ATTACHED)
        show_as(file, slot_of(change).field.type.shown)
        self.frame.touched.append((file, before))
        ref = Ref(facts.backend, facts.path)
        self.applied.append(Applied(slot_of(change), ref, file, before, made))
        return ref

    def _upload_job(self, store: Store) -> Upload:
        facts, content = facts_of(store.file), content_in(store.file)
        if content is None:
            deleted = store.file.state is FileState.DELETED
            missing = "has no content; give it content=, or to_filename= of an existing object"
            what = "was deleted; save(data) it again, or give another" if deleted else missing
            raise FileStateError(f"{slot_of(store.change).field.key}: {store.file!r} {what}")
        backend, path, generated = _destination(store.change, store.file, facts.path)
        options = _stored_with(store.change, backend)
        return Upload(content, facts, backend, path, _rules(store.change), generated=generated, stored_with=options)

    def keep_only(self, held: set[Ref]) -> None:
        """Take back what no slot holds after all; its files are what they were before."""
        for applied in self.applied:
            if applied.ref not in held:
                self.take_away(applied)

    def forget(self, owners: Iterable[Any]) -> None:
        """Take back what was given to slots that turned out not to be rows; their files are what they were before."""
        gone = set(owners)
        for applied in self.applied:
            if applied.slot.owner in gone:
                self.take_away(applied)

    def take_away(self, applied: Applied) -> None:
        if applied.made and applied.ref in self.moved:
            self.let_go(applied.ref, applied.slot)
        elif applied.made:  # it was made for this slot, and no row has ever named it
            self.frame.drop(applied.ref)
            self._unclaim(applied.ref)
        restore(applied.file, applied.before)

    def _unclaim(self, ref: Ref) -> None:
        """Let a claim be used again, of whose upload no row has a file after all."""
        claimed, _ = self.claims.pop(ref, (None, None))
        if claimed is not None:
            self.frame.uploads.pop(Ref(claimed.backend, claimed.path), None)
            marker = Ref(claimed.backend, claimed.marker)
            if marker in self.frame.stored:
                self.frame.drop(marker)


_GONE = (
    "this file has no bytes any more: they were deleted with its row, or when its row got another file or none, and that is "
    "committed. Give the content again: FileObject(content=...)"
)

_NEVER_STORED = "this file's object was deleted, or never stored; save(data) it, or give another"

_under_way: dict[int, object] = {}
"""The files that are being stored or adopted, by their ``id()``, and by whom."""


@contextmanager
def _alone(files: Sequence[FileObject]) -> Generator[None]:
    """Refuse files that another session is giving to a row at this very moment: both rows would have the same object."""
    me = object()
    try:
        for file in files:
            if _under_way.setdefault(id(file), me) is not me or file.state is FileState.ATTACHED:
                msg = f"another session is storing {file!r} at the same time; give each row a FileObject of its own"
                raise FileStateError(msg)
        yield
    finally:
        for file in files:
            if _under_way.get(id(file)) is me:
                del _under_way[id(file)]


def _outbox_of(field: Field) -> OutboxProtocol | None:
    return field.outbox


def _row_key(slot: Slot) -> dict[str, Any] | None:
    """Return the primary key of a slot's row, by column names; ``None`` where only the database knows it."""
    owner = slot.owner.key[1] if isinstance(slot.owner, InstanceState) and slot.owner.key is not None else slot.owner
    table = slot.field.column.table
    if not isinstance(owner, tuple) or not isinstance(table, Table):
        return None
    return {column.name: value for column, value in zip(table.primary_key.columns, owner, strict=False)}


def _rules(change: Change) -> Rules:
    slot = slot_of(change)
    return slot.field.type.rules(slot.field.key)


def _must_be_stored_again(adopt: Adopt) -> bool:
    """Return True if a file was saved before its column was known, which wants its objects to be stored with something."""
    options, path = slot_of(adopt.change).field.type.stored_with, facts_of(adopt.file).path
    return options is not None and adopt.change.owned and is_generated(path) and path.startswith(f"{STAGING}/")


def _stored_with(change: Change, backend: StorageBackend) -> StoredWith | None:
    """Return what a column's objects are stored with besides.

    Raises:
        UnsupportedOperationError: The backend, which nobody could tell before, does not keep it.
    """
    field = slot_of(change).field
    options = field.type.stored_with
    if options is not None:
        check_kept(backend, options, field.key)
    return options


def _destination(change: Change, file: FileObject, wanted: str) -> tuple[StorageBackend, str, bool]:
    """Return the backend and path for a file, and whether the path is generated, hence certain to be free."""
    owner, column = slot_of(change)
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
    path = check_path(column.type.path(request), backend.key, "put")
    return backend, path, request.token in path


def check_backend(file: FileObject, key: str, column: Field) -> None:
    """Refuse a file that names another backend than its column's.

    Raises:
        BackendMismatchError: It does.
    """
    if key and file.backend_key and file.backend_key != key and file.state is not FileState.ATTACHED:
        msg = (
            f"{column.key}: the file names backend {file.backend_key!r}, but this column stores to {key!r}; leave backend= out, "
            "or name the column's"
        )
        raise BackendMismatchError(msg)
