"""Run the conformance kit without a test runner, and report each case."""

from __future__ import annotations

import time
import traceback
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from filerow.backends.base import StorageBackend
from filerow.testing._case import Case, check
from filerow.testing._errors import CaseFailedError, DoesNotApplyError
from filerow.testing._harness import Harness
from filerow.testing.cases import CASES

_SIDES = ("sync", "async")


class Outcome(StrEnum):
    """What came of a case."""

    PASSED = "passed"
    FAILED = "failed"
    DOES_NOT_APPLY = "does not apply"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one case on one side.

    Attributes:
        case: Its name.
        theme: What it is about.
        side: ``sync`` or ``async``.
        outcome: Whether it passed.
        seconds: How long it took.
        message: What went wrong, or which capability is lacking; empty for what passed.
    """

    case: str
    theme: str
    side: str
    outcome: Outcome
    seconds: float
    message: str = ""


def run(harness: Harness, *, sides: Collection[str] = _SIDES, cases: Collection[str] = ()) -> Generator[Result]:
    """Try every case on a backend, one after the other.

    What a case has made is removed before the next one begins, also when it fails and when it is interrupted.

    Args:
        harness: How to make the backend; one is made for the whole run.
        sides: ``sync``, ``async`` or both.
        cases: Names of the cases to try; all when empty. Large ones do not apply unless ``harness.large`` is set.

    Returns:
        What came of each case on each side, as it comes; close it to stop early.

    Raises:
        ValueError: A case or side is unknown, or a case is about the other side.
    """
    unknown = [*(set(cases) - set(CASES)), *(set(sides) - set(_SIDES))]
    if unknown:
        raise ValueError(f"there is no case or side called {', '.join(sorted(unknown))}")
    untried = [name for name in cases if not set(sides).intersection(CASES[name].sides)]
    if untried:
        raise ValueError(f"asked for the {' and '.join(sides)} side, which {', '.join(untried)} has not")
    chosen = [case for case in CASES.values() if not cases or case.name in cases]
    return _results(harness, chosen, sides)


def _results(harness: Harness, chosen: Sequence[Case], sides: Collection[str]) -> Generator[Result]:
    backend = harness.make()
    try:
        for case in chosen:
            for side in case.sides:
                if side not in sides:
                    continue
                started = time.monotonic()
                outcome, message = _try(harness, case, side, backend)
                yield Result(case.name, case.theme.strip("_"), side, outcome, round(time.monotonic() - started, 3), message)
    finally:
        harness.close(backend)


def _try(harness: Harness, case: Case, side: str, backend: StorageBackend) -> tuple[Outcome, str]:
    try:
        check(harness, case, side, backend)
    except DoesNotApplyError as error:
        return Outcome.DOES_NOT_APPLY, error.reason
    except CaseFailedError as error:
        return Outcome.FAILED, str(error)
    except Exception as error:  # noqa: BLE001 - a backend that is broken may raise anything
        return Outcome.FAILED, _unexpected(error)
    return Outcome.PASSED, ""


def _unexpected(error: BaseException) -> str:
    """Return an unexpected error, and the line of the case that met it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "filerow" in frame.filename and "cases" in frame.filename]
    where = f" (at: {ours[-1].line})" if ours else ""
    return f"unexpected {type(error).__name__}: {error}{where}"
