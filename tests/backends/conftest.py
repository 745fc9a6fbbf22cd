"""Which cases of the conformance kit every run tries on which backend; the thorough ones try them all."""

from __future__ import annotations

import os

import pytest

from filerow.testing.cases import CASES
from tests.backends.suite import Suite
from tests.conftest import TIERS


def _is_for_later(owner: object, test: str) -> bool:
    case = test.removeprefix("test_").rpartition("_")[0]
    return isinstance(owner, type) and issubclass(owner, Suite) and not owner.is_in_every_run(CASES[case])


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str) -> list[pytest.Item] | None:
    """Leave out, before they are made, the thousand cases that only a thorough run tries."""
    owner = collector.obj if isinstance(collector, pytest.Class) and name.startswith("test_") else None
    return [] if os.environ.get(TIERS["thorough"]) != "1" and _is_for_later(owner, name) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_for_later(getattr(item, "cls", None), item.name):
            item.add_marker("thorough")
