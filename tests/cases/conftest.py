"""Runs every function with an argument ``world`` for each kind of session, database and store."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from filerow import storages
from filerow.exceptions import ObjectHiddenError, UnsupportedOperationError
from tests.cases.databases import PostgreSQL, SQLite, make_template
from tests.cases.models import Base
from tests.cases.stores import LocalStore, S3Store, Store
from tests.cases.varied import VariedWorld
from tests.cases.world import World
from tests.conftest import TIERS
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import LIMITED, LimitedS3

Combination = tuple[str, ...]

COMBINATIONS: list[Combination] = [
    (session, database, store)
    for session in ("sync", "async")
    for database in ("sqlite", "postgresql")
    for store in ("local", "s3")
]

VARIED_COMBINATIONS: list[Combination] = [(*combination, "varied") for combination in COMBINATIONS]
"""The same, and each column declares a variant, which is looked at as soon as there is a file."""

LIMITED_STORES = ("ignores-conditions", "answers-501", "no-listing", "no-bulk-delete-501", "least")
LIMITED_COMBINATIONS: list[Combination] = [
    (session, database, f"s3-{name}")
    for name in LIMITED_STORES
    for session, database in (("sync", "sqlite"), ("async", "postgresql"))
]
"""On stores that can do less, where a case may be refused as a whole."""

_ONE_IN = 6
"""In every run, one case in this many has a combination with a store that can do less."""


def _in_every_run(case: str, wanted: set[str]) -> set[Combination]:
    """Return two combinations with nothing in common: every word meets every case, and all eight meet some.

    One case in six has a combination with a store that can do less, too, and another one in six has one with variants.

    Args:
        case: The name of the test's function, which chooses them.
        wanted: The words that a combination must have.
    """
    number = zlib.crc32(case.encode())
    first = number % (len(COMBINATIONS) // 2)
    pair = {COMBINATIONS[first], COMBINATIONS[-1 - first]}
    fitting = {one for one in pair if wanted <= set(one)} or {next(one for one in COMBINATIONS if wanted <= set(one))}
    store = number // _ONE_IN % len(LIMITED_STORES)
    limited = LIMITED_COMBINATIONS[2 * store + number % 2]
    return fitting | {0: {limited}, 1: {_with_variants(case)}}.get(number % _ONE_IN, set())


def _with_variants(case: str) -> Combination:
    """Return one combination with variants."""
    return VARIED_COMBINATIONS[zlib.crc32(case.encode()) // _ONE_IN % len(VARIED_COMBINATIONS)]


def _on_limited_stores(case: str, often: set[Combination]) -> list[Combination]:
    """Return the combinations with stores that can do less: one more in a thorough run, each store with FILEROW_SOAK=1 too."""
    number = zlib.crc32(case.encode())
    one_kind = LIMITED_COMBINATIONS[number % 2 :: 2]
    if os.environ.get(TIERS["soak"]) == "1":
        return one_kind
    more = [combination for combination in one_kind if combination not in often]
    return [*(combination for combination in LIMITED_COMBINATIONS if combination in often), more[number // 2 % len(more)]]


def _collected(case: str, often: set[Combination]) -> list[Combination]:
    """Return those in every run, and in a thorough run the rest, thousands of tests that others need not even collect."""
    if os.environ.get(TIERS["thorough"]) != "1":
        return [
            combination for combination in [*COMBINATIONS, *LIMITED_COMBINATIONS, *VARIED_COMBINATIONS] if combination in often
        ]
    return [*COMBINATIONS, *_on_limited_stores(case, often), _with_variants(case)]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only(*words): run the case only for combinations that have all these words")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("only")
        wanted = set(marker.args if marker else ())
        often = _in_every_run(metafunc.function.__name__, wanted)
        chosen = [
            pytest.param(combination, marks=() if combination in often else pytest.mark.thorough, id="-".join(combination))
            for combination in _collected(metafunc.function.__name__, often)
            if wanted <= set(combination)
        ]
        metafunc.parametrize("world", chosen, indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave most variants of a case that has parameters of its own to thorough runs."""
    if item.get_closest_marker("one_in") is None:
        item.add_marker(pytest.mark.one_in(4, least=2))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Let the world run the case, in a greenlet if need be, and check afterwards."""
    world = pyfuncitem.funcargs.get("world")
    if not isinstance(world, World):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    try:
        world.run(functools.partial(pyfuncitem.obj, **arguments))
    except (UnsupportedOperationError, ObjectHiddenError):  # what is missing and what is forbidden look alike there
        if not (isinstance(world.store, S3Store) and world.store.is_limited):
            raise
        world.check()  # refused, so nothing dangles, nothing is shared, nothing is left
    return True


@pytest.fixture
def world(request: pytest.FixtureRequest, runner: asyncio.Runner, store: Store) -> Iterator[World]:
    """One combination, empty."""
    session, database, _, *varied = request.param
    kind = VariedWorld if varied else World
    if database == "postgresql":
        place: SQLite | PostgreSQL = request.getfixturevalue("postgresql")
        place.empty()  # type: ignore[union-attr]
        yield kind(place, store, request.getfixturevalue(f"postgresql_{session}_engine"), runner)
    else:
        place = request.getfixturevalue("sqlite")
        engine = place.engine() if session == "sync" else place.async_engine()
        yield kind(place, store, engine, runner)
        if isinstance(engine, AsyncEngine):
            runner.run(engine.dispose())
        else:
            engine.dispose()


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """The stores of one case, two of them registered."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    name = parameters["world"][2] if "world" in parameters else parameters.get("kind", "local")
    made: Store
    if name.startswith("s3-"):
        made = S3Store(request.getfixturevalue("s3_server"), request.getfixturevalue("limited_s3")(name.removeprefix("s3-")))
    else:
        made = S3Store(request.getfixturevalue("s3_server")) if name == "s3" else LocalStore(tmp_path / "store")
    made.register("docs", "other")
    storages.set_default_backend("docs")
    storages.failed_deletes = 0
    yield made
    storages.clear_backends()
    made.close()


@pytest.fixture(scope="session")
def limited_s3(s3_server: S3Server) -> Iterator[Callable[[str], S3Server]]:
    """Returns the store of a name that can do less; each is started once."""
    with contextlib.ExitStack() as running:
        started: dict[str, LimitedS3] = {}

        def start(name: str) -> S3Server:
            if name not in started:
                started[name] = running.enter_context(LimitedS3(s3_server, LIMITED[name]))
            return started[name].server

        yield start


@pytest.fixture
def sqlite(tmp_path: Path, sqlite_template: Path) -> SQLite:
    """An SQLite file with all tables."""
    return SQLite(tmp_path / "rows.db", sqlite_template)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("template") / "rows.db")


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="session")
def postgresql(postgres_server: Any) -> Iterator[PostgreSQL]:
    """A PostgreSQL database with all tables."""
    place = PostgreSQL(postgres_server.make_database())
    engine = place.engine()
    Base.metadata.create_all(engine)
    engine.dispose()
    yield place
    place.close()


@pytest.fixture(scope="session")
def postgresql_sync_engine(postgresql: PostgreSQL) -> Iterator[Engine]:
    engine = postgresql.engine()
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def postgresql_async_engine(postgresql: PostgreSQL, runner: asyncio.Runner) -> Iterator[AsyncEngine]:
    engine = postgresql.async_engine()
    yield engine
    runner.run(engine.dispose())
