"""A pytest plugin that shows which conformance cases did not apply, and why.

In ``conftest.py``::

    pytest_plugins = ["filerow.testing.plugin"]

A case that asks for what a backend declares not to have counts as passed, and stands in a table at the end of the run; without
the plugin it is a skipped test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator

import pytest

from filerow.testing._conformance import Conformance
from filerow.testing._errors import DoesNotApplyError

__all__ = ("pytest_pyfunc_call", "pytest_terminal_summary")

_PROPERTY = "filerow-conformance"


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Note on the test's report what did not apply, and why."""
    kind = getattr(pyfuncitem, "cls", None)
    if not (isinstance(kind, type) and issubclass(kind, Conformance)):
        return (yield)
    name = pyfuncitem.function.__name__
    reason = kind.overridden.get(name)
    if reason:
        _note(pyfuncitem, kind, name, f"overridden: {reason}")
    try:
        return (yield)
    except DoesNotApplyError as error:
        _note(pyfuncitem, kind, name, error.reason)
        return True


def _note(item: pytest.Function, kind: type, name: str, reason: str) -> None:
    case, _, side = name.removeprefix("test_").rpartition("_")
    item.user_properties.append((_PROPERTY, [case, reason, kind.__name__, side]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the table: case, reason, backends."""
    found: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in getattr(report, "user_properties", ()):
            if name == _PROPERTY:
                case, reason, kind, side = value
                found[reason, case][kind].add(side)
    if not found:
        return
    terminalreporter.section("conformance: what did not apply")
    last = ""
    for (reason, case), kinds in sorted(found.items()):
        if reason != last:
            terminalreporter.line(f"{reason}:")
            last = reason
        whole = [kind if len(sides) > 1 else f"{kind} ({next(iter(sides))})" for kind, sides in sorted(kinds.items())]
        terminalreporter.line(f"  {case}: {', '.join(whole)}")
