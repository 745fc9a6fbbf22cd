"""Bulk statements and merges: what changes rows without the objects' attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError

from filerow import FileObject, FileObjectList
from filerow.exceptions import StorageError
from tests.soak.walks.actor import Actor
from tests.soak.walks.book import CLASSES, LISTS, blank, columns_of
from tests.soak.walks.faults import Fault
from tests.soak.walks.model import Key, Row
from tests.soak.walks.routes import new_file


def run(actor: Actor, statement: Callable[[], object], fault: Fault | None = None) -> bool:
    """Run something that flushes first; when the store fails, it is known which of both has failed."""
    if (fault is not None or not actor.autoflush) and not actor.flush(fault):
        return False
    if not actor.attempt(statement, fault):
        return False
    actor.flushed()
    return True


def bulk_insert(actor: Actor, keys: Sequence[Key], columns: int, fault: Fault | None) -> bool:
    """Insert rows by parameters."""
    if not keys or actor.world.sharded or any(actor.current(key) is not None or actor.exists(key) for key in keys):
        return False
    rows: list[Row] = []
    given: list[Row] = []
    for key in keys:
        file, content = new_file()
        rows.append({"id": key[1], "file": file})
        given.append({"file": content})
        for column in LISTS.get(key[0], ()) if columns & 1 else ():
            page, page_content = new_file()
            rows[-1][column], given[-1][column] = [page], (page_content,)
    actor.touched.update(keys)
    if run(actor, lambda: actor.session.execute(insert(CLASSES[keys[0][0]]), rows), fault):
        for key, values in zip(keys, given, strict=True):
            actor.writes[key] = {**blank(key), **values}
    return True


def _sure(actor: Actor, model: type[Any], synchronize: Any) -> Any:
    """Return how a statement is synchronized with a session's objects, so that SQLAlchemy gives values to those it matches.

    To evaluate the WHERE in Python takes an object whose key is expired for one that matches, whatever its columns are.
    """
    half_expired = any(isinstance(one, model) and "id" not in one.__dict__ for one in actor.session)
    return "fetch" if half_expired and synchronize in {"auto", "evaluate"} else synchronize


def bulk_update(actor: Actor, keys: Sequence[Key], how: str, synchronize: Any, fault: Fault | None) -> bool:
    """Update rows: one with a new file, several to None, or several by their keys."""
    keys = [key for key in keys if key not in actor.added and actor.exists(key)]
    if not keys or (how == "by_key" and actor.world.sharded):
        return False
    model = CLASSES[keys[0][0]]
    values: dict[Key, Row] = {}
    synchronize = _sure(actor, model, synchronize)
    options = {"synchronize_session": synchronize}
    numbers = [key[1] for key in keys]
    if how == "clear":
        values = {key: {"file": None} for key in keys}
        statement = lambda: actor.session.execute(  # noqa: E731
            update(model).where(model.id.in_(numbers)).values(file=None), execution_options=options
        )
    elif how == "by_key":
        files = {key: new_file() for key in keys}
        values = {key: {"file": content} for key, (_, content) in files.items()}
        rows = [{"id": key[1], "file": file} for key, (file, _) in files.items()]
        statement = lambda: actor.session.execute(update(model), rows)  # noqa: E731
    elif how == "query":
        file, content = new_file()
        keys, values = keys[:1], {keys[0]: {"file": content}}
        query = actor.session.query(model).filter(model.id == keys[0][1])
        statement = lambda: query.update({"file": file}, synchronize_session=synchronize)  # noqa: E731
    else:
        file, content = new_file()
        keys, values = keys[:1], {keys[0]: {"file": content}}
        statement = lambda: actor.session.execute(  # noqa: E731
            update(model).where(model.id == keys[0][1]).values(file=file), execution_options=options
        )
    actor.touched.update(keys)
    if run(actor, statement, fault):
        for key, given in values.items():
            actor.writes[key] = {**(actor.current(key) or {}), **given}
            actor.overtaken(key, "file")
    elif actor.world.sharded:  # it may have changed rows of one shard before it failed on another
        actor.rollback()
    return True


def bulk_delete(actor: Actor, keys: Sequence[Key], how: str, synchronize: Any, fault: Fault | None) -> bool:
    """Delete rows by a statement."""
    keys = [key for key in keys if key not in actor.added and actor.exists(key)]
    if not keys:
        return False
    model, numbers = CLASSES[keys[0][0]], [key[1] for key in keys]
    synchronize = _sure(actor, model, synchronize)
    options = {"synchronize_session": synchronize}
    actor.touched.update(keys)

    def statement() -> object:
        if how == "query":
            return actor.session.query(model).filter(model.id.in_(numbers)).delete(synchronize_session=synchronize)
        return actor.session.execute(delete(model).where(model.id.in_(numbers)), execution_options=options)

    if run(actor, statement, fault):
        for key in keys:
            actor.writes[key] = None
            actor.gone(key)
    return True


def merge(actor: Actor, key: Key, how: str, fault: Fault | None) -> bool:
    """Merge an object that is not the session's: with equal files, with changed ones, or of a new row."""
    if key in actor.added or key in actor.removed:
        return False
    if not actor.is_clean and not actor.flush(fault):
        return False
    row, model = actor.current(key), CLASSES[key[0]]
    values: Row = {}
    given: Row = {}
    if row is not None and how != "changed":
        one = actor.loaded(key)
        if any(actor.is_stale(key, column) for column in columns_of(key)):
            return False
        values = {column: _again(getattr(one, column)) for column in columns_of(key)}
    if row is None or how != "equal":
        file, content = new_file()
        column = columns_of(key)[0]
        values[column], given[column] = file, content
    if key[0] == "named":
        values["name"] = f"name {key[1]}"
    merged = model(id=key[1], **values)
    with actor.session.no_autoflush:
        if row is not None:
            actor.loaded(key)
        one = actor.session.merge(merged)
    if row is None:
        actor.adopt(key, one, given)
    for column, content in given.items() if row is not None else ():
        actor.note(key, column, content)
    actor.touched.add(key)
    return True


def _again(value: Any) -> Any:
    """Return an equal value, as a detached object or another process would bring it."""
    if isinstance(value, FileObjectList):
        return [_again(file) for file in value]
    return FileObject.from_dict(value.to_dict()) if value is not None and not value.has_pending_data else value


def detach(actor: Actor, key: Key, how: str, fault: Fault | None) -> bool:
    """Take an object out of the session, change it there, and bring it back by ``add`` or ``merge``."""
    if not actor.exists(key) or key in actor.added or key in actor.removed or key in actor.dirty:
        return False
    if not actor.is_clean and not actor.flush(fault):
        return False
    one = actor.loaded(key)
    if any(actor.is_stale(key, column) for column in columns_of(key)):
        return False
    actor.session.expunge(one)
    file, content = new_file()
    column = columns_of(key)[0]
    setattr(one, column, file)
    given: Row = {column: content}
    if "pages" in columns_of(key):
        page, page_content = new_file()
        given["pages"] = (*actor.value(key, "pages"), page_content)
        one.pages.append(page)
    if how == "add":
        actor.session.add(one)
    else:
        actor.leave(key)
        actor.loaded(key)
        with actor.session.no_autoflush:
            actor.session.merge(one)
    for name, value in given.items():
        if name != "pages":
            actor.note(key, name, value)
        elif how == "add":
            actor.note_edit(key, value)  # the list was edited in place, outside the session
        else:
            actor.note_assigned(key, value)
    return True


def name_twice(actor: Actor, key: Key, taken: Key) -> bool:
    """Add a row whose name another has: the flush fails in the database, after everything was stored."""
    if actor.exists(key) or key in actor.removed or taken in actor.added or taken in actor.removed or not actor.exists(taken):
        return False
    if actor.world.sharded:  # a name in another database is not taken
        return False
    if actor.current(taken) is None:
        return False
    file, content = new_file()
    one = CLASSES["named"](id=key[1], name=f"name {taken[1]}", file=file)
    actor.session.add(one)
    try:
        actor.session.flush()
    except IntegrityError:
        pass
    except StorageError:
        if not actor.suspect:
            raise
    else:
        raise AssertionError
    actor.keep(file, content)
    if actor.stack:
        actor.rollback_to(len(actor.stack) - 1)
    else:
        actor.rollback()
    return True


def dangling_note(actor: Actor, key: Key) -> bool:
    """Commit a note of a folder that does not exist: the database refuses at COMMIT."""
    if actor.exists(key) or key in actor.removed or actor.suspect or actor.world.sharded:
        return False
    file, content = new_file()
    actor.session.add(CLASSES["note"](id=key[1], folder_id=4711, file=file))
    actor.refused_commit()
    actor.keep(file, content)
    return True
