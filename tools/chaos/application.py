"""The application: two tables with files, one with an outbox and one without, where the environment says."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.obstore import ObstoreBackend
from filerow.outbox import Outbox

__all__ = (
    "MODELS",
    "SOON",
    "Bare",
    "BareBase",
    "Base",
    "Paper",
    "engine",
    "make_async_engine",
    "make_engine",
    "outbox",
    "register",
)

WORLD: dict[str, Any] = json.loads(os.environ["CHAOS_WORLD"])
"""The database's URLs and the store's options."""

SOON = timedelta(seconds=0.5)
"""How often an in-app drainer looks."""

_POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 8, "pool_timeout": 10}


class Base(DeclarativeBase):
    """The models with an outbox."""


class BareBase(DeclarativeBase):
    """The models without."""


class Paper(Base):
    """A row whose removed files the outbox notes."""

    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("paper"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("paper", multiple=True))


class Bare(BareBase):
    """A row whose removed files the session deletes."""

    __tablename__ = "bare"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("bare"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("bare", multiple=True))


outbox = Outbox(
    Base.metadata,
    retention=timedelta(0),
    lease=timedelta(seconds=5),
    backoff=timedelta(seconds=0.2),
    max_backoff=timedelta(seconds=2),
    max_attempts=1000,
)
MODELS: dict[str, type[Paper | Bare]] = {"paper": Paper, "bare": Bare}


def register() -> None:
    """Register the backends: two folders of one bucket."""
    for key in MODELS:
        storages.register_backend(ObstoreBackend(key, f"{WORLD['bucket']}/{key}", timeout=WORLD["timeout"], **WORLD["store"]))


def make_engine(**options: Any) -> Engine:
    """Return an engine with a pool, whose connections die now and then."""
    return create_engine(WORLD["url"], connect_args=WORLD["connect_args"], **{**_POOL, **options})


def make_async_engine() -> AsyncEngine:
    """Return an asynchronous engine."""
    return create_async_engine(WORLD["async_url"], connect_args=WORLD["async_connect_args"], **_POOL)


register()
engine = make_engine()
