"""``python -m tools.chaos [--seconds 600]``: run, judge and print; the exit code is 1 if any column is not zero."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.servers import seaweedfs
from tests.servers._s3 import S3Server
from tools.chaos.conductor import Conductor
from tools.chaos.databases import KINDS, start
from tools.chaos.judge import COLUMNS
from tools.chaos.proxy import FaultyProxy

_TIMEOUT = 1.5
"""Seconds after which the application gives up a silent request; each may take twice as long."""

_CREATE = "from tools.chaos import application as a; [b.metadata.create_all(a.engine) for b in (a.Base, a.BareBase)]"


def world_of(conductor_database: Any, store: S3Server, proxy: FaultyProxy, place: str) -> dict[str, Any]:
    """Return what the application has to know."""
    options = {
        "aws_endpoint": proxy.endpoint,
        "aws_access_key_id": store.access_key,
        "aws_secret_access_key": store.secret_key,
        "retry_config": {"max_retries": 2},
    }
    return {**conductor_database.world(), "bucket": f"s3://{place}", "timeout": _TIMEOUT, "store": options}


def judged(conductor: Conductor, store: S3Server, place: str, *, is_recovered: bool) -> dict[str, Any]:
    """Have everything looked at by a process that has nothing to do with us."""
    where = {"endpoint": store.endpoint, "access_key": store.access_key, "secret_key": store.secret_key, "place": place}
    case = {
        "database": conductor.database.place(),
        "store": where,
        "journals": conductor.journals,
        "is_recovered": is_recovered,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tools.chaos.judge"], input=json.dumps(case), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Table:
    """Prints a line for each round, and what every round comes to."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self._head = False

    def add(self, name: str, done: Counter[str], found: Counter[str]) -> None:
        """Print a round."""
        if not self._head:
            print(" ".join([f"{'round':16}", *(f"{word:>11}" for word in (*_WORK, *COLUMNS))]), flush=True)
            self._head = True
        self.total.update(done)
        self.total.update(found)
        self._print(name, done + found)

    def end(self) -> int:
        """Print the sums and return the exit code."""
        self._print("all", self.total)
        return int(any(self.total[column] for column in COLUMNS))

    def _print(self, name: str, counts: Counter[str]) -> None:
        print(" ".join([f"{name:16}", *(f"{counts[word]:11,}" for word in (*_WORK, *COLUMNS))]), flush=True)


_WORK = ("operations", "committed", "failed", "requests", "broken", "kills", "pauses", "restarts")


def _done(conductor: Conductor, proxy: FaultyProxy, before: Counter[str]) -> Counter[str]:
    """Return what has been done since then."""
    now: Counter[str] = Counter()
    operations = set()
    for journal in conductor.journals:
        for line in Path(journal).read_bytes().splitlines():
            try:
                one = json.loads(line)
            except ValueError:
                continue
            now["committed"] += one["what"] == "ack"
            now["failed"] += one["what"] == "failed"
            operations.add(one["operation"])
    did = conductor.done
    now["operations"] = len(operations)
    now["requests"], now["broken"] = proxy.requests, proxy.broken.total() + conductor.database.proxy.broken
    now["kills"] = did["kill_worker"] + did["end_worker"] + did["kill_drain"] + did["kill_database"]
    now["pauses"] = did["pause_worker"] + did["pause_database"]
    now["restarts"] = did["restart_database"]
    since = now - before
    before.clear()
    before.update(now)
    return since


class Run:
    """The whole: a store with its proxy, databases, and rounds in each of them by turns."""

    def __init__(self, ends: ExitStack, kinds: list[str], seed: int, folder: Path) -> None:
        self._store = ends.enter_context(seaweedfs.start())
        self._proxies: list[FaultyProxy] = []
        self._places: list[str] = []
        self._conductors: list[Conductor] = []
        self._before: list[Counter[str]] = []
        self.table = Table()
        for kind in kinds:
            database = start(kind, seed)
            ends.callback(database.stop)
            proxy = FaultyProxy(self._store.endpoint, seed)
            ends.callback(proxy.stop)
            place = f"{self._store.shared_bucket}/{kind}"
            (folder / kind).mkdir()
            conductor = Conductor(database, proxy, world_of(database, self._store, proxy, place), folder / kind, seed)
            conductor.run_python(_CREATE)
            self._proxies.append(proxy)
            self._places.append(place)
            self._conductors.append(conductor)
            self._before.append(Counter())

    def round(self, number: int, seconds: float) -> list[str]:
        """Run a round, judge it, recover, judge again; return examples of what was found."""
        at = number % len(self._conductors)
        conductor, proxy, place = self._conductors[at], self._proxies[at], self._places[at]
        conductor.hung = 0
        conductor.round(seconds)
        after = judged(conductor, self._store, place, is_recovered=False)
        conductor.recover()
        recovered = judged(conductor, self._store, place, is_recovered=True)
        found = Counter(after["counts"]) | Counter(recovered["counts"])
        found["hung"] += conductor.hung
        self.table.add(f"{number + 1} {conductor.database.kind}", _done(conductor, proxy, self._before[at]), found)
        return [*after["examples"], *recovered["examples"]]


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tools.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long it goes on (600)")
    parser.add_argument("--round", type=float, default=20, help="seconds of a round (20)")
    parser.add_argument("--database", choices=KINDS, action="append", help="one of them only; both by turns when left out")
    parser.add_argument("--seed", type=int, help="of the chance; printed")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 30) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="filerow-chaos-"))
    kinds = given.database or list(KINDS)
    length = min(given.round, given.seconds / len(kinds))
    examples: list[str] = []
    with ExitStack() as ends:
        run = Run(ends, kinds, seed, folder)
        until = time.monotonic() + given.seconds
        number = 0
        while number < len(kinds) or time.monotonic() < until:
            examples = run.round(number, length) or examples
            number += 1
    code = run.table.end()
    if code:
        print("\n".join([*examples, f"journals and logs: {folder}"]))
    else:
        shutil.rmtree(folder)
    return code


if __name__ == "__main__":
    sys.exit(main())
