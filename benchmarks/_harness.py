"""Times two ways of doing the same work, one after the other in one run, and keeps the ratio of each pair."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: The work.
        where: The store and the kind of session.
        floor: The hand-written way's figure, with its unit.
        ours: Filerow's figure.
        ratio: Ours to the floor; ``None`` for a line that has no floor.
        budget: What §10 of the design allows, as text.
        within: Whether the figure is within it.
    """

    what: str
    where: str
    floor: str
    ours: str
    ratio: float | None
    budget: str
    within: bool


def seconds(work: Work) -> float:
    """Return how long a piece of work takes."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(floor: Work, ours: Work, rounds: int, between: Work = lambda: None) -> tuple[float, float, float]:
    """Run both in turn, the first one changing, after one warm-up each.

    Args:
        floor: The hand-written way.
        ours: Filerow's.
        rounds: How many pairs to time.
        between: What to do after each pair, which is not timed.

    Returns:
        The medians in seconds, and the median of the pairs' ratios: two neighbours share the machine's mood of the moment.
    """
    return _summary(_pairs(floor, ours, rounds, between))


def _pairs(floor: Work, ours: Work, rounds: int, between: Work) -> list[tuple[float, float]]:
    floor(), ours()
    pairs = []
    for number in range(rounds):
        if number % 2:
            b, a = seconds(ours), seconds(floor)
        else:
            a, b = seconds(floor), seconds(ours)
        pairs.append((a, b))
        between()
    return pairs


def _summary(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    ratio = statistics.median(b / a for a, b in pairs)
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), ratio


MORE = 2
"""How many times as many pairs again are timed where the first are over the budget; all of them count."""


def at_most(
    what: str,
    where: str,
    floor: Work,
    ours: Work,
    budget: float,
    rounds: int = 9,
    between: Work = lambda: None,
    before: Callable[[int], object] = lambda _: None,
) -> Row:
    """Measure work whose ratio must not exceed a budget; see :func:`compare` for the rest.

    On a shared machine the median of a few dozen pairs is off by several percent either way, as much as the budgets allow. So a
    ratio that is over its budget is taken again from three times as many pairs, and stands, whatever it is then.

    Args:
        what: The work.
        where: The store and the kind of session.
        floor: The hand-written way.
        ours: Filerow's.
        budget: The highest ratio allowed.
        rounds: How many pairs to time.
        between: What to do after each pair.
        before: What to do before each round, and once more to warm up.
    """
    before(rounds)
    pairs = _pairs(floor, ours, rounds, between)
    if _summary(pairs)[2] > budget:
        before(rounds * MORE)
        pairs += _pairs(floor, ours, rounds * MORE, between)
    a, b, ratio = _summary(pairs)
    return Row(what, where, f"{a * 1e3:.1f} ms", f"{b * 1e3:.1f} ms", ratio, f"<= {budget:.2f}", ratio <= budget)


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| work | where | hand-written | Filerow | ratio | budget | |", "|---|---|--:|--:|--:|---|---|"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        verdict = "ok" if row.within else "**over**"
        lines.append(f"| {row.what} | {row.where} | {row.floor} | {row.ours} | {ratio} | {row.budget} | {verdict} |")
    return "\n".join(lines)
