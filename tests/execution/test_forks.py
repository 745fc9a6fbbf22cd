"""os.fork(), multiprocessing and process pools, with a backend that the parent has used before, or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.execution.running import run
from tests.execution.stores import KINDS, settings_of

SOON = 10.0
"""Seconds within which a refusal comes on the busiest machine; an attempt to connect takes longer."""

PLAIN = {("s3", "used")}
COMBINATIONS = [
    pytest.param(kind, used, marks=() if (kind, used) in PLAIN else pytest.mark.thorough, id=f"{kind}-{used}")
    for kind in KINDS
    for used in ("unused", "used")
]


def works(report: dict[str, Any]) -> bool:
    return report["error"] is None


def refused(report: dict[str, Any]) -> bool:
    """Return True if a process got, at once, the error that it cannot use the backend and what to do."""
    clear = report["error"] == "ForkedProcessError" and "os.fork()" in report["says"] and "spawn" in report["says"]
    return clear and report["seconds"] < SOON


@pytest.mark.parametrize(("kind", "used"), COMBINATIONS)
def test_forked_child_works_or_fails_at_once(kind: str, used: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    methods = ["fork", "spawn"] if (kind, used) in PLAIN else ["fork", "forkserver"]
    report = run("tests.execution.forks", used, *methods, settings=settings_of(kind, tmp_path, request))
    assert works(report.pop("parent"))
    for where, how in report.items():
        forked = where.startswith("fork") and where != "forkserver"
        dead = kind == "s3" and forked and (used == "used" or where not in {"fork", "fork, awaited"})
        assert refused(how) if dead else works(how), (where, how)
