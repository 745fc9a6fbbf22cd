"""Merge two edits of one list. Pure.

One edit was committed by another session; this session is about to write the other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from filerow._file.object import FileObject, facts_of
from filerow._orm.ownership import Ref, ref_of


def merged(base: Sequence[FileObject], theirs: Sequence[FileObject], mine: Sequence[FileObject]) -> list[FileObject]:
    """Merge two edits of a list: ``theirs - (base - mine) + (mine - base)``.

    A file that either side has removed is gone. A file that I have added follows its left
    neighbour, or the nearest one that is still there, and everything that they have added after
    that neighbour. The rest keeps their order, unless they have not changed the list at all. A file
    whose filename or metadata one side has changed keeps that change, wherever I have put it. If
    both sides have changed it, mine is kept.

    Args:
        base: The list that both sides have edited.
        theirs: The list that the row holds now.
        mine: The list that the row will hold; its files are stored.
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
        """Return a file with the change of the side that has changed it.

        My own object is returned unless only the other side has changed its filename or metadata.
        """
        ref = ref_of(mine)
        before, theirs = self.base.get(ref), self.theirs.get(ref)
        if before is None or theirs is None or facts_of(mine) != facts_of(before) or facts_of(mine) == facts_of(theirs):
            return mine
        return theirs


def _woven(
    sides: _Sides, theirs: Sequence[FileObject], held: dict[Ref, FileObject], added: dict[Ref | None, list[FileObject]]
) -> Iterator[FileObject]:
    """Yield the rest of their list, merged with my additions.

    Args:
        sides: Both lists, by the locations of their files.
        theirs: Their list.
        held: My files that are in their list.
        added: My additions by their left neighbour; ``None`` stands for the front.
    """
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
