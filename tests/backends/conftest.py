"""Which cases of the conformance kit every run tries on which backend; the thorough ones try them all."""

from __future__ import annotations

import pytest

from filerow.testing.cases import CASES
from tests.backends.suite import Suite


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = getattr(item, "cls", None)
        if isinstance(kind, type) and issubclass(kind, Suite) and not kind.is_in_every_run(CASES[case_of(item)]):
            item.add_marker("thorough")


def case_of(item: pytest.Item) -> str:
    return item.name.removeprefix("test_").rpartition("_")[0]
