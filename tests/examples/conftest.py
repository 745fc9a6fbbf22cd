"""The example applications, each in the test's own process, with rows and bytes of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from filerow import storages
from filerow.variants import configure_urls
from tests.examples import EXAMPLES, skip_without_guide

if TYPE_CHECKING:
    from tests.examples.applications import Application
    from tests.servers._database import Database
    from tests.servers._s3 import S3Server
    from tests.servers.postgres import PostgresServer

sys.path.insert(0, str(EXAMPLES))  # as it is where the examples are started

EVERY_APPLICATION = ["litestar", "litestar-postgresql-s3", "fastapi", "flask"]


@pytest.fixture(autouse=True)
def own_registry(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a test start an application of its own, which registers its backend."""
    if {"application", "guide_app", "library"} & set(request.fixturenames):
        yield
        return
    storages.clear_backends()
    yield
    storages.clear_backends()


@pytest.fixture(params=["fastapi", "flask", "litestar"])
def empty_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of each example, in turn, with no documents."""
    from tests.examples import sites

    if request.param == "litestar":
        skip_without_guide()
        started = sites.litestar(tmp_path, request.getfixturevalue("migrated_sqlite"))
    else:
        started = {"fastapi": sites.fastapi, "flask": sites.flask}[request.param](tmp_path)
    with started as url:
        yield url
    configure_urls()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the guide's tables, made by its migrations, and one user."""
    skip_without_guide()
    from tests.examples import guide

    file = tmp_path_factory.mktemp("guide") / "template.sqlite"
    guide.migrate(f"sqlite+aiosqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: PostgresServer) -> Iterator[Database]:
    """A PostgreSQL database with the guide's tables, made by its migrations, and one user."""
    skip_without_guide()
    from tests.examples import guide

    database = postgres_server.make_database()
    guide.migrate(database.url("asyncpg"))
    yield database
    postgres_server.drop_database(database)


@pytest.fixture(scope="module", params=EVERY_APPLICATION)
def running_application(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Each application that serves the documents API, in turn."""
    from tests.examples import applications

    storages.clear_backends()
    if request.param.startswith("litestar"):
        skip_without_guide()
        from tests.examples import guide
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "litestar-postgresql-s3":
        database: Database = request.getfixturevalue("migrated_postgres")
        s3: S3Server = request.getfixturevalue("s3_server")
        started = guide.on_servers(database, s3)
    elif request.param == "litestar":
        started = guide.on_this_machine(folder, request.getfixturevalue("migrated_sqlite"))
    else:
        started = applications.STARTS[request.param](folder)
    with started as running:
        yield running
    storages.clear_backends()


@pytest.fixture
def application(running_application: Application) -> Application:
    """Each application that serves the documents API, in turn, with no documents."""
    running_application.empty()
    return running_application


@pytest.fixture(scope="module")
def running_guide(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Application]:
    """The guide application on SQLite and a directory."""
    from tests.examples import guide

    storages.clear_backends()
    with guide.on_this_machine(tmp_path_factory.mktemp("guide"), migrated_sqlite, log_in=False) as running:
        yield running
    storages.clear_backends()


@pytest.fixture
def guide_app(running_guide: Application, migrated_sqlite: Path) -> Application:
    """The guide application on SQLite and a directory, with one user and nothing else; nobody is logged in."""
    from tests.examples import guide

    guide.reset(running_guide, migrated_sqlite)
    return running_guide
