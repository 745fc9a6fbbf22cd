"""The worlds of ``tests/cases``, each for a long walk of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cases.conftest import (  # noqa: F401
    postgresql,
    postgresql_async_engine,
    postgresql_sync_engine,
    pytest_pyfunc_call,
    runner,
    sqlite,
    sqlite_template,
    store,
    world,
)
from tests.cases.databases import SQLite
from tests.cases.stores import Store
from tests.soak.walks.sharded import SHARDS, ShardedWorld

WALKS = [(session, database) for session in ("sync", "async") for database in ("sqlite", "postgresql")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        stores = ["local", "s3"] if metafunc.definition.get_closest_marker("soak") else ["local"]
        chosen = [(*walk, where) for where in stores for walk in WALKS]
        metafunc.parametrize("world", chosen, ids=["-".join(one) for one in chosen], indirect=True)


@pytest.fixture
def sharded_world(tmp_path: Path, sqlite_template: Path, store: Store, runner: asyncio.Runner) -> Iterator[ShardedWorld]:  # noqa: F811
    """Sessions over two databases."""
    made = ShardedWorld([SQLite(tmp_path / f"{name}.db", sqlite_template) for name in SHARDS], store, runner)
    yield made
    made.close()


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Show how often each rule of the long walks had something to do."""
    yield
    columns: dict[str, dict[str, int]] = {}
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            if name == "steps":
                world = report.nodeid.partition("[")[2].rstrip("]")
                columns.setdefault(world, {})[value[0]] = value[1]
    if not columns:
        return
    terminalreporter.section("Steps of the long walks, by rule")
    terminalreporter.line(" " * 32 + "".join(f"{world:>24}" for world in columns))
    for rule in sorted({rule for counts in columns.values() for rule in counts}):
        terminalreporter.line(f"{rule:32}" + "".join(f"{counts.get(rule, 0):24}" for counts in columns.values()))
    totals = [sum(counts.values()) for counts in columns.values()]
    terminalreporter.line(f"{'all':32}" + "".join(f"{total:24}" for total in totals))
