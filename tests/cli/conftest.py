"""A small application in an empty folder, as a new user has it, and the command line in this process or in one of its own."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.cli import main
from tests.databases import explicit_begin
from tests.places import know_places

PROGRAM = str(Path(sys.executable).parent / "filerow")

SOURCE = """
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.outbox import Outbox


HOLD = Path(__file__).parent / "hold"


class HeldBackend(LocalBackend):
    heads = 0

    def _head(self, path):
        self.heads += 1
        while self.heads > 3 and HOLD.exists():
            HOLD.with_name("held").touch()
            time.sleep(0.02)
        return super()._head(path)

    def _delete(self, paths):
        while HOLD.exists():
            time.sleep(0.02)
        return super()._delete(paths)


storages.register_backend(HeldBackend("docs", Path(__file__).parent / "files", fsync=False))


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


outbox = Outbox(Base.metadata, retention=timedelta(0))
"""


@dataclass
class Run:
    """What a command has said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line of stdout, as the JSON object that it must be."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The objects of one type."""
        return [line for line in self.lines if line["type"] == kind]


def run(*arguments: str) -> Run:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["filerow", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
            main()
    finally:
        sys.argv = before
    code = left.value.code or 0
    assert isinstance(code, int)
    return Run(code, out.getvalue(), err.getvalue())


def environment(**more: str) -> dict[str, str]:
    """Return an environment that says nothing of an application or a terminal."""
    left_out = ("FILEROW_", "PYTHONUNBUFFERED", "NO_COLOR", "TERM", "FORCE_COLOR", "COLUMNS", "LINES")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)} | more


def run_alone(*arguments: str, folder: Path, **more: str) -> Run:
    """Run a command in a process of its own, without a terminal."""
    done = subprocess.run(
        [PROGRAM, *arguments],
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Run(done.returncode, done.stdout, done.stderr)


@dataclass
class App:
    """The application, its database and its directory."""

    folder: Path
    module: ModuleType
    engine: Engine

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / 'shop.db'}"

    @property
    def options(self) -> Sequence[str]:
        return ("--app", "shop:Base", "--url", self.url)

    def fill(self, count: int = 1, *, name: str = "cat.txt") -> list[str]:
        """Add documents with a file each, and return the paths."""
        files = [FileObject(filename=name, content=b"meow") for _ in range(count)]
        with Session(self.engine) as session:
            session.add_all(self.module.Document(file=file) for file in files)
            session.commit()
            return [file.path for file in files]

    def remove(self, number: int) -> None:
        """Delete a document by SQL; its first statement writes, so it waits for other writers of SQLite's."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM document WHERE id = ?", (number,))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in; modules imported from it are forgotten afterwards, backends too."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("FILEROW_APP", "FILEROW_URL", "FILEROW_SETUP", "FILEROW_SECRET"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    storages.clear_backends()
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]  # a folder without __init__ has no file
        if any(str(place).startswith(str(tmp_path)) for place in places):
            del sys.modules[name]


@pytest.fixture
def make_app(folder: Path) -> Callable[..., App]:
    """Make the application in the folder."""

    def make(source: str = SOURCE) -> App:
        (folder / "shop.py").write_text(source)
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        module = importlib.import_module("shop")
        engine = explicit_begin(create_engine(f"sqlite:///{folder / 'shop.db'}", connect_args={"timeout": 60}))
        module.Base.metadata.create_all(engine)
        know_places(module.Base.metadata, engine)
        engines.append(engine)
        return App(folder, module, engine)

    engines: list[Engine] = []
    yield make  # type: ignore[misc]
    for engine in engines:
        engine.dispose()


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    """The application, with tables and without rows."""
    return make_app()
