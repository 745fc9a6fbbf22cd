"""What an application does to rows and files, each done to the session and to the model alike.

Every function returns whether there was anything to do; it has looked at nothing that another session has touched.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

from filerow import FileObject
from tests.soak.walks.actor import Actor
from tests.soak.walks.book import CLASSES, LISTS, SINGLE, columns_of
from tests.soak.walks.faults import Fault
from tests.soak.walks.model import Key, Row

_numbers = itertools.count(1)


def new_file(kind: str = "bytes") -> tuple[FileObject, bytes]:
    """Return a pending file and its bytes, which no other file has."""
    content = b"file %d" % next(_numbers)
    source: Any = io.BytesIO(b"skipped" + content) if kind == "stream" else content
    if kind == "stream":
        source.seek(len(b"skipped"))
    return FileObject(filename="cat.png", content=source), content


# -- rows ------------------------------------------------------------------------------------------------------------------


def add(actor: Actor, key: Key, columns: int) -> bool:
    """Add a new row, with files in some of its columns; perhaps with the key of one that the same flush deletes."""
    if actor.exists(key) or (key in actor.removed and key[0] == "sheet"):
        return False
    values, given = _some_files(key, columns)
    if key[0] == "named":
        values["name"] = f"name {key[1]}"
    if key[0] == "sheet":
        folder = ("folder", key[1] % 2 + 1)
        if folder in actor.removed:
            return False
        if not actor.exists(folder):
            actor.add(folder, CLASSES["folder"](id=folder[1]), {})
        actor.touched.add(folder)
        values["folder"], given["folder"] = actor.object(folder), folder[1]
    actor.add(key, CLASSES[key[0]](id=key[1], **values), given)
    return True


def _some_files(key: Key, columns: int) -> tuple[Row, Row]:
    values: Row = {}
    given: Row = {}
    for bit, column in enumerate(columns_of(key)):
        if columns >> bit & 1:
            file, content = new_file()
            many = column in LISTS.get(key[0], ())
            values[column], given[column] = ([file], (content,)) if many else (file, content)
    return values, given


def remove(actor: Actor, key: Key) -> bool:
    """Delete a row; a folder with its sheets."""
    if not actor.exists(key) or key in actor.added:
        return False
    one = actor.object(key)
    if key[0] == "folder":
        if not actor.is_clean and not actor.flush():
            return False
        sheets = _sheets_of(actor, key)
        actor.removed.update(sheets)
        actor.touched.update(sheets)
    else:
        for column in SINGLE[key[0]]:
            if column in one.__dict__ and not actor.is_stale(key, column):
                actor.keep(one.__dict__[column], actor.value(key, column))
    actor.session.delete(one)
    actor.removed.add(key)
    actor.touched.add(key)
    return True


def _sheets_of(actor: Actor, folder: Key) -> list[Key]:
    keys = [("sheet", number) for number in (1, 2, 3, 4)]
    return [key for key in keys if actor.exists(key) and (actor.current(key) or {}).get("folder") == folder[1]]


def take_back(actor: Actor, key: Key) -> bool:
    """Take a deletion back before it is flushed."""
    if key not in actor.removed or key in actor.added or key[0] in {"folder", "sheet"}:
        return False
    actor.session.add(actor.object(key))
    actor.removed.discard(key)
    return True


def orphan(actor: Actor, key: Key, *, replaced: bool) -> bool:
    """Take a sheet out of its folder, which deletes it; perhaps after its file was replaced."""
    if not actor.exists(key) or not actor.is_clean:
        return False
    folder = ("folder", actor.current(key)["folder"])  # type: ignore[index]
    with actor.session.no_autoflush:
        sheet = actor.object(key)
        sheets = actor.object(folder).sheets
        if replaced:
            file, content = new_file()
            actor.put(key, "file", file, content, fresh=True)
        sheets.remove(sheet)
    actor.removed.add(key)
    actor.touched |= {key, folder}
    return True


def forget(actor: Actor, key: Key, how: str) -> bool:
    """Expire, refresh or expunge an object: what was changed in it and not flushed is lost."""
    if not actor.exists(key) or (key[0] in {"sheet", "named", "note"} and how != "expire"):
        return False
    one = actor.object(key)
    if how == "expunge":
        if key in actor.removed:
            return False
        actor.session.expunge(one)
        actor.drop_object(key)
        return True
    if key in actor.added:
        return False
    if how == "refresh":
        actor.dirty.pop(key, None)  # SQLAlchemy expires the object first, and flushes what other objects hold after that
        if not actor.attempt(lambda: actor.session.refresh(one)):
            return False
        if actor.autoflush:
            actor.flushed()
        actor.see_again(key)
        return True
    actor.session.expire(one, list(columns_of(key)))
    actor.dirty.pop(key, None)
    return True


# -- files -----------------------------------------------------------------------------------------------------------------


def replace(actor: Actor, key: Key, column: str, kind: str) -> bool:
    """Give a column a new file, whatever it held and whether or not anybody has looked."""
    if not actor.exists(key):
        return False
    file, content = new_file(kind)
    actor.put(key, column, file, content, fresh=True)
    return True


def clear(actor: Actor, key: Key, column: str) -> bool:
    """Set a column to None."""
    if not actor.exists(key):
        return False
    actor.put(key, column, None, None)
    return True


def _value(actor: Actor, key: Key, column: str) -> tuple[Any, Any]:
    """Return what an attribute holds, with its bytes."""
    one = actor.loaded(key)
    if actor.is_stale(key, column):
        actor.suspect = True
    return getattr(one, column), actor.value(key, column)


def share(actor: Actor, source: tuple[Key, str], target: tuple[Key, str]) -> bool:
    """Assign a file to a second column as well."""
    if not actor.exists(source[0]) or not actor.exists(target[0]):
        return False
    file, content = _value(actor, *source)
    actor.put(*target, file, content)
    return True


def move(actor: Actor, source: tuple[Key, str], target: tuple[Key, str], *, flush: bool, fault: Fault | None) -> bool:
    """Move a file to another column, in one flush or in two."""
    if source == target or not actor.exists(source[0]) or not actor.exists(target[0]):
        return False
    file, content = _value(actor, *source)
    suspect = actor.suspect
    actor.put(*source, None, None)
    if flush:
        actor.flush(fault)
        actor.suspect = actor.suspect or suspect  # a flush that failed has forgotten it, and the file is as stale as it was
        if not actor.exists(target[0]):
            return True
    actor.put(*target, file, content)
    return True


def swap(actor: Actor, left: tuple[Key, str], right: tuple[Key, str]) -> bool:
    """Swap two files."""
    if left == right or not actor.exists(left[0]) or not actor.exists(right[0]):
        return False
    (file, content), (other, others) = _value(actor, *left), _value(actor, *right)
    actor.put(*left, other, others)
    actor.put(*right, file, content)
    return True


def set_back(actor: Actor, key: Key, column: str, number: int) -> bool:
    """Assign a file that some attribute has held before, perhaps in a transaction that has ended."""
    if not actor.former or not actor.exists(key):
        return False
    file, content = actor.former[number % len(actor.former)]
    actor.suspect = True
    actor.put(key, column, file, content)
    return True


# -- lists -----------------------------------------------------------------------------------------------------------------


def _pages(actor: Actor, key: Key) -> tuple[Any, Any]:
    """Return a list, with its bytes; one that another session has changed meanwhile only if the files have different bytes."""
    one = actor.loaded(key)
    if actor.is_stale(key, "pages"):
        row = (actor.current(key) or {})["pages"]
        if any(len(set(pages)) < len(pages) for pages in (row, actor.value(key, "pages"))):
            actor.session.expire(one, ["pages"])
            actor.loaded(key)
    return one.pages, actor.value(key, "pages")


def edit(actor: Actor, key: Key, how: str, position: int) -> bool:
    """Change a list in place, or assign another."""
    if not actor.exists(key):
        return False
    assigns = how in {"assign", "assign_turned"}
    pages, contents = _value(actor, key, "pages") if assigns else _pages(actor, key)
    file, content = new_file()
    changed = list(contents)
    if not EDITS[how](pages, changed, position, file, content):
        return False
    if assigns:
        actor.loaded(key).pages = [file, *pages] if how == "assign" else list(pages)[::-1]
        actor.note_assigned(key, [content, *contents] if how == "assign" else list(contents)[::-1])
    else:
        actor.note_edit(key, changed)
    return True


def edit_at_once(one: Actor, other: Actor, key: Key, edits: tuple[str, str], position: int, *, first: bool) -> bool:
    """Edit a list in two sessions, both of which have read it before either commits; the second commit is left to another rule.

    Args:
        one: The session whose edit is not committed yet at the end.
        other: The one that commits its own.
        key: The row.
        edits: What each of them does.
        position: Where.
        first: Whether the first session edits before the other one commits.
    """
    if not one.exists(key) or not other.exists(key) or key in one.added:
        return False
    with one.session.no_autoflush:
        _, contents = _pages(one, key)
    on_sqlite = one.world.database.name == "sqlite"
    if len(set(contents)) < len(contents) or one.is_stale(key, "pages") or (on_sqlite and not (one.is_clean and one.commit())):
        return False
    suspect = one.suspect
    if on_sqlite and "pages" not in one.object(key).__dict__:
        return False  # the commit has expired it
    if on_sqlite and not one.is_idle:
        one.commit()
    done = first and not on_sqlite and edit(one, key, edits[0], position)
    if not edit(other, key, edits[1], position) or not other.commit():
        return done
    one.suspect = suspect
    return done or edit(one, key, edits[0], position)


def _both(change: Callable[[list[Any], Any], object]) -> Callable[..., bool]:
    """Return an edit that does the same to the files and to their bytes.

    It returns whether it has touched the list: one that it has not touched is not flushed, so it stays as stale as it was.
    """

    def run(pages: list[Any], contents: list[Any], position: int, file: object, content: object) -> bool:
        touched = change(pages, (position, file)) is not False
        change(contents, (position, content))
        return touched

    return run


def _pop(pages: list[Any], given: Any) -> bool:
    if pages:
        pages.pop(given[0] % len(pages))
        return True
    return False


def _set(pages: list[Any], given: Any) -> bool:
    if pages:
        pages[given[0] % len(pages)] = given[1]
        return True
    return False


def _swap(pages: list[Any], given: Any) -> bool:
    if len(pages) > 1:
        pages[0], pages[-1] = pages[-1], pages[0]
        return True
    return False


def _delete_slice(pages: list[Any], given: Any) -> None:
    del pages[given[0] % 3 : given[0] % 3 + 2]


def _set_slice(pages: list[Any], given: Any) -> None:
    pages[given[0] % 3 : given[0] % 3 + 2] = [given[1]]


def _remove_first(pages: list[Any], given: Any) -> bool:
    if pages:
        pages.remove(pages[0])
        return True
    return False


def _repeat(pages: list[Any], given: Any) -> bool:
    if len(pages) < 4:
        pages += pages[:1]
        return True
    return False


EDITS: dict[str, Callable[..., bool]] = {
    "append": _both(lambda pages, given: pages.append(given[1])),
    "insert": _both(lambda pages, given: pages.insert(given[0] % 3, given[1])),
    "pop": _both(_pop),
    "set": _both(_set),
    "swap": _both(_swap),
    "delete_slice": _both(_delete_slice),
    "set_slice": _both(_set_slice),
    "remove": _both(_remove_first),
    "repeat": _both(_repeat),
    "reverse": _both(lambda pages, given: pages.reverse()),
    "clear": _both(lambda pages, given: pages.clear()),
    "assign": lambda *given: True,
    "assign_turned": lambda *given: True,
}


def _moved_from(actor: Actor, key: Key) -> tuple[Any, Any]:
    """Return a list to take a page from, which another session may have deleted meanwhile."""
    found = _pages(actor, key)
    actor.suspect = actor.suspect or actor.is_stale(key, "pages")
    return found


def move_page(actor: Actor, source: Key, target: Key) -> bool:
    """Move a page to the end of another row's list."""
    if source == target or not actor.exists(source) or not actor.exists(target):
        return False
    pages, contents = _moved_from(actor, source)
    others, others_contents = _pages(actor, target)
    if not contents:
        return False
    others.append(pages.pop(0))
    actor.note_edit(target, (*others_contents, contents[0]))
    actor.note_edit(source, contents[1:])
    return True


def page_to_column(actor: Actor, source: Key, target: tuple[Key, str]) -> bool:
    """Move a page out of a list into a column."""
    if not actor.exists(source) or not actor.exists(target[0]):
        return False
    pages, contents = _moved_from(actor, source)
    if not contents:
        return False
    page = pages.pop()
    actor.note_edit(source, contents[:-1])
    actor.put(*target, page, contents[-1])
    return True
