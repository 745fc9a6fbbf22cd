"""Fixtures of the outbox's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from filerow import storages


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave half of the databases and stores that a test has to thorough runs."""
    if item.get_closest_marker("one_in") is None:
        item.add_marker(pytest.mark.one_in(2))


@pytest.fixture(autouse=True)
def no_backends_left() -> Iterator[None]:
    """Forget the backends of each test."""
    yield
    storages.clear_backends()
