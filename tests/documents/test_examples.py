"""The commands of the examples' READMEs: asked by curl, and by the command line, while the example runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.documents import blocks
from tests.documents.blocks import Block
from tests.documents.reader import Reader, commands
from tests.examples import skip_without_guide
from tests.examples.test_started import COMMAND, start
from tests.servers._process import HOST, ServerProcess, accepts_connections, free_ports

if TYPE_CHECKING:
    from tests.servers._s3 import S3Server
    from tests.servers.postgres import PostgresServer

PASSWORD = "difference engine"
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


def page(name: str) -> str:
    return f"examples/{name}/README.md"


@contextmanager
def running(name: str, environment: dict[str, str] | None = None) -> Iterator[tuple[ServerProcess, int]]:
    port = free_ports()
    process = start(name, port, environment)
    try:
        assert process.wait_until(lambda: accepts_connections(port), timeout=120), process.log
        yield process, port
    finally:
        process.stop()


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    if shutil.which("curl") is None:
        pytest.skip("not covered: curl is not installed; to install it: apt-get install curl")
    reader = Reader(tmp_path)
    for name in ("notes.pdf", "other.pdf"):
        (tmp_path / name).write_bytes(PDF + name.encode())
    return reader


def curl(reader: Reader, command: str, port: int) -> str:
    """Run a command of the page against the port of the test."""
    asked = re.sub(r"127\.0\.0\.1:\d+", f"{HOST}:{port}", command)
    assert asked != command
    return reader.shell(asked.replace("curl ", "curl -sS --fail-with-body --noproxy '*' ", 1))


def is_start(block: Block) -> bool:
    """Return True for the command that tests/examples/test_started.py starts an example by."""
    return bool(COMMAND.search(block.text))


def block_of(name: str, words: str) -> Block:
    return blocks.find(__file__, f"{page(name)} console {words}")


@pytest.mark.parametrize("name", ["fastapi_documents", "flask_documents"])
def test_curl_creates_lists_replaces_and_deletes(reader: Reader, name: str) -> None:
    create, listing, replace, delete = (command for command, _ in commands(block_of(name, "curl")))
    with running(name) as (_, port), httpx.Client(base_url=f"http://{HOST}:{port}", trust_env=False, timeout=60) as client:
        url = json.loads(curl(reader, create, port))["file_url"]
        assert client.get(url).content == PDF + b"notes.pdf"
        assert json.loads(curl(reader, listing, port))["total"] == 1
        assert client.get(json.loads(curl(reader, replace, port))["file_url"]).content == PDF + b"other.pdf"
        assert curl(reader, delete, port) == ""
        assert json.loads(curl(reader, listing, port))["total"] == 0


@pytest.mark.thorough
def test_guide_s_commands_let_a_user_upload(reader: Reader) -> None:
    skip_without_guide()
    export, create, login, upload = (command for command, _ in commands(block_of("litestar_guide", "curl")))
    with running("litestar_guide") as (process, port):
        reader.environment["PYTHONPATH"] = f"{process.folder}:{reader.environment.get('PYTHONPATH', '')}"
        script = f"{export}\n{create} --password {shlex.quote(PASSWORD)}"
        assert "can log in now" in reader.shell(script, folder=process.folder)
        curl(reader, login.replace('"..."', json.dumps(PASSWORD)), port)
        url = json.loads(curl(reader, upload, port))["file_url"]
        answer = httpx.get(url if "//" in url else f"http://{HOST}:{port}{url}", trust_env=False)
        assert answer.content == PDF + b"notes.pdf"


@pytest.mark.thorough
def test_guide_s_migrations_are_made_and_applied(reader: Reader) -> None:
    skip_without_guide()
    [(export, _), *_] = commands(block_of("litestar_guide", "curl"))
    made, up, down = (command for command, _ in commands(block_of("litestar_guide", "make-migrations")))
    with running("litestar_guide") as (process, _):
        process.end()
        reader.environment["PYTHONPATH"] = f"{process.folder}:{reader.environment.get('PYTHONPATH', '')}"
        versions = process.folder / "litestar_guide" / "migrations" / "versions"
        before = set(versions.glob("*.py"))
        models = process.folder / "litestar_guide" / "models.py"
        column = "    name: Mapped[str]"
        models.write_text(models.read_text().replace(column, f"    nickname: Mapped[str | None]\n{column}", 1))
        for command in (made, up, down):
            reader.shell(f"{export}\nyes | {command}", folder=process.folder)
        [new] = set(versions.glob("*.py")) - before
        assert "nickname" in new.read_text()


@pytest.mark.thorough
def test_environment_of_the_page_is_one_for_an_example(
    reader: Reader, s3_server: S3Server, postgres_server: PostgresServer
) -> None:
    script = blocks.find(__file__, "docker/minio/README.md sh STORAGE_URL").text
    bucket, database = s3_server.make_bucket(), postgres_server.make_database()
    for shown, real in {
        "s3://static-files/": f"s3://{bucket}/",
        "http://localhost:9000 ": f"{s3_server.endpoint} ",
        "filerow-minio-secret": s3_server.secret_key,
        "filerow-minio ": f"{s3_server.access_key} ",
        "postgresql+psycopg://filerow:filerow-postgres@localhost:5432/filerow": shlex.quote(database.url("psycopg")),
    }.items():
        assert shown in script
        script = script.replace(shown, real)
    exported = dict(line.split("=", 1) for line in reader.shell(f"{script}\nenv -0").split("\0") if "=" in line)
    wanted = re.findall(r"^(?:# )?export (.*)", script, re.MULTILINE)
    names = {name for line in wanted for name in re.findall(r"(\w+)=", line)} - {"STORAGE_PUBLIC_ENDPOINT"}
    environment = {name: exported[name] for name in names if name in exported}
    assert set(environment) >= {"STORAGE_URL", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL"}
    try:
        with running("flask_documents", environment) as (_, port):
            with httpx.Client(base_url=f"http://{HOST}:{port}", trust_env=False, timeout=60) as client:
                sent = client.post("/documents", data={"name": "a"}, files={"file": ("a.txt", b"meow")})
                assert sent.status_code == 201, sent.text
            [key] = s3_server.keys(bucket)
            assert key.startswith("documents/")
    finally:
        postgres_server.drop_database(database)


def test_each_block_is_run_by_one_of_these() -> None:
    words = ("curl", "make-migrations", "STORAGE_URL")
    for block in blocks.of(__file__):
        assert is_start(block) + sum(word in block.text for word in words) == 1, block
