"""The random walk: a state machine whose rules are what applications do, in any order."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from sqlalchemy import Engine, select

from filerow.maintenance import sweep
from tests.cases.models import FILE_COLUMNS, Base, Document
from tests.cases.world import World
from tests.soak.walks import bulk, hostile, routes
from tests.soak.walks.actor import Actor
from tests.soak.walks.book import LIST_ROWS, ROWS, SLOTS, Book
from tests.soak.walks.faults import OPERATIONS, failing
from tests.soak.walks.model import Key, Machine

rows = st.sampled_from(ROWS)
slots = st.sampled_from(SLOTS)
list_rows = st.sampled_from(LIST_ROWS)
who = st.sampled_from([0, 0, 0, 1])
small = st.integers(0, 7)
tables = st.sampled_from(["document", "document", "postponed", "named", "note", "sheet"])
faults = st.sampled_from([None, None, None, None, *OPERATIONS])
in_place = st.sampled_from([how for how in routes.EDITS if not how.startswith("assign") and how != "repeat"])
synchronize = st.sampled_from(["auto", "evaluate", "fetch", False])
SWEPT = [f"{table}.{column}" for table in FILE_COLUMNS if table not in {"late", "loose"} for column in FILE_COLUMNS[table]]


class Walk(Machine):
    """One walk; see :func:`walk_in`."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.actors: list[Actor] = []

    @initialize(autoflush=st.booleans(), expires=st.booleans())
    def begin(self, *, autoflush: bool, expires: bool) -> None:
        self.actors = [
            Actor(self.world, self.book, autoflush=autoflush, expire_on_commit=expires),
            Actor(self.world, self.book, autoflush=True, expire_on_commit=not expires),
        ]
        for key in ROWS[:-1]:
            if key != ("document", 3):
                routes.add(self.actors[0], key, 0b1011)
        self.actors[0].commit()

    # -- who does it, and what may be touched --------------------------------------------------------------------------

    def actor(self, number: int) -> Actor:
        """Return a session that may write now: SQLite has one writer at a time, and readers stand in its way."""
        one, other = self.actors[number], self.actors[1 - number]
        return other if self.world.database.name == "sqlite" and not other.is_idle else one

    def free(self, actor: Actor, *keys: Key) -> bool:
        """Return True if no other session has touched these rows, and forget what this one knows of a row that is gone."""
        other = self.actors[1 - self.actors.index(actor)]
        for key in keys:
            if actor.current(key) is None and key not in actor.added:
                actor.gone(key)
        folders = {("folder", key[1] % 2 + 1) for key in keys if key[0] == "sheet"}
        return other.touched.isdisjoint(folders.union(keys))

    def after(self, actor: Actor, *, worked: bool, retry: int) -> None:
        """Go on after a failed flush: try again, roll back, or leave it to the next rule."""
        if worked:
            return
        if actor.stack and retry % 3 == 1:
            actor.rollback_to(retry % len(actor.stack))
        elif retry % 3 == 2:
            actor.rollback()
            self.settled(actor)

    def settled(self, actor: Actor) -> None:
        """Compare everything; a transaction has ended."""
        self.warn_others(actor)
        self.book.compare(self.world, settled=all(other.is_idle for other in self.actors))

    def warn_others(self, actor: Actor) -> None:
        """Note that what the other session is about to write may be what this one's commit has deleted."""
        for other in self.actors:
            if other is not actor and actor.book.versions:
                other.suspect = other.suspect or not other.is_clean

    # -- rows ----------------------------------------------------------------------------------------------------------

    @rule(n=who, which=st.integers(0, len(ROWS) - 1), columns=small)
    def add(self, n: int, which: int, columns: int) -> None:
        actor = self.actor(n)
        missing = [key for key in ROWS if not actor.exists(key)] or ROWS
        key = missing[which % len(missing)]
        self.done("insert", something=self.free(actor, key) and routes.add(actor, key, columns | 1))

    @rule(n=who, key=rows)
    def remove(self, n: int, key: Key) -> None:
        actor = self.actor(n)
        self.done("delete", something=self.free(actor, key) and routes.remove(actor, key))

    @rule(n=who, key=rows, columns=small)
    def remove_and_add(self, n: int, key: Key, columns: int) -> None:
        actor = self.actor(n)
        done = self.free(actor, key) and routes.remove(actor, key) and routes.add(actor, key, columns)
        self.done("delete, insert the same key", something=done)

    @rule(n=who, key=rows)
    def take_back(self, n: int, key: Key) -> None:
        actor = self.actor(n)
        self.done("take a delete back", something=self.free(actor, key) and routes.take_back(actor, key))

    @rule(n=who, number=st.sampled_from([1, 2]))
    def remove_folder(self, n: int, number: int) -> None:
        actor = self.actor(n)
        keys: list[Key] = [("folder", number), *(("sheet", sheet) for sheet in (1, 2, 3, 4) if sheet % 2 + 1 == number)]
        self.done("delete by cascade", something=self.free(actor, *keys) and routes.remove(actor, keys[0]))

    @rule(n=who, sheet=st.integers(1, 4), replaced=st.booleans())
    def orphan(self, n: int, sheet: int, *, replaced: bool) -> None:
        actor, key = self.actor(n), ("sheet", sheet)
        self.done("delete-orphan", something=self.free(actor, key) and routes.orphan(actor, key, replaced=replaced))

    @rule(n=who, key=rows, how=st.sampled_from(["expire", "refresh", "expunge"]))
    def forget(self, n: int, key: Key, how: str) -> None:
        actor = self.actor(n)
        self.done(how, something=self.free(actor, key) and routes.forget(actor, key, how))

    # -- files ---------------------------------------------------------------------------------------------------------

    @rule(n=who, slot=slots, kind=st.sampled_from(["bytes", "bytes", "stream"]))
    def replace(self, n: int, slot: tuple[Key, str], kind: str) -> None:
        actor = self.actor(n)
        self.done("replace", something=self.free(actor, slot[0]) and routes.replace(actor, *slot, kind))

    @rule(n=who, slot=slots)
    def clear(self, n: int, slot: tuple[Key, str]) -> None:
        actor = self.actor(n)
        self.done("clear", something=self.free(actor, slot[0]) and routes.clear(actor, *slot))

    @rule(n=who, source=slots, goal=slots)
    def share(self, n: int, source: tuple[Key, str], goal: tuple[Key, str]) -> None:
        actor = self.actor(n)
        self.done("share", something=self.free(actor, source[0], goal[0]) and routes.share(actor, source, goal))

    @rule(n=who, source=slots, goal=slots, flush=st.booleans())
    def move(self, n: int, source: tuple[Key, str], goal: tuple[Key, str], *, flush: bool) -> None:
        actor = self.actor(n)
        done = self.free(actor, source[0], goal[0]) and routes.move(actor, source, goal, flush=flush, fault=None)
        self.done("move", something=done)

    @rule(n=who, left=slots, right=slots)
    def swap(self, n: int, left: tuple[Key, str], right: tuple[Key, str]) -> None:
        actor = self.actor(n)
        self.done("swap", something=self.free(actor, left[0], right[0]) and routes.swap(actor, left, right))

    @rule(n=who, slot=slots, number=small)
    def set_back(self, n: int, slot: tuple[Key, str], number: int) -> None:
        actor = self.actor(n)
        self.done("set back", something=self.free(actor, slot[0]) and routes.set_back(actor, *slot, number))

    # -- lists ---------------------------------------------------------------------------------------------------------

    @rule(n=who, key=list_rows, how=st.sampled_from(list(routes.EDITS)), position=small)
    def edit(self, n: int, key: Key, how: str, position: int) -> None:
        actor = self.actor(n)
        self.done("edit a list", something=self.free(actor, key) and routes.edit(actor, key, how, position))

    @rule(n=who, key=list_rows, mine=in_place, theirs=in_place, position=small, first=st.booleans())
    def edit_at_once(self, n: int, key: Key, mine: str, theirs: str, position: int, *, first: bool) -> None:
        one = self.actor(n)
        other = self.actors[1 - self.actors.index(one)]
        idle = other.is_idle if self.world.database.name == "sqlite" else other.is_clean
        done = idle and not one.touched.intersection([key]) and self.free(one, key) and self.free(other, key)
        done = done and routes.edit_at_once(one, other, key, (mine, theirs), position, first=first)
        if done:
            self.settled(other)
        self.done("edit a list in two sessions at once", something=done)

    @rule(n=who, source=list_rows, goal=list_rows)
    def move_page(self, n: int, source: Key, goal: Key) -> None:
        actor = self.actor(n)
        self.done("move a page", something=self.free(actor, source, goal) and routes.move_page(actor, source, goal))

    @rule(n=who, source=list_rows, goal=slots)
    def page_to_column(self, n: int, source: Key, goal: tuple[Key, str]) -> None:
        actor = self.actor(n)
        done = self.free(actor, source, goal[0]) and routes.page_to_column(actor, source, goal)
        self.done("move a page to a column", something=done)

    # -- statements ----------------------------------------------------------------------------------------------------

    def _bulk(self, n: int, table: str, chosen: int, name: str, act: Callable[[Actor, list[Key]], bool]) -> None:
        actor = self.actor(n)
        keys = [key for key in ROWS if key[0] == table and chosen >> key[1] - 1 & 1]
        self.done(name, something=self.free(actor, *keys) and act(actor, keys))

    @rule(n=who, table=st.sampled_from(["document", "postponed", "note"]), chosen=small, columns=small, fault=faults, nth=small)
    def bulk_insert(self, n: int, table: str, chosen: int, columns: int, fault: str | None, nth: int) -> None:
        with failing(self.world.store, self.book, fault, nth) as one:
            self._bulk(n, table, chosen, "bulk insert", lambda actor, keys: bulk.bulk_insert(actor, keys, columns, one))

    @rule(
        n=who,
        table=tables,
        chosen=small,
        how=st.sampled_from(["clear", "by_key", "query", "one"]),
        sync=synchronize,
        fault=faults,
        nth=small,
    )
    def bulk_update(self, n: int, table: str, chosen: int, how: str, sync: Any, fault: str | None, nth: int) -> None:
        with failing(self.world.store, self.book, fault, nth) as one:
            self._bulk(n, table, chosen, "bulk update", lambda actor, keys: bulk.bulk_update(actor, keys, how, sync, one))

    @rule(n=who, table=tables, chosen=small, how=st.sampled_from(["query", "execute"]), sync=synchronize)
    def bulk_delete(self, n: int, table: str, chosen: int, how: str, sync: Any) -> None:
        self._bulk(n, table, chosen, "bulk delete", lambda actor, keys: bulk.bulk_delete(actor, keys, how, sync, None))

    @rule(n=who, key=st.sampled_from([k for k in ROWS if k[0] != "sheet"]), how=st.sampled_from(["equal", "changed", "partly"]))
    def merge(self, n: int, key: Key, how: str) -> None:
        actor = self.actor(n)
        self.done("merge", something=self.free(actor, key) and bulk.merge(actor, key, how, None))

    @rule(n=who, key=st.sampled_from([k for k in ROWS if k[0] != "sheet"]), how=st.sampled_from(["add", "merge"]))
    def detach(self, n: int, key: Key, how: str) -> None:
        actor = self.actor(n)
        self.done("detach, change, bring back", something=self.free(actor, key) and bulk.detach(actor, key, how, None))

    @rule(n=who)
    def query(self, n: int) -> None:
        actor = self.actor(n)
        done = bulk.run(actor, lambda: actor.session.execute(select(Document.id)).all())
        self.done("query", something=done)

    # -- listeners of the application ----------------------------------------------------------------------------------

    @rule(
        n=who,
        key=st.sampled_from(hostile.KEYS),
        hook=st.sampled_from(hostile.HOOKS),
        change=small,
        first=st.booleans(),
        fault=faults,
        nth=small,
    )
    def disturb(self, n: int, key: Key, hook: tuple[str, str], change: int, *, first: bool, fault: str | None, nth: int) -> None:
        actor = self.actor(n)
        spare = (key[0], key[1] + 1 if (key[0], key[1] + 1) in ROWS else 1)
        done = False
        # SQLAlchemy keeps such an object in its shard, where nobody looks for its new key
        lost = self.world.sharded and hook[1] in {"rekey", "new_version"}
        if not lost and self.free(actor, key, spare):
            with failing(self.world.store, self.book, fault, nth) as one:
                done = hostile.disturb(actor, key, spare, *hook, change, first=first, fault=one)
        self.done(f"{hook[0]}: {hook[1]}", something=done)

    # -- transactions --------------------------------------------------------------------------------------------------

    @rule(n=who, fault=faults, nth=small, retry=small)
    def flush(self, n: int, fault: str | None, nth: int, retry: int) -> None:
        actor = self.actor(n)
        with failing(self.world.store, self.book, fault, nth) as one:
            worked = actor.flush(one)
        self.after(actor, worked=worked, retry=retry)
        self.done("flush")

    @rule(n=who, fault=faults, nth=small, retry=small)
    def savepoint(self, n: int, fault: str | None, nth: int, retry: int) -> None:
        actor = self.actor(n)
        if len(actor.stack) < 4:
            with failing(self.world.store, self.book, fault, nth) as one:
                worked = actor.begin_nested(one)
            self.after(actor, worked=worked, retry=retry)
            self.done("savepoint")

    @rule(n=who, slot=slots, key=list_rows, released=st.booleans())
    def write_in_a_savepoint(self, n: int, slot: tuple[Key, str], key: Key, *, released: bool) -> None:
        actor = self.actor(n)
        if self.free(actor, slot[0], key) and actor.exists(slot[0]) and actor.exists(key) and actor.begin_nested():
            routes.replace(actor, *slot, "bytes")
            routes.edit(actor, key, "pop", 0)
            if released:
                actor.release(len(actor.stack) - 1)
            elif actor.flush():
                actor.rollback_to(len(actor.stack) - 1)
            self.done("write in a savepoint")

    @precondition(lambda self: any(actor.stack for actor in self.actors))
    @rule(n=who, depth=small, fault=faults, nth=small, retry=small)
    def release(self, n: int, depth: int, fault: str | None, nth: int, retry: int) -> None:
        actor = self.actor(n)
        if actor.stack:
            with failing(self.world.store, self.book, fault, nth) as one:
                worked = actor.release(depth % len(actor.stack), one)
            self.after(actor, worked=worked, retry=retry)
            self.done("release")

    @precondition(lambda self: any(actor.stack for actor in self.actors))
    @rule(n=who, depth=small, fault=st.sampled_from([None, None, None, "delete"]), nth=small)
    def rollback_to_savepoint(self, n: int, depth: int, fault: str | None, nth: int) -> None:
        actor = self.actor(n)
        if actor.stack:
            with failing(self.world.store, self.book, fault, nth):
                actor.rollback_to(depth % len(actor.stack))
            self.done("rollback to a savepoint")

    @rule(n=who, fault=faults, nth=small, retry=small)
    def commit(self, n: int, fault: str | None, nth: int, retry: int) -> None:
        actor = self.actor(n)
        with failing(self.world.store, self.book, fault, nth) as one:
            worked = actor.commit(one)
        if worked:
            self.settled(actor)
        else:
            self.after(actor, worked=False, retry=retry)
        self.done("commit")

    @rule(n=who, how=st.sampled_from(["rollback", "close"]), fault=st.sampled_from([None, None, None, "delete"]), nth=small)
    def undo(self, n: int, how: str, fault: str | None, nth: int) -> None:
        actor = self.actor(n)
        with failing(self.world.store, self.book, fault, nth):
            actor.rollback() if how == "rollback" else actor.close()
        self.settled(actor)
        self.done(how)

    @rule(n=who, key=st.sampled_from([1, 2]))
    def fail_the_flush(self, n: int, key: int) -> None:
        actor, new, taken = self.actor(n), ("named", key), ("named", 3 - key)
        self.done("failed flush", something=self.free(actor, new, taken) and bulk.name_twice(actor, new, taken))

    @rule(n=who, key=st.sampled_from([1, 2]))
    def fail_the_commit(self, n: int, key: int) -> None:
        actor = self.actor(n)
        done = self.free(actor, ("note", key)) and bulk.dangling_note(actor, ("note", key))
        if done:
            self.settled(actor)
        self.done("failed commit", something=done)

    # -- the end -------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """End the walk, and leave nothing to the next one, whatever was found."""
        try:
            self._end()
        finally:
            for actor in self.actors:
                actor.close()
            self.leave_nothing()

    def _end(self) -> None:
        """Commit and close both sessions, compare, and have a sweep remove exactly what failed deletes have left."""
        whole = sys.exc_info()[0] is None
        for actor in self.actors:
            if whole and actor.commit():
                self.warn_others(actor)
            actor.close()
        self.book.compare(self.world, settled=True)
        self.sweep()

    def sweep(self) -> None:
        if not self.book.orphans:
            return
        if self.world.sharded:  # a sweep asks one database who owns an object
            for key, path in self.book.orphans:
                self.world.store.backends[key].delete([path])
            self.book.orphans = set()
            self.book.compare(self.world, settled=True)
            return
        time.sleep(0.002)  # nothing may be as young as the grace period allows
        engine = self.world.engine if isinstance(self.world.engine, Engine) else self.world.engine.sync_engine
        options: Any = {
            "grace": timedelta(0),
            "delete": True,
            "full": True,
            "allow_many": True,
            "columns": SWEPT,
            "take_over": True,
        }
        found = [finding for progress in sweep(Base.metadata, engine, **options) for finding in progress.findings]
        assert {(finding.backend, finding.path) for finding in found} == self.book.orphans, "a sweep finds exactly the orphans"
        self.book.orphans = set()
        self.book.compare(self.world, settled=True)
        self.done("sweep")


def walk_in(world: World, counts: Counter[str]) -> type[Walk]:
    """Return a walk through one world."""
    return type("Walk", (Walk,), {"world": world, "counts": counts})


def disturbed_in(world: World, counts: Counter[str]) -> type[Walk]:
    """Return a walk in which listeners disturb most flushes."""
    often = {f"disturb_{number}": Walk.disturb for number in range(40)}
    return type("Walk", (Walk,), {"world": world, "counts": counts, **often})
