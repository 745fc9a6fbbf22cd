"""The program as a new user runs it: a process in a folder, with and without a terminal, interrupted and cut off."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy import select as sql_select

from filerow.cli import main
from tests.cli.conftest import PROGRAM, App, environment, run_alone
from tests.databases import EmptyDatabase

DEADLINE = 60.0


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.text = ""
        self._master = master

    def read_until(self, words: str) -> None:
        """Read what it writes until it has written something."""
        until = time.monotonic() + DEADLINE
        while words not in self.text:
            assert time.monotonic() < until, f"{words!r} did not come: {self.text}"
            assert self._read(), f"{words!r} did not come: {self.text}"

    def wait(self) -> int:
        """Read the rest and return the exit code."""
        while self._read():
            pass
        return self.process.wait(DEADLINE)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], DEADLINE)
        try:
            found = os.read(self._master, 65536) if ready else b""
        except OSError:  # the other end is closed
            found = b""
        self.text += found.decode(errors="replace")
        return bool(found)


@contextmanager
def on_a_terminal(*arguments: str, folder: Path, **more: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    env = environment(**{"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40", **more})
    process = subprocess.Popen([PROGRAM, *arguments], cwd=folder, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


@contextmanager
def piped(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [PROGRAM, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=environment(), stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def bars_in(text: str) -> dict[str, str]:
    """Return each bar as it was drawn last, by its step."""
    drawn = [part for part in re.split(r"\x1b\[[\d?;]*[A-Za-z]|\n", text) if re.search("━|-:--:--", part)]
    return {re.split(" ━|  ", part.lstrip("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ \r"))[0]: part for part in drawn}


def test_terminal_shows_bars_and_ctrl_c_says_how_to_continue(app: App) -> None:
    paths = app.fill(30)
    (app.folder / "files" / paths[29]).unlink()
    (app.folder / "hold").touch()
    arguments = ["check", "--column", "document.file", "--batch", "1", *app.options]
    with on_a_terminal(*arguments, folder=app.folder) as terminal:
        terminal.read_until("/30")
        assert "━" in terminal.text
        assert "\x1b[" in terminal.text
        os.kill(terminal.process.pid, signal.SIGINT)
        terminal.read_until("Stopping at the next safe point")
        (app.folder / "hold").unlink()
        assert terminal.wait() == 130
    assert "check: nothing found" not in terminal.text, "nobody knows yet"
    assert "check: stopped before the end, nothing found so far" in terminal.text
    found = re.search(r"Stopped\. To continue: filerow (.*)", terminal.text.replace("\r", ""))
    assert found is not None
    again = shlex.split(found[1])
    assert again[: len(arguments)] == arguments
    assert again[-2] == "--resume"
    rest = run_alone(*again, "--json", folder=app.folder)
    assert rest.code == 1
    assert [finding["path"] for finding in rest.of("finding")] == [paths[29]]
    assert 0 < rest.of("summary")[0]["done"] < 30, "what was checked is not checked again"


@pytest.mark.one_in(2)
@pytest.mark.parametrize("gone", [0, 29])
def test_interrupted_check_says_that_it_was(app: App, gone: int) -> None:
    paths = app.fill(30)
    (app.folder / "files" / paths[gone]).unlink()
    (app.folder / "hold").touch()
    with piped("check", "--column", "document.file", "--batch", "1", *app.options, folder=app.folder) as process:
        assert process.stderr is not None
        until = time.monotonic() + DEADLINE
        while not _waits_for_the_hold(app):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "\n"
        assert "Stopping at the next safe point" in process.stderr.readline()
        (app.folder / "hold").unlink()
        out, _ = process.communicate(timeout=DEADLINE)
        assert process.returncode == 130
    last = out.splitlines()[-1]
    found = "nothing found so far" if gone else "1 error so far"
    assert last.startswith(f"check: stopped before the end, {found} (")


def _waits_for_the_hold(app: App) -> bool:
    return (app.folder / "held").exists()


@pytest.mark.thorough
def test_terminal_findings_have_no_unwanted_colours(app: App) -> None:
    (path,) = app.fill()
    (app.folder / "files" / path).unlink()
    with on_a_terminal("doctor", *app.options, folder=app.folder, NO_COLOR="1") as terminal:
        assert terminal.wait() == 1
    assert "━" in terminal.text
    assert "missing" in terminal.text
    assert "its row is there" in terminal.text
    assert not re.search(r"\x1b\[[0-9;]*3[0-7][0-9;]*m", terminal.text)


@pytest.mark.thorough
def test_on_a_terminal_figures_are_a_table_and_files_are_lines(app: App) -> None:
    paths = app.fill(2)
    with on_a_terminal("stats", *app.options, folder=app.folder, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
    assert re.search(r"document\.file .* docs .* 2 .* 2 .* 8 B", terminal.text)
    assert "outbox: 0 due" in terminal.text
    with on_a_terminal("ls", "document.file", *app.options, folder=app.folder) as terminal:
        assert terminal.wait() == 0
    assert all(path in terminal.text.replace("\r\n", "") for path in paths)


@pytest.mark.thorough
def test_on_a_narrow_terminal_no_name_is_cut_off(app: App) -> None:
    app.fill(2)
    with on_a_terminal("stats", *app.options, folder=app.folder, NO_COLOR="1", COLUMNS="60") as terminal:
        assert terminal.wait() == 0
    assert "document.file" in terminal.text
    assert "…" not in terminal.text


@pytest.mark.parametrize("command", ["doctor", pytest.param("check --column document.file", marks=pytest.mark.thorough)])
def test_terminal_breaks_no_path_and_ends_its_bars(app: App, command: str) -> None:
    paths = app.fill(2)
    (app.folder / "files" / paths[0]).unlink()
    with on_a_terminal(*command.split(), *app.options, folder=app.folder, NO_COLOR="1", COLUMNS="60") as terminal:
        assert terminal.wait() == 1
    lines = terminal.text.replace("\r", "").splitlines()
    assert f"  docs:{paths[0]}" in lines, "longer than the terminal is wide, and in one piece"
    last = bars_in(terminal.text)
    assert len(last) >= (8 if command == "doctor" else 1)
    assert not re.search("[⠀-⣿]|-:--:--", "".join(last.values())), "all have ended"


@pytest.mark.thorough
def test_on_a_terminal_what_was_changed_is_counted(app: App) -> None:
    app.fill(2)
    app.remove(1)
    with on_a_terminal("drain", *app.options, folder=app.folder, NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
    assert "1/1, 1 deleted" in terminal.text


@pytest.mark.thorough
def test_on_a_terminal_findings_beyond_the_limit_are_counted(app: App) -> None:
    for path in app.fill(203):
        (app.folder / "files" / path).unlink()
    with on_a_terminal("check", "--column", "document.file", *app.options, folder=app.folder, NO_COLOR="1") as terminal:
        assert terminal.wait() == 1
    assert re.search(r"and [34] more: write them to a file", terminal.text)


def test_watching_worker_drains_what_comes_and_stops_when_asked(app: App) -> None:
    first, second = app.fill(2)
    with piped("drain", "--watch", "--every", "0.1s", "--json", *app.options, folder=app.folder) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()  # it is up
        app.remove(1)
        assert '"changed": 1' in worker.stdout.readline()
        app.remove(2)
        while '"changed": 2' not in worker.stdout.readline():
            assert worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        out, err = worker.communicate(timeout=DEADLINE)
        assert worker.returncode == 130
    assert '"exit_code": 130' in out
    assert "To continue: filerow drain --watch" in err
    assert not (app.folder / "files" / first).exists()
    assert not (app.folder / "files" / second).exists()


@pytest.mark.thorough
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_watching_worker_outlives_the_connections_it_idles_on(app: App, database: EmptyDatabase) -> None:
    engine = database.engine()
    app.module.Base.metadata.create_all(engine)
    url = ("--app", "shop:Base", "--url", database.url)
    with piped("drain", "--watch", "--every", "2s", "--json", *url, folder=app.folder) as worker:
        until = time.monotonic() + DEADLINE
        while not _ended_idle_connections(engine):
            assert worker.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        beat = _last_drain(app, engine)
        while _last_drain(app, engine) == beat:
            assert worker.poll() is None, worker.stderr and worker.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.05)
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=DEADLINE)
        assert worker.returncode == 130


def _ended_idle_connections(engine: Engine) -> int:
    """End the connections of others that have drained and idle now; return how many there were."""
    ended = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state = 'idle' AND EXISTS (SELECT 1 FROM filerow_outbox_state)"
    )
    with engine.connect() as connection:
        return int(connection.execute(text(ended)).scalar_one())


def _last_drain(app: App, engine: Engine) -> float | None:
    with engine.connect() as connection:
        return connection.scalar(sql_select(app.module.outbox.state.c.updated_at))


@pytest.mark.thorough
def test_a_second_ctrl_c_ends_at_once(app: App) -> None:
    app.fill()
    app.remove(1)
    (app.folder / "hold").touch()
    with piped("drain", *app.options, folder=app.folder) as worker:
        assert worker.stderr is not None
        until = time.monotonic() + DEADLINE
        while not _claimed(app):
            assert time.monotonic() < until
            time.sleep(0.05)
        worker.send_signal(signal.SIGINT)
        assert worker.stderr.readline() == "\n"
        assert "press again to end at once" in worker.stderr.readline()
        worker.send_signal(signal.SIGINT)
        assert worker.wait(20) == 130


def _claimed(app: App) -> bool:
    with app.engine.connect() as connection:
        return bool(connection.execute(app.module.outbox.table.select().where(app.module.outbox.table.c.attempts > 0)).all())


def test_reader_who_goes_away_is_not_an_error(app: App) -> None:
    app.fill(3)
    with piped("ls", "document.file", *app.options, folder=app.folder) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(DEADLINE) == 141
        assert process.stderr.read() == ""


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "pip install 'filerow[cli]'" in err


def test_help_loads_nothing_slow(tmp_path: Path) -> None:
    code = (
        "import sys, sqlalchemy.orm; before = set(sys.modules); sys.argv = ['filerow', '--help']\n"
        "try:\n    from filerow.cli import main; main()\nexcept SystemExit: pass\n"
        f"print([name for name in {SLOW!r} if name in set(sys.modules) - before])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


SLOW = [
    "filerow.maintenance",
    "sqlalchemy.ext.asyncio",
    "rich.console",
    "rich.markdown",
    "obstore",
    "fsspec",
    "pydantic",
    "botocore",
    "alembic",
    "aiosqlite",
    "urllib.request",
]
