"""Shows a command as lines: one per step, or one JSON object per line."""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from filerow.cli._values import as_age, as_size, plain
from filerow.cli._words import Words
from filerow.maintenance import ColumnStats, Finding, Listed, OutboxStats, Progress, VariantStats
from filerow.maintenance._doubts import KEPT

Item = Progress | ColumnStats | VariantStats | OutboxStats | Listed

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
        is_dry_run: It changes nothing, and says what it would change.
        hides_notes: Findings of level ``info`` were not shown.
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
    is_dry_run: bool = False
    hides_notes: bool = False
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

    def total(self, name: str) -> int:
        """Return the sum of a figure over all steps."""
        return sum(getattr(step, name) for step in self.steps.values())

    @property
    def is_clean(self) -> bool:
        """Return True if nothing is left for anybody to look at."""
        return not self.found["error"] and not self.found["warning"]


class Output(ABC):
    """Shows the items of a run as they come.

    Args:
        quiet: Only findings.
        words: What the command calls what it does.
        hides_notes: Do not show findings of level ``info``.
    """

    def __init__(self, *, quiet: bool = False, words: Words, hides_notes: bool = False) -> None:
        self._quiet = quiet
        self._words = words
        self._hides_notes = hides_notes

    @abstractmethod
    def show(self, item: Item) -> None:
        """Show one item."""

    @abstractmethod
    def end(self, summary: Summary) -> None:
        """Show the outcome; the last call."""

    def _shown(self, findings: Sequence[Finding]) -> list[Finding]:
        return [finding for finding in findings if finding.level != "info" or not self._hides_notes]

    def _outcome(self, summary: Summary) -> list[str]:
        """Return the line that says how a run has ended, if there is one to show."""
        if self._quiet or summary.error or summary.command in FIGURES:
            return []
        return [f"{summary.command}: {outcome(summary, self._words)} ({summary.seconds:.1f} s)"]


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
            kinds: dict[type, str] = {ColumnStats: "column", VariantStats: "variants", OutboxStats: "outbox", Listed: "file"}
            self._write(kinds[type(item)], asdict(item))

    def end(self, summary: Summary) -> None:
        """Write the summary."""
        values = asdict(summary)
        del values["steps"], values["is_cut"], values["has_kept"], values["hides_notes"]  # the exit code says the first two
        totals = {name: summary.total(name) for name in ("done", "transferred", "changed", "would_change", "too_young")}
        found = {level: summary.found[level] for level in ("error", "warning", "info")}
        said = "" if summary.error or summary.command in FIGURES else outcome(summary, self._words)
        self._write("summary", {**values, **totals, "found": found, "outcome": said})

    def _write(self, kind: str, values: Mapping[str, Any]) -> None:
        write(json.dumps({"type": kind, **values}, default=str))


class LineOutput(Output):
    """One line per step, one line per finding."""

    def __init__(self, *, quiet: bool = False, words: Words, hides_notes: bool = False) -> None:
        super().__init__(quiet=quiet, words=words, hides_notes=hides_notes)
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
        for finding in self._shown(item.findings):
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
            write(f"{progress.step}: {amounts(progress, self._words)}{so_far}")


# -- words -----------------------------------------------------------------------------------------------------------------


def amounts(progress: Progress, words: Words) -> str:
    """Return a step's progress as text."""
    if progress.done == progress.total == 1 and not words.verb:
        return "done"
    parts = [f"{progress.done:,}" if progress.total is None else f"{progress.done:,} of {progress.total:,}"]
    parts += deeds(progress.changed, progress.would_change, progress.too_young, words)
    if progress.transferred:
        parts.append(as_size(progress.transferred))
    return ", ".join(parts)


def line_of(finding: Finding) -> str:
    """Return a finding as one line."""
    where = f"{finding.backend}:{finding.path}" if finding.path else finding.backend
    places = " ".join(filter(None, [finding.where, where]))
    text = ": ".join(filter(None, [f"{'fixed' if finding.fixed else finding.level} {finding.code}", places, finding.message]))
    return plain(f"{text} -> {finding.advice}" if finding.advice else text)


def deeds(changed: int, would_change: int, too_young: int, words: Words) -> list[str]:
    """Return what was done, what would be done, and what was passed over."""
    parts = [f"{changed:,} {words.done}"] if changed else []
    parts += [f"would {words.verb} {would_change:,}"] if would_change else []
    return [*parts, *([f"{too_young:,} {words.too_young}"] if too_young else [])]


def outcome(summary: Summary, words: Words) -> str:
    """Return the outcome as one line; a stopped run's findings are incomplete."""
    done = deeds(summary.total("changed"), summary.total("would_change"), summary.total("too_young"), words)
    found = [
        f"{count} {level}{'s' if count > 1 and level in {'error', 'warning'} else ''}"
        for level, count in _counts(summary)
        if count
    ]
    notes = summary.found["info"] if summary.hides_notes else 0
    text = ", ".join([*done, *found]) or words.nothing
    text += f"; {notes} note{'s' if notes > 1 else ''}, shown by --notes" if notes else ""
    return f"stopped before the end, {text} so far" if summary.is_cut else text


def _counts(summary: Summary) -> list[tuple[str, int]]:
    levels = ("error", "warning") if summary.hides_notes else ("error", "warning", "info")
    return [*((level, summary.found[level]) for level in levels), ("fixed", summary.fixed if not summary.total("changed") else 0)]


def describe(item: ColumnStats | VariantStats | OutboxStats | Listed) -> str:
    """Return a count or a listed file as one line; values are separated by tabs."""
    if isinstance(item, Listed):
        values = [key_of(item), item.path, _known(item.size), item.content_type, item.filename]
        return "\t".join(map(plain, [*values, *([item.variant] if item.variant else [])]))
    if isinstance(item, VariantStats):
        whose = f"variants of {item.column}" if item.column else "other variants"
        failed = f"; {item.failed:,} cannot be made" if item.failed else ""
        return f"{whose} in {item.backend}: {item.variants:,} variants, {as_size(item.size)}{failed}"
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
