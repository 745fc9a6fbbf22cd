"""One session, and beside it what the model says of its transaction and of its objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.orm.util import identity_key

from filerow import FileObject
from filerow.exceptions import ObjectNotFoundError, StorageError
from tests.cases.world import World
from tests.soak.walks.book import CLASSES, Book, blank, columns_of
from tests.soak.walks.faults import Fault
from tests.soak.walks.model import Key, ModelledSession, Row

OWN_STALE = -1
"""The version of a view that this session's own bulk statement has made stale."""

NOT_LOADED = object()
"""What a view has seen of an attribute that is to be read again."""

View = dict[str, tuple[Any, int, Any]]
"""What an object's loaded attributes hold: bytes, the version of the row they were loaded from, and the very value."""


def both_edits(base: Sequence[bytes], theirs: Sequence[bytes], mine: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return a list of different pages that two sessions have edited; what is mine is added behind its left neighbour."""
    if theirs == base:
        return tuple(mine)
    result = [(page, "theirs" if page not in base else "both") for page in theirs if page in mine or page not in base]
    at = 0
    for number, page in enumerate(mine):
        again = page in mine[:number]
        if page in theirs and not again:
            at = [one for one, whose in result if whose != "mine"].index(page)
            at = [n for n, (_, whose) in enumerate(result) if whose != "mine"][at] + 1
        elif page in theirs or page not in base:
            while at < len(result) and result[at][1] == "theirs":
                at += 1
            result.insert(at, (page, "mine"))
            at += 1
    return tuple(page for page, _ in result)


class Actor(ModelledSession):
    """A session beside its model.

    Attributes:
        added: New rows that no flush has written yet.
        dirty: Changed columns that no flush has written yet.
        bases: What lists held before they were edited in place; a list that was assigned has none.
        removed: Rows that the next flush deletes.
        touched: Rows that other sessions had better not write before this transaction ends.
        former: Files that some attribute has held, with their bytes, to be set back.
        suspect: A value has been used that another transaction may have deleted meanwhile, so a flush may say so.
    """

    def __init__(self, world: World, book: Book, **options: Any) -> None:
        super().__init__(world, book, **options)
        self.book = book
        self.autoflush: bool = options["autoflush"]
        self.former: list[tuple[FileObject, bytes]] = []

    def _begin(self) -> None:
        super()._begin()
        self.touched: set[Key] = set()
        self.suspect = False
        self._clean()

    def _clean(self) -> None:
        self.added: dict[Key, Row] = {}
        self.dirty: dict[Key, Row] = {}
        self.bases: dict[Key, tuple[bytes, ...]] = {}
        self.removed: set[Key] = set()

    def _forget_objects(self) -> None:
        self._objects: dict[Key, Any] = {}
        self._views: dict[int, tuple[Any, View]] = {}  # with the object, which keeps its number its own

    # -- what there is -------------------------------------------------------------------------------------------------

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to flush."""
        return not (self.added or self.dirty or self.removed)

    @property
    def is_idle(self) -> bool:
        """Whether no transaction has begun."""
        return not self.session.in_transaction()

    def exists(self, key: Key) -> bool:
        """Return True if the row is there once everything is flushed."""
        return key in self.added or (key not in self.removed and self.current(key) is not None)

    def object(self, key: Key) -> Any:
        """Return a row's object, whose attributes may be expired, stale or deferred."""
        one = self._objects.get(key)
        state = None if one is None else inspect(one)
        if state is None or one not in self.session or not (state.persistent or state.pending):  # another may have its key
            with self.session.no_autoflush:
                one = self._objects[key] = self.session.get_one(CLASSES[key[0]], key[1])
            self._look(key)
        return one

    def _identity(self, key: Key) -> Any:
        return identity_key(CLASSES[key[0]], key[1], identity_token=self.world.identity_token(*key))

    def loaded(self, key: Key) -> Any:
        """Return a row's object with all its file columns loaded."""
        one = self.object(key)
        if key not in self.added:
            with self.session.no_autoflush:
                for column in columns_of(key):
                    getattr(one, column)
            self._look(key)
        return one

    def _look(self, key: Key) -> None:
        """Note what has been loaded since the last look."""
        one = self._objects[key]
        row = self.current(key) or {}
        view = self._views.setdefault(id(one), (one, {}))[1]
        for column in columns_of(key):
            if column in one.__dict__ and (column not in view or view[column][2] is not one.__dict__[column]):
                view[column] = (row.get(column), self.book.versions[key], one.__dict__[column])

    def value(self, key: Key, column: str) -> Any:
        """Return what an object's attribute, which is loaded, must hold."""
        if key in self.added:
            return self.added[key].get(column, blank(key)[column])
        if column in self.dirty.get(key, {}):
            return self.dirty[key][column]
        return self._views[id(self._objects[key])][1][column][0]

    def is_stale(self, key: Key, column: str) -> bool:
        """Return True if the row may hold something else than the attribute, which is loaded."""
        if key in self.added or column in self.dirty.get(key, {}):
            return False
        return self._views[id(self._objects[key])][1][column][1] != self.book.versions[key]

    # -- changes -------------------------------------------------------------------------------------------------------

    def keep(self, file: FileObject | None, content: bytes | None) -> None:
        """Remember a file that an attribute has held."""
        if file is not None and content is not None:
            self.former = [*self.former[-7:], (file, content)]

    def put(self, key: Key, column: str, file: Any, content: Any, *, fresh: bool = False) -> None:
        """Set an attribute, loaded or not.

        Args:
            key: The row.
            column: The attribute.
            file: The value.
            content: The bytes the row must have then.
            fresh: Nobody has seen the value before, so it differs from whatever the attribute held.
        """
        one = self.object(key)
        held = column in one.__dict__
        if held and key not in self.added:
            self._look(key)  # it may have been loaded since, as after the rollback of a savepoint
        if held and not fresh and self.is_stale(key, column):
            self.session.expire(one, [column])  # or SQLAlchemy may rightly find that nothing has changed
            held = False
        if held and column != "pages":
            self.keep(one.__dict__[column], self.value(key, column))
        setattr(one, column, file)
        self.note(key, column, content)

    def note(self, key: Key, column: str, content: Any) -> None:
        """Note that an attribute has been changed."""
        self.touched.add(key)
        if key in self.added:
            self.added[key][column] = content
        else:
            self.dirty.setdefault(key, {})[column] = content

    def note_edit(self, key: Key, pages: Sequence[bytes]) -> None:
        """Note that a list has been edited in place, which keeps what others do to it until the flush."""
        if key not in self.added and "pages" not in self.dirty.get(key, {}):
            self.bases[key] = self.value(key, "pages")
        self.note(key, "pages", tuple(pages))

    def note_assigned(self, key: Key, pages: Sequence[bytes]) -> None:
        """Note that a list has been assigned, which replaces whatever the row holds by then."""
        self.bases.pop(key, None)
        self.note(key, "pages", tuple(pages))

    def drop_object(self, key: Key) -> None:
        """Forget a row's object and what was changed in it."""
        self._objects.pop(key, None)
        self.dirty.pop(key, None)
        self.added.pop(key, None)

    def adopt(self, key: Key, one: Any, given: Row) -> None:
        """Note a new row that is in the session already."""
        self._objects[key] = one
        self._views[id(one)] = (one, {})
        self.added[key] = given
        self.touched.add(key)

    def add(self, key: Key, one: Any, given: Row) -> None:
        """Add a new row.

        Of a row that another session has deleted this one may hold the object still, which SQLAlchemy warns of.
        """
        held = self.session.identity_map.get(self._identity(key))
        if held is not None and key not in self.removed and held not in self.session.deleted:
            self.session.expunge(held)
        self.session.add(one)
        self.adopt(key, one, given)

    def see_again(self, key: Key) -> None:
        """Note that a row was read again."""
        self._look(key)

    def overtaken(self, key: Key, column: str) -> None:
        """Note that a statement of this session has written a column, of which the row's object may or may not know."""
        one = self._objects.get(key)
        view = {} if one is None else self._views[id(one)][1]
        if one is None or column not in view or inspect(one).session is not self.session:
            return
        if column not in one.__dict__:
            view[column] = (view[column][0], OWN_STALE, NOT_LOADED)  # not None, which may be what it turns out to hold
            return
        file: FileObject | None = one.__dict__[column]
        content = (self.current(key) or {})[column]
        there = file is not None and (file.backend_key, file.path) in self.world.store.objects()
        knows = self.world.stored(file) == content if there else file is content is None
        view[column] = (content, self.book.versions[key], file) if knows else (view[column][0], OWN_STALE, file)

    def gone(self, key: Key) -> None:
        """Note that a statement of this session has deleted a row, of which the session may not know.

        SQLAlchemy keeps an object that was expired before the statement, and fails when it is merged later.
        """
        known = self.session.identity_map.get(self._identity(key))
        for one in (self._objects.pop(key, None), known):
            if one is not None and one in self.session:
                self.session.expunge(one)

    def leave(self, key: Key) -> None:
        """Note that a row's object is not in the session any more."""
        self._objects.pop(key, None)

    # -- transactions --------------------------------------------------------------------------------------------------

    def attempt(self, action: Callable[[], object], fault: Fault | None = None) -> bool:
        """Do something that may flush; a failure must have a reason, and is undone if it is the application's."""
        try:
            action()
        except (StorageError, StaleDataError) as error:
            if fault is not None and fault.struck and isinstance(error, StorageError):
                return False
            if self.suspect and isinstance(error, ObjectNotFoundError | StaleDataError):
                self.rollback()
                return False
            raise
        return True

    def flushed(self) -> None:
        """Note what a flush has written."""
        for key in self.removed - set(self.added):
            self.writes[key] = None
        for key, given in self.added.items():
            self.writes[key] = {**blank(key), **given}
        for key, values in self.dirty.items():
            if key not in self.removed:
                row = self.current(key) or {}
                if "pages" in values and key in self.bases:
                    values["pages"] = both_edits(self.bases[key], row["pages"], values["pages"])
                self.writes[key] = {**row, **values}
        changed = {key: set(values) for key, values in self.dirty.items() if key not in self.removed}
        changed |= {key: set(columns_of(key)) for key in self.added}
        gone = self.removed - set(self.added)
        self._clean()
        for key, columns in changed.items():
            one = self._objects[key]
            # a new object's attribute that was never set reads as None, and is never loaded
            values = {column: one.__dict__.get(column) for column in columns}
            row = {column: (self.current(key) or {})[column] if column in one.__dict__ else None for column in columns}
            self._views[id(one)][1].update({c: (row[c], self.book.versions[key], values[c]) for c in columns})
        for key in gone:
            self._objects.pop(key, None)
        for key in self._objects:
            self._look(key)
        self._expire_folders()

    def _expire_folders(self) -> None:
        """Collections are SQLAlchemy's; what they hold after a rollback is not what this is about."""
        for one in self.session.identity_map.values():
            if isinstance(one, CLASSES["folder"]) and inspect(one).persistent:
                self.session.expire(one, ["sheets"])

    def _undone(self) -> None:
        self._clean()
        self._expire_folders()

    def commit(self, fault: Fault | None = None) -> bool:
        """Commit."""
        done = self.attempt(self.session.commit, fault)
        if done:
            self.flushed()
            self._committed()
        return done

    def _committed(self) -> None:
        fresh = {
            (number, column): one
            for number, (one, view) in self._views.items()
            for column, (_, version, _) in view.items()
            if version == self.book.versions[self._key_of(one)]
        }
        self.book.commit(self.writes)
        for (number, column), one in fresh.items():
            view = self._views[number][1]
            view[column] = (view[column][0], self.book.versions[self._key_of(one)], view[column][2])
        self._begin()

    def _key_of(self, one: Any) -> Key:
        return next((key for key, other in self._objects.items() if other is one), ("gone", 0))

    def refused_commit(self) -> None:
        """Commit what the database will refuse."""
        try:
            self.session.commit()
        except IntegrityError:
            self.rollback()
        else:
            raise AssertionError
