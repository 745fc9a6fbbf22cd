"""Shows a command on a terminal: bars while it runs, then a table of findings."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)
from rich.table import Table
from rich.text import Text

from filerow.cli._output import Item, Output, Summary, describe
from filerow.cli._values import as_size, plain
from filerow.maintenance import ColumnStats, Finding, Listed, OutboxStats, Progress

__all__ = ("TerminalOutput",)

_MOST = 200
"""Maximum number of findings in the table; write more to a file."""

_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


class _Rate(ProgressColumn):
    """Items per second, and bytes per second if bytes are moved."""

    def render(self, task: Task) -> Text:
        """Return the rates of a step."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        text = f"{speed:,.0f}/s" if speed >= 1 else f"{speed * 60:,.1f}/min"
        transferred: int = task.fields["transferred"]
        if transferred and task.completed:
            text += f" {as_size(speed * transferred / task.completed)}/s"
        return Text(text, style="progress.data.speed")


class TerminalOutput(Output):
    """Bars while it runs, tables at the end."""

    def __init__(self, *, quiet: bool = False, changed: str = "changed") -> None:
        super().__init__(quiet=quiet, changed=changed)
        self._console = Console(highlight=False)
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[amount]}"),
            _Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            disable=quiet,
        )
        self._tasks: dict[str, TaskID] = {}
        self._findings: list[Finding] = []
        self._left_out = 0
        self._stats: list[ColumnStats | OutboxStats] = []

    def show(self, item: Item) -> None:
        """Move a bar, write a file's line, or collect an item for a table."""
        if isinstance(item, Listed):
            self._console.print(Text(describe(item)), soft_wrap=True)
        elif isinstance(item, Progress):
            self._move(item)
        else:
            self._stats.append(item)

    def _move(self, progress: Progress) -> None:
        room = _MOST - len(self._findings)
        self._findings += progress.findings[:room]
        self._left_out += len(progress.findings[room:])
        if not self._tasks and not self._quiet:
            self._bars.start()
        if progress.step not in self._tasks:
            for task in self._bars.tasks:  # a step without a total ends when the next one begins
                self._bars.update(task.id, total=task.completed if task.total is None else task.total)
            self._tasks[progress.step] = self._bars.add_task(plain(progress.step), transferred=0, amount="")
        amount = f"{progress.done:,}" if progress.total is None else f"{progress.done:,}/{progress.total:,}"
        if progress.changed:
            amount += f", {progress.changed:,} {self._changed}"
        if progress.transferred:
            amount += f" {as_size(progress.transferred)}"
        self._bars.update(
            self._tasks[progress.step],
            completed=progress.done,
            total=progress.total,
            transferred=progress.transferred,
            amount=amount,
        )

    def end(self, summary: Summary) -> None:
        """End the bars and write the tables."""
        if self._tasks:
            if not summary.error and summary.exit_code in {0, 1}:
                for task in self._bars.tasks:
                    self._bars.update(task.id, total=task.completed if task.total is None else task.total)
            self._bars.stop()
        if self._findings:
            self._console.print(_findings(self._findings))
        if self._left_out:
            self._console.print(f"… and {self._left_out:,} more: write them to a file, with --json or > findings.txt")
        if self._stats:
            self._console.print(_stats([item for item in self._stats if isinstance(item, ColumnStats)]))
            for item in self._stats:
                if isinstance(item, OutboxStats):
                    self._console.print(describe(item))
        for line in self._outcome(summary):
            self._console.print(line)


def _findings(findings: list[Finding]) -> Table:
    table = Table("", "what", "where", "", header_style="bold")
    for finding in findings:
        place = f"{finding.backend}:{finding.path}" if finding.path else finding.backend
        where = "\n".join(filter(None, [plain(finding.where), plain(place)]))
        message = plain(finding.message) + (f"\n-> {plain(finding.advice)}" if finding.advice else "")
        level = Text("fixed", "green") if finding.fixed else Text(finding.level, _COLOURS[finding.level])
        table.add_row(level, Text(finding.code), Text(where, overflow="fold"), Text(message))
    return table


def _stats(items: list[ColumnStats]) -> Table:
    table = Table(header_style="bold")
    lacks = {
        "no size": [item.without_size for item in items],
        "no checksum": [item.without_checksum for item in items],
        "legacy": [item.legacy for item in items],
        "unreadable": [item.unreadable for item in items],
    }
    counted = {name: counts for name, counts in lacks.items() if any(counts)}  # leave room for the names
    for name in ("column", "backend"):
        table.add_column(name, overflow="fold")
    for name in ("rows", "files", "size", *counted):
        table.add_column(name, justify="right")
    for row, item in enumerate(items):
        counts = [counts[row] for counts in counted.values()]
        shown = [f"{item.rows:,}", f"{item.files:,}", as_size(item.size), *(f"{count:,}" if count else "" for count in counts)]
        table.add_row(Text(plain(item.column)), Text(plain(item.backend or "(no file)")), *shown)
    return table
