"""A missing or wrong setting is one clear error with exit code 2, without a password in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from tests.cli.conftest import SOURCE, App, run

PASSWORD = "s3cr3t-of-the-shop"

MODULES = {
    "shop.py": SOURCE,
    "broken.py": "import json\n\njson.loads('not json')\n",
    "lacking.py": "import package_that_is_not_there\n",
    "leaving.py": "raise SystemExit(1)\n",
    "plain.py": "from sqlalchemy import *\nmetadata = MetaData()\nTable('users', metadata, Column('id', Integer))\n",
    "helpers.py": "def prepare():\n    raise RuntimeError('no configuration')\n\nnumber = 3\n",
    "website.py": "from shop import Base\nfrom flask import Flask\napp = Flask('shop')\n",
    "two.py": "from shop import Base\nfrom sqlalchemy import create_engine\nreads = create_engine('sqlite://')\n"
    "writes = create_engine('sqlite://')\n",
}

WRONG: list[tuple[list[str], list[str]]] = [
    ([], ["--app package.module:Base", "FILEROW_APP", "[tool.filerow]"]),
    (["--app", "nowhere.models:Base"], ["--app", "no module 'nowhere'", "go to the application's folder"]),
    (["--app", "shop.models:Base"], ["no module 'shop.models'"]),
    (["--app", "broken:Base"], ["importing broken failed", 'broken.py", line 3', "JSONDecodeError"]),
    (["--app", "lacking:Base"], ["importing lacking failed", "No module named 'package_that_is_not_there'"]),
    (["--app", "leaving:Base"], ["importing leaving failed", "SystemExit"]),
    (["--app", "shop.py:Base"], ["no module is named 'shop.py'", "--app shop:Base"]),
    (["--app", "./shop:Base"], ["no module is named './shop'", "--app shop:Base"]),
    (["--app", "src/shop.py:Base"], ["no module is named 'src/shop.py'", "--app src.shop:Base"]),
    (["--app", ":Base"], ["--app :Base does not name a module", "package.module:name"]),
    (["--app", ""], ["--app  does not name a module"]),
    (["--app", "two:create_engine"], ["two:create_engine() failed", "TypeError: create_engine() missing"]),
    (["--app", "shop:Bse"], ["module shop has no 'Bse'", "shop:Base"]),
    (["--app", "helpers:number"], ["neither a DeclarativeBase, a MetaData nor a registry"]),
    (["--app", "helpers:prepare"], ["helpers:prepare() failed", "no configuration"]),
    (["--app", "helpers"], ["does not name an attribute"]),
    (["--app", "plain:metadata"], ["none of its tables has a file column", "users"]),
    (["--app", "shop:Base"], ["which database?", "--url", "FILEROW_URL"]),
    (["--app", "two:Base"], ["more than one engine", "--url two:reads or --url two:writes"]),
    (["--app", "shop:Base", "--url", "shop.db"], ["--url is not a database URL"]),
    (["--app", "shop:Base", "--url", "sqlite:///nowhere.db"], ["there is no SQLite database", "nowhere.db"]),
    (["--app", "shop:Base", "--url", f"nosql://shop:{PASSWORD}@host/db"], ["not know the database 'nosql'", "shop:***@host"]),
    (["--app", "shop:Base", "--url", f"mssql+pymssql://shop:{PASSWORD}@host/db"], ["driver is not installed", "pymssql"]),
    (["--app", "shop:Base", "--url", f"postgresql+psycopg://shop:{PASSWORD}@127.0.0.1:1/db"], ["cannot connect", "127.0.0.1:1"]),
    (["--app", "shop:Base", "--url", f"postgresql+asyncpg://shop:{PASSWORD}@127.0.0.1:1/db"], ["cannot connect to", ":***@"]),
    (["--app", "shop:Base", "--url", "helpers:number"], ["neither an Engine nor an AsyncEngine, but int"]),
    (["--app", "shop:Base", "--setup", "nowhere"], ["--setup", "nowhere"]),
    (["--app", "shop:Base", "--setup", "helpers:"], ["--setup helpers:: name the attribute too"]),
    (["--app", "website:app"], ["neither a DeclarativeBase, a MetaData nor a registry"]),
    (["--app", "shop:Base", "--setup", "helpers:prepare"], ["helpers:prepare() failed", "no configuration"]),
    (["--app", "shop:Base", "--setup", "helpers:number"], ["is not a function but int"]),
    (["--app", "shop:Base", "--backend", "docs"], ["--backend must be KEY=URL"]),
    (["--app", "shop:Base", "--backend", "docs=memory://"], ["has registered backend 'docs' itself"]),
    (["--app", "shop:Base", "--backend", "b=nothing://x"], ["backend 'b'"]),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(arguments) or "nothing" for arguments, _ in WRONG])
def test_mistake_is_reported_and_ends_with_2(folder: Path, arguments: list[str], message: list[str]) -> None:
    for name, source in MODULES.items():
        (folder / name).write_text(source)
    done = run("stats", *arguments)
    assert (done.code, done.out) == (2, "")
    for words in message:
        assert words in done.err
    assert PASSWORD not in done.err
    assert done.err.count("\n") == 1 or "failed:\n" in done.err, "one line, unless the application's own code is at fault"
    assert str(Path(__file__).parents[2] / "src") not in done.err, "our own frames are of no use to anybody"


FILES = [
    ('[tool.filerow]\napplication = "shop:Base"', "unknown entry 'application'; known are app, url, setup, backends"),
    ("[tool.filerow]\napp = 3", "app must be a string"),
    ('[tool.filerow]\nbackends = "s3://bucket"', "backends must be a table such as"),
    ("[tool.filerow\n", "cannot be read"),
    ('[tool]\nfilerow = "shop:Base"', "[tool.filerow] must be a table, not 'shop:Base'"),
    ('tool = "shop:Base"', "[tool] must be a table"),
    ('[tool.filerow]\napp = "nowhere:Base"', "[tool.filerow] app in "),
]


@pytest.mark.parametrize(("text", "message"), FILES)
def test_wrong_pyproject_is_reported(folder: Path, text: str, message: str) -> None:
    (folder / "pyproject.toml").write_text(text)
    done = run("stats")
    assert done.code == 2
    assert message in done.err
    assert "pyproject.toml" in done.err


def test_a_machine_reads_why_a_command_could_not_run(folder: Path) -> None:
    done = run("stats", "--json")
    assert done.code == 2
    (summary,) = done.lines
    assert (summary["type"], summary["exit_code"]) == ("summary", 2)
    assert "which application?" in summary["error"]


def test_options_precede_the_environment_and_that_pyproject(
    make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    for name in ("option", "environment", "file"):
        app.fill(name=f"{name}.txt")
        app.engine.dispose()
        (app.folder / "shop.db").rename(app.folder / f"{name}.db")
        app.module.Base.metadata.create_all(app.engine)
    (app.folder / "pyproject.toml").write_text('[tool.filerow]\napp = "shop:Base"\nurl = "sqlite:///file.db"\n')
    assert "file.txt" in run("ls", "document.file").out
    monkeypatch.setenv("FILEROW_URL", "sqlite:///environment.db")
    assert "environment.txt" in run("ls", "document.file").out
    assert "option.txt" in run("ls", "document.file", "--url", "sqlite:///option.db").out
    monkeypatch.setenv("FILEROW_APP", "shop:Nothing")
    assert "FILEROW_APP: module shop has no 'Nothing'" in run("ls", "document.file").err


def test_nearest_pyproject_and_its_modules_are_found_from_below(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    app.fill()
    (app.folder / "pyproject.toml").write_text(f'[tool.filerow]\napp = "shop:Base"\nurl = "{app.url}"\n')
    below = app.folder / "docs" / "images"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert "cat.txt" in run("ls", "document.file").out


APPS = """
from shop import Base
from sqlalchemy.orm import registry

engine_url = "sqlite:///shop.db"
metadata = Base.metadata
reg = Base.registry

def make():
    return Base

class Flask:
    metadata = Base.metadata
"""


@pytest.mark.parametrize(
    "name", ["apps", *(f"apps:{one}" for one in ("Base", "metadata", "reg", "make", "Flask", "Base.metadata"))]
)
def test_application_may_be_anything_that_leads_to_its_metadata(app: App, name: str) -> None:
    (app.folder / "apps.py").write_text(APPS)
    assert run("stats", "--app", name, "--url", app.url).code == 0


ENGINES = """
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from shop import Base

engine = create_engine("sqlite:///shop.db")
async_engine = create_async_engine("sqlite+aiosqlite:///shop.db")
"""


@pytest.mark.parametrize("url", ["sqlite:///shop.db", "sqlite+aiosqlite:///shop.db", "db:engine", "db:async_engine", None])
def test_engine_may_be_sync_or_async_and_the_application_s_own(app: App, url: str | None) -> None:
    app.fill()
    (app.folder / "db.py").write_text(ENGINES)
    done = run("ls", "document.file", "--app", "db:Base", *(["--url", url] if url else []))
    assert (done.code, done.err) == (0, "")
    assert "cat.txt" in done.out


SETUP = """
from filerow import storages

def register():
    storages.register_backend("memory://", key="later")

async def register_async():
    storages.register_backend("memory://", key="later")
"""
LATE = SOURCE.replace('StoredObject("docs", multiple=True)', 'StoredObject("later", multiple=True)')


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--setup", "start:register"],
        ["--setup", "start:register_async"],
        ["--setup", "settings"],
        ["--backend", "later=memory://"],
        ["pyproject"],
    ],
)
def test_backends_are_registered_by_function_option_or_pyproject(make_app: Callable[..., App], options: list[str]) -> None:
    app = make_app(LATE)
    (app.folder / "start.py").write_text(SETUP)
    (app.folder / "settings.py").write_text("import start\n\nstart.register()\n")
    if options == ["pyproject"]:
        options = []
        (app.folder / "pyproject.toml").write_text('[tool.filerow]\nbackends = {later = "memory://"}\n')
        expected = 0
    else:
        expected = 0 if options else 1
    done = run("doctor", *app.options, *options)
    assert done.code == expected, done.out
    assert ("error backend-missing" in done.out) == bool(expected)


def test_backend_of_the_command_line_replaces_that_of_pyproject(make_app: Callable[..., App]) -> None:
    app = make_app(LATE)
    other = app.folder / "other"
    (app.folder / "pyproject.toml").write_text(f'[tool.filerow]\nbackends = {{later = "file://{app.folder}/first"}}\n')
    assert run("doctor", *app.options, "--backend", f"later=file://{other}").code == 0
    assert other.exists()
    assert not (app.folder / "first").exists()


def test_backends_of_the_environment_are_registered(make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(LATE)
    (app.folder / "pyproject.toml").write_text(f'[tool.filerow]\nbackends = {{later = "file://{app.folder}/first"}}\n')
    monkeypatch.setenv("FILEROW_BACKENDS__LATER__URL", f"file://{app.folder}/second")
    monkeypatch.setenv("FILEROW_BACKENDS__OTHER", f"file://{app.folder}/third")
    monkeypatch.setenv("FILEROW_BACKENDS__DOCS__FSYNC", "0")  # the application's own, which it has registered otherwise
    assert run("doctor", *app.options).code == 0
    assert [(app.folder / name).exists() for name in ("first", "second", "third")] == [False, True, True]
    storages.unregister_backend("later")
    storages.unregister_backend("other")
    assert run("doctor", *app.options, "--backend", f"later=file://{app.folder}/fourth").code == 0
    assert (app.folder / "fourth").exists()


def test_a_wrong_variable_of_a_backend_is_named(make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(LATE)
    monkeypatch.setenv("FILEROW_BACKENDS__LATER__SECRET", "hush-hush-hush-hush")
    done = run("doctor", *app.options)
    assert (done.code, "FILEROW_BACKENDS__LATER__URL: backend 'later' has no url" in done.err, "hush" in done.err) == (
        2,
        True,
        False,
    )


def test_conformance_finds_a_backend_of_the_environment(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILEROW_BACKENDS__SCANS__URL", f"file://{app.folder}/scans?fsync=0")
    done = run("conformance", "--backend", "scans", "--case", "an_empty_object_goes_round", "--sync-only")
    assert (done.code, "1 passed" in done.out) == (0, True), done.err


def test_the_database_is_not_made_by_looking_at_it(app: App) -> None:
    run("stats", "--app", "shop:Base", "--url", "sqlite:///nowhere.db")
    assert not (app.folder / "nowhere.db").exists()


def test_session_of_the_application_still_works_after_a_command(app: App) -> None:
    assert run("stats", *app.options).code == 0
    with Session(app.engine) as session:
        session.add(app.module.Document(file=FileObject(filename="a.txt", content=b"a")))
        session.commit()


def test_a_backend_in_the_file_may_have_options(make_app: Callable[..., App]) -> None:
    app = make_app(LATE)
    table = f'[tool.filerow.backends]\nlater = {{url = "file://{app.folder}/first", fsync = "maybe"}}\n'
    (app.folder / "pyproject.toml").write_text(table)
    done = run("doctor", *app.options)
    assert done.code == 2
    assert "later.fsync must be true or false" in done.err
    (app.folder / "pyproject.toml").write_text(table.replace('"maybe"', "false"))
    assert run("doctor", *app.options).code == 0


def test_an_application_may_register_what_the_file_names(make_app: Callable[..., App]) -> None:
    app = make_app(LATE)
    (app.folder / "start.py").write_text(
        "from filerow import storages\ndef register(): storages.configure_from_toml('pyproject.toml')"
    )
    (app.folder / "pyproject.toml").write_text('[tool.filerow]\nbackends = {later = "memory://"}\n')
    assert run("doctor", *app.options, "--setup", "start:register").code == 0
