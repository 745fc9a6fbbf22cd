"""The commands of ``filerow`` that stand in sentences and tables: the program takes each, and most are run."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from filerow import storages
from tests.cli.conftest import run
from tests.documents.blocks import FENCE, blocks_of, pages
from tests.servers._process import ROOT

SPAN = re.compile(r"`(filerow [a-z][^`]*)`")
VALUES = {
    "--app": "shop", "--url": "sqlite:///shop.db", "--direct": "docs", "--column": "document.file", "--row": "id=4",
    "KEY": "docs", "URL": "memory://", "--former": "paper/file",
}  # fmt: skip
"""What stands for ``…``, and for what a page leaves out after an option."""
NEEDS_A_COLUMN = {"adopt": "document.file", "ls": "document.file", "variants": "user.photo thumb"}
NAMES_OF_COMMANDS = {"filerow COMMAND --help"}
ELSEWHERE = {
    "adopt": "the guides of moving run adopt by its function, with the options that the command takes",
    "conformance": "tests/documents/test_stores.py",
    "migrate": "tests/cli/test_documents.py",
    "undelete": "tests/cli/test_documents.py",
    "variants": "tests/cli/test_documents.py",
}
"""Commands whose words are parsed here and run there."""


def found() -> dict[str, set[str]]:
    """Return each command with the pages that it stands in."""
    commands: dict[str, set[str]] = {}
    for page in pages():
        for span in SPAN.findall(FENCE.sub("", page.read_text())):
            command = " ".join(span.split())
            if command not in NAMES_OF_COMMANDS:
                commands.setdefault(command, set()).add(str(page.relative_to(ROOT)))
    return commands


def examples() -> list[str]:
    """Return the examples of the commands' own help."""
    pytest.importorskip("typer")
    from filerow.cli._commands import app

    helps = [command.help or "" for command in app.registered_commands]
    return [line.strip() for text in helps for line in text.partition("Example:")[2].splitlines() if line.strip()]


COMMANDS = found()


def words_of(command: str) -> list[str]:
    """Return the words of a command, with something in place of what a page leaves open."""
    words = shlex.split(command)[1:]
    filled: list[str] = []
    for index, word in enumerate(words):
        before = words[index - 1] if index else ""
        if word == "…" and before in VALUES:
            filled.append(VALUES[before])
        elif word.startswith("KEY="):
            filled.append(f"docs={word.partition('=')[2]}")
        else:
            filled.append(
                VALUES.get(word, word) if word.isupper() else word.replace("…", "0199").replace("package.module:Base", "shop")
            )
    if filled[-1] in VALUES and filled[-1].startswith("--"):
        filled.append(VALUES[filled[-1]])
    if filled[0] in NEEDS_A_COLUMN and (len(filled) == 1 or filled[1].startswith("-")):
        filled[1:1] = NEEDS_A_COLUMN[filled[0]].split()
    if filled == ["undelete"]:
        filled += ["docs", "path"]
    return [word.replace("app:Base", "shop").replace("shop.settings", "settings") for word in filled]


def parse(words: list[str]) -> None:
    """Let the program read a command without running it."""
    import typer

    from filerow.cli._commands import app

    program: Any = typer.main.get_command(app)
    name, *arguments = words
    if name != "--help":
        program.commands[name].make_context(name, list(arguments)).close()


@pytest.mark.parametrize("command", [*COMMANDS, *examples()])
def test_program_takes_the_command(command: str) -> None:
    if "--help" not in command:
        parse(words_of(command))


def test_wrong_commands_are_refused() -> None:
    from typer import BadParameter
    from typer._click.exceptions import UsageError

    for wrong in ("filerow sweep --grcae 1h", "filerow ls --prefix", "filerow sweep --shard 9/8", "filerow check document.file"):
        with pytest.raises((UsageError, BadParameter)):
            parse(shlex.split(wrong)[1:])
    with pytest.raises(KeyError):
        parse(["swep"])


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of docs/cli.md, with its application."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in ("FILEROW_URL", "FILEROW_SETUP", "FILEROW_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FILEROW_APP", "shop")
    application, rows = (block.text for block in blocks_of(ROOT / "docs" / "cli.md") if block.language == "python")
    (tmp_path / "shop.py").write_text(application)
    (tmp_path / "settings.py").touch()
    (tmp_path / "rows.py").write_text(f"from shop import *\n{rows}")
    importlib.invalidate_caches()
    importlib.import_module("rows")
    yield tmp_path
    storages.clear_backends()
    for name in ("shop", "rows", "settings"):
        sys.modules.pop(name, None)


OTHER_COLUMNS = frozenset(
    {"photo.image", "photo.file", "document.new_file", "shop_invoice.scan_file", "invoice.scan_file", "person.cv_file"}
)
"""The columns of the tutorial and of the pages on moving here, which have models of their own."""


@pytest.mark.usefixtures("shop")
def test_commands_run_on_the_application_of_the_command_line_s_page() -> None:
    ran = 0
    for command in COMMANDS:
        words = words_of(command)
        if words[0] in ELSEWHERE or words[0] == "--help" or "--watch" in words or OTHER_COLUMNS.intersection(words):
            continue
        done = run(*words)
        assert done.code in {0, 1}, f"{command} ({', '.join(words)}): {done.out}{done.err}"
        ran += 1
    assert ran >= 20


def test_commands_that_run_elsewhere_are_few() -> None:
    assert {words_of(command)[0] for command in COMMANDS} >= {"sweep", "check", "drain", "doctor", *ELSEWHERE} - {"migrate"}
