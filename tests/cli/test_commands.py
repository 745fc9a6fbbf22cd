"""What the commands print, and their exit codes: one line a step, JSON lines, findings, figures."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.cli._values import as_age, as_size, duration, hidden, plain, resumed, shard
from tests.cli.conftest import SOURCE, App, run, run_alone
from tests.databases import EmptyDatabase
from tests.generated import generated
from tests.places import RECORD
from tests.variants.pictures import four_colours, saved

FIRST = """
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, StoredObject, storages

storages.register_backend(f"file://{Path(__file__).parent}/files", key="docs")


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", max_size="25 MB"))


engine = create_engine("sqlite:///shop.db")
"""

NAMES = ["check", "sweep", "drain", "migrate", "adopt", "variants", "doctor", "stats", "ls", "undelete", "conformance"]


def test_the_commands_are_those_that_the_design_names() -> None:
    done = run("--help")
    assert done.code == 0
    commands = done.out.partition("Commands:")[2]
    assert re.findall(r"^  (\S+) ", commands, re.MULTILINE) == NAMES
    assert "..." not in commands, "no description is cut off"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "conformance"])  # which needs no application
def test_the_help_of_each_command_has_an_example_that_parses(folder: Path, name: str) -> None:
    done = run(name, "--help")
    assert done.code == 0
    (example,) = [line for line in done.out.splitlines() if line.startswith("    filerow ")]
    assert example.split()[1] == name
    assert "--app NAME" in done.out
    tried = run(*example.split()[1:])
    assert (tried.code, tried.out) == (2, "")
    assert "no module 'shop" in tried.err, "all that is wrong with it is that there is no shop here"


def test_version_is_shown() -> None:
    done = run("--version")
    assert (done.code, done.out) == (0, f"filerow {version('filerow')}\n")


# -- shown -----------------------------------------------------------------------------------------------------------------


def test_without_a_terminal_each_step_is_a_line(app: App) -> None:
    app.fill(2)
    app.remove(1)
    done = run("drain", *app.options)
    assert (done.code, done.err) == (0, "")
    step, outcome = done.out.splitlines()
    assert step == "drain: 1 of 1, 1 deleted"
    assert outcome.startswith("drain: 1 deleted (")
    assert run("drain", *app.options).out.splitlines()[1].startswith("drain: nothing to do (")


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_not_due_yet_is_counted(make_app: Callable[..., App], form: str) -> None:
    app = make_app(SOURCE.replace("timedelta(0)", "timedelta(days=7)"))
    app.fill(2)
    app.remove(1)
    done = run("drain", *app.options, *(["--json"] if form == "json" else []))
    if form == "json":
        summary = done.lines[-1]
        assert (summary["changed"], summary["too_young"], summary["outcome"]) == (0, 1, "1 not due yet")
    else:
        assert done.out.splitlines()[1].startswith("drain: 1 not due yet (")


def test_json_of_a_dry_run_says_what_it_would_delete(app: App) -> None:
    storages.get_backend("docs").put(generated("document", "file", ".txt"), b"nobody's")
    sweep = ("sweep", "--grace", "0s", "--full", "--json", *app.options)
    for delete, changed in ((False, 0), (True, 1)):
        done = run(*sweep, *(["--delete"] if delete else []))
        summary = done.lines[-1]
        assert (summary["is_dry_run"], summary["changed"], summary["would_change"]) == (not delete, changed, 1 - changed)
        assert summary["outcome"] == ("1 deleted" if delete else "would delete 1, 1 warning")
        (found,) = done.of("finding")
        assert found["message"].endswith("; would delete it") is not delete


def test_doctor_has_no_finding_on_a_first_project(make_app: Callable[..., App]) -> None:
    make_app(FIRST)
    options = ("--app", "shop:Base")
    done = run("doctor", *options)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("doctor: nothing found; 2 notes, shown by --notes (")
    assert "info" not in done.out
    assert run("doctor", "--quiet", *options).out == ""
    shown = run("doctor", "--notes", *options)
    assert (shown.code, len(re.findall("^info ", shown.out, re.MULTILINE))) == (0, 2)
    assert {one["code"] for one in run("doctor", "--json", *options).of("finding")} == {"savepoint-commits", "no-outbox"}


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["sweep", "--take-over"], "--take-over"),
        (["adopt", "document.file", "--strip", "a/"], "--source"),
        (["adopt", "document.file", "--source", "document.id"], "--source"),
        (["adopt", "document.file", "--source", "document.x"], "--source"),
        (["check", "--resume", "{}"], "--resume"),
        (["migrate", "document.file", "--resume", "{}"], "--resume"),
        (["variants", "document.file", "--prune", "--resume", "{}"], "--resume"),
        (["ls", "document.file", "--variants", "--removed"], "--variants"),
        (["adopt", "document.file", "--resume", "{}"], "--resume"),
        (["sweep", "--shard", "0/4"], "--shard"),
        (["sweep", "--former", "old"], "--former"),
        (["undelete", "docs", "a", "--row", "x=1", "--into", "document.file"], "--row"),
        (["doctor", "--backend", "docs"], "--backend"),
        (["stats", "--shared-with", "shop:nobody"], "--shared-with"),
        (["stats", "--setup", "shop:nobody"], "--setup"),
    ],
)
def test_errors_name_options_as_they_are_spelled(app: App, arguments: list[str], option: str) -> None:
    app.fill(1)
    done = run(*arguments, *app.options)
    assert done.code == 2
    assert re.search(rf"(?<![\w-]){option}(?![\w-])", done.err), done.err


def test_json_is_one_object_a_line_and_ends_with_a_summary(app: App) -> None:
    app.fill(2)
    app.remove(1)
    done = run("drain", "--json", *app.options)
    assert (done.code, done.err) == (0, "")
    assert [line["type"] for line in done.lines] == ["progress", "progress", "summary"]
    assert done.lines[1] == {
        "type": "progress",
        "step": "drain",
        "done": 1,
        "total": 1,
        "transferred": 0,
        "changed": 1,
        "would_change": 0,
        "too_young": 0,
        "cursor": None,
    }
    summary = done.lines[-1]
    assert summary["seconds"] > 0
    assert {name: summary[name] for name in ("command", "exit_code", "done", "changed", "found", "fixed", "error")} == {
        "command": "drain",
        "exit_code": 0,
        "done": 1,
        "changed": 1,
        "found": {"error": 0, "warning": 0, "info": 0},
        "fixed": 0,
        "error": "",
    }


@pytest.mark.parametrize("form", ["lines", "json", "quiet"])
def test_a_finding_is_shown_and_exits_with_1(app: App, form: str) -> None:
    (path,) = app.fill()
    (app.folder / "files" / path).unlink()
    done = run("doctor", *app.options, *([] if form == "lines" else [f"--{form}"]))
    assert done.code == 1
    if form == "json":
        (found,) = [line for line in done.of("finding") if line["level"] == "error"]
        assert (found["code"], found["where"], found["backend"], found["path"]) == ("missing", "document.file", "docs", path)
        assert done.of("summary")[0]["found"]["error"] == 1
    else:
        assert f"error missing: document.file docs:{path}: its row is there, its object is not" in done.out
        assert ("outbox: done" in done.out) == (form == "lines")


def test_quiet_says_nothing_when_there_is_nothing_to_say(app: App) -> None:
    app.fill()
    done = run("drain", "--quiet", *app.options)
    assert (done.code, done.out, done.err) == (0, "", "")


def test_an_error_on_the_way_exits_with_2_and_names_no_password(app: App) -> None:
    app.module.Base.metadata.drop_all(app.engine)
    done = run("ls", "document.file", *app.options)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"filerow ls: sqlite:///{app.folder}/shop.db refused a statement: OperationalError: no such table: document; "
        "run filerow doctor to see what is missing\n"
    )


@pytest.mark.one_in(3)
def test_an_error_of_the_database_is_one_line(database: EmptyDatabase, app: App) -> None:
    done = run("ls", "document.file", "--app", "shop:Base", "--url", database.url)
    assert done.code == 2
    if database.name != "sqlite":  # whose file is not there yet
        assert "refused a statement" in done.err
        assert "run filerow doctor to see what is missing" in done.err
    assert done.err.count("\n") == 1


ADMIN = """

def _end_all_others(path, url="{url}"):
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
"""


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_lost_database_is_not_said_to_lack_something(database: EmptyDatabase, make_app: Callable[..., App], driver: str) -> None:
    assert database.server is not None
    admin = ADMIN.format(url=database.server.url("psycopg").replace("+psycopg", ""))
    url = database.server.url(driver)
    make = "create_async_engine" if driver == "asyncpg" else "create_engine"  # without a ping, which would connect once more
    place = "sqlalchemy.ext.asyncio" if driver == "asyncpg" else "sqlalchemy"
    own = f"\nfrom {place} import {make}\nengine = {make}({url!r})\n"
    app = make_app(SOURCE.replace("        self.heads += 1\n", "        _end_all_others(path)\n") + admin + own)
    engine = database.engine()
    app.module.Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(app.module.Document(file=FileObject(content=b"meow")) for _ in range(3))
        session.commit()
    engine.dispose()
    done = run("check", "--batch", "1", "--app", "shop:Base", "--url", "shop:engine")
    assert done.code == 2
    first = done.err.splitlines()[0]
    assert first.startswith(f"filerow check: {url}: the connection was lost")
    assert "run it again" in first
    assert "doctor" not in done.err
    assert "Traceback" not in done.err
    assert "Stopped. To continue: filerow " in done.err


RAW = """

import sqlite3
from sqlalchemy import NullPool, create_engine, event

engine = create_engine({url!r}, poolclass=NullPool)
connections = []

@event.listens_for(engine, "connect")
def set_pragma(connection, record):
    connections.append(connection)
    if len(connections) > 1:
        raise sqlite3.OperationalError("database is locked")
"""


@pytest.mark.parametrize("command", ["check", "sweep", "drain", "stats", "ls document.file", "undelete docs a", "doctor"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_error_of_a_driver_that_is_not_translated_is_one_line(
    database: EmptyDatabase, make_app: Callable[..., App], command: str
) -> None:
    url = database.engine().url.render_as_string()
    app = make_app(SOURCE + RAW.format(url=url))
    app.module.Base.metadata.create_all(database.engine())
    done = run(*command.split(), "--app", "shop:Base", "--url", "shop:engine")
    assert "database is locked" in done.err + done.out
    assert "Traceback" not in done.err
    if command == "doctor":  # which goes on with what it can ask
        assert done.code == 1
        assert "docs" in done.out
    else:
        assert done.code == 2
        assert "OperationalError" in done.err
        assert len(done.err.splitlines()) <= 2


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_refused_statement_is_not_said_to_lack_something(database: EmptyDatabase, app: App) -> None:
    assert database.server is not None
    engine = database.engine()
    app.module.Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE document IN ACCESS EXCLUSIVE MODE")
        url = f"{database.server.url('psycopg')}?options=-c%20lock_timeout%3D50"
        done = run("ls", "document.file", "--app", "shop:Base", "--url", url)
    assert done.code == 2
    assert "LockNotAvailable" in done.err
    assert "doctor" not in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_wrong_database_is_one_line(database: EmptyDatabase, app: App, driver: str) -> None:
    assert database.server is not None
    url = database.server.url(driver).replace(database.server.name, "nowhere")
    done = run("stats", "--app", "shop:Base", "--url", url)
    assert done.code == 2
    assert done.err.startswith(f"filerow stats: cannot connect to {url}: ")
    assert 'database "nowhere" does not exist' in done.err
    assert done.err.count("\n") == 1


def test_unregistered_backend_to_sweep_is_one_line(app: App) -> None:
    done = run("sweep", "--also", "typo", *app.options)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("filerow sweep: no backend is registered as 'typo'")
    assert done.err.count("\n") == 1


def test_a_fault_of_the_program_exits_with_2_and_not_with_1(make_app: Callable[..., App]) -> None:
    app = make_app(SOURCE.replace("        return super()._head(path)", "        raise AttributeError('a fault')"))
    app.fill()
    done = run("doctor", *app.options)
    assert done.code == 1, "backends wrap whatever their drivers raise"
    assert "a fault" in done.out
    app.module.Document.__table__.c.file.type.backend = 3  # nobody foresees that
    done = run("doctor", *app.options)
    assert done.code == 2
    assert "Traceback" in done.err


@pytest.mark.parametrize("arguments", [["stats", "--nonsense"], ["ls"], ["nothing"], ["sweep", "--grace", "soon"], ["ls", "a.b"]])
def test_what_cannot_be_understood_exits_with_2(app: App, arguments: list[str]) -> None:
    done = run(*arguments, *(app.options if arguments[0] == "ls" else ()))
    assert (done.code, done.out) == (2, "")
    assert done.err


def test_wrong_state_of_a_sweep_is_one_line(app: App) -> None:
    (app.folder / "state").write_text("{")
    done = run("sweep", "--state", "state", *app.options)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith("filerow sweep: state was not written by a sweep")


def test_a_wrong_column_names_those_there_are(app: App) -> None:
    assert (
        "there is no file column 'document.fil'; there are: document.file, document.pages"
        in run("ls", "document.fil", *app.options).err
    )


# -- each command for what it is there for -------------------------------------------------------------------------------


def test_check_finds_missing_objects_and_repairs_on_request(app: App) -> None:
    first, second = app.fill(2)
    assert run("check", *app.options).code == 0
    (app.folder / "files" / second).unlink()
    found = run("check", *app.options)
    assert found.code == 1
    assert f"error missing: document.file id=2 docs:{second}: " in found.out
    repaired = run("check", "--repair", "null", *app.options)
    assert repaired.code == 0
    assert f"fixed missing: document.file id=2 docs:{second}: " in repaired.out
    assert run("check", "--deep", "--quiet", *app.options).out == ""
    (app.folder / "files" / first).write_bytes(b"bark")
    assert "error checksum" in run("check", "--deep", *app.options).out


def test_sweep_finds_orphans_and_deletes_them_on_request(app: App) -> None:
    app.fill(3)
    backend = storages.get_backend("docs")
    orphan = generated("document", "file", ".txt")
    backend.put(orphan, b"nobody's")
    young = run("sweep", *app.options)
    assert young.out.count("orphan") == 0
    assert "sweep: 4 too young (" in young.out
    found = run("sweep", "--grace", "0s", "--full", *app.options)
    assert found.code == 1
    assert f"warning orphan: docs: document/file docs:{orphan}: no row names this object of 8 bytes; would delete it" in found.out
    assert "sweep: would delete 1, 1 warning (" in found.out
    assert backend.exists(orphan)
    deleted = run("sweep", "--grace", "0s", "--full", "--delete", *app.options)
    assert deleted.code == 0
    assert "sweep: 1 deleted (" in deleted.out
    assert "would" not in deleted.out
    assert not backend.exists(orphan)


def test_whose_place_it_is_decides_the_exit_code(app: App, folder: Path) -> None:
    app.fill(2)
    app.remove(1)
    delete = ("sweep", "--grace", "0s", "--full", "--delete")
    copy = f"sqlite:///{folder / 'copy.db'}"
    shutil.copy(folder / "shop.db", folder / "copy.db")
    assert run(*delete, *app.options).code == 0
    for command in (delete, ("drain",)):
        refused = run(*command, "--app", "shop:Base", "--url", copy)
        assert (refused.code, "--take-over" in refused.err) == (2, True)
        assert "To go on" not in refused.err
    assert run("drain", "--watch", "--take-over", *app.options).code == 2
    assert run("sweep", "--take-over", *app.options).code == 2, "a dry run takes nothing over"
    assert run("drain", "--take-over", "--app", "shop:Base", "--url", copy).code == 0
    assert run(*delete, *app.options).code == 2
    (folder / "files" / RECORD).unlink()
    first = run(*delete, *app.options)
    assert (first.code, "warning first-run: docs: " in first.out) == (1, True)
    assert run(*delete, *app.options).code == 0


def test_a_dry_run_says_what_it_would_change(app: App) -> None:
    app.fill(2)
    options = ["migrate", "document.file", "--to", "archive", "--backend", f"archive=file://{app.folder}/archive"]
    tried = run(*options, "--dry-run", *app.options).out
    assert "document.file: 2 of 2, would move 2, 8 B" in tried
    assert "migrate: would move 2 (" in tried
    storages.unregister_backend("archive")
    moved = run(*options, *app.options).out
    assert "document.file: 2 of 2, 2 moved, 8 B" in moved
    assert "migrate: 2 moved (" in moved


def test_migrate_moves_a_column_to_another_backend(app: App) -> None:
    (path,) = app.fill()
    archive = ("--backend", f"archive=file://{app.folder}/archive")
    tried = run("migrate", "document.file", "--to", "archive", "--dry-run", *archive, *app.options)
    assert (tried.code, tried.err) == (0, "")
    assert not list((app.folder / "archive").rglob("*.txt"))
    storages.unregister_backend("archive")
    moved = run("migrate", "document.file", "--to", "archive", *archive, *app.options)
    assert (moved.code, moved.err) == (0, "")
    (listed,) = run("ls", "document.file", "--json", *app.options).of("file")
    assert (listed["backend"], listed["row"]) == ("archive", {"id": 1})
    assert run("check", *app.options).code == 0
    assert run("drain", *app.options).code == 0
    assert not (app.folder / "files" / path).exists()


def test_adopt_makes_files_of_paths(make_app: Callable[..., App]) -> None:
    app = make_app(SOURCE.replace("    pages:", "    old_path: Mapped[str | None] = mapped_column()\n    pages:"))
    storages.get_backend("docs").put("2019/cat.txt", b"meow")
    with app.engine.begin() as connection:
        for name in ("cat", "dog"):
            sql = "INSERT INTO document (old_path, pages) VALUES (?, '[]')"
            connection.exec_driver_sql(sql, (f"uploads/2019/{name}.txt",))
    adopted = run("adopt", "document.file", "--source", "document.old_path", "--strip", "uploads/", *app.options)
    assert adopted.code == 1
    assert "missing" in adopted.out
    (line,) = run("ls", "document.file", *app.options).out.splitlines()
    assert line == "id=1\t2019/cat.txt\t4\ttext/plain\tcat.txt"


def test_adopt_takes_several_columns_and_goes_on(make_app: Callable[..., App]) -> None:
    columns = "    old_path: Mapped[str | None] = mapped_column()\n    new_path: Mapped[str | None] = mapped_column()\n"
    second = "    copy: Mapped[FileObject | None] = mapped_column(StoredObject('docs'))\n"
    app = make_app(SOURCE.replace("    pages:", f"{columns}{second}    pages:"))
    for name in ("cat", "dog"):
        storages.get_backend("docs").put(f"{name}.txt", b"meow")
    with app.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO document (old_path, new_path, pages) VALUES ('cat.txt', 'dog.txt', '[]')")
    both = ("adopt", "document.file", "document.copy")
    sources = ("--source", "document.old_path", "--source", "document.new_path")
    uneven = run(*both, *sources[:2], *app.options)
    assert (uneven.code, uneven.err.count("\n")) == (2, 1)
    assert "one source (--source) for each column or none, not 1 for 2" in uneven.err
    tried = run(*both, *sources, "--dry-run", "--json", *app.options)
    assert tried.of("summary")[0]["outcome"] == "would adopt 2"
    rest = run(*both, *sources, "--resume", '{"column": "document.copy", "after": [0]}', *app.options)
    assert rest.out.splitlines()[-1].startswith("adopt: 1 adopted (")
    assert run(*both, *sources, "--resume", '{"column": "document.pages", "after": [0]}', *app.options).code == 2
    assert run(*both, *sources, *app.options).code == 0
    for column, path in (("file", "cat.txt"), ("copy", "dog.txt")):
        assert run("ls", f"document.{column}", *app.options).out.split("\t")[1] == path


def test_adopt_appends_what_the_other_library_does(make_app: Callable[..., App]) -> None:
    app = make_app(SOURCE.replace("    pages:", "    old: Mapped[str | None] = mapped_column()\n    pages:"))
    storages.get_backend("docs").put("1-2-3/file", b"meow")
    with app.engine.begin() as connection:
        document = '{"file_id": "1-2-3", "path": "docs/1-2-3", "filename": "cat.txt"}'
        connection.exec_driver_sql("INSERT INTO document (old, pages) VALUES (?, '[]')", (document,))
    assert run("adopt", "document.file", "--source", "document.old", "--suffix", "/file", *app.options).code == 0
    (line,) = run("ls", "document.file", *app.options).out.splitlines()
    assert line == "id=1\t1-2-3/file\t4\ttext/plain\tcat.txt"


# -- figures ---------------------------------------------------------------------------------------------------------------


def test_a_finding_names_its_row_once(make_app: Callable[..., App]) -> None:
    app = make_app()
    with app.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO document (id, file, pages) VALUES (1, '5', '[]')")
    done = run("adopt", "document.file", *app.options)
    assert done.out.splitlines()[0] == "error unreadable: document.file id=1: a file document is a JSON object, not 5"
    done = run("migrate", "document.file", *app.options)
    assert done.out.count("id=1") == 1


def test_ls_lists_row_path_size_type_and_filename(app: App) -> None:
    first, second, third = app.fill(3)
    done = run("ls", "document.file", *app.options)
    assert done.code == 0
    assert done.out.splitlines() == [
        f"id={number}\t{path}\t4\ttext/plain\tcat.txt" for number, path in enumerate([first, second, third], 1)
    ]
    assert len(run("ls", "document.file", "--limit", "2", *app.options).out.splitlines()) == 2
    assert second in run("ls", "document.file", "--prefix", second[:-1], *app.options).out
    (line,) = run("ls", "document.file", "--limit", "1", "--json", *app.options).of("file")
    assert {name: line[name] for name in ("row", "backend", "path", "size")} == {
        "row": {"id": 1},
        "backend": "docs",
        "path": first,
        "size": 4,
    }


def test_a_filename_cannot_play_tricks_on_a_terminal(app: App) -> None:
    (path,) = app.fill()
    with app.engine.begin() as connection:
        document = {"backend": "docs", "path": f"{path}\x1b[2J", "filename": "a\tb", "content_type": "x\ny"}
        connection.exec_driver_sql("UPDATE document SET file = ?", (json.dumps(document),))
    out = run("ls", "document.file", *app.options).out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 1
    assert len(out.split("\t")) == 5


def test_removed_files_are_listed_and_undeleted(make_app: Callable[..., App]) -> None:
    app = make_app(SOURCE.replace("timedelta(0)", "timedelta(days=7)"))
    first, second = app.fill(2)
    with Session(app.engine) as session:
        session.execute(update(app.module.Document).where(app.module.Document.id == 1).values(file=None))
        session.commit()
    app.remove(2)
    listed = run("ls", "document.file", "--removed", *app.options)
    assert [line.split("\t")[:2] for line in listed.out.splitlines()] == [["id=2", second], ["id=1", first]]
    done = run("undelete", "docs", first, second, "document/file/never.txt", *app.options)
    assert done.code == 1
    assert f"info undeleted: docs:{first}: cat.txt is back in its row" in done.out
    assert f"info kept: docs:{second}: cat.txt is kept for another 7 days" in done.out
    assert "undelete: 1 restored, 1 error, 2 info (" in done.out
    assert "error not-undeleted: docs:document/file/never.txt: the outbox has no tombstone" in done.out
    assert run("undelete", "docs", first, "--into", "document.fiel", *app.options).code == 2
    with Session(app.engine) as session:
        assert session.get_one(app.module.Document, 1).file.get_content() == b"meow"


def test_removed_file_is_given_to_another_row(make_app: Callable[..., App]) -> None:
    app = make_app(SOURCE.replace("timedelta(0)", "timedelta(days=7)"))
    path, *_ = app.fill(2)
    with Session(app.engine) as session:
        session.add(app.module.Document(id=3))
        session.commit()
    app.remove(1)
    undelete = ("undelete", "docs", path, *app.options)
    taken = run(*undelete, "--row", "id=2")
    assert (taken.code, "no row of document.file with id=2 is there and has no file" in taken.out) == (1, True)
    for wrong in ("number=3", "id=three", "id"):
        refused = run(*undelete, "--row", wrong, "--into", "document.file")
        assert (refused.code, "Traceback" in refused.err) == (2, False), refused.err
    given = run(*undelete, "--row", "id=3")
    assert (given.code, "cat.txt is in the row that you named" in given.out) == (0, True)
    assert run("ls", "document.file", "--removed", *app.options).out == ""
    app.remove(2)
    second = run("ls", "document.file", "--removed", *app.options).out.split("\t")[1]
    listed = run("undelete", "docs", second, "--row", "id=3", "--into", "document.pages", *app.options)
    assert listed.code == 0
    with Session(app.engine) as session:
        document = session.get_one(app.module.Document, 3)
        assert [one.path for one in (document.file, *document.pages)] == [path, second]


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "path", ["../canary", "/etc/hostname", "a/../../canary", "..\\canary", "%2e%2e/canary", "", ".", "\u202ecanary"]
)
def test_a_hostile_path_on_the_command_line_leads_nowhere(app: App, folder: Path, path: str) -> None:
    app.fill(1)
    canary = folder / "canary"
    canary.write_bytes(b"tweet")
    before = sorted(folder.rglob("*"))
    with app.engine.begin() as connection:  # the outbox has a note of it, as a hostile document may leave one
        values = {"backend": "docs", "path": path, "document": "{}", "table_name": "document", "column_name": "file"}
        connection.execute(
            app.module.outbox.table.insert().values(**values, row_key='{"id": 1}', dropped_at=1.0, attempts=0, dead=0)
        )
    assert run("undelete", "docs", path, *app.options).code == 1
    assert run("drain", *app.options).code in {0, 1}
    assert sorted(folder.rglob("*")) == before
    assert canary.read_bytes() == b"tweet"


def test_stats_count_what_there_is(app: App) -> None:
    app.fill(3)
    with Session(app.engine) as session:
        session.add(app.module.Document(pages=[FileObject(filename="a", content=b"x" * n) for n in (1000, 500)]))
        session.commit()
    app.remove(3)
    done = run("stats", *app.options)
    assert done.code == 0
    assert done.out.splitlines()[:4] == [
        "document.file: 1 rows without a file",
        "document.file in docs: 2 rows, 2 files, 8 B",
        "document.pages: 2 rows without a file",
        "document.pages in docs: 1 rows, 2 files, 1.5 kB",
    ]
    assert done.out.splitlines()[4].startswith("outbox: 1 due, 0 waiting, 0 dead, the oldest ")


# -- values ----------------------------------------------------------------------------------------------------------------


def test_lengths_of_time_are_read() -> None:
    hours = {"24h": 24, "7d": 168, "90m": 1.5, "1h30m": 1.5, "1 h 30 m": 1.5, "0s": 0, "2w": 336, "0.5d": 12}
    assert {text: duration(text).total_seconds() / 3600 for text in hours} == hours
    for text in ("24", "", "h", "-1h", "soon", "1y"):
        with pytest.raises(ValueError, match="not a length of time"):
            duration(text)


def test_shares_of_the_work_are_read() -> None:
    assert [shard("1/8"), shard("8/8")] == [(1, 8), (8, 8)]
    for text in ("0/8", "9/8", "3", "3/", "a/b", "1/0"):
        with pytest.raises(ValueError, match="not a share"):
            shard(text)


def test_sizes_and_ages_are_written_for_people() -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_960: "1.0 MB", 12_300_000: "12.3 MB", 10**15: "1.0 PB"}
    assert {size: as_size(size) for size in sizes} == sizes
    ages = {3: "3 s", 60: "1 minute", 7200: "2 hours", 90_000: "1 day"}
    assert {age: as_age(age) for age in ages} == ages


def test_no_password_and_no_control_character_is_shown() -> None:
    secret = "postgresql://shop:p%40ss:w@host/db?sslpassword=x&sslmode=on"
    assert hidden(secret) == "postgresql://shop:***@host/db?sslpassword=***&sslmode=on"
    assert hidden("sqlite:///a.db and s3://bucket/a@b") == "sqlite:///a.db and s3://bucket/a@b"
    assert plain("a\x1b[2J\r\n\u202eb é雪") == "a\\x1b[2J\\r\\n\\u202eb é雪"


def test_command_to_resume_has_the_cursor_and_no_password() -> None:
    started = ["check", "--url", "x://u:pw@h/d", "--resume", "old", "--deep"]
    assert resumed(started, "new") == ["check", "--url", "x://u:***@h/d", "--deep", "--resume", "new"]
    assert resumed(["sweep", "--resume=old"], None) == ["sweep"]


# -- variants --------------------------------------------------------------------------------------------------------------

WITH_VARIANTS = SOURCE.replace(
    'mapped_column(StoredObject("docs"))',
    'mapped_column(StoredObject("docs", variants={"thumb": Thumbnail(20, 20), "w": Resize(width=9)}))',
).replace("from filerow.outbox", "from filerow.variants import Resize, Thumbnail\nfrom filerow.outbox")


def with_photos(app: App, count: int) -> None:
    with Session(app.engine) as session:
        for number in range(count):
            session.add(app.module.Document(file=FileObject(filename=f"{number}.png", content=saved(four_colours()))))
        session.commit()


def test_variants_are_made_counted_listed_and_pruned(make_app: Callable[..., App]) -> None:
    app = make_app(WITH_VARIANTS)
    with_photos(app, 3)
    command = ("variants", "document.file", *app.options)
    done = run(*command, "--dry-run")
    assert (done.code, done.out.splitlines()[0]) == (0, "document.file: 3 of 3, would make 6")
    done = run(*command, "thumb", "--json", "--batch", "2")
    assert (done.code, done.err) == (0, "")
    assert [line["type"] for line in done.lines] == ["progress", "progress", "summary"]
    assert (done.lines[-1]["changed"], done.lines[-1]["outcome"], done.lines[-1]["command"]) == (3, "3 made", "variants")
    assert json.loads(done.lines[0]["cursor"]) == {"column": "document.file", "after": [2]}
    done = run(*command, "--resume", done.lines[0]["cursor"])
    assert done.out.splitlines()[0].startswith("document.file: 1, 1 made, ")
    done = run("stats", "--variants", *app.options)
    assert re.search(r"^variants of document\.file in docs: 4 variants, \d+ B$", done.out, re.MULTILINE)
    (counted,) = run("stats", "--variants", "--json", *app.options).of("variants")
    assert (counted["column"], counted["variants"], counted["failed"]) == ("document.file", 4, 0)
    listed = run("ls", "document.file", "--variants", *app.options).out.splitlines()
    assert sorted(line.split("\t")[5] for line in listed if line.count("\t") == 5) == ["thumb", "thumb", "thumb", "w"]
    done = run(*command, "--prune", "--older-than", "0s")
    assert done.out.splitlines()[1].startswith("variants: nothing to do (")
    folder = listed[1].split("\t")[1].rpartition("/")[0]
    storages.get_backend("docs").put(f"{folder}/{'0' * 32}.jpg", b"old")
    done = run(*command, "--prune", "--older-than", "0s", "--dry-run")
    assert (done.code, done.out.splitlines()[0]) == (0, "document.file: 3 of 3, would delete 1")
    done = run(*command, "--prune", "--older-than", "0s")
    assert done.out.splitlines()[1].startswith("variants: 1 deleted (")


def test_variants_that_cannot_be_made_exit_with_one(make_app: Callable[..., App]) -> None:
    app = make_app(WITH_VARIANTS)
    with Session(app.engine) as session:
        session.add(app.module.Document(file=FileObject(filename="a.png", content=b"\x89PNG\r\n\x1a\n" + b"broken" * 9)))
        session.commit()
    done = run("variants", "document.file", "thumb", *app.options)
    assert done.code == 1
    assert done.out.startswith("warning not-made: document.file id=1 docs:document/file/")
    assert run("variants", "document.file", "large", *app.options).code == 2
    assert run("variants", "document.pages", *app.options).code == 2


def test_orphaned_variants_are_reported_and_swept(make_app: Callable[..., App]) -> None:
    app = make_app(WITH_VARIANTS)
    path = f"_filerow/variants/{generated('document', 'file', '.png', age=9e5)}/{'0' * 32}.webp"
    storages.get_backend("docs").put(path, b"late")
    sweep = ("sweep", "--grace", "0s", "--full", *app.options)
    done = run(*sweep)
    assert done.code == 1
    assert "docs: variants: 1, would delete 1" in done.out
    assert f"warning orphan-variant: docs: variants docs:{path}: the original of this variant of 4 bytes is gone" in done.out
    assert run(*sweep, "--delete").code == 0
    assert not storages.get_backend("docs").exists(path)


def test_variants_without_pillow_say_what_to_install(make_app: Callable[..., App]) -> None:
    app = make_app(WITH_VARIANTS)
    (app.folder / "PIL.py").write_text("raise ImportError('there is none here')")
    done = run_alone("doctor", *app.options, folder=app.folder)
    assert done.code == 2
    assert "filerow.variants needs pillow: pip install 'filerow[images]'" in done.err
