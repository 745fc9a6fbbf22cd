"""Tests of the example applications, over HTTP."""

from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

EXAMPLES = Path(__file__).parents[2] / "examples"

GUIDE_RUNS = Version(version("advanced-alchemy")) >= Version("1.12")


def skip_without_guide() -> None:
    """Leave the guide application out where it cannot run: with SQLAlchemy older than Advanced Alchemy takes."""
    if not GUIDE_RUNS:
        pytest.skip("the guide application needs Advanced Alchemy 1.12, which needs SQLAlchemy 2.0.41")
