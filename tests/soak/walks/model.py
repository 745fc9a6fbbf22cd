"""What both walks share: what is committed, a session beside its model, and a state machine that leaves nothing behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine
from sqlalchemy.orm import SessionTransaction

from tests.cases.world import World
from tests.soak.walks.faults import Fault

Key = tuple[str, int]
"""A table and a primary key."""

Row = dict[str, Any]
"""What the model knows of a row, by column."""


class Committed:
    """What is committed.

    Attributes:
        rows: The rows.
        orphans: Objects whose deletion failed; nothing but a sweep removes them.
    """

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.orphans: set[tuple[str, str]] = set()

    def commit(self, writes: dict[Key, Row | None]) -> None:
        """Take over what a transaction has written."""
        for key, row in writes.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row


class ModelledSession(ABC):
    """A session beside its model.

    Attributes:
        session: The session.
        writes: Rows as this transaction has written them; ``None`` for a deleted one.
        stack: The open savepoints, each with the ``writes`` it began with.
    """

    def __init__(self, world: World, committed: Committed, **options: Any) -> None:
        self.world = world
        self.committed = committed
        self.session = world.open(**options)
        self._forget_objects()
        self._begin()

    def _begin(self) -> None:
        self.writes: dict[Key, Row | None] = {}
        self.stack: list[tuple[SessionTransaction, dict[Key, Row | None]]] = []

    @abstractmethod
    def _forget_objects(self) -> None:
        """Forget all objects, as a closed session does."""

    @abstractmethod
    def _undone(self) -> None:
        """Adapt the model of the objects to a rollback."""

    @abstractmethod
    def attempt(self, action: Callable[[], object], fault: Fault | None = None) -> bool:
        """Do something that may flush; return ``False`` if that failed and was allowed to."""

    @abstractmethod
    def flushed(self) -> None:
        """Note what a flush has written, if :meth:`attempt` has not."""

    def current(self, key: Key) -> Row | None:
        """Return a row as this transaction would read it."""
        return self.writes[key] if key in self.writes else self.committed.rows.get(key)

    def flush(self, fault: Fault | None = None) -> bool:
        """Flush; ``False`` when that failed, which leaves all changes where they were."""
        done = self.attempt(self.session.flush, fault)
        if done:
            self.flushed()
        return done

    def begin_nested(self, fault: Fault | None = None) -> bool:
        """Begin a savepoint, which flushes."""
        made: list[SessionTransaction] = []
        done = self.attempt(lambda: made.append(self.session.begin_nested()), fault)
        if done:
            self.flushed()
            self.stack.append((made[0], dict(self.writes)))
        return done

    def release(self, depth: int, fault: Fault | None = None) -> bool:
        """Release a savepoint and those inside it, which flushes."""
        done = self.attempt(self.stack[depth][0].commit, fault)
        if done:
            self.flushed()
            del self.stack[depth:]
        return done

    def rollback_to(self, depth: int) -> None:
        """Roll a savepoint back, and those inside it."""
        savepoint, writes = self.stack[depth]
        savepoint.rollback()
        self.writes = writes
        del self.stack[depth:]
        self._undone()

    def rollback(self) -> None:
        """Roll everything back."""
        self.session.rollback()
        self._begin()
        self._undone()

    def close(self) -> None:
        """Close the session, which can be used again."""
        self.session.close()
        self._begin()
        self._forget_objects()


class Machine(RuleBasedStateMachine):
    """One walk, from an empty database and empty stores.

    Attributes:
        world: The real thing; set by the function that makes a walk of a class.
        counts: How often each rule had something to do, over all walks.
    """

    world: World
    counts: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.world.database.empty()

    def done(self, name: str, *, something: bool = True) -> None:
        """Count a step."""
        self.counts[name if something else "nothing to do"] += 1

    def leave_nothing(self) -> None:
        """Remove all rows and objects."""
        for key, backend in self.world.store.backends.items():
            backend.delete([path for where, path in self.world.store.objects() if where == key])
        self.world.database.empty()
