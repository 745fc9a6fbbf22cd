"""The workers of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from filerow.variants import VariantWorkers


@pytest.fixture(scope="package")
def makers() -> Iterator[VariantWorkers]:
    """Workers that these tests share, since each takes a moment to start."""
    with VariantWorkers(workers=2, queue_seconds=60) as found:
        yield found
