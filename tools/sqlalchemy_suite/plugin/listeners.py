"""Listeners on every Session: Filerow's, or some that do nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Integer, event
from sqlalchemy.orm import Mapper, Session, registry
from sqlalchemy.orm.events import SessionEvents

import filerow
from filerow._orm import events
from tools.sqlalchemy_suite.plugin.treatment import Treatment

SESSION_EVENTS = (
    "before_flush",
    "after_flush",
    "after_begin",
    "before_commit",
    "after_commit",
    "after_rollback",
    "after_transaction_create",
    "after_transaction_end",
    "do_orm_execute",
)


_expected: list[int] = []
_mappers: list[Mapper[Any]] = []
"""A mapper, to see what all mappers call."""
_waiting: list[object] = []
"""What Filerow has them call."""


def _count() -> list[int]:
    """Return how many listeners Filerow has for each event of a session."""
    with Session() as session:
        listeners = [getattr(session.dispatch, name) for name in SESSION_EVENTS]
    return [sum(_is_ours(one) for one in some) for some in listeners]


def _is_ours(listener: object) -> bool:
    return str(getattr(listener, "__module__", "")).startswith("filerow.")


def _map_a_class() -> None:
    """Map a class with file columns, which makes Filerow listen; it is forgotten again."""
    ours = registry()

    @ours.mapped
    class ThrowAway:
        __tablename__ = "filerow_throw_away"
        id = Column(Integer, primary_key=True)
        file: Any = Column(filerow.StoredObject("suite"))
        files: Any = Column(filerow.StoredObject("suite", multiple=True))

    ours.configure()
    _mappers[:] = ours.mappers
    ours.dispose()


def _called_by_mappers() -> list[object]:
    return list(_mappers[0].dispatch.mapper_configured)


def ensure_filerow_listens() -> None:
    """Make Filerow listen to every mapper and Session; the suite removes all listeners between tests.

    Raises:
        RuntimeError: It does not listen as it did at first.
    """
    if not _expected:
        _map_a_class()
        _expected.extend(_count())
        _waiting.extend(_called_by_mappers())  # the suite is not imported yet
    there = _called_by_mappers()
    if not all(listener in there for listener in _waiting):
        events.install()
        _waiting[:] = [listener for listener in _called_by_mappers() if listener not in there]
    if _count() != _expected:
        SessionEvents._clear()  # as the suite does; a test may have removed only some
        _map_a_class()
    if not any(_expected) or _count() != _expected:
        raise RuntimeError(f"Filerow listens {_count()} times, not {_expected}")


def ensure_listening(target: type, name: str, listener: Any, **options: Any) -> None:
    """Listen, unless that is done already."""
    if not event.contains(target, name, listener):
        event.listen(target, name, listener, **options)


class Filerow(Treatment):
    """Filerow's listeners, and no file column.

    Args:
        sabotage: "listeners" adds one that keeps new objects from being saved, which tests notice.
    """

    def __init__(self, sabotage: str = "") -> None:
        self._sabotage = sabotage

    def begin(self, test: str) -> None:
        """Make Filerow listen; without configuring the suite's own mappers."""
        del test
        ensure_filerow_listens()
        if self._sabotage == "listeners":
            ensure_listening(Session, "before_flush", _expunge_new)


def _expunge_new(session: Session, context: object, instances: object) -> None:
    for instance in list(session.new):
        session.expunge(instance)


class Nothing(Treatment):
    """Listeners that do nothing, on every event of Session and Mapper that Filerow listens to."""

    def begin(self, test: str) -> None:
        """Make them listen."""
        del test
        for name in SESSION_EVENTS:
            ensure_listening(Session, name, _PASSIVE[name])
        ensure_listening(Mapper, "after_mapper_constructed", _two)
        ensure_listening(Mapper, "mapper_configured", _two)


def _one(a: object) -> None: ...
def _two(a: object, b: object) -> None: ...
def _three(a: object, b: object, c: object) -> None: ...


_PASSIVE = {
    "before_flush": _three,
    "after_flush": _two,
    "after_begin": _three,
    "before_commit": _one,
    "after_commit": _one,
    "after_rollback": _one,
    "after_transaction_create": _two,
    "after_transaction_end": _two,
    "do_orm_execute": _one,
}
