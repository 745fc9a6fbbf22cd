"""Shows a command on a terminal: bars while it runs, then the findings.

A path is never broken into lines: it is selected with the mouse and pasted into the next command.
"""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from filerow.cli._output import Item, Output, Summary, deeds, describe
from filerow.cli._values import as_size, plain
from filerow.cli._words import Words
from filerow.maintenance import ColumnStats, Finding, Listed, OutboxStats, Progress, VariantStats

_MOST = 200
"""Maximum number of findings to show; write more to a file."""

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
    """Bars while it runs, findings or a table at the end."""

    def __init__(self, *, quiet: bool = False, words: Words, hides_notes: bool = False) -> None:
        super().__init__(quiet=quiet, words=words, hides_notes=hides_notes)
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
        self._stats: list[ColumnStats | VariantStats | OutboxStats] = []

    def show(self, item: Item) -> None:
        """Move a bar, write a file's line, or collect an item for a table."""
        if isinstance(item, Listed):
            self._line(Text(describe(item)))
        elif isinstance(item, Progress):
            self._move(item)
        else:
            self._stats.append(item)

    def _move(self, progress: Progress) -> None:
        room = _MOST - len(self._findings)
        shown = self._shown(progress.findings)
        self._findings += shown[:room]
        self._left_out += len(shown[room:])
        if not self._tasks and not self._quiet:
            self._bars.start()
        if progress.step not in self._tasks:
            self._finish()  # a step ends when the next one begins
            self._tasks[progress.step] = self._bars.add_task(plain(progress.step), transferred=0, amount="")
        amount = f"{progress.done:,}" if progress.total is None else f"{progress.done:,}/{progress.total:,}"
        done = deeds(progress.changed, progress.would_change, progress.too_young, self._words)
        amount = ", ".join([amount, *done])
        if progress.transferred:
            amount += f" {as_size(progress.transferred)}"
        self._bars.update(
            self._tasks[progress.step],
            completed=progress.done,
            total=progress.total,
            transferred=progress.transferred,
            amount=amount,
        )

    def _finish(self) -> None:
        """Let all bars end where they are."""
        for task in self._bars.tasks:
            self._bars.update(task.id, total=task.completed)

    def _line(self, text: Text) -> None:
        """Write a line that the terminal may wrap, but that is copied as one."""
        self._console.print(text, soft_wrap=True)

    def end(self, summary: Summary) -> None:
        """End the bars, and write the findings and figures."""
        if self._tasks:
            if not summary.error and not summary.is_cut:
                self._finish()
            self._bars.columns = self._bars.columns[1:]  # what has ended before its end has no spinner either
            self._bars.stop()
        for finding in self._findings:
            self._finding(finding)
        if self._left_out:
            self._console.print(f"… and {self._left_out:,} more: write them to a file, with --json or > findings.txt")
        if self._stats:
            self._figures()
        for line in self._outcome(summary):
            self._console.print(line)

    def _finding(self, finding: Finding) -> None:
        level = Text("fixed", "green") if finding.fixed else Text(finding.level, _COLOURS[finding.level])
        self._line(Text(" ").join(filter(None, [level, Text(finding.code, "bold"), Text(plain(finding.where))])))
        place = f"{finding.backend}:{finding.path}" if finding.path else finding.backend
        advice = f"-> {plain(finding.advice)}" if finding.advice else ""
        for text in filter(None, [plain(place), plain(finding.message), advice]):
            self._line(Text(f"  {text}"))

    def _figures(self) -> None:
        columns = [item for item in self._stats if isinstance(item, ColumnStats)]
        table = _stats(columns)
        if Measurement.get(self._console, self._console.options, table).minimum <= self._console.width:
            self._console.print(table)
        else:  # in a table, names would be broken
            for column in columns:
                self._line(Text(plain(describe(column))))
        for item in self._stats:
            if not isinstance(item, ColumnStats):
                self._line(Text(plain(describe(item))))


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
        table.add_column(name, no_wrap=True)
    for name in ("rows", "files", "size", *counted):
        table.add_column(name, justify="right")
    for row, item in enumerate(items):
        counts = [counts[row] for counts in counted.values()]
        shown = [f"{item.rows:,}", f"{item.files:,}", as_size(item.size), *(f"{count:,}" if count else "" for count in counts)]
        table.add_row(Text(plain(item.column)), Text(plain(item.backend or "(no file)")), *shown)
    return table
