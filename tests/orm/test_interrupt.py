"""Ctrl-C while a flush uploads: it is raised when nothing is under way any more, and what was stored is gone."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.base import ObjectInfo, PutOptions
from filerow.backends.memory import MemoryBackend


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("interrupted"))


class Slow(MemoryBackend):
    """Takes its time for one of the files, and has the process interrupted meanwhile."""

    _quick = False

    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        if content == b"slow":
            time.sleep(0.1)  # by now the other is stored, and the main thread waits
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        return super()._put(path, content, options)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def backend() -> Iterator[Slow]:
    backend = Slow("interrupted")
    storages.register_backend(backend)
    yield backend
    storages.clear_backends()


@pytest.fixture
def interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background has it ignored
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("contents", [[b"quick", b"slow"], [b"slow", b"quick"], [b"slow", b"slow", b"slow"]])
def test_interrupted_flush_waits_for_its_work_and_leaves_nothing(
    engine: Engine, backend: Slow, interruptible: None, contents: list[bytes]
) -> None:
    with Session(engine) as session:
        session.add_all(Note(file=FileObject(content=content)) for content in contents)
        with pytest.raises(KeyboardInterrupt):
            session.commit()
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("filerow")] == []
    assert list(backend.list("")) == []
    with Session(engine) as session:
        assert session.query(Note).count() == 0
        session.add_all(Note(file=FileObject(content=b"quick")) for _ in range(2))
        session.commit()
    assert len(list(backend.list(""))) == 2
