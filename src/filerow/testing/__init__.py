"""What our own backends are tested with, for yours: the conformance kit.

::

    from filerow.testing import Conformance


    class TestMyBackend(Conformance):
        def make(self):
            return MyBackend("docs", bucket="filerow-tests")

See ``docs/conformance.md``.
"""

from __future__ import annotations

from filerow.testing._case import Case
from filerow.testing._conformance import Conformance, overrides_case
from filerow.testing._errors import CaseFailedError, DoesNotApplyError
from filerow.testing._harness import Answer, Harness
from filerow.testing._run import Outcome, Result, run
from filerow.testing._sample import sample_file
from filerow.testing.faults import Fault, FaultyBackend

__all__ = (
    "Answer",
    "Case",
    "CaseFailedError",
    "Conformance",
    "DoesNotApplyError",
    "Fault",
    "FaultyBackend",
    "Harness",
    "Outcome",
    "Result",
    "overrides_case",
    "run",
    "sample_file",
)
