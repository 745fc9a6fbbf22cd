"""Collects what the killed processes have left; ``tests/conftest.py`` prints it as a table."""

from __future__ import annotations

import pytest


class Table:
    """What there was after a process was killed, and what there is after the recovery."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._properties = properties

    def add(self, step: str, where: str, signal: str, rows: int, objects: int, recovered: int) -> None:
        """Note one killed process; under pytest-xdist the properties of a test travel with its report."""
        self._properties.append(("killed", [step, where, signal, rows, objects, recovered]))


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Table:
    return Table(request.node.user_properties)
