"""``python -m tools.plots`` draws the figures of docs/speed.md, which it reads from the page's own tables.

The plots are made of the boxes and words of tools.drawings, so they have its colours for light and dark and stay text; for bars
beside a line that is less than what a library for plots would need.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tools.drawings import FOLDER, WIDTH, Drawing

SPEED = Path(__file__).resolve().parents[1] / "docs" / "speed.md"
_PAIR = re.compile(r"([\d.]+) → ([\d.]+) m?s(?:, (\d+\.\d+))?")
_MEMORY = re.compile(r"([\d,]+) MiB")


@dataclass(frozen=True)
class Bar:
    """One figure of one piece of work.

    Attributes:
        work: What was done.
        name: What the bar is: ``sync``, ``async``, or empty.
        value: The figure.
        limit: The budget.
    """

    work: str
    name: str
    value: float
    limit: float


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading of the page, without its head."""
    part = SPEED.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    found: list[list[str]] = []
    for line in lines:
        cells = [re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", cell).strip() for cell in line.strip("|").split("|")]
        if cells[0].startswith("the same") and found:
            place = cells[0].removeprefix("the same").lstrip(", ")
            cells[0] = f"{found[-1][0].rsplit(', ', 1)[0]}, {place}"
        found.append(cells)
    return found


def ratios() -> list[Bar]:
    """Return the time of Filerow in shares of the time by hand."""
    found = []
    for work, sync, asynchronous, budget in rows("Budgets"):
        limit = 0.0 if "times" in budget else float(budget)
        for name, cell in (("sync", sync), ("async", asynchronous)):
            if pair := _PAIR.match(cell):
                found.append(Bar(work, name, float(pair[3] or float(pair[2]) / float(pair[1])), limit))
    return found


def memory() -> list[Bar]:
    """Return what large transfers took above the baseline, in MiB."""
    found = []
    for work, figure, budget in rows("Limits"):
        taken, limit = _MEMORY.match(figure), _MEMORY.match(budget)
        if taken and limit:
            found.append(Bar(work.partition(": memory")[0], "", float(taken[1]), float(limit[1])))
    return found


def plot(bars: list[Bar], scale: float, line: float | None, title: str, unit: str) -> Drawing:
    """Draw bars from left to right, each below what it is of.

    Args:
        bars: The figures, those of one work after another.
        scale: The figure that the whole width stands for.
        line: Where a line from top to bottom stands; ``None`` for the budget of each bar.
        title: What the line is.
        unit: How a figure is written, as in a format string.
    """
    works = {bar.work: [other for other in bars if other.work == bar.work] for bar in bars}
    lines = {work: textwrap.wrap(work, 60) for work in works}
    drawing, y, room = (
        Drawing(34 + sum(8 + 17 * len(own) + 17 * len(lines[work]) for work, own in works.items())),
        34,
        WIDTH - 100,
    )
    drawing.words(8, 16, title)
    for work, own in works.items():
        for words in lines[work]:
            drawing.words(8, y + 12, words, "text")
            y += 17
        for bar in own:
            kind = "strong" if bar.name != "async" else "warm"
            width = max(2, round(bar.value / scale * room))
            drawing.parts.append(f'<rect class="d-{kind}" x="8" y="{y + 1}" width="{width}" height="12" rx="2"/>')
            drawing.words(WIDTH - 8, y + 11, f"{bar.name} {bar.value:{unit}}".strip(), anchor="end")
            mark = 8 + round((bar.limit if line is None else line) / scale * room)
            drawing.line(mark, y - 2, mark, y + 15)
            y += 17
        y += 8
    return drawing


def plots() -> dict[str, Drawing]:
    """Return all plots by name."""
    by_hand = "Time of Filerow, where by hand is 1 (the line). Shorter is faster."
    above = "MiB above the baseline; the line is the budget."
    return {"speed": plot(ratios(), 1.3, 1, by_hand, ".2f"), "memory": plot(memory(), 66, None, above, ".0f")}


if __name__ == "__main__":
    for name, drawing in plots().items():
        (FOLDER / f"{name}.svg").write_text(drawing.svg())
