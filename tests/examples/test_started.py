"""Each example starts with the one command of its README and serves over a real socket."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from packaging.requirements import Requirement

from tests.examples import EXAMPLES, GUIDE_RUNS, skip_without_guide
from tests.servers._process import HOST, ROOT, ServerProcess, accepts_connections, free_ports

if TYPE_CHECKING:
    from tests.servers._s3 import S3Server
    from tests.servers.nginx import Nginx
    from tests.servers.postgres import PostgresServer

NAMES = [*(["litestar_guide"] if GUIDE_RUNS else []), "fastapi_documents", "flask_documents"]
COMMAND = re.compile(r"^\$ cd examples\n\$ uv run --no-project --with-requirements (\S+) (.+)$", re.MULTILINE)


def command_of(name: str) -> tuple[str, list[str]]:
    """Return the requirements file and the command that an example's README says."""
    found = COMMAND.search((EXAMPLES / name / "README.md").read_text())
    assert found, "the README says how to start it"
    return found[1], found[2].split()


def start(name: str, port: int, environment: Mapping[str, str] | None = None) -> ServerProcess:
    """Start an example as its README says, in a copy of the examples, in the tests' own environment."""
    _, (program, *arguments) = command_of(name)
    process = ServerProcess(name)
    shutil.copytree(EXAMPLES, process.folder, ignore=shutil.ignore_patterns("data"), dirs_exist_ok=True)
    if name != "litestar_guide":
        arguments += ["--port", str(port)]
    process.spawn(
        [Path(sys.executable).with_name(program), *arguments],
        environment={"LITESTAR_PORT": str(port), "PYTHONPATH": str(process.folder), **(environment or {})},
    )
    return process


@contextmanager
def serving(name: str, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Start an example, and return its address when it answers."""
    port = free_ports(1)
    process = start(name, port, environment)
    try:
        assert process.wait_until(lambda: accepts_connections(port), timeout=120), process.log
        yield f"http://{HOST}:{port}"
    finally:
        process.stop()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["fastapi_documents", "flask_documents"])
def test_documents_go_in_and_out_over_a_socket(name: str) -> None:
    content = b"".join(b"line %7d of a text\n" % number for number in range(40_000))
    with serving(name) as address, httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        created = client.post("/documents", data={"name": "cat"}, files={"file": ("cat.txt", content)})

        assert created.status_code == 201
        url = created.json()["file_url"]
        assert client.get(url).content == content
        assert client.get(url, headers={"Range": "bytes=10-19"}).content == content[10:20]
        assert client.delete(f"/documents/{created.json()['id']}").status_code == 204
        assert client.get(url).status_code == 404


def test_the_guide_has_made_its_tables_and_asks_for_a_login() -> None:
    skip_without_guide()
    with serving("litestar_guide") as address, httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        assert client.get("/documents").json() == {"items": [], "limit": 20, "offset": 0, "total": 0}
        assert client.post("/authors", json={"name": "Ada"}).status_code == 201
        assert client.post("/documents", data={"name": "cat"}, files={"file": ("cat.txt", b"meow")}).status_code == 401


@pytest.mark.servers
@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["fastapi_documents", "flask_documents"])
def test_environment_variables_put_an_example_on_s3(name: str, s3_server: S3Server, public_host: Nginx) -> None:
    bucket = s3_server.make_bucket()
    environment = {
        "STORAGE_URL": f"s3://{bucket}/files",
        "STORAGE_PUBLIC_ENDPOINT": public_host.endpoint,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "AWS_REGION": s3_server.region,
        "AWS_ENDPOINT_URL": s3_server.endpoint,
    }
    with serving(name, environment) as address, httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        created = client.post("/documents", data={"name": "cat"}, files={"file": ("cat.txt", b"meow")})
        assert created.status_code == 201, created.text
        assert created.json()["file_url"].startswith(f"{public_host.endpoint}/{bucket}/files/")
        assert httpx.get(created.json()["file_url"], trust_env=False).content == b"meow"
        assert client.delete(f"/documents/{created.json()['id']}").status_code == 204


@pytest.mark.thorough
def test_environment_puts_the_guide_on_postgresql_and_s3(
    postgres_server: PostgresServer, s3_server: S3Server, public_host: Nginx
) -> None:
    skip_without_guide()
    database, bucket, port = postgres_server.make_database(), s3_server.make_bucket(), free_ports(1)
    environment = {
        "DATABASE_URL": database.url("asyncpg"),
        "STORAGE_URL": f"s3://{bucket}/files",
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "AWS_REGION": s3_server.region,
        "AWS_ENDPOINT_URL": s3_server.endpoint,
        "STORAGE_PUBLIC_ENDPOINT": public_host.endpoint,
    }
    process = start("litestar_guide", port, environment)
    try:
        assert process.wait_until(lambda: accepts_connections(port), timeout=120), process.log
        create_user = ["-m", "litestar", "--app", "litestar_guide.app:create_app", "guide", "create-user", "ada@example.org"]
        subprocess.run(
            [sys.executable, *create_user, "--password", "difference engine"],
            env={**os.environ, **environment},
            cwd=process.folder,
            check=True,
            capture_output=True,
        )
        with httpx.Client(base_url=f"http://{HOST}:{port}", trust_env=False, timeout=60) as client:
            assert client.post("/login", json={"email": "ada@example.org", "password": "difference engine"}).is_success
            created = client.post("/documents", data={"name": "cat"}, files={"file": ("cat.txt", b"meow")})

            assert created.status_code == 201, created.text
            assert created.json()["file_url"].startswith(public_host.endpoint)
            assert httpx.get(created.json()["file_url"], trust_env=False).content == b"meow"
            objects = s3_server.client.list_objects_v2(Bucket=bucket)["Contents"]
            assert [entry["Size"] for entry in objects] == [4]
            assert client.delete(f"/documents/{created.json()['id']}").status_code == 204
            assert "Contents" not in s3_server.client.list_objects_v2(Bucket=bucket)
    finally:
        process.stop()
        postgres_server.drop_database(database)


@pytest.mark.parametrize("name", NAMES)
def test_make_starts_an_example_as_its_readme_does(name: str) -> None:
    _, (program, *arguments) = command_of(name)
    target = {"litestar_guide": "guide", "fastapi_documents": "documents", "flask_documents": "flask"}[name]
    recipe = rf"^{target}: \$\(DEV\) ## .+\n\tcd examples && \.\./\$\(BIN\)/{re.escape(' '.join([program, *arguments]))}$"

    assert re.search(recipe, (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"`make {target}`" in (EXAMPLES / name / "README.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_what_the_tests_run_with_is_what_the_requirements_allow(name: str) -> None:
    file, _ = command_of(name)
    lines = [line for line in (EXAMPLES / file).read_text().splitlines() if line and not line.startswith("#")]

    assert lines[0].startswith("..["), "the first is Filerow itself"
    for requirement in map(Requirement, lines[1:]):
        assert requirement.specifier.contains(version(requirement.name))
