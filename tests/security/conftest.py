"""The grounds of the tests of security, and the registry emptied around each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from filerow import storages
from tests.security.hostile import GROUNDS, Ground


@pytest.fixture(params=GROUNDS)
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """Every kind of backend; ``parametrize("ground", ["local"], indirect=True)`` for some."""
    made = GROUNDS[request.param](request)
    storages.clear_backends()
    storages.register_backend(made.backend)
    yield made
    storages.clear_backends()
