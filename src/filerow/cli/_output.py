"""Shows a command as lines: one per step, or one JSON object per line."""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from filerow.cli._values import as_age, as_size, plain
from filerow.maintenance import ColumnStats, Finding, Listed, OutboxStats, Progress
from filerow.maintenance._doubts import KEPT

__all__ = ("ClosedOutputError", "Item", "JsonOutput", "LineOutput", "Output", "Summary", "describe")

Item = Progress | ColumnStats | OutboxStats | Listed

FIGURES = frozenset({"ls", "stats"})
"""Commands that show figures instead of findings."""

_SILENCE = 30.0
"""Seconds between reports of a step that is still running."""


class ClosedOutputError(Exception):
    """The reader of stdout has gone."""


@dataclass
class Summary:
    """The outcome of a run.

    Attributes:
        command: The command.
        exit_code: The process's exit code.
        seconds: How long it took.
        cursor: Where to continue, if it was interrupted and can be resumed.
        error: Why it could not run or finish; empty if it did.
        found: Number of findings by level, without the fixed ones.
        fixed: Number of fixed findings.
        steps: The last progress of each step.
        is_cut: It was stopped before the end.
        has_kept: Not everything could be judged.
    """

    command: str
    exit_code: int = 0
    seconds: float = 0.0
    cursor: str | None = None
    error: str = ""
    found: Counter[str] = field(default_factory=Counter)
    fixed: int = 0
    steps: dict[str, Progress] = field(default_factory=dict)
    is_cut: bool = False
    has_kept: bool = False

    def note(self, progress: Progress) -> None:
        """Add a progress."""
        self.steps[progress.step] = progress
        self.cursor = progress.cursor
        for finding in progress.findings:
            if finding.fixed:
                self.fixed += 1
            else:
                self.found[finding.level] += 1
                self.has_kept = self.has_kept or finding.code in KEPT

    @property
    def is_clean(self) -> bool:
        """Return True if nothing is left for anybody to look at."""
        return not self.found["error"] and not self.found["warning"]


class Output(ABC):
    """Shows the items of a run as they come.

    Args:
        quiet: Only findings.
        changed: The word for changed items.
    """

    def __init__(self, *, quiet: bool = False, changed: str = "changed") -> None:
        self._quiet = quiet
        self._changed = changed

    @abstractmethod
    def show(self, item: Item) -> None:
        """Show one item."""

    @abstractmethod
    def end(self, summary: Summary) -> None:
        """Show the outcome; the last call."""

    def _outcome(self, summary: Summary) -> list[str]:
        """Return the line that says how a run has ended, if there is one to show."""
        if self._quiet or summary.error or summary.command in FIGURES:
            return []
        return [f"{summary.command}: {outcome(summary)}"]


class JsonOutput(Output):
    """One JSON object per line, for machines; nothing else is written to stdout."""

    def show(self, item: Item) -> None:
        """Write an item, a progress before its findings."""
        if isinstance(item, Progress):
            values = asdict(item)
            del values["findings"]
            self._write("progress", values)
            for finding in item.findings:
                self._write("finding", asdict(finding))
        else:
            kinds: dict[type, str] = {ColumnStats: "column", OutboxStats: "outbox", Listed: "file"}
            self._write(kinds[type(item)], asdict(item))

    def end(self, summary: Summary) -> None:
        """Write the summary."""
        values = asdict(summary)
        last = values.pop("steps").values()
        del values["is_cut"], values["has_kept"]  # the exit code says both
        totals = {name: sum(step[name] for step in last) for name in ("done", "transferred", "changed")}
        found = {level: summary.found[level] for level in ("error", "warning", "info")}
        self._write("summary", {**values, **totals, "found": found})

    def _write(self, kind: str, values: Mapping[str, Any]) -> None:
        write(json.dumps({"type": kind, **values}, default=str))


class LineOutput(Output):
    """One line per step, one line per finding."""

    def __init__(self, *, quiet: bool = False, changed: str = "changed") -> None:
        super().__init__(quiet=quiet, changed=changed)
        self._last: Progress | None = None
        self._said_at = time.monotonic()

    def show(self, item: Item) -> None:
        """Write an item; a progress only after its step, or if that takes long."""
        if not isinstance(item, Progress):
            write(describe(item))
            return
        if self._last is not None and self._last.step != item.step:
            self._say(self._last)
        elif time.monotonic() - self._said_at > _SILENCE:
            self._say(item, " so far")
        self._last = item
        for finding in item.findings:
            write(line_of(finding))

    def end(self, summary: Summary) -> None:
        """Write the last step and the outcome."""
        if self._last is not None:
            self._say(self._last)
        for line in self._outcome(summary):
            write(line)

    def _say(self, progress: Progress, so_far: str = "") -> None:
        self._said_at = time.monotonic()
        if not self._quiet:
            write(f"{progress.step}: {amounts(progress, self._changed)}{so_far}")


# -- words -----------------------------------------------------------------------------------------------------------------


def amounts(progress: Progress, changed: str) -> str:
    """Return a step's progress as text."""
    if progress.done == progress.total == 1 and not progress.changed:
        return "done"
    parts = [f"{progress.done:,}" if progress.total is None else f"{progress.done:,} of {progress.total:,}"]
    if progress.changed:
        parts.append(f"{progress.changed:,} {changed}")
    if progress.transferred:
        parts.append(as_size(progress.transferred))
    return ", ".join(parts)


def line_of(finding: Finding) -> str:
    """Return a finding as one line."""
    where = f"{finding.backend}:{finding.path}" if finding.path else finding.backend
    places = " ".join(filter(None, [finding.where, where]))
    text = ": ".join(filter(None, [f"{'fixed' if finding.fixed else finding.level} {finding.code}", places, finding.message]))
    return plain(f"{text} -> {finding.advice}" if finding.advice else text)


def outcome(summary: Summary) -> str:
    """Return the outcome as one line; a stopped run's findings are incomplete."""
    found = [f"{count} {level}{'s' if count > 1 and level != 'info' else ''}" for level, count in _counts(summary) if count]
    if summary.fixed:
        found.append(f"{summary.fixed} fixed")
    text = ", ".join(found) or "nothing found"
    if summary.is_cut:
        text = f"stopped before the end, {text} so far"
    return f"{text} ({summary.seconds:.1f} s)"


def _counts(summary: Summary) -> list[tuple[str, int]]:
    return [(level, summary.found[level]) for level in ("error", "warning", "info")]


def describe(item: ColumnStats | OutboxStats | Listed) -> str:
    """Return a count or a listed file as one line; values are separated by tabs."""
    if isinstance(item, Listed):
        values = [key_of(item), item.path, _known(item.size), item.content_type, item.filename]
        return "\t".join(map(plain, values))
    if isinstance(item, OutboxStats):
        oldest = "" if item.oldest is None else f", the oldest {as_age(item.oldest)} old"
        return f"outbox: {item.due:,} due, {item.waiting:,} waiting, {item.dead:,} dead{oldest}"
    if not item.backend:
        return f"{item.column}: {item.rows:,} rows without a file{_unreadable(item)}"
    text = f"{item.column} in {item.backend}: {item.rows:,} rows, {item.files:,} files, {as_size(item.size)}"
    lacks = [("size", item.without_size), ("checksum", item.without_checksum)]
    parts = [f"{count:,} without {name}" for name, count in lacks if count]
    parts += [f"{item.legacy:,} of another library"] if item.legacy else []
    return f"{text}; {', '.join(parts)}" if parts else text


def _unreadable(item: ColumnStats) -> str:
    return f", {item.unreadable:,} with an invalid document" if item.unreadable else ""


def key_of(item: Listed) -> str:
    """Return the primary key of a file's row."""
    return " ".join(f"{name}={value}" for name, value in item.row.items())


def _known(size: int | None) -> str:
    return "?" if size is None else str(size)


def write(line: str) -> None:
    """Write a line to stdout, at once.

    Raises:
        ClosedOutputError: Its reader has gone, for example ``head``.
    """
    try:
        print(line, flush=True)  # noqa: T201 - this is the output
    except BrokenPipeError as error:
        raise ClosedOutputError from error


def write_error(line: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
