"""An ``app`` for each driver: a database with the tables, empty for each case, and a session of the driver's kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn

from filerow import storages
from filerow.backends.memory import MemoryBackend
from tests.databases import explicit_begin
from tests.dialects.models import Noted, Plain

DRIVERS = {
    "sqlite": "sqlite",
    "aiosqlite": "sqlite+aiosqlite",
    "psycopg": "postgresql+psycopg",
    "psycopg_async": "postgresql+psycopg_async",
    "asyncpg": "postgresql+asyncpg",
    "pg8000": "postgresql+pg8000",
    "pymysql": "mysql+pymysql",
    "asyncmy": "mysql+asyncmy",
    "aiomysql": "mariadb+aiomysql",
    "duckdb": "duckdb",
}
"""Every driver that the tests run, and the URL's scheme."""

ASYNCHRONOUS = {"aiosqlite", "psycopg_async", "asyncpg", "asyncmy", "aiomysql"}
PLAIN = {"sqlite", "psycopg_async", "pg8000", "asyncmy", "duckdb"}
"""Those in which every run meets each database and each kind of driver; the others are ``thorough``."""

KEYLESS = {"duckdb"}
"""Databases that do not count up keys by themselves."""

LACKS = {"duckdb": {"savepoints", "outbox"}}
"""What a database cannot do; ``test_duckdb.py`` shows what it says then."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*words): run the case only on databases that have this")


class App:
    """One database through one driver.

    Attributes:
        driver: Its name in ``DRIVERS``.
        engine: Of the driver's kind.
        backend: Where the bytes are.
    """

    def __init__(self, driver: str, engine: Engine | AsyncEngine, runner: asyncio.Runner) -> None:
        self.driver = driver
        self.engine = engine
        self.backend = MemoryBackend("docs")
        self._runner = runner

    @property
    def sync_engine(self) -> Engine:
        """The engine, for what runs inside the greenlet."""
        return self.engine if isinstance(self.engine, Engine) else self.engine.sync_engine

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name of the database."""
        return self.sync_engine.dialect.name

    def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run synchronous code; inside SQLAlchemy's greenlet where the driver is asynchronous."""
        if isinstance(self.engine, Engine):
            return work(*arguments)
        return self._runner.run(_in_greenlet(work, arguments))

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Return a session of the driver's kind; for code that :meth:`run` runs."""
        if isinstance(self.engine, Engine):
            with Session(self.engine) as session:
                yield session
        else:
            session = AsyncSession(self.engine).sync_session
            try:
                yield session
            finally:
                session.close()

    def there(self) -> set[str]:
        """Return the paths of all objects."""
        return {info.path for info in self.backend.list()}

    def clear(self) -> None:
        """Empty all tables, past the library."""
        with self.sync_engine.begin() as connection:
            for base in (Plain, Noted):
                for table in reversed(base.metadata.sorted_tables):
                    if base is Plain or self.dialect not in KEYLESS:
                        connection.execute(delete(table))

    def make(self) -> None:
        """Make the tables."""
        Plain.metadata.create_all(self.sync_engine)
        if self.dialect not in KEYLESS:
            Noted.metadata.create_all(self.sync_engine)


async def _in_greenlet(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return await greenlet_spawn(work, *arguments)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Let the app run the case."""
    app = pyfuncitem.funcargs.get("app")
    if not isinstance(app, App):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    app.run(lambda: pyfuncitem.obj(**arguments))
    return True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "app" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("needs")
        fitting = [one for one in DRIVERS if not (marker and set(marker.args) & LACKS.get(one, set()))]
        drivers = [pytest.param(one, marks=() if one in PLAIN else pytest.mark.thorough, id=_id(one)) for one in fitting]
        metafunc.parametrize("app", drivers, indirect=True)


def _id(driver: str) -> str:
    """Name the server too, by which the mark ``servers`` is set."""
    return f"{DRIVERS[driver].partition('+')[0].replace('mysql', 'mariadb')}-{driver}"


@pytest.fixture(scope="module")
def places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], App]]:
    """Make each driver's database once."""
    made: dict[str, App] = {}
    with ExitStack() as open_, asyncio.Runner() as runner:

        def place(driver: str) -> App:
            if driver not in made:
                engine = _engine(driver, _url(driver, request, tmp_path_factory, open_))
                app = made[driver] = App(driver, engine, runner)
                open_.callback(lambda: app.run(app.sync_engine.dispose))
                app.run(app.make)
            return made[driver]

        yield place
        open_.close()


def _url(driver: str, request: pytest.FixtureRequest, factory: pytest.TempPathFactory, open_: ExitStack) -> str:
    scheme = DRIVERS[driver]
    name, _, module = scheme.partition("+")
    if name in {"sqlite", "duckdb"}:
        return f"{scheme}:///{factory.mktemp(driver)}/rows.db"
    server = request.getfixturevalue("postgres_server" if name == "postgresql" else "mariadb_server")
    database = server.make_database()
    open_.callback(server.drop_database, database)
    return str(database.url(module, dialect=name))


def _engine(driver: str, url: str) -> Engine | AsyncEngine:
    if driver in ASYNCHRONOUS:
        engine = create_async_engine(url)
        if driver == "aiosqlite":
            explicit_begin(engine.sync_engine)
        return engine
    made = create_engine(url)
    return explicit_begin(made) if driver == "sqlite" else made


@pytest.fixture
def app(request: pytest.FixtureRequest, places: Callable[[str], App]) -> Iterator[App]:
    """One driver's database, empty, with an empty store registered as ``docs``."""
    app = places(request.param)
    app.backend = MemoryBackend("docs")
    storages.register_backend(app.backend)
    try:
        app.run(app.clear)
        yield app
    finally:
        storages.clear_backends()
