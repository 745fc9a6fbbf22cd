"""Merge two edits of one list: what another session has committed, and what this one is about to write. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from filerow._file.object import FileObject, facts_of
from filerow._orm.ownership import Ref, ref_of

__all__ = ("merged",)


def merged(base: Sequence[FileObject], theirs: Sequence[FileObject], mine: Sequence[FileObject]) -> list[FileObject]:
    """Return a list with the edits of both sides: ``theirs - (base - mine) + (mine - base)``.

    What either side has removed is gone. What I have added follows its left neighbour, or the nearest one that is still there,
    and whatever they have added behind that. Apart from that the order is theirs, unless they have not changed the list at all.
    A file whose filename or metadata one side has changed has the change, wherever I have put it; if both have, mine.

    Args:
        base: The list that both sides have edited.
        theirs: The list that the row holds now.
        mine: The list that the row shall hold; its files are stored.
    """
    sides = _Sides({ref_of(file): file for file in base}, {ref_of(file): file for file in theirs})
    if [ref_of(file) for file in base] == [ref_of(file) for file in theirs]:
        return [sides.newest(file) for file in mine]
    held: dict[Ref, FileObject] = {}
    added: dict[Ref | None, list[FileObject]] = {}
    left = None
    for file in mine:
        ref = ref_of(file)
        if ref in sides.theirs and ref not in held:
            left = ref
        elif ref in sides.theirs or ref not in sides.base:
            added.setdefault(left, []).append(sides.newest(file))
        held.setdefault(ref, file)
    return list(_woven(sides, theirs, held, added))


class _Sides(NamedTuple):
    base: dict[Ref, FileObject]
    theirs: dict[Ref, FileObject]

    def newest(self, mine: FileObject) -> FileObject:
        """Return a file as the one who has changed its filename or metadata has left it; my own object if nobody else has."""
        ref = ref_of(mine)
        before, theirs = self.base.get(ref), self.theirs.get(ref)
        if before is None or theirs is None or facts_of(mine) != facts_of(before) or facts_of(mine) == facts_of(theirs):
            return mine
        return theirs


def _woven(
    sides: _Sides, theirs: Sequence[FileObject], held: dict[Ref, FileObject], added: dict[Ref | None, list[FileObject]]
) -> Iterator[FileObject]:
    """Yield what is left of their list, with what I have added; ``None`` stands for the front."""
    left = None
    for file in theirs:
        ref = ref_of(file)
        if ref in held:
            yield from added.pop(left, ())
            left = ref
            yield sides.newest(held[ref])
        elif ref not in sides.base:
            yield file
    yield from added.pop(left, ())
