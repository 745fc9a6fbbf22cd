"""How a case of the conformance kit ends when it does not pass."""

from __future__ import annotations

import unittest


class CaseFailedError(AssertionError):
    """The backend does not do what the case wants of it."""


class DoesNotApplyError(unittest.SkipTest):
    """The case asks for something this backend has declared not to have.

    Without the kit's plugin pytest shows it as a skipped test with its reason; with it, in a table at the end of the run.

    Args:
        reason: The capability that is lacking, or whatever else stands in the way.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"does not apply: {reason}")
