"""What one run of a test suite has found; read and written by the plugin and the tool."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path


class Mode(StrEnum):
    """What is done to the suite.

    Attributes:
        PLAIN: Nothing.
        NOTHING: Listeners that do nothing on every Session: the control of LISTENERS.
        LISTENERS: Filerow's listeners on every Session, and no file anywhere.
        COLUMN: A JSON column in every table, set as FILES sets its own: the control of FILES.
        FILES: A file column in every table; rows are compared with objects after each test.
    """

    PLAIN = "plain"
    NOTHING = "nothing"
    LISTENERS = "listeners"
    COLUMN = "column"
    FILES = "files"

    @property
    def is_control(self) -> bool:
        """Whether nothing of Filerow takes part."""
        return self in {Mode.PLAIN, Mode.NOTHING, Mode.COLUMN}

    @property
    def control(self) -> Mode | None:
        """The mode that does the same without Filerow."""
        return {Mode.LISTENERS: Mode.NOTHING, Mode.FILES: Mode.COLUMN}.get(self)


@dataclass(frozen=True)
class Finding:
    """One disagreement of rows and objects.

    Attributes:
        kind: "dangling", "shared", "wrong", "orphan", or "unread" if they were not compared.
        detail: Which objects.
        cause: What released the objects, where that is known not to be the unit of work.
    """

    kind: str
    detail: str
    cause: str = ""


@dataclass
class Outcome:
    """What became of one test.

    Attributes:
        outcome: "passed", "failed" or "skipped".
        message: The end of the error.
        findings: What was found after it.
    """

    outcome: str
    message: str = ""
    findings: list[Finding] = field(default_factory=list)


Results = dict[str, Outcome]


def save(results: Results, path: Path) -> None:
    """Write the results of a run, whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({test: asdict(result) for test, result in results.items()}, indent=0))
    draft.replace(path)


def load(path: Path) -> Results:
    """Read the results of a run."""
    return {
        test: Outcome(one["outcome"], one["message"], [Finding(**found) for found in one["findings"]])
        for test, one in json.loads(path.read_text()).items()
    }


def count(results: Results) -> Counter[str]:
    """Count outcomes, and tests with each kind of finding."""
    counts = Counter(result.outcome for result in results.values())
    for result in results.values():
        counts.update({finding.kind for finding in result.findings})
    return counts
