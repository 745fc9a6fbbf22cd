"""``python -m tools.sqlalchemy_suite [--mode ...] [--database ...] [paths]``: see README.md."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tools.sqlalchemy_suite import database, distribution, selection
from tools.sqlalchemy_suite.differences import KINDS, Difference, Triage, compare, outcome_in
from tools.sqlalchemy_suite.results import Mode, Results, count, load, save
from tools.sqlalchemy_suite.runner import Run, RunFailedError, lower_priority

HERE = Path(__file__).parent
CACHE = distribution.ROOT / ".servers" / "sqlalchemy-suite"
SABOTAGE = ("listeners", "orphan", "dangling", "shared")
SHOWN = 160
"""Characters of a difference in the table; all of it stands in the log."""


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.sqlalchemy_suite", description=__doc__)
    add = parser.add_argument
    add("paths", nargs="*", help="of the suite: files, folders, pytest's options after --; by default test/orm and test/ext")
    add("--writing", action="store_true", help="of these only the files that flush, roll back and delete most")
    add("--mode", action="append", type=Mode, choices=list(Mode), help="by default listeners, then files")
    add("--database", choices=database.NAMES, default="sqlite")
    add("--sqlalchemy", metavar="VERSION", default=distribution.installed(), help="in a venv of its own")
    add("--processes", type=int, default=2)
    add("--cache", type=Path, default=CACHE, help="for distributions, venvs, results and logs")
    add("--reuse", choices=("nothing", "controls", "all"), default="controls",
        help="which earlier runs on the same paths to take; by default those without Filerow")  # fmt: skip
    add("--suite", type=Path, help="another suite than SQLAlchemy's, which opens its own databases")
    add("--triage", type=Path, default=HERE / "triage.toml")
    add("--sabotage", choices=SABOTAGE, default="", help="break something, to see it found")
    return parser


class Session:
    """The runs that one call of the tool makes."""

    def __init__(self, run: Run, reuse: str) -> None:
        self._run = run
        self._reuse = reuse

    def differences(self, mode: Mode) -> list[Difference]:
        """Return how a mode differs from the plain run and from its control.

        A test that passes needs neither. Of others, whole classes run again, for their tests may share something; of
        those that skip only they themselves.
        """
        run = self._results(mode)
        failed = {_class_of(test) for test, now in run.items() if now.outcome == "failed"}
        doubtful = {test for test, now in run.items() if now.outcome == "skipped" or _class_of(test) in failed}
        plain = self._control(Mode.PLAIN, doubtful)
        odd = {test for test, now in run.items() if now.outcome not in {"passed", outcome_in(plain, test)}}
        control: Results = {}
        if mode.control is not None:
            control = self._control(mode.control, {test for test in run if _class_of(test) in set(map(_class_of, odd))})
            alike = sum(outcome_in(control, test) == run[test].outcome for test in odd)
            print(f"{alike} tests differ in mode {mode.control}, without Filerow, as they do in mode {mode}")
        return list(compare(mode, run, plain, control))

    def _results(self, mode: Mode) -> Results:
        saved = self._run.results(mode)
        return load(saved) if self._reuse == "all" and saved.exists() else self._start(mode, self._run)

    def _control(self, mode: Mode, tests: set[str]) -> Results:
        """Return results of a control that has run on these tests at least."""
        saved = self._run.results(mode)
        known = load(saved) if self._reuse != "nothing" and saved.exists() else {}
        wanted = tests - known.keys()
        if wanted:
            known |= self._start(mode, self._run.only(wanted))
            save(known, saved)
        return known

    def _start(self, mode: Mode, run: Run) -> Results:
        began = time.monotonic()
        results = run.start(mode)
        counts = count(results)
        print(f"{mode:10}", *(f"{counts[name]:6} {name}" for name in ("passed", "failed", "skipped", *KINDS[1:])),
              f"{time.monotonic() - began:7.0f} s", flush=True)  # fmt: skip
        return results


def _class_of(test: str) -> str:
    return test.rpartition("::")[0]


def _print_table(mode: Mode, found: list[Difference], triage: Triage) -> list[Difference]:
    """Print what differs, and return what is not explained."""
    explained: Counter[str] = Counter()
    new: list[Difference] = []
    for difference in found:
        if triage.reason(difference) is None:
            new.append(difference)
        else:
            explained[difference.kind] += 1
    print(f"\n{mode}: differences  {'all':>6} {'known':>6} {'new':>6}")
    for kind in KINDS:
        total = sum(difference.kind == kind for difference in found)
        print(f"  {kind:20} {total:6} {explained[kind]:6} {total - explained[kind]:6}")
    for difference in new:
        detail = " ".join(f"{difference.cause} {difference.detail}".split())
        print(f"  new {difference.kind}: {difference.test}\n      {detail[:SHOWN]}")
    return new


def _print_reasons(triage: Triage) -> None:
    for entry in triage.entries:
        if entry.uses:
            print(f"  {entry.uses:5} {entry.kind:8} {entry.reason}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, compare and print; return 1 if something new was found."""
    given = _arguments().parse_args(argv)
    given.cache.mkdir(parents=True, exist_ok=True)
    version = given.sqlalchemy
    suite = given.suite or distribution.tests_of(version, given.cache)
    python = distribution.python_for(version, given.cache)
    paths = given.paths or (selection.writing(suite) if given.writing else selection.ALL)
    of_paths = hashlib.sha256("\0".join(map(str, [suite, *paths])).encode()).hexdigest()[:8]
    output = given.cache / "results" / f"{version}-{given.database}-{of_paths}"
    run = Run(suite, paths, python, "", given.processes, output, given.sabotage)
    triage = Triage(given.triage if given.triage.exists() else None, given.database)
    new: list[Difference] = []
    print(f"SQLAlchemy {version} on {given.database}, {' '.join(paths)}", flush=True)
    with database.open_database(given.database) as url:
        session = Session(replace(run, url="" if given.suite else url), given.reuse)
        try:
            for mode in given.mode or (Mode.LISTENERS, Mode.FILES):
                new += _print_table(mode, session.differences(mode), triage)
        except RunFailedError as error:
            print(error, file=sys.stderr)
            return 2
    print("\nKnown:")
    _print_reasons(triage)
    print(f"\n{len(new)} new differences" if new else "\nnothing new")
    return 1 if new else 0


if __name__ == "__main__":
    lower_priority()
    sys.exit(main())
