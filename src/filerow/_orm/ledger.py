"""Record what a transaction has stored and dropped. Pure: no session, no I/O.

There is one frame per (nested) transaction. A savepoint's frame is merged into its parent's when it
is released, and undone when it is rolled back. Only the outermost commit settles: the dropped
objects may be deleted then, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from filerow._file.object import FileObject, Snapshot, restore
from filerow._orm.ownership import Ref
from filerow._recipes import Variants

Doomed: TypeAlias = dict[Ref, Variants]
"""Objects to delete, each with the variants that its columns declare."""


class Keeper(Protocol):
    """Deletes dropped objects later, instead of the transaction that settles.

    An outbox is one.
    """

    def wake(self) -> None:
        """Report that a transaction which dropped objects is committed."""


class Report(NamedTuple):
    """A file column of a row that has changed, for those who listen to events.

    Attributes:
        slot: The row and its column.
        old: The objects that the row has lost or kept.
        new: The files that it has now.
        known: Files of the old objects, as far as they were loaded.
    """

    slot: Any
    old: Sequence[Ref]
    new: Sequence[FileObject]
    known: Sequence[FileObject] = ()


@dataclass(slots=True)
class Frame:
    """One transaction's share.

    Attributes:
        stored: Objects that this scope has created; they are deleted when it is undone.
        dropped: Objects that lost their owner in this scope, each with the keeper that deletes it
            later. Without a keeper, it is deleted when the outermost transaction commits.
        restored: Objects that an outer scope had dropped and this one has given an owner again.
            Those that are in ``dropped`` too have lost it again.
        touched: Files that this scope has changed, with their previous states, oldest first.
        undo: Other actions that undo this scope, oldest first, such as putting the original back in
            place of a copy.
        uploads: Objects, with their versions, that clients have uploaded or ``save()`` has stored,
            and that rows have copies of now. They are deleted when the outermost transaction
            commits, and kept for another attempt when this scope is undone.
        variants: What the columns of these objects declare, where they declare any. An object that
            moves has those of both columns.
        reports: What the outermost commit reports, oldest first; empty if nobody listens.
    """

    stored: dict[Ref, None] = field(default_factory=dict)
    dropped: dict[Ref, Keeper | None] = field(default_factory=dict)
    restored: dict[Ref, None] = field(default_factory=dict)
    touched: list[tuple[FileObject, Snapshot]] = field(default_factory=list)
    undo: list[Callable[[], None]] = field(default_factory=list)
    uploads: dict[Ref, str | None] = field(default_factory=dict)
    variants: dict[Ref, Variants] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)

    def drop(self, ref: Ref, keeper: Keeper | None = None) -> None:
        """Note that an object has no owner any more, and its keeper."""
        # It may stay in restored: if this scope restores it again, the outer drop is cancelled again.
        self.dropped[ref] = keeper

    def restore(self, ref: Ref) -> None:
        """Note that a dropped object has an owner again."""
        if ref in self.dropped:
            del self.dropped[ref]
        else:
            self.restored[ref] = None

    def declare(self, ref: Ref, variants: Variants) -> None:
        """Note the variants that a column of an object declares."""
        known = self.variants.get(ref)
        self.variants[ref] = variants if known is None else tuple(dict.fromkeys((*known, *variants)))

    def absorb(self, inner: Frame) -> None:
        """Take over the share of a released savepoint."""
        self.stored.update(inner.stored)
        for ref in inner.restored:
            self.restore(ref)
        self.dropped.update(inner.dropped)
        self.touched.extend(inner.touched)
        self.undo.extend(inner.undo)
        self.uploads.update(inner.uploads)
        for ref, variants in inner.variants.items():
            self.declare(ref, variants)
        self.reports.extend(inner.reports)

    @property
    def doomed(self) -> Doomed:
        """The dropped objects to delete after the outermost commit."""
        return self._with_variants(ref for ref, keeper in self.dropped.items() if keeper is None)

    @property
    def keepers(self) -> list[Keeper]:
        """The keepers that delete the other dropped objects."""
        return list({id(keeper): keeper for keeper in self.dropped.values() if keeper is not None}.values())

    def revert(self) -> Doomed:
        """Restore the files' former states; return the objects to delete."""
        for file, before in reversed(self.touched):
            restore(file, before)
        for undo in reversed(self.undo):
            undo()
        return self._with_variants(self.stored)

    def _with_variants(self, refs: Iterable[Ref]) -> Doomed:
        known = self.variants
        return {ref: known.get(ref, ()) for ref in refs} if known else dict.fromkeys(refs, ())


class Ledger:
    """The frames of one session's transaction, outermost first.

    Transactions are any hashable keys.
    """

    def __init__(self) -> None:
        self._frames: dict[Hashable, Frame] = {}

    def __bool__(self) -> bool:
        return bool(self._frames)

    @property
    def chain(self) -> list[Hashable]:
        """The transactions that have a frame, outermost first."""
        return list(self._frames)

    def frame(self, chain: Sequence[Hashable], new: Frame | None = None) -> Frame:
        """Return the frame of the innermost transaction of a chain.

        Args:
            chain: The transactions, outermost first.
            new: Becomes that transaction's frame if it has none yet.
        """
        *outer, innermost = chain
        for transaction in outer:  # in this order, so that the frames stay sorted outermost first
            if transaction not in self._frames:
                self._frames[transaction] = Frame()
        found = self._frames.get(innermost)
        if found is None:
            found = self._frames[innermost] = Frame() if new is None else new
        return found

    def is_dropped(self, ref: Ref) -> bool:
        """Return True if an object has no owner in this transaction now."""
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
        """Remove and return a transaction's frame, to settle or undo it."""
        return self._frames.pop(transaction, None)

    def take_all(self) -> Frame | None:
        """Remove all frames and return them as one.

        The inner ones are merged into the outermost.
        """
        frames = list(self._frames.values())
        self._frames.clear()
        while len(frames) > 1:
            inner = frames.pop()
            frames[-1].absorb(inner)
        return frames[0] if frames else None
