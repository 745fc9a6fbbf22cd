"""Backends that several databases share, and rows that a release cannot read: what the command line asks, and exits with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from filerow import storages
from tests.cli.conftest import App, run
from tests.generated import generated
from tests.places import RECORD

ALL = ("--grace", "0s", "--full", "--delete")


def objects() -> set[str]:
    return {info.path for info in storages.get_backend("docs").list()} - {RECORD}


@pytest.fixture
def second(app: App, folder: Path) -> str:
    """Move the one row into a second database with the same tables; return its URL."""
    url = f"sqlite:///{folder / 'second.db'}"
    engine = create_engine(url)
    app.module.Base.metadata.create_all(engine)
    app.fill()
    with app.engine.begin() as connection:
        value = connection.exec_driver_sql("SELECT file FROM document").scalar_one()
        connection.exec_driver_sql("UPDATE document SET file = NULL")
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO document (file, pages) VALUES (?, '[]')", (value,))
    (folder / "archive.py").write_text(f"from sqlalchemy import create_engine\nengine = create_engine({url!r})\n")
    engine.dispose()
    return url


@pytest.mark.parametrize("command", [("drain",), ("sweep", *ALL)], ids=lambda command: command[0])
@pytest.mark.parametrize("how", ["url", "engine", "pyproject"])
def test_rows_of_a_database_that_shares_the_backend_keep_files(
    app: App, second: str, folder: Path, how: str, command: tuple[str, ...]
) -> None:
    named = {"url": ("--shared-with", second), "engine": ("--shared-with", "archive:engine"), "pyproject": ()}[how]
    if how == "pyproject":
        (folder / "pyproject.toml").write_text(f"[tool.filerow]\nshared_with = [{json.dumps(second)}]\n")
    if command[0] == "sweep":  # what has a tombstone is the drain's
        with app.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM filerow_outbox")
    assert run(*command, *named, *app.options).code == 0
    assert len(objects()) == 1


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("command", [("drain",), ("sweep", *ALL)], ids=lambda command: command[0])
def test_a_database_that_nobody_names_is_not_asked(app: App, command: tuple[str, ...]) -> None:
    """What P13 cannot guard; and what the test before would miss if nothing were ever deleted."""
    if command[0] == "sweep":
        with app.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM filerow_outbox")
    run(*command, *app.options)
    assert objects() == set()


def test_what_shares_the_backend_must_be_a_database_or_models(app: App, folder: Path) -> None:
    failed = run("drain", "--shared-with", "shop:HOLD", *app.options)
    assert (failed.code, "neither an engine nor a MetaData" in failed.err) == (2, True)
    failed = run("drain", "--shared-with", "sqlite+aiosqlite:///shop.db", *app.options)
    assert (failed.code, "must all be synchronous or all asynchronous" in failed.err) == (2, True)
    (folder / "pyproject.toml").write_text('[tool.filerow]\nshared_with = "one"\n')
    failed = run("drain", *app.options)
    assert (failed.code, "shared_with must be a list" in failed.err) == (2, True)


@pytest.mark.parametrize("command", [("drain",), ("sweep", *ALL)], ids=lambda command: command[0])
def test_what_cannot_be_read_keeps_files_and_exits_with_2(app: App, command: tuple[str, ...]) -> None:
    app.fill(2)
    path = generated("document", "file", ".txt")
    storages.get_backend("docs").put(path, b"nobody knows")
    app.remove(1)
    with app.engine.begin() as connection:
        connection.exec_driver_sql("""UPDATE document SET file = '{"v": 9, "at": 7}'""")
    done = run(*command, *app.options)
    assert (done.code, "unreadable-documents" in done.out) == (2, True)
    assert len(objects()) == 3


def test_files_of_unknown_tables_refuse_in_one_sentence(app: App) -> None:
    app.fill()
    with app.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE document RENAME TO archived")
        app.module.Base.metadata.create_all(connection)
    done = run("sweep", *ALL, *app.options)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "archived.file" in done.err
    assert len(objects()) == 1


def test_folders_of_former_names_are_swept_too(app: App) -> None:
    path = generated("paper", "file", ".txt", age=3 * 86400)
    storages.get_backend("docs").put(path, b"left behind")
    assert (run("sweep", *ALL, *app.options).code, len(objects())) == (0, 1)
    assert run("sweep", *ALL, "--former", "paper/file", *app.options).code == 0
    assert objects() == set()
    refused = run("sweep", "--former", "paper.file", *app.options)
    assert (refused.code, "'table/column'" in refused.err) == (2, True)


def test_check_and_migrate_ask_who_shares_the_backend(app: App, second: str) -> None:
    path = next(iter(storages.get_backend("docs").list())).path
    storages.get_backend("docs").delete(path)
    assert run("check", *app.options).code == 0
    checked = run("check", "--shared-with", second, *app.options)
    assert (checked.code, f"docs:{path}" in checked.out) == (1, True)
    assert run("migrate", "document.file", "--shared-with", second, *app.options).code == 0
    failed = run("migrate", "document.file", "--shared-with", "shop:HOLD", *app.options)
    assert (failed.code, "neither an engine nor a MetaData" in failed.err) == (2, True)
