"""Carries out the plan: a step, the audit, a line; then the next."""

from __future__ import annotations

import sys
import time
import traceback
from typing import TYPE_CHECKING

from demo.app import Library
from demo.audit import Disagreement, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from demo.plan import Step
    from demo.servers import Place
    from demo.table import Table

__all__ = ("run",)


def run(place: Place, steps: Sequence[Step], table: Table) -> int:
    """Run steps until one leaves bytes and rows that disagree.

    Returns:
        The exit status: 0 when all went well, 1 when a step did not.
    """
    started, audited, compared = time.perf_counter(), 0.0, 0
    with Library(place.settings) as library:
        library.create_tables()
        table.title(place.title)
        state = place.audit()
        for step in steps:
            begun = time.perf_counter()
            try:
                said = step.run(library) or ""
                done = time.perf_counter()
                state = _check(step, state, place.audit())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this step's failure
                table.failure(step.name, time.perf_counter() - begun)
                _explain(step, error)
                return 1
            audited += time.perf_counter() - done
            compared += len(state.objects)
            verdict, _, note = said.rpartition("\n")
            table.line(step.name, len(state.rows), len(state.objects), verdict or "ok", seconds=done - begun, note=note)
    seconds = time.perf_counter() - started
    table.summary(
        f"{len(steps)} steps, all ok: {compared} objects read and compared with their rows; "
        f"{seconds:.1f} s, of which the audit took {audited:.1f} s"
    )
    return 0


def _check(step: Step, before: State, after: State) -> State:
    """Check that a step left what the plan says.

    Raises:
        Disagreement: It left something else.
    """
    if step.unchanged and after != before:
        rows = [f"changed   {row.name}: {dict(row.documents)}" for row in set(before.rows) ^ set(after.rows)]
        paths = before.objects.items() ^ after.objects.items()
        raise Disagreement("this step must change nothing", *rows, *(f"changed   {path}: {what}" for path, what in paths))
    found = len(after.rows), len(after.objects)
    wanted = (0, 0) if step.empty else (len(before.rows) + step.rows, len(before.objects) + step.objects)
    if found != wanted:
        new, gone = after.objects.keys() - before.objects.keys(), before.objects.keys() - after.objects.keys()
        raise Disagreement(
            f"there are {found[0]} rows and {found[1]} objects, and there must be {wanted[0]} and {wanted[1]}",
            *(f"new       {path}" for path in sorted(new)),
            *(f"gone      {path}" for path in sorted(gone)),
        )
    return after


def _explain(step: Step, error: Exception) -> None:
    print(f"\nAfter the step {step.name!r}:", file=sys.stderr)
    if isinstance(error, Disagreement):
        for finding in error.findings:
            print(f"  {finding}", file=sys.stderr)
    else:
        traceback.print_exception(error)
