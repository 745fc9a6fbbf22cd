"""Each example starts with the one command of its README and serves over a real socket."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from tests.examples import EXAMPLES, GUIDE_RUNS, skip_without_guide
from tests.servers._process import HOST, ServerProcess, accepts_connections, free_ports

NAMES = [*(["litestar_guide"] if GUIDE_RUNS else []), "fastapi_documents", "flask_documents"]
COMMAND = re.compile(r"^\$ cd examples\n\$ uv run --no-project --with-requirements (\S+) (.+)$", re.MULTILINE)


def command_of(name: str) -> tuple[str, list[str]]:
    """Return the requirements file and the command that an example's README says."""
    found = COMMAND.search((EXAMPLES / name / "README.md").read_text())
    assert found, "the README says how to start it"
    return found[1], found[2].split()


def start(name: str, port: int) -> ServerProcess:
    """Start an example as its README says, in a copy of the examples, in the tests' own environment."""
    _, (program, *arguments) = command_of(name)
    process = ServerProcess(name)
    shutil.copytree(EXAMPLES, process.folder, ignore=shutil.ignore_patterns("data"), dirs_exist_ok=True)
    if name != "litestar_guide":
        arguments += ["--port", str(port)]
    process.spawn(
        [Path(sys.executable).with_name(program), *arguments],
        environment={"LITESTAR_PORT": str(port), "PYTHONPATH": str(process.folder)},
    )
    return process


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """All examples, started at once, for most of the time goes into imports."""
    first = free_ports(len(NAMES))
    ports = dict(zip(NAMES, range(first, first + len(NAMES)), strict=True))
    with ExitStack() as running:
        processes = {}
        for name, port in ports.items():
            processes[name] = start(name, port)
            running.callback(processes[name].stop)
        for name, process in processes.items():
            port = ports[name]
            assert process.wait_until(lambda port=port: accepts_connections(port), timeout=120), process.log
        yield ports


@pytest.mark.parametrize("name", ["fastapi_documents", "flask_documents"])
def test_documents_go_in_and_out_over_a_socket(ports: dict[str, int], name: str) -> None:
    content = bytes(range(256)) * 4096
    with httpx.Client(base_url=f"http://{HOST}:{ports[name]}", trust_env=False, timeout=60) as client:
        created = client.post("/documents", data={"name": "cat"}, files={"file": ("cat.bin", content)})

        assert created.status_code == 201
        url = created.json()["file_url"]
        assert client.get(url).content == content
        assert client.get(url, headers={"Range": "bytes=10-19"}).content == content[10:20]
        assert client.delete(f"/documents/{created.json()['id']}").status_code == 204
        assert client.get(url).status_code == 404


def test_the_guide_has_made_its_tables_and_asks_for_a_login(ports: dict[str, int]) -> None:
    skip_without_guide()
    with httpx.Client(base_url=f"http://{HOST}:{ports['litestar_guide']}", trust_env=False, timeout=60) as client:
        assert client.get("/documents").json() == {"items": [], "limit": 20, "offset": 0, "total": 0}
        assert client.post("/authors", json={"name": "Ada"}).status_code == 201
        assert client.post("/documents", data={"name": "cat"}, files={"file": ("cat.txt", b"meow")}).status_code == 401


@pytest.mark.parametrize("name", NAMES)
def test_what_the_tests_run_with_is_what_the_requirements_allow(name: str) -> None:
    file, _ = command_of(name)
    lines = [line for line in (EXAMPLES / file).read_text().splitlines() if line and not line.startswith("#")]

    assert lines[0].startswith("..["), "the first is Filerow itself"
    for requirement in map(Requirement, lines[1:]):
        assert requirement.specifier.contains(version(requirement.name))
