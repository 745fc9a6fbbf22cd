"""What goes wrong, and when: processes are killed, paused and started again, the database too, and requests break."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tools.chaos.databases import ChaosDatabase
from tools.chaos.leash import leashed
from tools.chaos.proxy import KINDS, FaultyProxy

__all__ = ("Conductor",)

WORKERS = ("sync-1", "async-1", "sync-2")
PATIENCE = 60.0
"""Seconds that a process may take over its last transaction, with everything well again, before it counts as hung."""

_BEGUN = 2_000
"""Bytes of the journal of a worker that is at work."""

_CUT = 0.05
"""The share of COMMITs at which the connection is cut."""

_FILEROW = [sys.executable, "-c", "from filerow.cli import main; main()"]
# the other models' rows have files in the same database, so a drain asks them, too
_MODELS = ("--app", "tools.chaos.application:Base", "--shared-with", "tools.chaos.application:BareBase")
_DRAIN = [*_FILEROW, "drain", "--watch", "--every", "0.5s", "--quiet", *_MODELS]


class Conductor:
    """Conducts the rounds in one database.

    Args:
        database: The database.
        proxy: In front of the store.
        world: What the application has to know, as the environment variable ``CHAOS_WORLD``.
        folder: Where journals and logs go.
        seed: Of the chance.
    """

    def __init__(self, database: ChaosDatabase, proxy: FaultyProxy, world: dict[str, Any], folder: Path, seed: int) -> None:
        self.database = database
        self.done: Counter[str] = Counter()
        self.hung = 0
        self._proxy = proxy
        self._folder = folder
        self._random = random.Random(seed)
        self._environment = {**os.environ, "CHAOS_WORLD": json.dumps(world)}
        self._workers: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
        self._drain: subprocess.Popen[bytes] | None = None
        self._calm_at = 0.0
        self._stop = folder / "stop"

    @property
    def journals(self) -> list[str]:
        """The journals of all workers so far."""
        return [str(path) for path in sorted(self._folder.glob("*.journal"))]

    @property
    def log(self) -> Path:
        """What the processes have written to stderr."""
        return self._folder / "stderr.log"

    def round(self, seconds: float) -> None:
        """Let everything go wrong for a while, then wait until all is quiet."""
        self._stop.unlink(missing_ok=True)
        for name in WORKERS:
            self._start(name)
        self._start_drain()
        self._wait_for_workers()
        ends = time.monotonic() + seconds
        self.database.proxy.rate = _CUT
        events: dict[Callable[[], None], int] = {
            self._kill_worker: 4,
            self._end_worker: 2,
            self._pause_worker: 2,
            self._break_requests: 10,
            self._kill_drain: 2,
            self._kill_database: 1,
            self._restart_database: 1,
            self._pause_database: 1,
        }
        try:
            while time.monotonic() < ends:
                time.sleep(self._random.uniform(0.1, 0.8))
                if time.monotonic() > self._calm_at:
                    self._proxy.rate = 0.0
                [event] = self._random.choices(list(events), list(events.values()))
                event()
                self.done[event.__name__.removeprefix("_")] += 1
                self._tend()
        finally:
            self._proxy.rate = self.database.proxy.rate = 0.0
            self._stop.touch()
            self._quiet()

    # -- processes -----------------------------------------------------------------------------------------------------

    def _start(self, name: str) -> None:
        number = self.done["workers"]
        self.done["workers"] += 1
        journal = self._folder / f"{name}-{number}.journal"
        seed = self._random.randrange(1 << 30)
        command = [sys.executable, "-m", "tools.chaos.worker", name, str(journal), str(seed), str(self._stop)]
        self._workers[name] = self._spawn(command), journal

    def _wait_for_workers(self) -> None:
        """Wait until all workers work, for what has not begun cannot be disturbed."""
        until = time.monotonic() + 3 * PATIENCE
        while len(self._at_work()) < len(WORKERS):
            if time.monotonic() > until:
                message = f"the workers do not begin: {self.log.read_text()[-3000:]}"
                raise RuntimeError(message)
            time.sleep(0.1)

    def _at_work(self) -> list[str]:
        """Return the workers that have done something."""
        return [
            name
            for name, (process, journal) in self._workers.items()
            if process.poll() is None and journal.exists() and journal.stat().st_size > _BEGUN
        ]

    def _start_drain(self) -> None:
        self._drain = self._spawn(_DRAIN)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(leashed(command), env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _tend(self) -> None:
        """Start what has ended by itself: a drain ends when it has lost its database."""
        if self._drain is not None and self._drain.poll() is not None:
            self._start_drain()
        for name, (process, _) in list(self._workers.items()):
            if process.poll() is not None:
                self._start(name)

    def _quiet(self) -> None:
        """Wait for the workers' last transactions; whoever does not come to an end is hung."""
        until = time.monotonic() + PATIENCE
        for process, _ in self._workers.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.hung += 1
                process.send_signal(signal.SIGABRT)
                process.wait()
        self._end_drain(signal.SIGTERM)

    def _end_drain(self, number: signal.Signals) -> None:
        if self._drain is None:
            return
        self._drain.send_signal(number)
        try:
            self._drain.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.hung += 1
            self._drain.kill()
            self._drain.wait()

    def _some_worker(self) -> str | None:
        """Choose a worker that has something to lose."""
        names = self._at_work()
        return self._random.choice(names) if names else None

    # -- what goes wrong -----------------------------------------------------------------------------------------------

    def _kill_worker(self) -> None:
        self._end_one(signal.SIGKILL)

    def _end_worker(self) -> None:
        self._end_one(signal.SIGTERM)

    def _end_one(self, number: signal.Signals) -> None:
        name = self._some_worker()
        if name is not None:
            process, _ = self._workers[name]
            process.send_signal(number)
            process.wait()
            self._start(name)

    def _pause_worker(self) -> None:
        name = self._some_worker()
        if name is not None:
            process, _ = self._workers[name]
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGSTOP)
                time.sleep(self._random.uniform(0.2, 1.5))
                process.send_signal(signal.SIGCONT)

    def _kill_drain(self) -> None:
        self._end_drain(signal.SIGKILL)
        self._start_drain()

    def _kill_database(self) -> None:
        self.database.kill()

    def _restart_database(self) -> None:
        self.database.restart()

    def _pause_database(self) -> None:
        self.database.pause(self._random.uniform(0.3, 1.5))

    def _break_requests(self) -> None:
        self._proxy.kinds = KINDS if self._random.random() < 0.5 else (self._random.choice(KINDS),)
        self._proxy.rate = self._random.choice([0.05, 0.2, 0.5, 1.0])
        self._calm_at = time.monotonic() + self._random.uniform(0.3, 1.5)

    # -- what an operator does afterwards ------------------------------------------------------------------------------

    def recover(self, seconds: float = 60.0) -> None:
        """Drain what is due, as often as it takes, and sweep; the store and the database are well.

        Raises:
            RuntimeError: A command could not do its work.
        """
        self._run("drain", *_MODELS)
        until = time.monotonic() + seconds
        while self._waiting() and time.monotonic() < until:  # leases of drains that were killed
            time.sleep(0.5)
            self._run("drain", *_MODELS)
        models = [f"tools.chaos.application:{base}" for base in ("Base", "BareBase")]
        for one, other in (models, reversed(models)):  # they share a database, and so each has triggers that the other one sees
            first = ("--take-over",) if one.endswith("BareBase") else ()  # nobody has deleted in its place yet
            self._run(
                *("sweep", "--full", "--grace", "0s", "--delete", "--allow-many", "--app", one, "--shared-with", other), *first
            )

    def run_python(self, code: str) -> None:
        """Run a few words in a process of the application."""
        subprocess.run(leashed([sys.executable, "-c", code]), env=self._environment, check=True)

    def _waiting(self) -> bool:
        counts = self._run("stats", "--json", "--app", "tools.chaos.application:Base")
        [outbox] = [line for line in map(json.loads, counts.splitlines()) if line["type"] == "outbox"]
        return bool(outbox["due"] or outbox["waiting"])

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            leashed([*_FILEROW, *arguments]), env=self._environment, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode not in {0, 1} or "Traceback" in done.stderr:
            message = f"filerow {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            raise RuntimeError(message)
        return done.stdout
