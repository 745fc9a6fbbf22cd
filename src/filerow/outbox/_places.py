"""Checks that a place belongs to this database before objects are deleted there.

A place (a bucket's prefix, a directory) has a record, and the database remembers what it wrote into it. Each deleting run
writes a new random mark, into the database first and into the place then. A copy of the database (staging, a restored dump)
does not know the marks that came since, nor does the database itself know those of a copy that was quicker: whoever finds a mark
that it did not write refuses, until somebody says who the place belongs to.

A process that is killed between the two writes leaves the mark that the last but one run wrote, and the database knows what that
was. The first run in a place without a record writes one and deletes nothing.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Literal

from filerow._execution.batch import call, first
from filerow._paths import RECORD
from filerow._registry import storages
from filerow.backends._types import PutOptions
from filerow.backends.base import StorageBackend
from filerow.exceptions import (
    MaintenanceRefusedError,
    ObjectExistsError,
    ObjectHiddenError,
    ObjectNotFoundError,
    StorageError,
    UnsupportedOperationError,
)
from filerow.outbox._census import Census
from filerow.outbox._marks import Mark, add_mark, drop_marks, expected, forget, hints_of, last_of, read_marks

FIRST_RUN = (
    "this place had no record of which database deletes in it; this run has written that it is this one, and deleted nothing"
)

_OFTEN = 60.0
"""Seconds within which drains of one database do not write a new mark each: the one in the place is young enough."""

_VERSION = 1
_OVER = PutOptions(content_type="application/json", create_only=False)
_NEW = PutOptions(content_type="application/json")


@dataclass(frozen=True, slots=True)
class Note:
    """What a run has to say of a place.

    Attributes:
        code: ``first-run``, or ``another-server``.
        backend: Key of the backend.
        message: It, in a sentence.
        who: This database.
    """

    code: Literal["first-run", "another-server"]
    backend: str
    message: str
    who: str = ""


@dataclass(frozen=True, slots=True)
class _Record:
    """What lies in a place.

    Attributes:
        lineage: Random; another one after somebody took the place over.
        serial: How many runs there were.
        mark: What the last one wrote: random.
        hints: By what the database's server is known; hashes.
        by: The host of the last run.
        at: When that was, by the host's clock.
    """

    lineage: str
    serial: int
    mark: str
    hints: Mapping[str, str]
    by: str = field(default_factory=socket.gethostname)
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def content(self) -> bytes:
        """The record as an object."""
        return json.dumps({"v": _VERSION, **asdict(self)}, indent=1).encode()

    def next(self, marks: Iterable[Mark], hints: Mapping[str, str]) -> _Record:
        """Return the record of the next run, after all that the database knows."""
        serial = max([self.serial, *(mark.serial for mark in marks)]) + 1
        return _Record(self.lineage, serial, token_hex(16), hints)


class Places:
    """Finds out for one run whether its database may delete in a place.

    Args:
        census: The databases, the run's own first.
        run: A ``sweep`` deletes nothing once its server's hints are others; a ``drain`` says so and goes on.
        take_over: Whatever the places say, they belong to this database from now on.
    """

    def __init__(self, census: Census, run: Literal["sweep", "drain"], *, take_over: bool = False) -> None:
        self._databases = census.databases
        self._metadata, self._engine = census.databases[0]
        self._run = run
        self._take_over = take_over
        self._fresh: set[str] = set()

    def enter(self, key: str) -> Note | None:
        """Write a new mark into a place, before this run deletes in it.

        Returns:
            What there is to say. After ``first-run`` nothing may be deleted.

        Raises:
            MaintenanceRefusedError: Another database has deleted in it, or this one is on another server.
            BackendNotFoundError: The backend is not registered.
            StorageError: The store could not be asked.
        """
        backend = storages.get_backend(key)
        if _is_ours_alone(backend):
            return None
        record = None if self._take_over else self._read(backend)
        if self._take_over:
            self._seize(backend)
            return None
        if record is None:
            is_empty = self._run == "sweep" and first(backend.list, backend.list_async) is None
            if self._claim(backend):
                return None if is_empty else Note("first-run", key, FIRST_RUN)
            record = self._read(backend)
            if record is None:
                raise MaintenanceRefusedError(_unreadable(key), "another-database")
        if record.lineage in self._fresh:  # under another key
            return Note("first-run", key, FIRST_RUN)
        return self._advance(backend, record)

    def look(self, key: str) -> MaintenanceRefusedError | None:
        """Return why a run that deletes would be refused, and change nothing.

        Raises:
            BackendNotFoundError: The backend is not registered.
            StorageError: The store could not be asked.
        """
        backend = storages.get_backend(key)
        if _is_ours_alone(backend):
            return None
        try:
            record = self._read(backend)
        except MaintenanceRefusedError as error:
            return error
        if record is None:
            return None
        hints = hints_of(self._engine, record.lineage)
        if record.mark not in expected(self._marks(record.lineage)):
            return _refusal(key, record, self._who(hints), "another-database")
        return _refusal(key, record, self._who(hints), "another-server") if self._has_moved(record, hints) else None

    def _advance(self, backend: StorageBackend, record: _Record) -> Note | None:
        """Write a new mark, where this database knows the one that is there."""
        marks = self._marks(record.lineage)
        hints = hints_of(self._engine, record.lineage)
        if record.mark not in expected(marks):
            raise _refusal(backend.key, record, self._who(hints), "another-database")
        moved = _refusal(backend.key, record, self._who(hints), "another-server") if self._has_moved(record, hints) else None
        if moved is not None and self._run == "sweep":
            raise moved
        if self._run == "sweep" or last_of(marks).age >= _OFTEN:
            # the hints stay: of a server that moved the next sweep must learn after a drain
            new = record.next(marks, {**hints, **record.hints})
            add_mark(self._metadata, self._engine, _mark_of(new, record.mark), marks)
            _write(backend, new, _OVER)
        return None if moved is None else Note("another-server", backend.key, str(moved), self._who(hints))

    def _claim(self, backend: StorageBackend) -> bool:
        """Write a first record; return False if somebody else has."""
        new = self._first()
        add_mark(self._metadata, self._engine, _mark_of(new))
        try:
            _write(backend, new, _NEW)
        except ObjectExistsError:
            found = self._read(backend)  # the answer to an attempt that succeeded may have been lost
        except UnsupportedOperationError:
            _write(backend, new, _OVER)
            found = self._read(backend)  # no condition keeps others away, so this is as much as can be known
        else:
            found = new
        if found is not None and found.mark == new.mark:
            self._fresh.add(new.lineage)
            return True
        drop_marks(self._metadata, self._engine, _mark_of(new))
        return False

    def _seize(self, backend: StorageBackend) -> None:
        """Write a record of a new lineage over any other."""
        before = _content(backend)
        new = self._first()
        add_mark(self._metadata, self._engine, _mark_of(new))
        _write(backend, new, _OVER)
        found = self._read(backend)
        if found is None or (found.mark != new.mark and found.mark not in expected(self._marks(found.lineage))):
            msg = f"backend {backend.key!r}: two databases take this place over at the same time; nothing was deleted there"
            raise MaintenanceRefusedError(msg, "another-database")
        former = None if before is None else _parsed(before)
        if former is not None:
            forget(self._metadata, self._engine, former.lineage)

    def _first(self) -> _Record:
        lineage = token_hex(16)
        return _Record(lineage, 1, token_hex(16), hints_of(self._engine, lineage))

    def _marks(self, lineage: str) -> list[Mark]:
        """Return what all the databases that share the place remember of it."""
        found = {mark.name: mark for metadata, engine in self._databases for mark in read_marks(metadata, engine, lineage)}
        return list(found.values())

    def _has_moved(self, record: _Record, hints: Mapping[str, str]) -> bool:
        """Return True if the server, and all that share the place, are others now."""
        if not _differ(record.hints, hints):
            return False
        return all(_differ(record.hints, hints_of(engine, record.lineage)) for _, engine in self._databases[1:])

    def _who(self, hints: Mapping[str, str]) -> str:
        url = self._engine.url
        name = "/".join(filter(None, (url.host, url.database)))
        return f"{self._engine.dialect.name} {name!r}{_print_of(hints)}"

    def _read(self, backend: StorageBackend) -> _Record | None:
        content = _content(backend)
        if content is None:
            return None
        record = _parsed(content)
        if record is None:
            raise MaintenanceRefusedError(_unreadable(backend.key), "another-database")
        return record


class Gate:
    """Lets a drain delete only from checked backends, each checked when it is due.

    A drain with nothing to do asks nothing, as a drainer's mostly are.

    Args:
        census: Whose rows are asked, once it is known that none are hidden.
        places: Whose the places are.

    Attributes:
        closed: Keys of backends that are passed over.
        broken: Keys of backends that could not be asked, each with the reason; what is due there has failed.
        refusal: Why one of them is passed over; to be raised when the others are done.
    """

    def __init__(self, census: Census, places: Places) -> None:
        self._census: Census | None = census
        self.closed = {key for key in storages.registered_backends() if not storages.may_delete(key)}
        self.broken: dict[str, str] = {}
        self.refusal: MaintenanceRefusedError | None = None
        self._places = places
        self._asked: set[str] = set()

    def is_ready(self, keys: Iterable[str]) -> bool:
        """Return True if everything is known that a deletion in these backends needs."""
        return self._census is None and not self._unasked(keys)

    def _unasked(self, keys: Iterable[str]) -> list[str]:
        return [key for key in keys if key not in self._asked and storages.is_registered(key)]

    def ask(self, keys: Iterable[str]) -> tuple[Note, ...]:
        """Check what is not known yet, and return messages.

        Raises:
            MaintenanceRefusedError: Rows may be hidden.
        """
        if self._census is not None:
            self._census.check()
            self._census = None
        notes: list[Note] = []
        for key in self._unasked(keys):
            self._asked.add(key)
            try:
                note = self._places.enter(key)
            except StorageError as error:
                self.broken[key] = error.message
                continue
            except MaintenanceRefusedError as error:
                self.closed.add(key)
                self.refusal = self.refusal or error
                continue
            if note is not None:
                notes.append(note)
                if note.code == "first-run":
                    self.closed.add(key)
        return tuple(notes)


def _is_ours_alone(backend: StorageBackend) -> bool:
    """Return True if no other process can reach the objects of a backend."""
    return backend.protocol == "memory"


def _content(backend: StorageBackend) -> bytes | None:
    try:
        return call(backend.read, backend.read_async, RECORD)
    except (ObjectNotFoundError, ObjectHiddenError):  # which of the two, the write that must not overwrite finds out
        return None


def _write(backend: StorageBackend, record: _Record, options: PutOptions) -> None:
    call(backend.put, backend.put_async, RECORD, record.content, options)


def _mark_of(record: _Record, before: str = "") -> Mark:
    return Mark(record.lineage, record.serial, record.mark, before)


def _parsed(content: bytes) -> _Record | None:
    """Return the record in an object; ``None`` if it cannot be read."""
    try:
        facts: dict[str, Any] = json.loads(content)
        record = _Record(**{name: facts[name] for name in _Record.__slots__})
        is_sound = facts["v"] == _VERSION and record.lineage.isalnum()
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if is_sound else None


def _differ(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return True if a known hint of a server differs from before."""
    return any(one[name] != other[name] for name in one.keys() & other.keys())


def _print_of(hints: Mapping[str, str]) -> str:
    return f" ({'-'.join(hints[name][:6] for name in sorted(hints))})" if hints else ""


_WHAT_TO_DO = (
    "nothing was deleted there. After a restore, an upgrade or a failover: --take-over (take_over=True). If this is a copy: "
    "stop, and register the backend with deletes=False. If both have files there: name the other one with also="
)


def _refusal(key: str, record: _Record, who: str, code: Literal["another-database", "another-server"]) -> MaintenanceRefusedError:
    mark = _print_of(record.hints)
    by = (
        f"{mark} that was not this one, or knows more than this one"
        if code == "another-database"
        else f" on another server{mark}"
    )
    msg = (
        f"backend {key!r}: last swept or drained from {record.by!r} at {record.at}, by a database{by}; this database is {who}; "
        f"{_WHAT_TO_DO}"
    )
    return MaintenanceRefusedError(msg, code)


def _unreadable(key: str) -> str:
    return f"backend {key!r}: {RECORD}, which says whose place it is, cannot be understood by this release; {_WHAT_TO_DO}"
