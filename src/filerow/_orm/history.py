"""Find what a flush changes: which file columns of which objects.

It uses attribute history alone and loads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator
from functools import cache, partial
from typing import Any
from weakref import ref

from sqlalchemy.orm import InstanceState, Mapper, Session, attributes

from filerow._file.list import FileObjectList, base_of, is_shared, list_in, put_files, rebase
from filerow._file.object import FileObject, FileState, loaded
from filerow._orm.fields import Field, Slot, SlotChange, fields_of, files_in, key_names, row_fields_of
from filerow._orm.merge import merged
from filerow._orm.ownership import Change, ref_of
from filerow._orm.rows import Owned, connection_of


def changes_of(session: Session) -> tuple[list[SlotChange], list[InstanceState[Any]]]:
    """Return the file columns that a flush changes, and the deleted objects.

    The columns are those of the session's new, changed and deleted objects.
    """
    deleted = [attributes.instance_state(instance) for instance in session.deleted]
    changes: list[SlotChange] = []
    known = None if session.connection_callable is None else {key[:2] for key in session.identity_map.keys()}  # noqa: SIM118
    for instance in session.new:
        state = attributes.instance_state(instance)
        old = replaced_row(session, state, known)
        if old is not None and old not in deleted:
            deleted.append(old)  # an orphan: SQLAlchemy does not report its deletion
        changes += new_slots(state, replaces_row=old is not None)
    for instance in session.dirty:
        changes += changed_slots(attributes.instance_state(instance))
    return changes + deletions_of(deleted), deleted


def replaced_row(
    session: Session, state: InstanceState[Any], known: set[tuple[Any, ...]] | None = None
) -> InstanceState[Any] | None:
    """Return the object whose row a new object replaces, if there is one.

    The same flush deletes that row and inserts one with its key.

    Args:
        session: The session.
        state: The new object.
        known: For a session over shards, the keys of its objects without their shards; otherwise
            ``None``.
    """
    for name in key_names(state.mapper):
        if state.dict.get(name) is None:
            return None
    if not row_fields_of(state.mapper):
        return None
    key = state.mapper.identity_key_from_instance(state.obj())
    if known is not None and key[:2] in known:
        connection_of(session, state)  # chooses the object's shard, which is a part of its key
        key = state.mapper.identity_key_from_instance(state.obj())
    old = session.identity_map.get(key)
    return None if old is None else attributes.instance_state(old)


def new_slots(state: InstanceState[Any], *, replaces_row: bool) -> Iterator[SlotChange]:
    """Yield the file columns of a new object that have files.

    Args:
        state: The object.
        replaces_row: Its row replaces a deleted one with the same key.
    """
    set_initial(state)  # so that reading an empty list after the flush needs no query
    for field in fields_of(state.mapper):
        if replaces_row:
            # SQLAlchemy turns the DELETE and the INSERT into one UPDATE, which leaves unset columns alone. The new row
            # would still name the old one's object.
            state.dict.setdefault(field.key, None)
            attributes.flag_modified(state.obj(), field.key)
        value = _tracked_list(state, field)
        if value:
            yield _change(state, field, value)


def set_initial(state: InstanceState[Any]) -> None:
    """Set the initial values of a new object's file columns.

    SQLAlchemy would set them later, when files cannot be stored any more.
    """
    for field in fields_of(state.mapper):
        if state.dict.get(field.key) is None:
            value = field.initial()
            if value is not None:
                attributes.set_attribute(state.obj(), field.key, value)


def changed_slots(state: InstanceState[Any]) -> list[SlotChange]:
    """Return the file columns of an object that changed since its load.

    A value was set, or changed in place.
    """
    values = [(field, _tracked_list(state, field)) for field in fields_of(state.mapper)]
    return [_change(state, field, value) for field, value in values if state.attrs[field.key].history.has_changes()]


def _tracked_list(state: InstanceState[Any], field: Field) -> Any:
    """Return a file column's value; a list is one that reports its changes.

    SQLModel puts an assigned plain list into the object's dictionary, over the list that SQLAlchemy
    has made of it.
    """
    value = state.dict.get(field.key)
    if isinstance(value, FileObjectList):
        return list_in(state, field.key)
    if not field.type.multiple or value is None:
        return value
    ours = FileObjectList(value)
    attributes.set_attribute(state.obj(), field.key, ours)
    return ours


def deletions_of(states: Collection[InstanceState[Any]]) -> list[SlotChange]:
    """Return all file columns of objects that are being deleted."""
    if not states:
        return []

    @cache  # a class has many objects
    def fields(mapper: Mapper[Any]) -> list[tuple[Field, str, bool]]:
        return [(field, field.type.backend, field.type.lifecycle) for field in row_fields_of(mapper)]

    return [Change(Slot(s, one), (), (), (), backend, owned) for s in states for one, backend, owned in fields(s.mapper)]


def _change(state: InstanceState[Any], field: Field, value: Any) -> SlotChange:
    kind = field.type
    base = base_of(value) if isinstance(value, FileObjectList) else None
    return Change(Slot(state, field), files_in(value), backend=kind.backend, owned=kind.lifecycle, base=base)


def set_owned(changes: Iterable[SlotChange], owned: Owned) -> None:
    """Set on each change what its row owns in the database."""
    refs, unsure = owned.refs.get, owned.unsure.get
    for change in changes:
        owner, column = change.slot
        if isinstance(owner, InstanceState):
            place = owner, column.key
            change.old = refs(place, ())
            change.unsure = unsure(place, ())


def merge_lists(changes: Iterable[SlotChange], owned: Owned) -> Iterator[Callable[[], None]]:
    """Merge lists edited in place with what others have committed meanwhile.

    A list that was assigned replaces what the row holds. So does one whose row is not there to be
    read.

    Args:
        changes: The changed slots.
        owned: What their rows hold now.

    Yields:
        Callables that undo the merges.
    """
    for change in changes:
        state, field = change.slot
        base = change.base
        if not isinstance(state, InstanceState) or base is None or any(file.state is not FileState.ATTACHED for file in base):
            continue
        documents = owned.documents.get((state, field.key))
        value = state.dict[field.key]
        if documents is None:
            # The row is gone, and the UPDATE will raise for it. Until then it keeps what it held.
            if state.key is not None and not change.unsure:
                change.old = [ref_of(file) for file in base if any(file is one for one in value)]
            continue
        theirs = [loaded(document, field.type.shown) for document in documents]
        yield partial(_undo_merge, state, field, value, list(value), base)
        put_files(value, merged(base, theirs, value))
        rebase(value, theirs)
        change.new = tuple(value)


def rebase_lists(states: Iterable[InstanceState[Any]]) -> None:
    """Note that rows hold what a flush has written."""
    for state in states:
        for field in fields_of(state.mapper):
            value = state.dict.get(field.key)
            if isinstance(value, FileObjectList):
                rebase(value, value)


def undo_writes(slots: Iterable[Slot], updated: Container[object]) -> Iterator[Callable[[], None]]:
    """Yield callables that undo in attributes what a flush has made of them.

    Lists get back the base of their edits. Objects are marked as changed again: one that was
    expunged meanwhile is then written when it is added again, and SQLAlchemy expires one that was
    written in a savepoint inside the one that is rolled back, which it does not otherwise.

    Args:
        slots: What the flush has written.
        updated: The objects that are marked as changed.
    """
    for state, field in slots:
        mark = state in updated
        if (mark or field.type.multiple) and isinstance(state, InstanceState) and field.key in state.dict:
            value = state.dict[field.key]
            base = base_of(value) if isinstance(value, FileObjectList) else None
            if mark or isinstance(value, FileObjectList):
                yield partial(_undo_write, state, field, value, base, mark=mark)


def _undo_write(state: InstanceState[Any], field: Field, value: Any, base: Any, *, mark: bool) -> None:
    if isinstance(value, FileObjectList):
        rebase(value, base)
    if mark and _still_holds(state, field, value):
        attributes.flag_modified(state.obj(), field.key)


def _undo_merge(state: InstanceState[Any], field: Field, value: FileObjectList, files: list[FileObject], base: Any) -> None:
    """Undo a merge.

    An object that still holds the list is marked as changed, so that the next flush writes it
    again.
    """
    if _still_holds(state, field, value):
        put_files(value, files)
        _undo_write(state, field, value, base, mark=True)


def _still_holds(state: InstanceState[Any], field: Field, value: Any) -> bool:
    return field.key in state.dict and state.dict[field.key] is value and state.obj() is not None


def assign_copy(change: SlotChange, index: int, copy: Any) -> Callable[[], None]:
    """Assign a copy in place of a file that another row owns.

    Args:
        change: The slot.
        index: The file's position in it.
        copy: The copy.

    Returns:
        A callable that restores the original.
    """
    state, field = change.slot
    assert isinstance(state, InstanceState)  # noqa: S101 - made by _change above
    original = change.new[index]
    change.new = (*change.new[:index], copy, *change.new[index + 1 :])
    value = state.dict.get(field.key)
    if isinstance(value, FileObjectList) and not is_shared(value):
        value[index] = copy  # in place, so that a list that the application holds still belongs to the row
    else:
        attributes.set_attribute(state.obj(), field.key, FileObjectList(change.new) if field.type.multiple else copy)
    return partial(_restore_original, ref(state), field, copy, original)


def _restore_original(weak: ref[InstanceState[Any]], field: Field, copy: Any, original: Any) -> None:
    """Put the original back into an object that was rolled back.

    An expired attribute is left alone: it is loaded from its row.
    """
    state = weak()
    if state is None:
        return
    value = state.dict.get(field.key)
    if isinstance(value, FileObjectList):
        for index, file in enumerate(value):
            if file is copy:
                value[index] = original
    elif value is copy and state.obj() is not None:
        attributes.set_attribute(state.obj(), field.key, original)


def identities(state: InstanceState[Any], field: Field) -> tuple[int, ...]:
    """Return the ``id()`` of each file that an attribute holds now."""
    return tuple(map(id, files_in(state.dict.get(field.key))))
