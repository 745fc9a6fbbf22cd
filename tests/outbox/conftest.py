"""Fixtures of the outbox's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from filerow import storages


@pytest.fixture(autouse=True)
def no_backends_left() -> Iterator[None]:
    """Forget the backends of each test."""
    yield
    storages.clear_backends()
