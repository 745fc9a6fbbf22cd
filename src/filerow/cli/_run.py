"""Runs maintenance to its end or the next safe point; returns an exit code."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Self

from sqlalchemy import Engine, MetaData
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from filerow._execution.batch import iterate_async
from filerow.cli._application import Application, find_application, is_async, settings_from
from filerow.cli._output import ClosedOutputError, Item, JsonOutput, LineOutput, Output, Summary, write_error
from filerow.cli._values import CannotRunError, hidden, in_one_line, resumed
from filerow.cli._words import words_of
from filerow.cli._work import Common, Task
from filerow.exceptions import FilerowError, MaintenanceRefusedError
from filerow.maintenance import Progress

CLEAN, FOUND, CANNOT_RUN, INTERRUPTED, CLOSED = 0, 1, 2, 130, 141

_TICK = 0.2

# SQLite's, PostgreSQL's, and the numbers of MySQL and MariaDB: no such table, no such column, no such function
_MISSING = ("no such ", "does not exist", "(1146,", "(1054,", "(1305,")


class Stop:
    """Catches Ctrl-C and SIGTERM while entered; the second ends the process.

    Attributes:
        is_requested: A signal has come.
        has_cut: The work was stopped before its end.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self.has_cut = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def cuts(self) -> bool:
        """Return True if it is time to stop, at a safe point."""
        self.has_cut = self.has_cut or self.is_requested
        return self.is_requested

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        # os.write, since this may interrupt another write; also shows the cursor that a bar has hidden
        if self.is_requested:
            _write_now("\x1b[?25h" if sys.stderr.isatty() else "")
            os._exit(INTERRUPTED)
        self.is_requested = True
        _write_now("\nStopping at the next safe point; press again to end at once.\n")


def _write_now(text: str) -> None:
    with suppress(OSError):
        os.write(2, text.encode())


def run(work: Task, common: Common) -> int:
    """Run a command, show its results, and return the exit code."""
    summary = Summary(work.command, is_dry_run=work.is_dry_run, hides_notes=work.hides_notes and not common.json)
    output = _output(common, work)
    started = time.monotonic()
    stop, is_refused = Stop(), False
    try:
        try:
            with stop:
                _work(work, common, stop, _Shown(output, summary))
        except KeyboardInterrupt:
            stop.has_cut = True
        except ClosedOutputError:
            raise
        except Exception as error:  # noqa: BLE001 - an uncaught one would exit with 1, which says "found something"
            summary.error, is_refused = _message_of(error), isinstance(error, MaintenanceRefusedError)
        summary.seconds = round(time.monotonic() - started, 3)
        summary.is_cut = stop.has_cut
        summary.exit_code = _exit_code(summary, stop)
        if summary.exit_code in {CLEAN, FOUND}:
            summary.cursor = None  # nothing is left to continue
        output.end(summary)
    except ClosedOutputError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the interpreter's last flush
        return CLOSED
    if summary.error:
        write_error(f"filerow {work.command}: {summary.error}")
    if summary.exit_code == INTERRUPTED or (summary.error and summary.steps and not is_refused):
        write_error(f"Stopped. To continue: filerow {shlex.join(resumed(sys.argv[1:], summary.cursor))}")
    return summary.exit_code


def _exit_code(summary: Summary, stop: Stop) -> int:
    if summary.error:
        return CANNOT_RUN
    if stop.has_cut:
        return INTERRUPTED
    if summary.has_kept:
        return CANNOT_RUN
    return CLEAN if summary.is_clean else FOUND


def _output(common: Common, work: Task) -> Output:
    words, hides_notes = words_of(work.words or work.command), work.hides_notes
    if common.json:
        return JsonOutput(words=words)
    if sys.stdout.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}:
        from filerow.cli._terminal import TerminalOutput

        return TerminalOutput(quiet=common.quiet, words=words, hides_notes=hides_notes)
    return LineOutput(quiet=common.quiet, words=words, hides_notes=hides_notes)


def _message_of(error: Exception) -> str:
    """Return an expected error's message, or any other's traceback."""
    if isinstance(error, CannotRunError):
        return str(error)
    if isinstance(error, DBAPIError):
        return hidden(f"the database refused a statement: {type(error.orig).__name__}: {in_one_line(str(error.orig))}")
    if isinstance(error, (FilerowError, SQLAlchemyError, OSError)) or type(error) in {ValueError, LookupError}:
        return hidden(str(error))
    return hidden("".join(traceback.format_exception(error)).rstrip())


class _Shown:
    """Shows items and sums them up, over all rounds of a watching worker."""

    def __init__(self, output: Output, summary: Summary) -> None:
        self._output = output
        self._summary = summary
        self._before = Progress("")
        self._last: Progress | None = None
        self.watching = False

    def take(self, item: Item) -> None:
        """Show an item."""
        if not isinstance(item, Progress):
            self._output.show(item)
            return
        if self.watching:
            before = self._before
            item = replace(
                item,
                done=before.done + item.done,
                total=None,
                changed=before.changed + item.changed,
                transferred=before.transferred + item.transferred,
            )
            if self._last is not None and not item.findings and item.done == self._last.done:
                return  # nothing new
        self._last = item
        self._summary.note(item)
        self._output.show(item)

    def next_round(self) -> None:
        """Begin the next round."""
        self._before = self._last or self._before


def _work(work: Task, common: Common, stop: Stop, shown: _Shown) -> None:
    settings = settings_from(
        Path.cwd(), app=common.app, url=common.url, setup=common.setup, backends=common.backends, shared_with=common.shared_with
    )
    application = find_application(settings)
    shown.watching = work.every is not None
    engine = application.engine
    if is_async(engine):
        asyncio.run(_await(_rounds(work, application, engine.sync_engine, stop, shown)))
    else:
        for waits in _rounds(work, application, engine, stop, shown):
            time.sleep(_TICK if waits else 0)


async def _await(rounds: Iterator[bool]) -> None:
    async for waits in iterate_async(rounds):
        await asyncio.sleep(_TICK if waits else 0)


def _rounds(work: Task, application: Application, engine: Engine, stop: Stop, shown: _Shown) -> Iterator[bool]:
    """Do the work once or again and again; yield True while waiting."""
    try:
        with _connecting(engine):
            engine.connect().close()
        while not stop.cuts():
            with _asking(engine):
                steps = work.steps(application, engine)
                try:
                    for item in steps:
                        shown.take(item)
                        if stop.cuts():
                            return
                        yield False
                finally:
                    if isinstance(steps, Generator):
                        steps.close()
            if work.every is None:
                return
            shown.next_round()
            until = time.monotonic() + work.every
            while time.monotonic() < until and not stop.is_requested:
                yield True
    finally:
        for one in (engine, *application.also):
            if not isinstance(one, MetaData):
                (one.sync_engine if is_async(one) else one).dispose()


@contextmanager
def _connecting(engine: Engine) -> Generator[None]:
    """Report what could not be connected to."""
    try:
        yield
    except Exception as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        text = in_one_line(hidden(str(cause))).rstrip("?.") or type(cause).__name__
        msg = f"cannot connect to {_shown_url(engine)}: {text}; is it running, and are host, name and password right?"
        raise CannotRunError(msg) from error


@contextmanager
def _asking(engine: Engine) -> Generator[None]:
    """Report the database that refused a statement or was lost."""
    try:
        yield
    except Exception as error:
        # some drivers raise a ConnectionError when they cannot reconnect, and errors that SQLAlchemy does not translate
        if isinstance(error, FilerowError) or not (isinstance(error, (DBAPIError, ConnectionError)) or _is_driver_s(error)):
            raise
        cause = error.orig if isinstance(error, DBAPIError) else error
        text = f"{type(cause).__name__}: {in_one_line(hidden(str(cause)))}"
        if isinstance(error, ConnectionError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
            msg = f"{_shown_url(engine)}: the connection was lost: {text}; run it again when the database is back"
        else:
            msg = f"{_shown_url(engine)} refused a statement: {text}"
            msg += "; run filerow doctor to see what is missing" if _misses_something(error) else ""
        raise CannotRunError(msg) from error


_DRIVERS = frozenset({"aiomysql", "aiosqlite", "asyncmy", "asyncpg", "psycopg", "psycopg2", "pymysql", "sqlite3"})


def _is_driver_s(error: Exception) -> bool:
    """Return True if an error comes from a database driver."""
    return any(kind.__module__.partition(".")[0] in _DRIVERS for kind in type(error).__mro__)


def _misses_something(error: Exception) -> bool:
    """Return True if a statement failed for a missing table, column or function."""
    text = str(error.orig if isinstance(error, DBAPIError) else error)
    return any(words in text for words in _MISSING)


def _shown_url(engine: Engine) -> str:
    return hidden(engine.url.render_as_string(hide_password=True))
