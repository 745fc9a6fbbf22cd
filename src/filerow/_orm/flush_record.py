"""What one flush has decided and written, and how both compare in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.orm import InstanceState, Session
from sqlalchemy.orm.unitofwork import UOWTransaction

from filerow._file.list import FileObjectList, base_of
from filerow._file.object import FileObject, place_of
from filerow._orm.catalogue import Catalogue
from filerow._orm.fields import Field, Slot, SlotChange, fields_of, files_in, holds_files
from filerow._orm.flush import Work
from filerow._orm.history import identities
from filerow._orm.ledger import Report
from filerow._orm.ownership import Ref, ref_of
from filerow._orm.rows import Owned, connection_of, owned_by
from filerow._orm.sqlalchemy_private import is_of_flush, is_sent_as_is

RowKey = tuple[Any, ...]
Seen = tuple[Any, tuple[int, ...]]


@dataclass(slots=True)
class Flush:
    """A flush that is under way.

    Attributes:
        context: SQLAlchemy's view of it.
        works: What it has done with files so far.
        seen: The ``id()`` of each file that an attribute held when it was handled, and the key of
            its row.
        deleted: Objects whose files are dropped already.
        old: What each handled slot owned in the database before.
        new: What each handled slot was given, until its row turns out to be written without it.
        written: The rows with file columns that SQLAlchemy has written.
        inserted: The new ones of those. They get a key before the flush ends where SQLAlchemy reads
            them again.
        keys: The keys that the rows had when they were handled.
        unsure: What rows that could not be locked seem to own, and will not own once they are
            written.
        missing: Objects whose rows were not there to be read.
        links: The rows of link tables that were deleted, each with its connection and table.
        incomplete: Tables in which, as far as the driver reports, fewer rows were deleted than
            requested.
        deleted_rows: The number of rows deleted from each table, as far as the driver reports it.
        touched: Tables in which rows were written, other than by deleting them; ``None`` stands for
            unknown tables.
        catalogue: What is known of the triggers and views of its tables.
        releases: It has released an object so far.
        copied: Something else has written documents meanwhile: a listener by a statement, or
            another session.
    """

    context: UOWTransaction
    works: list[Work] = field(default_factory=list)
    seen: dict[tuple[InstanceState[Any], str], Seen] = field(default_factory=dict)
    deleted: set[InstanceState[Any]] = field(default_factory=set)
    old: dict[Slot, Sequence[Ref]] = field(default_factory=dict)
    new: dict[Slot, Sequence[FileObject]] = field(default_factory=dict)
    written: list[InstanceState[Any]] = field(default_factory=list)
    inserted: set[InstanceState[Any]] = field(default_factory=set)
    keys: dict[InstanceState[Any], RowKey] = field(default_factory=dict)
    unsure: dict[Slot, Sequence[Ref]] = field(default_factory=dict)
    missing: set[InstanceState[Any]] = field(default_factory=set)
    links: list[tuple[Connection, Table, Sequence[Mapping[str, Any]]]] = field(default_factory=list)
    incomplete: set[Table] = field(default_factory=set)
    deleted_rows: dict[Table, int] = field(default_factory=dict)
    touched: set[Table | None] = field(default_factory=set)
    catalogue: Catalogue = field(default_factory=Catalogue)
    releases: bool = False
    copied: bool = False

    def note(self, work: Work, changes: Iterable[SlotChange], owned: Owned | None = None) -> None:
        """Record what was handled, and which rows were not there."""
        self.works.append(work)
        self.releases = self.releases or bool(work.released)
        old, new, keys, deleted = self.old, self.new, self.keys, self.deleted  # a flush may have many rows
        for change in changes:
            slot = owner, column = change.slot
            old.setdefault(slot, change.old)
            new[slot] = change.new
            if change.unsure:
                self.unsure[slot] = [ref for ref in change.unsure if ref not in owned_by(change.new)]
            if not isinstance(owner, InstanceState):
                continue
            if owner not in deleted and (change.new or not owner.deleted):
                self.seen[owner, column.key] = owner.key, identities(owner, column)
            key = owner.key
            if key is not None:
                keys.setdefault(owner, key)
                asked = change.owned or change.base is not None
                if owned is not None and asked and not owned.has((owner, column.key)):
                    self.missing.add(owner)

    def update_outbox(self, session: Session) -> None:
        """Write and remove tombstones to match what this flush has written."""
        for work in self.works:
            if work.claims or work.released or work.moved or work.adopted:
                work.update_outbox(slot_connections(session))

    def note_statement(self, context: Any, statement: str, table: Table | None, rows: int) -> None:
        """Note a statement that has written rows during the flush.

        Args:
            context: SQLAlchemy's execution context.
            statement: The text that was sent. An application may have turned a DELETE into an
                UPDATE.
            table: The table that it writes; ``None`` where only the database knows.
            rows: How many rows it has written, as the driver reports; negative where it does not
                report it.
        """
        if rows and not context.isdelete and not is_of_flush(context) and (table is None or holds_files(table)):
            self.copied = True
        if not context.isdelete or table is None or not is_sent_as_is(context, statement):
            self.touched.add(table)
        elif rows >= (asked := len(context.compiled_parameters)):
            self.deleted_rows[table] = self.deleted_rows.get(table, 0) + asked
        else:
            self.incomplete.add(table)

    def has_deleted_all(self, table: Table) -> bool:
        """Return True if the flush has deleted every row of a table it had to.

        No row may have been written to the table since. SQLAlchemy may turn a DELETE and an INSERT
        into one UPDATE, a listener may restore a row, or the row was not there.
        """
        if table in self.incomplete or not self.touched.isdisjoint((table, None)):
            return False
        classes = Counter(state.mapper for state, (is_delete, _) in self.context.states.items() if is_delete)
        return self.deleted_rows.get(table, 0) == sum(count for mapper, count in classes.items() if table in mapper.tables)

    def deletes(self, state: InstanceState[Any]) -> bool:
        """Return True if the flush deletes an object, as known so far."""
        is_delete, _ = self.context.states.get(state, (False, False))
        return bool(is_delete)

    def has_seen(self, change: SlotChange) -> bool:
        """Return True if a column has not changed since it was handled."""
        owner, column = change.slot
        if not isinstance(owner, InstanceState):
            return False
        held = identities(owner, column)
        if not held and (owner.key is None or owner in self.inserted):
            return True
        key, files = self.seen.get((owner, column.key), (None, ()))
        return files == held and self._is_still(owner, key)

    def has_seen_all(self, state: InstanceState[Any]) -> bool:
        """Return True if a new object has not changed since it was handled.

        This costs less than its attribute history.
        """
        for one in fields_of(state.mapper):
            held = identities(state, one)
            if held and self.seen.get((state, one.key)) != (state.key, held):
                return False
        return True

    def _is_still(self, state: InstanceState[Any], key: RowKey | None) -> bool:
        """Return True if an object still belongs to the row with a key.

        ``None`` is the key of a new row.
        """
        return state.key == key or (key is None and state in self.inserted)

    def note_write(self, state: InstanceState[Any]) -> None:
        """Note that a row is about to be written.

        The attributes that are expired are not written.
        """
        self.written.append(state)
        for one in fields_of(state.mapper):
            if one.key not in state.dict:
                self.new.pop(Slot(state, one), None)

    def made_for(self, states: Container[object]) -> set[Ref]:
        """Return the objects that this flush has made for some rows."""
        return {one.ref for work in self.works for one in work.applied if one.made and one.slot.owner in states}

    def settle(self) -> None:
        """Compare the decisions with what the flush has written in the end.

        Objects may not have become rows (pending orphans), or may have been deleted after all. A
        listener that ran after ours may have replaced a file that was stored already, or cancelled
        a change or a deletion.
        """
        held = {ref for slot, old in self.old.items() for ref in self._holds(slot, old)}
        kept = {ref for old in self.old.values() for ref in old if ref in held} if held else ()
        for work in self.works:
            work.keep_only(held)
            for one in kept:
                if one in work.frame.dropped:
                    work.frame.restore(one)

    def report(self) -> None:
        """Note what has changed, for those who listen to events.

        Only objects count as lost that the database does not name any more.
        """
        lost = {ref for work in self.works for ref in (*work.frame.dropped, *work.moved)}
        found = []
        for slot, old in self.old.items():
            held = self._holds(slot, old)
            files = {ref: file for file in _files_of(slot, self.new.get(slot, ())) if (ref := ref_of(file)) in held}
            gone = [ref for ref in old if ref in held or ref in lost or not slot.field.type.lifecycle]
            if gone or files:
                found.append(Report(slot, gone, list(files.values()), _loaded_before(slot)))
        for work in self.works:
            freed = [(slot, ref) for ref, slot in work.released.items() if slot not in self.old and ref in lost]
            found += [Report(slot, [ref], ()) for slot, ref in freed]  # of rows that have no object
        if found:
            self.works[-1].frame.reports += found

    def _holds(self, slot: Slot, old: Sequence[Ref]) -> Sequence[Ref]:
        """Return what a slot owns after the flush.

        SQLAlchemy's list shows which rows it has written. The objects' states do not, once nothing
        refers to the object.
        """
        owner, column = slot
        if not isinstance(owner, InstanceState):
            return old
        is_delete, _ = self.context.states.get(owner, (owner.key is None, False))
        if is_delete:
            return ()
        if not self._is_still(owner, self.seen.get((owner, column.key), (owner.key,))[0]):
            return old  # a listener has given the object another row's key
        if owner not in self.context.states:
            return old
        if column.key in owner.dict:
            return owned_by(owner.dict[column.key])
        return owned_by(self.new[slot]) if slot in self.new and owner in self.written else old  # expired since


def _files_of(slot: Slot, given: Sequence[FileObject]) -> Sequence[FileObject]:
    """Return the files that a slot may hold now."""
    owner, column = slot
    return files_in(owner.dict.get(column.key, given)) if isinstance(owner, InstanceState) else given


def _loaded_before(slot: Slot) -> list[FileObject]:
    """Return the files that a slot held before the flush, as far as they are loaded."""
    owner, column = slot
    if not isinstance(owner, InstanceState) or column.key not in owner.attrs:
        return []
    value = owner.dict.get(column.key)
    former = [value, *(owner.attrs[column.key].history.deleted or ())]
    former += [base_of(one) for one in former if isinstance(one, FileObjectList)]
    return [file for one in former for file in files_in(one) if place_of(file)[1]]


def connection_of_slot(session: Session, slot: Slot) -> Connection:
    """Return the connection that a flush writes a slot's row with."""
    if isinstance(slot.owner, InstanceState):
        return connection_of(session, slot.owner)
    return session.connection(bind_arguments={"clause": slot.field.column.table})  # a row of a link table has no object


def slot_connections(session: Session) -> Callable[[Slot], Connection]:
    """Return a function that finds the connections of slots.

    It asks the session once for each class; see :func:`connection_of_slot`.
    """
    if session.connection_callable is not None:
        return partial(connection_of_slot, session)
    known: dict[Field, Connection] = {}

    def find(slot: Slot) -> Connection:
        found = known.get(slot.field)  # a field belongs to one class, or to one link table
        if found is None:
            found = known[slot.field] = connection_of_slot(session, slot)
        return found

    return find
