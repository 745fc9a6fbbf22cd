"""The stores that the tests of security attack, and the registry emptied around each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from filerow import storages
from tests.security.hostile import STORES, Store


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Every kind of backend; ``parametrize("store", ["local"], indirect=True)`` for some."""
    made = STORES[request.param](request)
    storages.clear_backends()
    storages.register_backend(made.backend)
    yield made
    storages.clear_backends()
