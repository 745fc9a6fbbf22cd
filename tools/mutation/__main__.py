"""``python -m tools.mutation``: break the core in every small way, and see that some test notices.

A table says for each module how many faults there were, and how many of them the tests have noticed. The exit status is 1 when a
fault survived that ``survivors.toml`` does not explain, or when an explanation there explains nothing any more.

The tree that this is called in is never touched: it is copied, once for each process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tools.mutation.mutants import Mutant, mutants_of

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
COPIED = ("src", "tests", "tools", "pyproject.toml")
PROCESSES = 2
LEAST_TIMEOUT = 30.0
"""Seconds; a run is given up after this, or after ten times what the tests take without a fault."""

Key = tuple[str, str, str, str]


@dataclass(slots=True)
class Result:
    """What became of the faults of one module."""

    module: str
    mutants: int = 0
    killed: int = 0
    timed_out: int = 0
    survivors: list[Mutant] = field(default_factory=list)

    @property
    def figure(self) -> float:
        """The share of faults that the tests have noticed, in per cent."""
        return 100 * (self.killed + self.timed_out) / self.mutants if self.mutants else 100.0


class Worker:
    """A copy of the tree, and the process that runs tests in it."""

    def __init__(self, folder: Path) -> None:
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, folder / name)
        self._folder = folder
        variables = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        temporary = folder / "tmp"
        temporary.mkdir()
        variables |= {
            "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(folder)]),
            "PYTHONHASHSEED": "0",
            "TMPDIR": str(temporary),
        }
        command = [sys.executable, str(folder / "tools" / "mutation" / "worker.py")]
        self._process = subprocess.Popen(
            command, cwd=folder, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, module: str, source: str | None, tests: Sequence[str], timeout: float) -> dict[str, Any]:
        """Run tests with a fault in one module, or without any."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"module": module, "source": source, "tests": list(tests), "timeout": timeout}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit("the process that runs the tests has ended")
        answer: dict[str, Any] = json.loads(line)
        for left in (self._folder / "tmp").iterdir():
            shutil.rmtree(left, ignore_errors=True)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def judge(module: dict[str, Any], workers: Sequence[Worker]) -> Result:
    """Put every fault into one module, one at a time, and see which of them the tests notice."""
    source, tests = module["source"], module["tests"]
    result = Result(source)
    # Without a fault all must pass, in each copy, before and after: or what a test notices may be something else.
    timeout = max(LEAST_TIMEOUT, 10 * max(_flawless(worker, source, tests) for worker in workers))
    mutants = mutants_of((ROOT / source).read_text())
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def one(mutant: Mutant) -> tuple[Mutant, dict[str, Any]]:
        worker = free.get()
        try:
            return mutant, worker.run(source, mutant.source, tests, timeout)
        finally:
            free.put(worker)

    with ThreadPoolExecutor(len(workers)) as pool:
        for mutant, answer in pool.map(one, mutants):
            result.mutants += 1
            if answer["timed_out"]:
                result.timed_out += 1
            elif answer["code"] == 0:
                result.survivors.append(mutant)
                print(f"{source}:{mutant.line} {mutant.before} -> {mutant.after}", file=sys.stderr, flush=True)
            else:
                result.killed += 1
    for worker in workers:
        _flawless(worker, source, tests)
    print(f"{source}: {result.killed + result.timed_out} of {result.mutants}", file=sys.stderr, flush=True)
    return result


def _flawless(worker: Worker, source: str, tests: Sequence[str]) -> float:
    answer = worker.run(source, None, tests, 600)
    if answer["code"] != 0:
        sys.exit(f"{source}: its tests fail without any fault\n{answer['output']}")
    return float(answer["seconds"])


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    """Start processes, each in a copy of its own; leave nothing."""
    with ExitStack() as stack:
        started = []
        for _ in range(count):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="filerow-mutation-", ignore_cleanup_errors=True))
            started.append(Worker(Path(folder)))
            stack.callback(started[-1].close)
        yield started


def key_of(module: str, mutant: Mutant) -> Key:
    """Return what a fault is known by, wherever its line is."""
    return Path(module).relative_to("src/filerow").as_posix(), mutant.where, mutant.before, mutant.after


def explanations() -> dict[Key, str]:
    """Return the faults that are known to make no difference, and why."""
    found = tomllib.loads((HERE / "survivors.toml").read_text()).get("survivor", [])
    return {(one["module"], one["where"], one["before"], one["after"]): one["why"] for one in found}


def show(results: Sequence[Result]) -> int:
    """Print the table and what is not explained; return how many lines that were."""
    known = explanations()
    print(f"{'module':36} {'mutants':>8} {'killed':>8} {'survived':>9} {'explained':>10} {'timed out':>10} {'figure':>8}")
    unexplained = 0
    seen: set[Key] = set()
    modules: set[str] = set()
    for result in results:
        keys = [key_of(result.module, mutant) for mutant in result.survivors]
        explained = sum(key in known for key in keys)
        print(
            f"{result.module:36} {result.mutants:8} {result.killed:8} {len(keys):9} {explained:10} {result.timed_out:10} "
            f"{result.figure:7.1f}%"
        )
        seen.update(keys)
        modules.add(Path(result.module).relative_to("src/filerow").as_posix())
    for result in results:
        for mutant in result.survivors:
            if key_of(result.module, mutant) not in known:
                unexplained += 1
                print(f"\nsurvived: {result.module}:{mutant.line} {mutant.where} ({mutant.operator})")
                print(f"  - {mutant.before}\n  + {mutant.after}")
    for module, where, before, after in sorted(known.keys() - seen):
        if module in modules:
            unexplained += 1
            print(f"\nexplained, but it did not survive: {module} {where}\n  - {before}\n  + {after}")
    return unexplained


def main() -> int:
    """Run the modules that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description="Put faults into the core and run its tests.")
    parser.add_argument("names", nargs="*", help="modules, as in src/filerow/_orm/ledger.py; by default those that are not late")
    parser.add_argument("--all", action="store_true", help="the late ones too")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="how many at once, each in a copy of the tree")
    given = parser.parse_args()
    known = tomllib.loads((HERE / "modules.toml").read_text())["module"]
    if given.names:
        chosen = [module for module in known if module["source"] in given.names]
    else:
        chosen = [module for module in known if given.all or not module.get("late", False)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that nothing is left then, either
    started = time.monotonic()
    with workers(given.processes) as running:
        results = [judge(module, running) for module in chosen]
    unexplained = show(results)
    print(f"\n{time.monotonic() - started:.0f} s with {given.processes} processes")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
