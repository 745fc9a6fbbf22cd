"""What a mode does around each test."""

from __future__ import annotations

from collections.abc import Iterable

from tools.sqlalchemy_suite.results import Finding


class Treatment:
    """Does nothing; modes override what they need."""

    def begin(self, test: str) -> None:
        """Get ready before anything of a test runs; "" before tests are collected."""

    def end_body(self, *, cleans_up: bool) -> None:
        """Learn that the test has run, and whether it cleans up by itself before its fixtures do."""

    def finish(self) -> Iterable[Finding]:
        """Return what was found once everything of the test has ended."""
        return ()
