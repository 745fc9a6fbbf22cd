"""The pytest plugin: does to a suite what the mode says, and writes down what became of each test.

It runs in the suite's own process, with the suite's SQLAlchemy, and is configured by environment
variables: ``FILEROW_SUITE_MODE``, ``FILEROW_SUITE_RESULTS``, ``FILEROW_SUITE_TESTS`` and
``FILEROW_SUITE_SABOTAGE``.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tools.sqlalchemy_suite.results import Finding, Mode, Outcome, Results, save

if TYPE_CHECKING:
    from tools.sqlalchemy_suite.plugin.treatment import Treatment

PROPERTY = "filerow_finding"


def _treatment(mode: Mode) -> Treatment:
    from tools.sqlalchemy_suite.plugin import files, listeners

    sabotage = os.environ.get("FILEROW_SUITE_SABOTAGE", "")
    match mode:
        case Mode.LISTENERS:
            return listeners.Filerow(sabotage)
        case Mode.NOTHING:
            return listeners.Nothing()
        case Mode.COLUMN:
            return files.PlainColumn()
        case _:
            return files.FileColumn(sabotage)


class Around:
    """Applies a treatment to every test of this process."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._treatment: Treatment | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Begin before test modules are imported: some map classes at once.

        Not earlier, for the suite wants to be the first to import SQLAlchemy.
        """
        self._treatment = _treatment(self._mode)
        self._treatment.begin("")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin a test, before fixtures of its class."""
        if self._treatment is not None:
            self._treatment.begin(item.nodeid)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """End a test, and hand what was found to whoever writes results."""
        if self._treatment is not None:
            cleans_up = hasattr(getattr(item, "cls", None), "teardown_test")  # it may remove the very databases
            self._treatment.end_body(cleans_up=cleans_up)
        try:
            return (yield)
        finally:
            if self._treatment is not None:
                for finding in self._treatment.finish():
                    item.user_properties.append((PROPERTY, vars(finding)))


class Selection:
    """Leaves out all tests but some."""

    def __init__(self, tests: set[str]) -> None:
        self._tests = tests

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Choose, after the suite has named its tests by database."""
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in self._tests])
        items[:] = [item for item in items if item.nodeid in self._tests]


class Recorder:
    """Writes the results, in the process that all reports come to; now and then what there is so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: Results = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note one phase of one test."""
        result = self._results.setdefault(report.nodeid, Outcome("passed"))
        if report.outcome == "failed" and result.outcome != "failed":
            result.outcome, result.message = "failed", _message(report)
        elif report.outcome == "skipped" and result.outcome == "passed":
            result.outcome = "skipped"
        if report.when == "teardown":
            found = (value for name, value in report.user_properties if name == PROPERTY)
            result.findings = [Finding(**value) for value in found if isinstance(value, dict)]
            if len(self._results) % 200 == 0:
                save(self._results, self._path.with_suffix(".partial"))

    def pytest_sessionfinish(self) -> None:
        """Write all of it."""
        save(self._results, self._path)
        self._path.with_suffix(".partial").unlink(missing_ok=True)


def _message(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr)[:2000]


def pytest_configure(config: pytest.Config) -> None:
    """Register what this process needs."""
    mode = Mode(os.environ["FILEROW_SUITE_MODE"])
    is_worker = hasattr(config, "workerinput")
    distributes = getattr(config.option, "numprocesses", None) and not is_worker
    if mode is not Mode.PLAIN and not distributes:
        config.pluginmanager.register(Around(mode))
    tests = set(Path(os.environ["FILEROW_SUITE_TESTS"]).read_text().splitlines())
    if tests and not distributes:
        config.pluginmanager.register(Selection(tests))
    if not is_worker:
        config.pluginmanager.register(Recorder(Path(os.environ["FILEROW_SUITE_RESULTS"])))
