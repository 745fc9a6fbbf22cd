"""Remembers sweeps: in the outbox's table, in a file, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData

from filerow._execution.batch import call
from filerow._execution.steps import threaded
from filerow.outbox import Outbox, outbox_of
from filerow.outbox._table import write_state

_LONGEST_NAME = 255


class Memory:
    """Stores a small JSON object under a name, or nothing, as this class does.

    Attributes:
        lasts: True if the next run can read it.
    """

    lasts = False

    def read(self, name: str) -> dict[str, Any] | None:  # noqa: ARG002 - as the others
        """Return the object stored under a name, or ``None``."""
        return None

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Store an object under a name, in place of the previous one."""


class TableMemory(Memory):
    """Stores it in the outbox's table of states, for any number of workers."""

    lasts = True

    def __init__(self, outbox: Outbox, engine: Engine) -> None:
        self._outbox = outbox
        self._engine = engine

    def read(self, name: str) -> dict[str, Any] | None:
        """See :class:`Memory`."""
        with self._engine.begin() as connection:
            return self._outbox.read_state(connection, _short(name))

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """See :class:`Memory`."""
        with self._engine.begin() as connection:
            write_state(connection, self._outbox.state, _short(name), dict(value))


class FileMemory(Memory):
    """Stores it in one JSON file, replaced as a whole; for one worker."""

    lasts = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def read(self, name: str) -> dict[str, Any] | None:
        """See :class:`Memory`."""
        found: dict[str, Any] | None = call(*threaded(self._load)[:2]).get(name)
        return found

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """See :class:`Memory`."""
        call(*threaded(self._store)[:2], name, value)

    def _load(self) -> dict[str, Any]:
        try:
            found: Any = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ValueError(self._strange()) from error
        if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
            raise ValueError(self._strange())
        return found

    def _strange(self) -> str:
        return f"{self._path} was not written by a sweep; name another file, or delete it: the next sweep is then a full one"

    def _store(self, name: str, value: Mapping[str, Any]) -> None:
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        try:
            with draft.open("w") as file:
                json.dump({**self._load(), name: value}, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)


def memory_of(metadata: MetaData, engine: Engine, path: str | os.PathLike[str] | None) -> Memory:
    """Return where to remember: the named file, the outbox's table, or nowhere."""
    outbox = outbox_of(metadata)
    if path is not None:
        return FileMemory(path)
    return Memory() if outbox is None else TableMemory(outbox, engine)


def _short(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:150]}#{hashlib.sha256(name.encode()).hexdigest()}"
