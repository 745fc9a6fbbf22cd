"""A drainer's thread, a fork, and the end of the interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.execution.running import run
from tests.execution.stores import settings_of


@pytest.mark.parametrize("kind", ["local", pytest.param("s3fs", marks=pytest.mark.thorough)])
def test_drainer_continues_in_the_parent_and_restarts_in_a_child(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert run("tests.execution.drainers", "forks", settings=settings_of(kind, tmp_path, request)) == {"done": "forks"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kind", [pytest.param("local", marks=pytest.mark.thorough), "s3", pytest.param("s3fs", marks=pytest.mark.thorough)]
)
def test_unended_drainer_does_not_keep_the_interpreter(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert run("tests.execution.drainers", "exit", settings=settings_of(kind, tmp_path, request)) == {"done": "exit"}
