"""Decide what a flush must do to stored objects. Pure: no session, no I/O.

A *slot* is one file column of one row. Each change of a slot lists the objects that the row owns in
the database, and the files that it will own. :func:`plan` turns all changes of one flush into
moves, copies and drops at once. Only together do they distinguish a file that moves to another row
from one that two rows would share.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from filerow._file.object import FileObject, FileState, place_of

SlotT = TypeVar("SlotT", bound=Hashable)
"""What identifies a slot; only the modules that know sessions look into it."""


class Ref(NamedTuple):
    """The location of one object."""

    backend: str
    path: str


def ref_of(file: FileObject) -> Ref:
    """Return the location of a stored file."""
    return Ref(*place_of(file))


@dataclass(slots=True)
class Change(Generic[SlotT]):
    """One slot that a flush changes.

    Attributes:
        slot: Identifies the row and its column within the session.
        new: The files that the row will own; several in a list column.
        old: The objects that the row owns in the database.
        unsure: Objects that the row seems to own, by a read that could not lock it. They may stay
            in the slot, but are never moved or dropped.
        backend: The key of the backend that the column stores to.
        owned: Filerow manages the column's lifecycle. Without it, nothing is copied or dropped.
        base: What the row held when a list was read that has been edited in place since; ``None``
            for a value that replaces the row's.
    """

    slot: SlotT
    new: Sequence[FileObject]
    old: Sequence[Ref] = ()
    unsure: Sequence[Ref] = ()
    backend: str = ""
    owned: bool = True
    base: Sequence[FileObject] | None = None


class Store(NamedTuple, Generic[SlotT]):
    """Upload a pending file; the slot becomes its owner."""

    change: Change[SlotT]
    file: FileObject


class Adopt(NamedTuple, Generic[SlotT]):
    """Give a staged file its owner."""

    change: Change[SlotT]
    file: FileObject


class Move(NamedTuple, Generic[SlotT]):
    """Give an object to a new owner; the old one releases it."""

    change: Change[SlotT]
    file: FileObject


class CopyTo(NamedTuple, Generic[SlotT]):
    """Give the slot a copy of an object that has another owner."""

    change: Change[SlotT]
    position: int
    file: FileObject


@dataclass(slots=True)
class Plan(Generic[SlotT]):
    """What to do, by kind; ``drop`` lists objects that lose their owner."""

    adopt: list[Adopt[SlotT]] = field(default_factory=list)
    move: list[Move[SlotT]] = field(default_factory=list)
    copy: list[CopyTo[SlotT]] = field(default_factory=list)
    drop: list[Ref] = field(default_factory=list)


def pending(changes: Sequence[Change[SlotT]]) -> list[Store[SlotT]]:
    """Return each pending file once, with the first slot that needs it.

    That slot will own the file.
    """
    seen: dict[int, Store[SlotT]] = {}
    for change in changes:
        for file in change.new:
            state = file.state
            if state is FileState.PENDING or state is FileState.DELETED:
                seen.setdefault(id(file), Store(change, file))
    return list(seen.values())


def plan(
    changes: Sequence[Change[SlotT]],
    fresh: set[Ref],
    is_dropped: Callable[[Ref], bool],
    may_move: Callable[[Change[SlotT], Change[SlotT]], bool] | None = None,
    taken: Container[Ref] = (),
) -> Plan[SlotT]:
    """Decide who owns which object after a flush.

    Args:
        changes: All slots that the flush changes. Their pending files are stored already.
        fresh: The objects that this flush has stored. The first slot that needs one owns it.
        is_dropped: Returns True if an object lost its owner earlier in this transaction, so that it
            may be restored.
        may_move: Returns True if an object may move from one slot to another; otherwise it is
            copied.
        taken: Objects that a row names by now, although a file is still marked as staged.

    Returns:
        The plan. An object that stays in its slot does not appear in it.
    """
    result: Plan[SlotT] = Plan()
    adopting = [change for change in changes if change.owned and change.new]
    held = _kept(adopting)
    released = {ref: change for change in changes if change.owned for ref in change.old}

    def is_free(ref: Ref, change: Change[SlotT]) -> bool:
        if ref in released:
            return may_move is None or may_move(released[ref], change)
        return is_dropped(ref)

    for change in adopting:
        _adopt(change, held, fresh, is_free, taken, result)
    result.drop = [ref for ref in released if ref not in held]
    return result


def _kept(adopting: Sequence[Change[SlotT]]) -> dict[Ref, SlotT]:
    """Return the objects that stay in their slots and cannot go elsewhere."""
    held: dict[Ref, SlotT] = {}
    for change in adopting:
        old = {*change.old, *change.unsure}
        for file in change.new:
            ref = ref_of(file)
            if ref in old:
                held.setdefault(ref, change.slot)
    return held


def _adopt(
    change: Change[SlotT],
    held: dict[Ref, SlotT],
    fresh: set[Ref],
    is_free: Callable[[Ref, Change[SlotT]], bool],
    taken: Container[Ref],
    result: Plan[SlotT],
) -> None:
    old = {*change.old, *change.unsure}
    mine: set[Ref] = set()
    for index, file in enumerate(change.new):
        ref = ref_of(file)
        if ref in mine or (ref in held and held[ref] != change.slot):
            result.copy.append(CopyTo(change, index, file))
            continue
        mine.add(ref)
        if ref in old:
            continue
        if ref not in fresh and change.backend and ref.backend != change.backend:
            result.copy.append(CopyTo(change, index, file))
        elif is_free(ref, change):
            held[ref] = change.slot
            result.move.append(Move(change, file))
        elif ref in fresh or (file.state is FileState.STAGED and ref not in taken):
            held[ref] = change.slot
            result.adopt.append(Adopt(change, file))
        else:
            result.copy.append(CopyTo(change, index, file))
