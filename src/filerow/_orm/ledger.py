"""What a transaction has stored and dropped so far: one frame per (nested) transaction. Pure: no session, no I/O.

A savepoint's frame is merged into its parent's when it is released and undone when it is rolled back. Only the outermost commit
settles: then, and not before, the dropped objects may be deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from filerow._file.object import FileObject, Snapshot, restore
from filerow._orm.ownership import Ref

__all__ = ("Frame", "Keeper", "Ledger")


class Keeper(Protocol):
    """Who sees to the deletion of dropped objects in the settling transaction's place: an outbox."""

    def wake(self) -> None:
        """Say that objects have lost their owners for good: their transaction is committed."""


@dataclass(slots=True)
class Frame:
    """One transaction's share.

    Attributes:
        stored: Objects this scope has made; deleted when it is undone.
        dropped: Objects that lost their owner in this scope, each with who sees to its deletion; without anybody, it is deleted
            when the outermost transaction commits.
        restored: Objects an outer scope had dropped and this one has given an owner again; those in ``dropped``, too, lost it
            once more.
        touched: Files this scope has changed, with what they were before, oldest first.
        undo: What else there is to undo, oldest first: copies that took the place of the file an attribute held.
        uploads: What clients have uploaded, or ``save()`` has stored, and rows have copies of now, with their versions: deleted
            when the outermost transaction commits, and left to be tried again when this scope is undone.
    """

    stored: dict[Ref, None] = field(default_factory=dict)
    dropped: dict[Ref, Keeper | None] = field(default_factory=dict)
    restored: dict[Ref, None] = field(default_factory=dict)
    touched: list[tuple[FileObject, Snapshot]] = field(default_factory=list)
    undo: list[Callable[[], None]] = field(default_factory=list)
    uploads: dict[Ref, str | None] = field(default_factory=dict)

    def drop(self, ref: Ref, keeper: Keeper | None = None) -> None:
        """Note that an object has no owner any more, and who sees to its deletion."""
        # it may stay in restored: should this scope restore it once more, the outer drop is void again
        self.dropped[ref] = keeper

    def restore(self, ref: Ref) -> None:
        """Note that a dropped object has an owner again."""
        if ref in self.dropped:
            del self.dropped[ref]
        else:
            self.restored[ref] = None

    def absorb(self, inner: Frame) -> None:
        """Take over what a released savepoint has done."""
        self.stored.update(inner.stored)
        for ref in inner.restored:
            self.restore(ref)
        self.dropped.update(inner.dropped)
        self.touched.extend(inner.touched)
        self.undo.extend(inner.undo)
        self.uploads.update(inner.uploads)

    @property
    def doomed(self) -> list[Ref]:
        """The dropped objects to delete when the outermost transaction has committed."""
        return [ref for ref, keeper in self.dropped.items() if keeper is None]

    @property
    def keepers(self) -> list[Keeper]:
        """Those who see to the deletion of the others."""
        return list({id(keeper): keeper for keeper in self.dropped.values() if keeper is not None}.values())

    def revert(self) -> list[Ref]:
        """Make the files what they were, and return the objects to delete."""
        for file, before in reversed(self.touched):
            restore(file, before)
        for put_back in reversed(self.undo):
            put_back()
        return list(self.stored)


class Ledger:
    """The frames of one session's transaction, outermost first. Transactions are any hashable keys."""

    def __init__(self) -> None:
        self._frames: dict[Hashable, Frame] = {}

    def __bool__(self) -> bool:
        return bool(self._frames)

    @property
    def chain(self) -> list[Hashable]:
        """The transactions that have a frame, outermost first."""
        return list(self._frames)

    def frame(self, chain: Sequence[Hashable]) -> Frame:
        """Return the frame of the innermost transaction of a chain that starts with the outermost."""
        for transaction in chain:  # in order, so that the frames stay sorted from the outermost
            self._frames.setdefault(transaction, Frame())
        return self._frames[chain[-1]]

    def is_dropped(self, ref: Ref) -> bool:
        """Return True if the object has lost its owner in this transaction and not got one since."""
        dropped = False
        for frame in self._frames.values():
            dropped = ref in frame.dropped or (dropped and ref not in frame.restored)
        return dropped

    def release(self, transaction: Hashable, parent: Hashable) -> None:
        """Merge a released savepoint into its parent."""
        inner = self._frames.pop(transaction, None)
        if inner is not None:
            self._frames.setdefault(parent, Frame()).absorb(inner)

    def take(self, transaction: Hashable) -> Frame | None:
        """Remove and return a transaction's frame, to be settled or undone."""
        return self._frames.pop(transaction, None)

    def take_all(self) -> Frame | None:
        """Remove all frames and return them as one: the inner ones are merged into the outermost."""
        frames = list(self._frames.values())
        self._frames.clear()
        while len(frames) > 1:
            inner = frames.pop()
            frames[-1].absorb(inner)
        return frames[0] if frames else None
