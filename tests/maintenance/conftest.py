"""A store of one test, and a place that has it and a database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from filerow import storages
from filerow.backends.local import LocalBackend
from tests.cases.stores import LocalStore, S3Store, Store
from tests.databases import EmptyDatabase, empty_database
from tests.maintenance.place import Place, make_tables


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave half of the databases and stores that a test has to thorough runs."""
    if item.get_closest_marker("one_in") is None:
        item.add_marker(pytest.mark.one_in(2))


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Two backends; ``@pytest.mark.parametrize("store", ["s3"], indirect=True)`` for some in a bucket."""
    on_s3 = getattr(request, "param", "local") == "s3"
    made: Store = S3Store(request.getfixturevalue("s3_server")) if on_s3 else LocalStore(tmp_path / "store")
    made.register("docs", "other")
    yield made
    storages.clear_backends()
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of the backend ``docs``."""
    storages.clear_backends()
    folder = tmp_path / "docs"
    folder.mkdir()
    storages.register_backend(LocalBackend("docs", folder, fsync=False))
    yield folder
    storages.clear_backends()


@pytest.fixture
def place(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """SQLite, with or without an outbox: ``@pytest.mark.parametrize("place", ["outbox"], indirect=True)``."""
    with empty_database("sqlite", tmp_path, request) as database:
        yield Place(database, store, make_tables(outbox=getattr(request, "param", "") == "outbox"))


@pytest.fixture
def each_place(database: EmptyDatabase, store: Store) -> Place:
    """Any database, with an outbox."""
    return Place(database, store, make_tables(outbox=True))
