"""Tests of the example applications, over HTTP."""

from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
