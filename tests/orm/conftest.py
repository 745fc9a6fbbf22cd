"""The databases and stores of the table of cases, without its sessions: each test here makes its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import NullPool

from filerow import storages
from filerow.backends.memory import MemoryBackend
from tests.cases.conftest import postgresql, runner, sqlite, sqlite_template, store
from tests.cases.databases import PostgreSQL, SQLite
from tests.cases.stores import Store
from tests.cases.world import World

__all__ = ["postgresql", "runner", "sqlite", "sqlite_template", "store"]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave half of the databases and stores that a test has to thorough runs."""
    if item.get_closest_marker("one_in") is None:
        item.add_marker(pytest.mark.one_in(3))


@pytest.fixture
def docs() -> Iterator[MemoryBackend]:
    """A store in memory, registered as ``docs``."""
    made = MemoryBackend("docs")
    storages.register_backend(made)
    yield made
    storages.clear_backends()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> SQLite | PostgreSQL:
    """A database with all tables and no row."""
    made: Any = request.getfixturevalue(request.param)
    if request.param == "postgresql":
        made.empty()
    return made  # type: ignore[no-any-return]


@pytest.fixture
def engine(place: SQLite | PostgreSQL, store: Store) -> Iterator[Engine]:
    made = place.engine(pool_size=8)
    yield made
    made.dispose()


@pytest.fixture
async def async_engine(place: SQLite | PostgreSQL, store: Store) -> AsyncIterator[AsyncEngine]:
    made = place.async_engine(poolclass=NullPool)
    yield made
    await made.dispose()


@pytest.fixture
def check(place: SQLite | PostgreSQL, store: Store) -> Callable[[], None]:
    """Compare all objects with all committed rows, by means the library does not know."""
    return World(place, store, None, None).check  # type: ignore[arg-type]
