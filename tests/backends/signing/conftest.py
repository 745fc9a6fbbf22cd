"""No backend is left registered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from filerow import storages


@pytest.fixture(autouse=True)
def _no_backends() -> Iterator[None]:
    storages.clear_backends()
    yield
    storages.clear_backends()
