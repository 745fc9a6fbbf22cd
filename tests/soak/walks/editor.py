"""One session that edits lists beside others, and beside it exactly what the rules of ``docs/guide.md`` make of the edits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import inspect
from sqlalchemy.orm.exc import ObjectDeletedError, StaleDataError
from sqlalchemy.orm.util import identity_key

from filerow import FileObject
from filerow.exceptions import StorageError
from tests.cases.models import Card, Document, Postponed, Scrapbook
from tests.cases.world import World
from tests.soak.walks.faults import Fault
from tests.soak.walks.model import Committed, Key, ModelledSession

Slot = tuple[Key, str]
"""A row and one of its lists."""

CLASSES: dict[str, type[Any]] = {"document": Document, "postponed": Postponed, "card": Card, "scrapbook": Scrapbook}
COLUMNS = {"document": ("pages",), "postponed": ("pages",), "card": ("front", "back"), "scrapbook": ("pages", "clippings")}
ROWS: list[Key] = [("document", 1), ("document", 2), ("postponed", 1), ("card", 1), ("scrapbook", 1), ("scrapbook", 2)]
SLOTS: list[Slot] = [(key, column) for key in ROWS for column in COLUMNS[key[0]]]

Seen = tuple[str, Any]
"""What a page shows: its filename, which is its content too, and what somebody has noted on it."""

_numbers = itertools.count(1)


class Page(NamedTuple):
    """A page as the rules see it.

    Attributes:
        name: Where its object is; of a pending file, which it is.
        filename: Its filename, which is its content too.
        note: What somebody has noted on it.
    """

    name: tuple[str, Any]
    filename: str
    note: Any = None


Pages = tuple[Page, ...]


def new_page() -> FileObject:
    """Return a pending file whose content, which no other file has, follows from its filename."""
    name = f"{next(_numbers)}.txt"
    return FileObject(filename=name, content=name.encode())


def seen(file: FileObject) -> Seen:
    return file.filename, file.metadata.get("note")


def place_of(file: FileObject) -> tuple[str, Any]:
    return ("pending", id(file)) if file.has_pending_data else (file.backend_key, file.path)


def pages_of(files: Sequence[FileObject]) -> Pages:
    return tuple(Page(place_of(file), *seen(file)) for file in files)


def names_of(pages: Sequence[Page]) -> list[tuple[str, Any]]:
    return [page.name for page in pages]


def both_edits(base: Sequence[Page] | None, theirs: Sequence[Page], mine: Sequence[Page]) -> list[Page]:
    """Return what a list must hold that two sessions have edited; one that was assigned (no base) replaces.

    Their list falls into sections, each led by a page that both of us have, with what they have added behind it. What I have
    added goes to the end of the section of its left neighbour.
    """
    if base is None:
        return list(mine)
    old, their_names, my_names = names_of(base), names_of(theirs), names_of(mine)
    noted = {page.name: page.note for page in base}
    by_them = {page.name: page.note for page in theirs}

    def newest(page: Page) -> Page:
        untouched = page.name in by_them and page.name in noted and page.note == noted[page.name]
        return page._replace(note=by_them[page.name]) if untouched else page

    if their_names == old:
        return [newest(page) for page in mine]
    sections: dict[Any, list[Page]] = {None: []}
    leader = None
    for page in theirs:
        if page.name in my_names:
            leader = page.name
            sections[leader] = [newest(mine[my_names.index(leader)])]
        elif page.name not in old:
            sections[leader].append(page)
    leader = None
    for number, page in enumerate(mine):
        if page.name in their_names and page.name not in my_names[:number]:
            leader = page.name
        elif page.name in their_names or page.name not in old:
            sections[leader].append(newest(page))
    return [page for section in sections.values() for page in section]


class View:
    """What one list in memory must show, and what the row held when it was read."""

    def __init__(self, files: Sequence[FileObject], base: Pages | None) -> None:
        self.files = files
        self.base = base
        self.mine: list[Seen] = [seen(file) for file in files]


class Editor(ModelledSession):
    """A session beside its model, of whose rows it knows the pages of each list.

    Attributes:
        locked: Rows that this transaction has written, so that others would wait.
        active: The transaction has done something in the database, which on SQLite keeps all others out.
        former: Files that some list has held, to be set back.
    """

    def __init__(self, world: World, committed: Committed, **options: Any) -> None:
        super().__init__(world, committed, autoflush=False, **options)
        self.former: list[FileObject] = []

    def _begin(self) -> None:
        super()._begin()
        self.locked: set[Key] = set()
        self.active = False

    def _forget_objects(self) -> None:
        self.objects: dict[Key, Any] = {}
        self.views: dict[Slot, View] = {}

    def is_dirty(self, key: Key) -> bool:
        """Return True if a flush would write the row's object."""
        one = self.objects.get(key)
        return one is not None and inspect(one).session is self.session and inspect(one).modified

    @property
    def dirty(self) -> set[Key]:
        """The rows that a flush would write."""
        return {key for key in self.objects if self.is_dirty(key)}

    # -- objects -------------------------------------------------------------------------------------------------------

    def object(self, key: Key) -> Any:
        """Return the object of a row that exists."""
        one = self.objects.get(key)
        if one is None or inspect(one).session is not self.session:
            self.forget(key)
            one = self.objects[key] = self.session.get_one(CLASSES[key[0]], key[1])
            self.look()
        return one

    def pages(self, slot: Slot) -> Any:
        """Return a list, read if need be."""
        found = getattr(self.object(slot[0]), slot[1])
        self.look()
        return found

    def forget(self, key: Key) -> None:
        """Note that the session has a row's object no more."""
        self.objects.pop(key, None)
        for slot in [slot for slot in self.views if slot[0] == key]:
            del self.views[slot]

    def look(self) -> None:
        """Note what has been read or expired since the last look; what is there must show what the model says."""
        for key, one in self.objects.items():
            for column in COLUMNS[key[0]]:
                slot, files = (key, column), one.__dict__.get(column)
                view = self.views.get(slot)
                if files is None:
                    self.views.pop(slot, None)
                elif view is None or view.files is not files:
                    row = self.current(key)
                    assert row is not None, "a row was read that is not there"
                    assert pages_of(files) == row[column], "a list was read that is not what the model says"
                    self.views[slot] = View(files, row[column])
                else:
                    assert [seen(file) for file in files] == view.mine, "a list in memory is not what the model says"

    def edit(self, slot: Slot, change: Callable[[Any, list[Seen]], object]) -> None:
        """Do the same to a list in place and to what it must show."""
        pages = self.pages(slot)
        self.former = [*self.former, *pages][-12:]
        change(pages, self.views[slot].mine)
        self.look()

    def assign(self, slot: Slot, files: Sequence[FileObject]) -> None:
        """Assign a list, which replaces what the row holds by then."""
        setattr(self.object(slot[0]), slot[1], files)
        self.assigned(slot)

    def assigned(self, slot: Slot) -> None:
        """Note that a list was assigned."""
        self.views[slot] = View(getattr(self.objects[slot[0]], slot[1]), None)

    # -- flushes -------------------------------------------------------------------------------------------------------

    def foresee(self) -> tuple[dict[Slot, list[Page]], bool]:
        """Return what the dirty lists must hold after a flush, and whether the flush must fail instead."""
        found: dict[Slot, list[Page]] = {}
        objects = self.world.store.objects()
        fails = False
        for key in self.dirty:
            row = self.current(key)
            # SQLAlchemy reads the expired key of an object that it has nothing to write of, too
            fails = fails or (row is None and "id" in inspect(self.objects[key]).expired_attributes)
            for column in COLUMNS[key[0]]:
                if inspect(self.objects[key]).attrs[column].history.has_changes():
                    if row is None:
                        fails = True
                        continue
                    view = self.views[key, column]
                    found[key, column] = after = both_edits(view.base, row[column], pages_of(view.files))
                    strange = set(names_of(after)) - set(names_of(row[column]))
                    fails = fails or any(name[0] != "pending" and name not in objects for name in strange)
        return found, fails

    def attempt(self, action: Callable[[], object], fault: Fault | None = None) -> bool:
        """Do something that flushes; it must fail if it has a reason to, and leave every list as it was if the store fails."""
        expected, fails = self.foresee()
        written = self.dirty
        try:
            action()
        except (StorageError, StaleDataError, ObjectDeletedError) as error:
            if fault is not None and fault.struck and isinstance(error, StorageError):
                self.locked |= written  # a copy fails after the rows were locked
                self.active = True
                self.look()
            elif fails:
                self.rollback()
            else:
                raise
            return False
        assert not fails, "a flush succeeded that had no right to"
        for slot, after in expected.items():
            self._written(slot, after)
        for key in written:
            self.locked.add(key)
            self._rebase(key)
        self.active = self.active or bool(written)
        return True

    def _written(self, slot: Slot, after: list[Page]) -> None:
        """Compare a list with what it must hold after a flush, and learn where its new objects are."""
        key, column = slot
        files = self.views[slot].files
        row = self.current(key) or {}
        actual = pages_of(files)
        assert [page[1:] for page in actual] == [page[1:] for page in after], "two edits of a list are not both there"
        stayed = set(names_of(row[column]))
        for number, (page, there) in enumerate(zip(after, actual, strict=True)):
            if page.name in stayed and page.name not in names_of(after[:number]):
                assert page.name == there.name, "a page that stays was copied"
            else:
                assert there.name[0] != "pending"
        self.writes[key] = {**row, column: actual}
        self.views[slot].mine = [seen(file) for file in files]

    def _rebase(self, key: Key) -> None:
        """Later edits start from what the row holds now."""
        for column in COLUMNS[key[0]]:
            view = self.views.get((key, column))
            if view is not None and column in self.objects[key].__dict__:
                view.base = pages_of(view.files)

    def flushed(self) -> None:
        """Do nothing: an attempt has compared the lists and noted them."""

    def begin_nested(self, fault: Fault | None = None) -> bool:
        """Begin a savepoint, which flushes."""
        done = super().begin_nested(fault)
        self.active = self.active or done
        return done

    def commit(self, fault: Fault | None = None) -> bool:
        done = self.attempt(self.session.commit, fault)
        if done:
            self.committed.commit(self.writes)
            self._begin()
            self.look()
        return done

    def _undone(self) -> None:
        """Forget the new objects that a rollback has removed and the deleted ones that it has restored."""
        for key, one in list(self.objects.items()):
            if inspect(one).session is not self.session:
                self.forget(key)
        self.look()

    # -- rows ----------------------------------------------------------------------------------------------------------

    def add(self, key: Key, fault: Fault | None = None) -> bool:
        """Insert a row, at once."""
        model = CLASSES[key[0]]
        known = self.session.identity_map.get(identity_key(model, key[1], identity_token=self.world.identity_token(*key)))
        for stale in (known, self.objects.get(key)):
            if stale is not None and stale in self.session:
                self.session.expunge(stale)
        self.forget(key)
        row = {column: [new_page() for _ in range(2)] for column in COLUMNS[key[0]]}
        one = model(id=key[1], **row)
        self.session.add(one)
        if not self.flush(fault):
            if one in self.session:
                self.session.expunge(one)
            return False
        self.objects[key] = one
        self.writes[key] = {column: pages_of(one.__dict__[column]) for column in row}
        self.locked.add(key)
        self.active = True
        self.look()
        return True

    def remove(self, key: Key, fault: Fault | None = None) -> bool:
        """Delete a row, at once; what was done to its lists is lost."""
        one = self.object(key)
        self.session.expire(one)
        self.session.delete(one)
        self.look()
        self.locked.add(key)  # even if the flush fails
        self.active = True
        if not self.flush(fault):
            if one in self.session.deleted:
                self.session.add(one)
            self.look()
            return False
        self.forget(key)
        self.writes[key] = None
        return True

    def merge(self, key: Key, column: str) -> bool:
        """Merge an object that another process might have sent, with a page more in one list, which replaces the row's."""
        files = {one: list(self.pages((key, one))) for one in COLUMNS[key[0]]}
        if any(file.has_pending_data for some in files.values() for file in some):
            return False
        copies = {one: [FileObject.from_dict(file.to_dict()) for file in some] for one, some in files.items()}
        copies[column].append(new_page())
        self.session.merge(CLASSES[key[0]](id=key[1], **copies))
        for one in copies:
            self.assigned((key, one))
        return True
