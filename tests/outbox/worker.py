"""What a worker process does; a module of its own, so that a fork server loads it once."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from datetime import timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

from sqlalchemy import Engine, MetaData

from filerow import storages
from filerow.backends.local import LocalBackend
from filerow.outbox import Outbox
from tests.databases import make_engine
from tests.outbox.app import paper_table


class Counted(LocalBackend):
    """A directory that remembers what it was asked to delete."""

    def __init__(self, key: str, root: Path) -> None:
        super().__init__(key, root, fsync=False)
        self.asked: list[str] = []

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        self.asked += paths
        return super()._delete(paths)


class PausedBackend(LocalBackend):
    """A directory that says when it is asked to delete, before or after it has, and goes on no more."""

    def __init__(self, key: str, root: Path, reached: Path, *, after: bool) -> None:
        super().__init__(key, root, fsync=False)
        self._reached = reached
        self._after = after

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        failed = super()._delete(paths) if self._after else {}
        self._reached.touch()
        signal.pause()
        return failed


def drain(url: str, folder: Path, batch: int, start: Barrier, report: Path) -> None:
    """Drain together with others, and write down what was done."""
    backend = Counted("docs", folder)
    storages.register_backend(backend)
    outbox, engine = made(url)
    with engine.connect():
        start.wait()
    drained = outbox.drain(engine, batch=batch)
    report.write_text(json.dumps({"deleted": drained.deleted, "asked": backend.asked}))
    engine.dispose()


def halt(url: str, folder: Path, reached: Path, after: bool) -> None:
    """Drain, and wait in the middle of it to be killed."""
    storages.register_backend(PausedBackend("docs", folder, reached, after=after))
    outbox, engine = made(url)
    outbox.drain(engine)


def made(url: str) -> tuple[Outbox, Engine]:
    """Return an outbox without retention and an engine."""
    metadata = MetaData()
    paper_table(metadata)
    return Outbox(metadata, retention=timedelta(0)), make_engine(url)
