"""A world of two databases: rows with odd numbers in one, rows with even numbers in the other, and sessions over both."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import Session

from tests.cases.databases import SQLite
from tests.cases.world import World

SHARDS = ("even", "odd")


class Shards:
    """Two SQLite files, seen as one."""

    name = "sqlite"

    def __init__(self, places: list[SQLite]) -> None:
        self.places = places

    def empty(self) -> None:
        for place in self.places:
            place.empty()

    def select(self, query: str) -> list[tuple[Any, ...]]:
        return [row for place in self.places for row in place.select(query)]

    def rows(self) -> list[Any]:
        return [row for place in self.places for row in place.rows()]


def shard_of(table: str, number: int) -> str:
    """Return the shard of a row; a sheet's is its folder's."""
    return SHARDS[(number % 2 + 1 if table == "sheet" else number) % 2]


def choose(mapper: Any, instance: Any, clause: object = None) -> str:
    """Choose the shard of an object; nothing may be sent anywhere without one."""
    return shard_of(mapper.local_table.name, instance.id)


def choose_by_key(mapper: Any, key: Any, **context: object) -> list[str]:
    return [shard_of(mapper.local_table.name, key[0])]


def choose_all(context: object) -> list[str]:
    return list(SHARDS)


class ShardedWorld(World):
    """A world whose sessions are spread over several databases.

    Bulk INSERT and UPDATE by key are refused by SQLAlchemy itself. What a commit that only one database refuses leaves in the
    other is not Filerow's to undo.
    """

    sharded = True

    def __init__(self, places: list[SQLite], store: Any, runner: Any) -> None:
        self.shards = {name: place.engine() for name, place in zip(SHARDS, places, strict=True)}
        super().__init__(Shards(places), store, self.shards["even"], runner)  # type: ignore[arg-type]

    def open(self, **options: Any) -> Session:
        session = ShardedSession(choose, choose_by_key, choose_all, self.shards, **options)
        self._sessions.append(session)
        return session

    def identity_token(self, table: str, number: int) -> str | None:
        return shard_of(table, number)

    def close(self) -> None:
        for engine in self.shards.values():
            engine.dispose()
