"""The random walk of several sessions that edit the same lists: in any order, from any state that they have read, to any end."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from sqlalchemy import inspect

from tests.cases.world import World
from tests.soak.walks.editor import COLUMNS, ROWS, SLOTS, Editor, Seen, Slot, new_page, seen
from tests.soak.walks.faults import OPERATIONS, failing
from tests.soak.walks.model import Committed, Key, Machine

rows = st.sampled_from(ROWS)
slots = st.sampled_from([SLOTS[0], *SLOTS])
who = st.sampled_from([0, 1, 2])
small = st.integers(0, 7)
faults = st.sampled_from([None, None, None, None, None, None, *OPERATIONS])
delete_faults = st.sampled_from([None, None, None, "delete"])

Edit = Callable[[Any, Any, int], object]
"""Changes a list, given something new and a number; does the same to files and to what they show."""


def _set(pages: Any, new: Any, at: int) -> None:
    if pages:
        pages[at % len(pages)] = new


def _pop(pages: Any, new: Any, at: int) -> None:
    if pages:
        pages.pop(at % len(pages))


def _remove(pages: Any, new: Any, at: int) -> None:
    if pages:
        pages.remove(pages[0])


def _swap(pages: Any, new: Any, at: int) -> None:
    if len(pages) > 1:
        one, other = at % len(pages), (at + 1) % len(pages)
        pages[one], pages[other] = pages[other], pages[one]


def _rotate(pages: Any, new: Any, at: int) -> None:
    if pages:
        pages.append(pages.pop(at % len(pages)))


def _repeat(pages: Any, new: Any, at: int) -> None:
    if 0 < len(pages) < 6:
        pages.insert(at % (len(pages) + 1), pages[at % len(pages)])


def _twice_new(pages: Any, new: Any, at: int) -> None:
    pages.extend([new, new])


def _slice(pages: Any, new: Any, at: int) -> None:
    pages[at % 3 : at % 3 + 2] = [new]


def _delete_slice(pages: Any, new: Any, at: int) -> None:
    del pages[at % 3 : at % 3 + 2]


EDITS: dict[str, Edit] = {
    "append": lambda pages, new, at: pages.append(new),
    "insert": lambda pages, new, at: pages.insert(at % 4, new),
    "set": _set,
    "pop": _pop,
    "remove": _remove,
    "swap": _swap,
    "rotate": _rotate,
    "reverse": lambda pages, new, at: pages.reverse(),
    "slice": _slice,
    "delete slice": _delete_slice,
    "twice": _twice_new,
    "repeat": _repeat,
    "clear": lambda pages, new, at: pages.clear(),
}


class Lists(Machine):
    """One walk; see :func:`lists_in`."""

    def __init__(self) -> None:
        super().__init__()
        self.committed = Committed()
        self.editors: list[Editor] = []
        self.on_sqlite = self.world.database.name == "sqlite"

    @initialize(expires=st.booleans())
    def begin(self, *, expires: bool) -> None:
        expiring = [False, False, expires and not self.on_sqlite]  # on SQLite nobody may keep a transaction to read in
        self.editors = [Editor(self.world, self.committed, expire_on_commit=one) for one in expiring]
        for key in ROWS:
            self.editors[0].add(key)
        self.editors[0].commit()
        for editor in self.editors:
            for slot in SLOTS:
                self.read(editor, slot)

    # -- who may do what -----------------------------------------------------------------------------------------------

    def others(self, editor: Editor) -> list[Editor]:
        return [other for other in self.editors if other is not editor]

    def may_use(self, editor: Editor) -> bool:
        """Return True if a session may begin to write: SQLite has one writer at a time, and readers stand in its way."""
        return not (self.on_sqlite and any(other.active for other in self.others(editor)))

    def may_flush(self, editor: Editor, *more: Key) -> bool:
        """Return True if a flush would not have to wait for another session."""
        keys = editor.dirty.union(more)
        return self.may_use(editor) and all(other.locked.isdisjoint(keys) for other in self.others(editor))

    def read(self, editor: Editor, slot: Slot) -> bool:
        """Make a session read a list if it has not; forget a row that is gone, unless it was changed."""
        key = slot[0]
        if slot in editor.views and inspect(editor.objects[key]).session is editor.session:
            return True
        if editor.current(key) is None:
            if not editor.is_dirty(key) and (one := editor.objects.get(key)) is not None and one in editor.session:
                editor.session.expunge(one)
                editor.forget(key)
            return False
        if self.on_sqlite and not editor.active:
            if editor.dirty:
                if not self.may_use(editor):
                    return False
                editor.active = True
            else:
                editor.pages(slot)
                editor.session.commit()
                return True
        editor.pages(slot)
        return True

    # -- lists ---------------------------------------------------------------------------------------------------------

    @rule(n=who, slot=slots)
    def look(self, n: int, slot: Slot) -> None:
        self.done("read", something=slot not in self.editors[n].views and self.read(self.editors[n], slot))

    @rule(n=who, slot=slots, how=st.sampled_from(list(EDITS)), at=small)
    def edit(self, n: int, slot: Slot, how: str, at: int) -> None:
        self.done(f"edit: {how}", something=self.change(self.editors[n], slot, how, at))

    @rule(slot=slots, hows=st.lists(st.sampled_from(list(EDITS)), min_size=3, max_size=6), at=small)
    def edit_by_all(self, slot: Slot, hows: list[str], at: int) -> None:
        done = [self.change(self.editors[number % 3], slot, how, at + number // 3) for number, how in enumerate(hows)]
        self.done("edit by all", something=any(done))

    def change(self, editor: Editor, slot: Slot, how: str, at: int) -> bool:
        if not self.read(editor, slot):
            return False
        file = new_page()

        def change(pages: Any, mine: list[Seen]) -> None:
            EDITS[how](pages, file, at)
            EDITS[how](mine, seen(file), at)

        editor.edit(slot, change)
        return True

    @rule(n=who, slot=slots, goal=slots, hows=st.tuples(st.sampled_from(list(EDITS)), st.sampled_from(list(EDITS))), at=small)
    def fail_after_the_merge(self, n: int, slot: Slot, goal: Slot, hows: tuple[str, str], at: int) -> None:
        """Have a copy fail when lists are merged already, which takes the merge back."""
        one, other = self.editors[n], self.editors[n - 1]
        done = slot[0] != goal[0] and not one.dirty and self.change(one, slot, hows[0], at) and self.read(one, goal)
        done = done and not other.dirty and self.may_flush(other, slot[0]) and self.change(other, slot, hows[1], at)
        done = done and other.commit() and self.may_flush(one, goal[0])
        if done and one.views[slot].mine:
            file = one.pages(slot)[at % len(one.views[slot].mine)]
            one.edit(goal, lambda pages, mine: (pages.append(file), mine.append(seen(file))))
            with failing(self.world.store, self.committed, "copy", 1) as fault:
                worked = one.flush(fault)
            self.after(one, worked=worked)
        self.done("fail after the merge", something=done)

    @rule(n=who, slot=slots, at=small)
    def describe(self, n: int, slot: Slot, at: int) -> None:
        editor = self.editors[n]
        done = self.read(editor, slot) and bool(editor.views[slot].mine)
        if done:
            note = new_page().filename

            def change(pages: Any, mine: list[Seen]) -> None:
                number = at % len(pages)
                pages[number] = pages[number].replace(metadata={"note": note})
                mine[number] = (mine[number][0], note)

            editor.edit(slot, change)
        self.done("describe", something=done)

    @rule(n=who, slot=slots, how=st.sampled_from(["longer", "turned", "same", "empty", "unpickled"]))
    def assign(self, n: int, slot: Slot, how: str) -> None:
        editor = self.editors[n]
        done = self.read(editor, slot)
        done = done and not (how == "unpickled" and any(file.has_pending_data for file in editor.pages(slot)))
        if done:
            pages = list(editor.pages(slot))
            values = {"longer": [new_page(), *pages], "turned": pages[::-1], "same": pages, "empty": []}
            if how == "unpickled":
                values[how] = pickle.loads(pickle.dumps(editor.pages(slot)))  # which knows what it was read as
                values[how].insert(0, new_page())
            editor.assign(slot, values[how])
        self.done(f"assign: {how}", something=done)

    @rule(n=who, source=slots, goal=slots, at=small, moved=st.booleans())
    def give(self, n: int, source: Slot, goal: Slot, at: int, *, moved: bool) -> None:
        editor = self.editors[n]
        done = source != goal and self.read(editor, source) and self.read(editor, goal)
        done = done and {source, goal} <= set(editor.views) and bool(editor.views[source].mine)
        if done:
            number = at % len(editor.views[source].mine)
            file = editor.pages(source)[number]
            if moved:
                editor.edit(source, lambda pages, mine: (pages.pop(number), mine.pop(number)))
            editor.edit(goal, lambda pages, mine: (pages.insert(at % 3, file), mine.insert(at % 3, seen(file))))
        self.done("move to another list" if moved else "share with another list", something=done)

    @rule(n=who, slot=slots, at=small)
    def set_back(self, n: int, slot: Slot, at: int) -> None:
        editor = self.editors[n]
        done = bool(editor.former) and self.read(editor, slot)
        if done:
            file = editor.former[at % len(editor.former)]
            editor.edit(slot, lambda pages, mine: (pages.append(file), mine.append(seen(file))))
        self.done("set back", something=done)

    @rule(n=who, key=rows, how=st.sampled_from(["expire", "refresh", "detach", "detach"]), at=small)
    def invalidate(self, n: int, key: Key, how: str, at: int) -> None:
        editor, slot = self.editors[n], (key, COLUMNS[key[0]][at % len(COLUMNS[key[0]])])
        done = self.read(editor, slot)
        if how == "refresh":  # SQLAlchemy refuses to for a row that is gone
            done = done and key in self.committed.rows and self.may_use(editor)
        if done and how == "detach":
            done = key in self.committed.rows and key not in editor.locked  # or a rollback makes SQLAlchemy forget its row
            if done:
                one = editor.objects[key]
                editor.session.expunge(one)
                one.__dict__[slot[1]].append(file := new_page())
                editor.views[slot].mine.append(seen(file))
                editor.session.add(one)
        elif done:
            one = editor.object(key)
            editor.session.expire(one)
            editor.look()
            if how == "refresh":
                editor.active = editor.active or self.on_sqlite
                editor.session.refresh(one)
        editor.look()
        self.done(how, something=done)

    @rule(n=who, key=rows, at=small)
    def merge(self, n: int, key: Key, at: int) -> None:
        editor, columns = self.editors[n], COLUMNS[key[0]]
        done = all(self.read(editor, (key, column)) for column in columns) and (not self.on_sqlite or self.may_use(editor))
        if done and key in self.committed.rows:  # SQLAlchemy refuses to where an expired object's row is gone
            editor.active = editor.active or self.on_sqlite
            done = editor.merge(key, columns[at % len(columns)])
        else:
            done = False
        self.done("merge", something=done)

    # -- rows ----------------------------------------------------------------------------------------------------------

    @rule(n=who, key=rows, fault=faults, nth=small)
    def remove(self, n: int, key: Key, fault: str | None, nth: int) -> None:
        editor = self.editors[n]
        done = editor.current(key) is not None and self.may_flush(editor, key)
        if done:
            with failing(self.world.store, self.committed, fault, nth) as one:
                editor.active = editor.active or self.on_sqlite
                worked = editor.remove(key, one)
            self.after(editor, worked=worked)
        self.done("delete", something=done)

    @rule(n=who, fault=faults, nth=small)
    def add(self, n: int, fault: str | None, nth: int) -> None:
        editor = self.editors[n]
        key = next((key for key in ROWS if editor.current(key) is None and self.may_flush(editor, key)), None)
        if key is not None:
            with failing(self.world.store, self.committed, fault, nth) as one:
                worked = editor.add(key, one)
            self.after(editor, worked=worked)
        self.done("insert", something=key is not None)

    # -- transactions --------------------------------------------------------------------------------------------------

    def after(self, editor: Editor, *, worked: bool) -> None:
        """Compare what is committed after a transaction that a failed flush has ended."""
        if not worked and not editor.active:
            self.compare()

    def compare(self) -> None:
        """Compare everything."""
        found: dict[Key, dict[str, list[Any]]] = {}
        for table, columns in COLUMNS.items():
            join = " JOIN album ON album.id = scrapbook.id" if table == "scrapbook" else ""
            for number, *values in self.world.database.select(f"SELECT {table}.id, {', '.join(columns)} FROM {table}{join}"):
                found[table, number] = {c: self._pages(v) for c, v in zip(columns, values, strict=True)}
        expected = {
            key: {column: [(*page.name, page.filename, page.note) for page in pages] for column, pages in row.items()}
            for key, row in self.committed.rows.items()
        }
        assert found == expected, "the rows are not what the model says"
        self.world.check(self.committed.orphans, settled=not any(editor.active for editor in self.editors))

    def _pages(self, value: Any) -> list[Any]:
        found = []
        for one in (json.loads(value) if isinstance(value, str) else value) or []:
            content = self.world.store.read(one["backend"], one["path"])
            assert content == one["filename"].encode()
            found.append((one["backend"], one["path"], one["filename"], one["metadata"].get("note")))
        return found

    @rule(n=who, fault=faults, nth=small)
    def flush(self, n: int, fault: str | None, nth: int) -> None:
        editor = self.editors[n]
        done = bool(editor.dirty) and self.may_flush(editor)
        if done:
            with failing(self.world.store, self.committed, fault, nth) as one:
                worked = editor.flush(one)
            self.after(editor, worked=worked)
        self.done("flush", something=done)

    @rule(n=who, fault=faults, nth=small)
    def savepoint(self, n: int, fault: str | None, nth: int) -> None:
        editor = self.editors[n]
        done = len(editor.stack) < 3 and self.may_flush(editor)
        if done:
            with failing(self.world.store, self.committed, fault, nth) as one:
                worked = editor.begin_nested(one)
            self.after(editor, worked=worked)
        self.done("savepoint", something=done)

    @precondition(lambda self: any(editor.stack for editor in self.editors))
    @rule(n=who, depth=small, fault=faults, nth=small)
    def release(self, n: int, depth: int, fault: str | None, nth: int) -> None:
        editor = self.editors[n]
        done = bool(editor.stack) and self.may_flush(editor)
        if done:
            with failing(self.world.store, self.committed, fault, nth) as one:
                worked = editor.release(depth % len(editor.stack), one)
            self.after(editor, worked=worked)
        self.done("release", something=done)

    @precondition(lambda self: any(editor.stack for editor in self.editors))
    @rule(n=who, depth=small, fault=delete_faults, nth=small)
    def rollback_to_savepoint(self, n: int, depth: int, fault: str | None, nth: int) -> None:
        editor = self.editors[n]
        done = bool(editor.stack)
        if done:
            with failing(self.world.store, self.committed, fault, nth):
                editor.rollback_to(depth % len(editor.stack))
        self.done("rollback to a savepoint", something=done)

    @rule(n=who, fault=faults, nth=small)
    def commit(self, n: int, fault: str | None, nth: int) -> None:
        editor = self.editors[n]
        done = (editor.active or bool(editor.dirty)) and self.may_flush(editor)
        if done:
            with failing(self.world.store, self.committed, fault, nth) as one:
                editor.commit(one)
            self.compare()
        self.done("commit", something=done)

    @rule()
    def commit_all(self) -> None:
        done = [editor.commit() for editor in self.editors if editor.dirty and self.may_flush(editor)]
        if done:
            self.compare()
        self.done("commit all", something=bool(done))

    @rule(n=who, how=st.sampled_from(["rollback", "rollback", "close"]), fault=delete_faults, nth=small)
    def undo(self, n: int, how: str, fault: str | None, nth: int) -> None:
        editor = self.editors[n]
        done = editor.active or bool(editor.dirty)
        if done:
            with failing(self.world.store, self.committed, fault, nth):
                editor.rollback() if how == "rollback" else editor.close()
            self.compare()
        self.done(how, something=done)

    # -- the end -------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """End the walk, and leave nothing to the next one, whatever was found."""
        try:
            for editor in self.editors:
                editor.close()
            self.compare()
        finally:
            for editor in self.editors:
                editor.close()
            self.leave_nothing()


def lists_in(world: World, counts: Counter[str]) -> type[Lists]:
    """Return a walk through one world."""
    return type("Lists", (Lists,), {"world": world, "counts": counts})
