"""What docs/cli.md shows is what the commands say, but for times, folders and the random part of paths."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path

from tests.cli.conftest import run

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
