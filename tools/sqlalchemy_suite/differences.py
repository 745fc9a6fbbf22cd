"""What differs between a run and its control, and which of that is explained already."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from tools.sqlalchemy_suite.results import Mode, Outcome, Results

OUTCOME = "outcome"
KINDS = (OUTCOME, "dangling", "shared", "wrong", "orphan", "unread")


@dataclass(frozen=True)
class Difference:
    """One thing that is different, or should not be.

    Attributes:
        mode: Of the run.
        kind: "outcome", or the kind of a finding.
        test: Its pytest id, without the suite's names for database and driver.
        detail: What differs.
        cause: Of a finding.
    """

    mode: Mode
    kind: str
    test: str
    detail: str
    cause: str = ""


@dataclass
class Known:
    """An entry of the triage file: a pattern and a reason.

    Attributes:
        kind: What it explains.
        reason: Why that is right.
        modes: In which modes; in all, if empty.
        test: A pattern with ``*`` for the whole id.
        detail: A regular expression that is found in the detail.
        cause: A regular expression that is found in the cause.
        database: "sqlite" or "postgresql"; both, if empty.
        uses: How many differences it has explained.
    """

    kind: str
    reason: str
    modes: Sequence[str] = ()
    test: str = "*"
    detail: str = ""
    cause: str = ""
    database: str = ""
    uses: int = field(default=0, compare=False)

    def explains(self, difference: Difference, database: str) -> bool:
        """Return True if this is the reason of a difference."""
        return (
            difference.kind == self.kind
            and (not self.modes or difference.mode in self.modes)
            and self.database in {"", database}
            and fnmatchcase(difference.test, self.test.replace("[", "[[]"))
            and re.search(self.detail, difference.detail, re.DOTALL) is not None
            and re.search(self.cause, difference.cause, re.DOTALL) is not None
        )


class Triage:
    """The triage file.

    Args:
        path: Of the file; without one, nothing is explained.
        database: What the runs are on.
    """

    def __init__(self, path: Path | None, database: str) -> None:
        entries = tomllib.loads(path.read_text())["known"] if path is not None else []
        self.entries = [Known(**entry) for entry in entries]
        self._database = database

    def reason(self, difference: Difference) -> Known | None:
        """Return the entry that explains a difference, if there is one."""
        for entry in self.entries:
            if entry.explains(difference, self._database):
                entry.uses += 1
                return entry
        return None


def outcome_in(results: Results, test: str) -> str:
    """Return what became of a test; "missing" if it did not run."""
    return results[test].outcome if test in results else "missing"


def compare(mode: Mode, run: Results, plain: Results, control: Results) -> Iterator[Difference]:
    """Yield what differs from the plain run without differing in the control, and all findings.

    The plain run and the control need only have the tests that do not pass.
    """
    for test in sorted(run.keys() | plain.keys()):
        was, now = outcome_in(plain, test), outcome_in(run, test)
        ours = run.get(test, Outcome(now))
        if now not in {"passed", was} and (test not in control or now != outcome_in(control, test)):
            yield Difference(mode, OUTCOME, neutral(test), f"{was} -> {now}: {ours.message}")
        for finding in ours.findings:
            yield Difference(mode, finding.kind, neutral(test), finding.detail, finding.cause)


def neutral(test: str) -> str:
    """Return a test's id without the name and version of the database, which the suite appends."""
    return re.sub(r"_(sqlite|postgresql)\+\w+?_[\d_]+(?=::)", "", test)
