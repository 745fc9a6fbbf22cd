"""``FileObjectList``: the files of a list column; sessions see changes in place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, SupportsIndex
from weakref import WeakKeyDictionary

from sqlalchemy.ext.mutable import MutableList
from sqlalchemy.util import memoized_property

from filerow._content import unwrap_upload
from filerow._file.object import FileObject, not_a_file
from filerow.exceptions import FileStateError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


_GONE = (
    "the row of this list is no longer in memory, so no commit would see the change. Keep the row in a variable while its "
    "list changes: row = session.get(...); row.files.append(file). For a list of your own, make a copy: list(files)"
)


class _Rows(WeakKeyDictionary[Any, Any]):
    """The rows of a list, by weak references; SQLAlchemy would not notice their end."""

    held = False

    def __setitem__(self, key: Any, value: Any) -> None:
        files = key.dict.get(value) if self.held and self.has_other(key, value) else None
        if isinstance(files, FileObjectList) and files._parents is self:
            _give_twin(files, key, value)  # merge(load=False) has put one row's list into another
            return
        super().__setitem__(key, value)
        self.held = True

    def has_other(self, state: Any, key: str) -> bool:
        """Return True if another row, or another attribute of this one, holds the list."""
        return any(row is not state or attribute != key for row, attribute in self.items())

    def pop(self, key: Any, default: Any = None) -> Any:
        value = super().pop(key, default)
        self.held = bool(self)  # the row now holds another list
        return value


class FileObjectList(MutableList[FileObject]):
    """A list of files that marks its row as changed: ``row.pages.append(file)``.

    It takes only :class:`filerow.FileObject` values; anything else is a ``TypeError`` at the line that adds it.
    """

    _base: tuple[FileObject, ...] | None = None
    _edited: tuple[FileObject, ...] | None = None

    def __init__(self, files: Iterable[FileObject] = ()) -> None:
        super().__init__(_check(file) for file in files)

    def __reduce_ex__(self, proto: SupportsIndex) -> Any:
        """Pickle the list with its base, so that its edits can be merged elsewhere."""
        return _unpickled, (type(self), list(self), self._base)

    @memoized_property
    def _parents(self) -> _Rows:
        return _Rows()

    def append(self, x: FileObject) -> None:
        """Add a file at the end."""
        super().append(*self._admitted([x]))

    def insert(self, i: SupportsIndex, x: FileObject) -> None:
        """Add a file before a position."""
        super().insert(i, *self._admitted([x]))

    def extend(self, x: Iterable[FileObject]) -> None:
        """Add several files at the end."""
        super().extend(self._admitted(x))

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            super().__setitem__(index, self._admitted(value))
        else:
            super().__setitem__(index, *self._admitted([value]))

    def _admitted(self, files: Iterable[object]) -> list[FileObject]:
        """Return files that the columns of this list accept, if it has a row."""
        checked = [_check(file) for file in files]
        pending = [file for file in checked if file.has_pending_data]
        if pending:
            for state, key in list(self._parents.items()):
                kind = state.mapper.columns[key].type
                for file in pending:
                    kind._check_assigned(file, key)
        return checked

    def __iadd__(self, x: Iterable[FileObject]) -> Self:  # type: ignore[override, misc]
        self.extend(x)
        return self

    def __imul__(self, n: SupportsIndex) -> Self:  # early releases of SQLAlchemy 2.0 do not notice it
        self[:] = list(self) * n.__index__()
        return self

    def changed(self) -> None:
        """Mark the rows that hold this list as changed.

        Raises:
            FileStateError: The change would be lost: the row is no longer in memory, or no longer holds this list.
        """
        if self._parents.held and not self._parents:
            raise FileStateError(_GONE)
        for state, key in list(self._parents.items()):
            if state.dict.get(key) is not self:
                raise FileStateError(
                    f"the row has been loaded again or expired (by a commit, for example) and no longer holds this list, so the "
                    f"change would be lost; change row.{key} itself"
                )
        super().changed()

    @classmethod
    def coerce(cls, key: str, value: Any) -> FileObjectList | None:
        """Turn an assigned value into a list of files.

        Raises:
            TypeError: The value is not a list of files.
        """
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, list | tuple):
            return cls(value)
        msg = f"{key} holds a list of files: assign a list of FileObject, not {type(value).__name__}"
        if unwrap_upload(value) is not None:
            msg += "; for uploads write [FileObject.from_upload(upload), ...], or take them by Uploaded(...) of filerow.ext"
        if isinstance(value, FileObject):
            msg = f"{key} holds a list of files: assign a list, [file], or add to the one there is, row.{key}.append(file)"
        raise TypeError(msg)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from filerow._file.pydantic import list_schema_for

        return list_schema_for(cls, handler)


def _unpickled(cls: type[FileObjectList], files: list[FileObject], base: tuple[FileObject, ...] | None) -> FileObjectList:
    made = cls(files)
    made._base = base
    return made


def read_list(files: Iterable[FileObject]) -> FileObjectList:
    """Return a row's list as it was read: the base of later edits."""
    made = FileObjectList(files)
    made._base = tuple(made)
    return made


def base_of(files: FileObjectList) -> tuple[FileObject, ...] | None:
    """Return what the row held when the list was last read or written, or ``None``."""
    return files._base


def edit_of(base: Iterable[FileObject], files: Iterable[FileObject]) -> FileObjectList:
    """Return an edit of a list, such as a form makes: assigned, it is merged.

    Args:
        base: What the row held when it was read, in whatever session.
        files: What it is to hold.
    """
    made = FileObjectList(files)
    made._edited = tuple(base)
    return made


def take_edited(files: FileObjectList) -> tuple[FileObject, ...] | None:
    """Return what a list is an edit of, once: when it is assigned."""
    edited, files._edited = files._edited, None
    return edited


def is_shared(files: FileObjectList) -> bool:
    """Return True if several rows hold this list."""
    return len(files._parents) > 1


def rebase(files: FileObjectList, base: Iterable[FileObject] | None) -> None:
    """Record what the row holds now, as the base of later edits."""
    files._base = None if base is None else tuple(base)


def put_files(files: FileObjectList, new: Iterable[FileObject]) -> None:
    """Replace a list's files without marking its rows as changed."""
    list.__setitem__(files, slice(None), new)


def own_list(files: object, state: Any, key: str) -> object:
    """Return the list to put into a row: a copy if another one holds this list.

    Two rows that shared a list would change each other, and each would release the objects that the other has lost.
    """
    if not isinstance(files, FileObjectList) or not files._parents.held or not files._parents.has_other(state, key):
        return files
    if state.class_.__setattr__ is object.__setattr__:
        return FileObjectList(files)
    # SQLModel stores the assigned value and ignores what is returned here, so the other rows get the new lists
    for other, attribute in list(files._parents.items()):
        files._parents.pop(other)
        if other.dict.get(attribute) is files:
            _give_twin(files, other, attribute)
    return files


def list_in(state: Any, key: str) -> FileObjectList:
    """Return the list that a row holds.

    It is a twin if the list is another row's, or no row's, because changes would be missed. Whoever
    puts a list into the row's dictionary, such as a clone's, passes over SQLAlchemy.
    """
    files: FileObjectList = state.dict[key]
    if files._parents.get(state) != key:
        _give_twin(files, state, key)
    return state.dict[key]  # type: ignore[no-any-return]


def _give_twin(files: FileObjectList, state: Any, key: str) -> None:
    """Replace a row's shared list by one with the same files and base."""
    state.dict[key] = twin = FileObjectList(files)
    twin._base = files._base
    twin._parents[state] = key


def _check(value: object) -> FileObject:
    if isinstance(value, FileObject):
        return value
    raise not_a_file("a list of files", value, in_list=True)
