"""A store that may fail, databases, and what subscribers were called with."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from filerow import hooks, storages
from filerow.backends.memory import MemoryBackend
from filerow.testing.faults import FaultyBackend
from tests.observability.models import Base, KeptBase


@pytest.fixture(autouse=True)
def docs() -> Iterator[FaultyBackend]:
    """A store in memory, registered as ``docs``."""
    made = FaultyBackend(MemoryBackend("docs"))
    storages.register_backend(made)
    yield made
    storages.clear_backends()


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables."""
    path = tmp_path_factory.mktemp("observability") / "empty.db"
    made = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(made)
    KeptBase.metadata.create_all(made)
    made.dispose()
    return path


@pytest.fixture
def engine(empty: Path, tmp_path: Path) -> Iterator[Engine]:
    """A database whose pool has one connection."""
    path = shutil.copy(empty, tmp_path / "a.db")
    made = create_engine(f"sqlite:///{path}", pool_size=1, max_overflow=0, pool_timeout=2)
    yield made
    made.dispose()


@pytest.fixture
async def async_engine(engine: Engine) -> AsyncIterator[AsyncEngine]:
    path = engine.url.database
    pool = {"poolclass": AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0, "pool_timeout": 2}
    made = create_async_engine(f"sqlite+aiosqlite:///{path}", **pool)
    yield made
    await made.dispose()


class Heard(list[hooks.Event]):
    """The events of the last transactions."""

    def __call__(self, event: hooks.Event) -> None:
        self.append(event)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self]

    def take(self) -> list[tuple[str, str | None]]:
        """Return kind and filename of what was heard, and forget it."""
        found: list[tuple[str, str | None]] = [(event.kind, event.file["filename"] if event.file else None) for event in self]
        self.clear()
        return found


@pytest.fixture
def heard() -> Iterator[Heard]:
    """A subscriber to everything."""
    made = Heard()
    hooks.subscribe(made)
    yield made
    hooks.unsubscribe(made)


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """Forget what a test has subscribed."""
    from filerow.hooks import subscriptions

    before = list(subscriptions)
    yield
    subscriptions[:] = before
