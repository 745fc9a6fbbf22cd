"""Listeners of an application that change what is flushed or what was, before ours and after ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session, make_transient

from filerow import FileObject
from tests.soak.walks import routes
from tests.soak.walks.actor import Actor
from tests.soak.walks.book import CLASSES, ROWS, blank, columns_of
from tests.soak.walks.faults import Fault
from tests.soak.walks.model import Key, Row

_ALWAYS = ("expunge", "delete", "copy", "expire", "fail")
_IN_TIME = (*_ALWAYS, "new_version", "expunge_and_add", "rekey", "replace", "edit")
ACTS = {
    "before_flush": (*_IN_TIME, "take_back"),
    "after_flush": _ALWAYS,  # SQLAlchemy forgets what else is changed there
    "after_flush_postexec": _IN_TIME,
}
"""What a listener does in each event; after the flush, it is for the next flush to write."""

HOOKS = [(hook, act) for hook, acts in ACTS.items() for act in acts]
KEYS = [key for key in ROWS if key[0] in {"document", "postponed", "note"}]
"""Rows that need nothing but files, so that one may become two."""


class ListenerError(Exception):
    """A listener fails."""


@contextmanager
def listening(actor: Actor, hook: str, act: Callable[[Session], None], *, first: bool) -> Iterator[None]:
    """Call a listener once, at the session's next flush."""
    target: Any = Session if first else actor.session
    called: list[Session] = []

    def listener(session: Session, *_: object) -> None:
        if session is actor.session and not called:
            called.append(session)
            act(session)

    event.listen(target, hook, listener, insert=first)
    try:
        yield
    finally:
        event.remove(target, hook, listener)


def disturb(actor: Actor, key: Key, spare: Key, hook: str, act: str, change: int, *, first: bool, fault: Fault | None) -> bool:
    """Change a row, and have a listener make something else of it in the flush.

    Args:
        actor: Whose session.
        key: The row.
        spare: Another one of its table, which is deleted to begin with.
        hook: When the listener is called.
        act: What it does, one of ``ACTS``.
        change: What is changed before.
        first: The listener runs before ours.
        fault: What the store does meanwhile.
    """
    if not actor.exists(key) or (not actor.is_clean and not actor.flush(fault)):
        return False
    if actor.exists(spare) and not (routes.remove(actor, spare) and actor.flush(fault)):
        return False
    one = actor.loaded(key)
    if any(actor.is_stale(key, column) for column in columns_of(key)):
        return False
    _change(actor, key, change)
    if act == "take_back":
        routes.remove(actor, key)
    values = {column: actor.value(key, column) for column in columns_of(key)}
    actor.touched |= {key, spare}
    given = routes.new_file()

    def flush() -> None:
        actor.session.flush()
        actor.session.flush()  # what a listener has changed after the first one

    with listening(actor, hook, lambda session: _act(session, one, act, spare, given[0]), first=first):
        try:
            done = actor.attempt(flush, fault)
        except ListenerError:
            done = False
    if not done:
        actor.rollback()
    else:
        _note(actor, key, spare, hook, act, values, given[1])
    actor.session.expunge_all()  # what it knows of the listener's doing is SQLAlchemy's business
    actor._forget_objects()
    return True


def _change(actor: Actor, key: Key, change: int) -> None:
    """Change a file, or a list, or a file that goes away; something in any case, or there would be no flush."""
    if change % 4 == 1 and actor.value(key, "file") is not None:
        routes.clear(actor, key, "file")
    elif change % 4 == 2 and "pages" in columns_of(key):
        routes.edit(actor, key, "append", 0)
        routes.edit(actor, key, "swap", 0)
    elif change % 4 == 3 and "pages" in columns_of(key):
        routes.edit(actor, key, "append", 0)
        routes.edit(actor, key, "pop", 0)
    else:
        routes.replace(actor, key, "file", "bytes")


def _act(session: Session, one: Any, act: str, spare: Key, file: FileObject) -> None:
    lists = {"pages": one.pages} if hasattr(one, "pages") and act in {"copy", "edit"} else {}
    if act in {"expunge", "expunge_and_add"}:
        session.expunge(one)
    elif act == "new_version":
        make_transient(one)
    elif act in {"delete", "expire"}:
        session.delete(one) if act == "delete" else session.expire(one)
    elif act == "copy":
        session.add(CLASSES[spare[0]](id=spare[1], file=one.file, **lists))
    elif act == "edit" and lists:
        lists["pages"].insert(0, file)
    elif act in {"replace", "edit"}:
        one.file = file
    elif act == "fail":
        raise ListenerError
    if act in {"rekey", "new_version"}:
        one.id = spare[1]
    if act in {"expunge_and_add", "new_version", "take_back"}:
        session.add(one)


def _note(actor: Actor, key: Key, spare: Key, hook: str, act: str, values: Row, content: bytes) -> None:
    """Note what the flushes must have written."""
    if hook != "before_flush" or act not in {"new_version", "expunge", "expire"}:
        actor.writes[key] = values
    if act in {"new_version", "rekey"}:
        actor.writes[spare] = values
    if act == "copy":
        actor.writes[spare] = {**blank(spare), **{c: values[c] for c in ("file", "pages") if c in values}}
    if act in {"delete", "rekey"}:
        actor.writes[key] = None
    if act == "edit" and "pages" in values:
        actor.writes[key] = {**values, "pages": (content, *values["pages"])}
    elif act in {"replace", "edit"}:
        actor.writes[key] = {**values, "file": content}
    actor._clean()
