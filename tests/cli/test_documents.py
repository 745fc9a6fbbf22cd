"""What docs/cli.md shows is what the commands say, but for times, folders and the random part of paths."""

from __future__ import annotations

import importlib
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from filerow import storages
from tests.cli.conftest import PROGRAM, SOURCE, App, environment, run, run_alone
from tests.servers._s3 import S3Server

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
TOKEN = re.compile(r"[0-9a-f]{32}")
TIME = re.compile(r"\d+\.\d+ s\b|\d+ s old|(?<=\"seconds\": )[\d.]+")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def sections(block: str) -> list[tuple[str, str]]:
    """Return the commands of a block, each with what it says."""
    return [(part[: part.index("\n")], part[part.index("\n") + 1 :]) for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]


def likened(text: str) -> str:
    return TIME.sub("T", TOKEN.sub("TOKEN", text)).strip()


def say(command: str) -> str:
    program, *arguments = shlex.split(command)
    if program == "mv":
        Path(arguments[0]).rename(arguments[1])
        return ""
    assert program == "filerow"
    done = run(*arguments)
    return done.out + done.err


def test_the_examples_of_the_document_are_true(folder: Path) -> None:
    application, rows = blocks("python")
    (folder / "shop.py").write_text(application)
    (folder / "rows.py").write_text("from shop import *\n" + rows)
    sys.path.insert(0, str(folder))
    importlib.import_module("rows")
    tokens = dict(zip("abc", TOKEN.findall(run("ls", "document.file", "--app", "shop").out), strict=False))
    tokens["c"] = TOKEN.findall(run("ls", "document.file", "--removed", "--app", "shop").out)[0]
    shown = said = 0
    for block in blocks("console"):
        for command, expected in sections(block):
            real = TOKEN.sub(lambda token: tokens[token[0][-1]], command.replace("/tmp/archive", f"{folder}/archive"))
            answer = say(real)
            assert likened(answer.replace(str(folder), "/tmp")) == likened(expected), command
            shown, said = shown + 1, said + bool(answer)
    assert shown > said > 10


# -- what the page shows of larger tables: the words are compared, not the numbers -----------------------------------------


NUMBER = re.compile(r"\b\d[\d,]*(\.\d+)?\b")


def without_numbers(text: str) -> str:
    """Return a text in which each number is N and each generated path ends alike."""
    paths = re.sub(r"[0-9a-f]{32}|\d{4}….", "TOKEN.", text).replace("TOKEN..", "TOKEN.")
    return re.sub(r"N [kM]?B\b", "N B", NUMBER.sub("N", paths)).strip()


def test_interrupted_run_says_how_to_go_on_as_shown(make_app: Callable[..., App]) -> None:
    source = SOURCE + '\nfrom sqlalchemy import create_engine\n\nengine = create_engine("sqlite:///shop.db")\n'
    app = make_app(source)
    app.fill(30)
    [shown] = [block for block in blocks("text") if "^C" in block]
    first, *rest = shown.splitlines()
    command = shlex.split(first.removeprefix("$ "))
    (app.folder / "hold").touch()
    log = app.folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen([PROGRAM, *command[1:]], cwd=app.folder, env=environment(), stdout=output, stderr=output)
    try:
        wait((app.folder / "held").exists)
        process.send_signal(signal.SIGINT)
        wait(lambda: "press again" in log.read_text())
        (app.folder / "hold").unlink()
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert rest[0] == "^C"
    said = [line for line in log.read_text().splitlines() if line.strip()]
    assert sorted(map(without_numbers, said)) == sorted(map(without_numbers, rest[1:]))


def wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it took more than a minute"
        time.sleep(0.02)


PHOTOS = """
import io

from PIL import Image
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.variants import Resize, Thumbnail

storages.register_backend("file://{folder}/files", key="photos")


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    photo: Mapped[FileObject | None] = mapped_column(
        StoredObject("photos", variants={{"thumb": Thumbnail(20, 20), "w640": Resize(width=64)}}, make_variants="first_use")
    )


engine = create_engine("sqlite:///shop.db")


def fill() -> None:
    Base.metadata.create_all(engine)
    painted = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(painted, "PNG")
    with Session(engine) as session:
        for content in (painted.getvalue(), painted.getvalue()[:200]):
            session.add(User(photo=FileObject(filename="me.png", content=content)))
        session.commit()
    engine.dispose()
"""


def test_variants_are_made_as_shown(folder: Path) -> None:
    pytest.importorskip("PIL", reason="not covered: Pillow is not installed; to install it: pip install pillow")
    (folder / "shop.py").write_text(PHOTOS.format(folder=folder))
    sys.path.insert(0, str(folder))
    importlib.import_module("shop").fill()
    [shown] = [block for block in blocks("text") if "variants user.photo" in block]
    assert len(sections(shown)) == 2
    for command, expected in sections(shown):
        assert without_numbers(say(command)) == without_numbers(expected), command


@pytest.mark.servers
def test_program_reads_the_table_of_the_page(folder: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    [table] = blocks("toml")
    application, rows = blocks("python")
    assert "docs" in tomllib.loads(table)["tool"]["filerow"]["backends"]
    bucket = s3_server.make_bucket()
    for name, value in {
        "AWS_ENDPOINT": s3_server.endpoint, "AWS_REGION": s3_server.region,
        "AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    (folder / "pyproject.toml").write_text(table.replace("s3://shop-documents", f"s3://{bucket}"))
    models, _, database = application.partition("\nengine = ")
    (folder / "shop").mkdir()
    (folder / "shop" / "models.py").write_text(models.replace('storages.register_backend(LocalBackend("docs", "files"))\n', ""))
    (folder / "shop" / "db.py").write_text(f"from sqlalchemy import create_engine\n\nengine = {database}")
    storages.register_backend(f"s3://{bucket}/", key="docs")
    sys.path.insert(0, str(folder))
    program = f"from shop.models import *\nfrom shop.db import engine\n{rows}"
    exec(compile(program, "rows.py", "exec", dont_inherit=True), {})
    storages.clear_backends()
    done = run_alone("check", folder=folder)
    assert (done.code, done.out.splitlines()[0]) == (0, "document.file: 2 of 2"), done.err
    assert run_alone("ls", "document.file", folder=folder).out.count("document/file/") == 2
