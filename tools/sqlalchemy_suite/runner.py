"""Runs a suite once, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.sqlalchemy_suite.distribution import ROOT
from tools.sqlalchemy_suite.results import Mode, Results, load

NO_TESTS_FAILED, TESTS_FAILED = 0, 1


class RunFailedError(RuntimeError):
    """The suite did not run to its end."""


@dataclass(frozen=True)
class Run:
    """What to run, and how.

    Attributes:
        suite: The folder of the suite.
        paths: Files and folders in it, and pytest's options.
        python: Has the SQLAlchemy to run with.
        url: Of the database; "" for a suite that opens its own.
        processes: How many run side by side.
        output: A folder for results and logs.
        sabotage: What to break, to show that a run can fail.
        tests: The tests to run of these paths; all, if empty.
    """

    suite: Path
    paths: Sequence[str]
    python: Path
    url: str
    processes: int
    output: Path
    sabotage: str = ""
    tests: Collection[str] = ()

    def only(self, tests: Collection[str]) -> Run:
        """Return a run of these tests alone, on files that hold them."""
        options = [path for path in self.paths if path.startswith("-")]
        files = sorted({test.partition("::")[0] for test in tests})
        return replace(self, paths=[*files, *options], tests=tests)

    def results(self, mode: Mode) -> Path:
        """Return where the results of a mode are kept."""
        broken = f"-{self.sabotage}" if self.sabotage and not mode.is_control else ""
        return self.output / f"{mode}{broken}.json"

    def start(self, mode: Mode) -> Results:
        """Run the suite to its end, and return what became of each test.

        Raises:
            RunFailedError: pytest could not run; its log says why.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        results = self.results(mode)
        log = results.with_suffix(".log")
        results.unlink(missing_ok=True)
        chosen = results.with_suffix(".tests")
        chosen.write_text("\n".join(sorted(self.tests)))
        with log.open("wb") as file:
            code = subprocess.run(
                self._command(), cwd=self.suite, env=self._environment(mode, results),
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False,
            ).returncode  # fmt: skip
        if code not in {NO_TESTS_FAILED, TESTS_FAILED} or not results.exists():
            end = log.read_text(errors="replace")[-3000:]
            raise RunFailedError(f"pytest ended with {code} in mode {mode}, see {log}:\n{end}")
        return load(results)

    def _command(self) -> list[str]:
        # -s: the suite takes the installed SQLAlchemy, not the sources beside it
        command = [str(self.python), "-s", "-P", "-m", "pytest", "-p", "xdist"]
        command += ["-p", "tools.sqlalchemy_suite.plugin", "-p", "no:cacheprovider"]
        command += ["-q", "--tb=short", "-r", "fE", "--maxfail=1000000"]
        if self.processes > 1:
            command += ["-n", str(self.processes), "--dist", "loadfile"]
        if self.url:
            command += ["--dburi", self.url]
        return [*command, *self.paths]

    def _environment(self, mode: Mode, results: Path) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "PYTHONHASHSEED": "0",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "FILEROW_SUITE_MODE": mode,
            "FILEROW_SUITE_RESULTS": str(results),
            "FILEROW_SUITE_TESTS": str(results.with_suffix(".tests")),
            "FILEROW_SUITE_SABOTAGE": self.sabotage,
        }


def lower_priority() -> None:
    """Give way to whatever else the machine does."""
    if sys.platform != "win32":
        os.nice(10)
