"""The targets of make that the documents name, as they name them."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.documents import blocks
from tests.documents.reader import PROGRAMS, Reader, commands
from tests.servers._process import ROOT
from tests.servers._s3 import S3Server

ONE_TEST = "tests/test_tokens.py"
"""In place of all: `make test` must not run itself."""


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """A reader of a checkout whose environment is the tests' own, already installed."""
    venv = tmp_path / "venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(PROGRAMS.parent / name)
    project = (ROOT / "pyproject.toml").read_bytes()
    size = subprocess.run(["cksum"], input=project, capture_output=True, check=True).stdout.decode()
    (venv / f".installed-dev-{size.strip().replace(' ', '-')}").touch()
    return Reader(tmp_path, MAKEFLAGS=f"VENV={venv}")


def make(reader: Reader, script: str) -> str:
    """Run what a page says, but one test only and without other tests' settings."""
    script = re.sub(r"\bmake test$", f'make test WORKERS=1 ARGS="-q -p no:cacheprovider {ONE_TEST}"', script, flags=re.MULTILINE)
    return reader.shell(f"set -e\n{script}", folder=ROOT)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_readme_s_commands_run(reader: Reader, target: str) -> None:
    shown = {command.split()[1]: command for command, _ in commands(blocks.find(__file__, "README.md console"))}
    assert set(shown) == {"demo", "test"}
    output = make(reader, shown[target])
    assert {"demo": "all ok", "test": "passed"}[target] in output, output


def test_dialects_can_be_chosen(reader: Reader) -> None:
    reader.environment["PYTEST_ADDOPTS"] = "--collect-only -q -p no:cacheprovider"
    output = reader.shell(blocks.find(__file__, "docs/databases.md sh").text, folder=ROOT)
    few, all_of_them = (int(number) for number in re.findall(r"^(\d+)(?:/\d+)? tests collected", output, re.MULTILINE))
    assert 10 < few < all_of_them


@pytest.mark.thorough
def test_another_s3_server_is_taken_from_the_environment(reader: Reader, s3_server: S3Server) -> None:
    script = blocks.find(__file__, "docker/minio/README.md sh make test").text
    names = {"endpoint": "http://localhost:9000", "access_key": "filerow-minio", "secret_key": "filerow-minio-secret"}
    for name, shown in names.items():
        assert re.search(rf"={shown}$|={shown} ", script, re.MULTILINE)
        script = re.sub(rf"={shown}(?=$| )", f"={shlex.quote(getattr(s3_server, name))}", script, flags=re.MULTILINE)
    output = make(reader, script)
    assert "passed" in output
    assert s3_server.endpoint in output, "the demo says where its bytes are"


def test_arguments_of_the_suite_are_those_that_it_takes() -> None:
    from tools.sqlalchemy_suite.__main__ import _arguments

    [block] = [block for block in blocks.all_blocks() if block.page == "tools/sqlalchemy_suite/README.md"]
    given = re.findall(r'^make suite(?: +ARGS="([^"]*)")?', block.text, re.MULTILINE)
    assert len(given) == len(block.text.splitlines()) > 3
    for words in given:
        _arguments().parse_args(shlex.split(words))
