"""The complete programs of the pages, started by the command that stands below them."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.documents import blocks
from tests.documents.blocks import COMMANDS_NOT_RUN, Block
from tests.documents.reader import PROGRAMS, Reader, commands, python_of
from tests.servers._process import ROOT
from tests.servers.redis import RedisServer

BLOCKS = blocks.of(__file__)
QUEUES = [block for block in BLOCKS if block.page.startswith("docs/queues/")]
SITES = [block for block in BLOCKS if block.page.startswith(("docs/admin/", "docs/frameworks/"))]
START = "docs/start.md"


def page_of(block: Block) -> str:
    return block.page.rpartition("/")[2].removesuffix(".md")


def test_each_block_is_of_a_kind() -> None:
    assert {block.page for block in BLOCKS} == {block.page for block in [*QUEUES, *SITES]} | {START}


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def write_program(reader: Reader, block: Block) -> None:
    """Write the first block of Python under the name that the page gives it."""
    text = (ROOT / block.page).read_text()
    [name] = re.findall(r"^`(\w+\.py)`:", text, re.MULTILINE)
    reader.write(name, python_of(block.page)[0])


@pytest.mark.parametrize("block", SITES, ids=page_of)
def test_its_application_starts_and_answers(reader: Reader, block: Block) -> None:
    write_program(reader, block)
    [(command, _)] = commands(block)
    opened = re.findall(r"http://127\.0\.0\.1:\d+(/[^\s`>]*)", (ROOT / block.page).read_text()) or ["/documents"]
    with reader.serving(command) as origin, httpx.Client(base_url=origin, trust_env=False, timeout=60) as client:
        for address in opened:
            assert client.get(address, follow_redirects=True).status_code == 200, address
        if block.page.startswith("docs/frameworks/"):
            sent = client.post("/documents", data={"name": "a"}, files={"file": ("a.txt", b"hello", "text/plain")})
            assert sent.status_code == 201, sent.text
            assert client.get(f"/documents/{sent.json()['id']}/file").content == b"hello"
            assert client.get("/documents/99/file").status_code == 404


@pytest.mark.servers
@pytest.mark.parametrize("block", QUEUES, ids=page_of)
def test_its_worker_does_what_the_application_sends(reader: Reader, block: Block, redis_server: RedisServer) -> None:
    url = redis_server.url(3 + QUEUES.index(block))
    write_program(reader, block)
    _, application = python_of(block.page)
    if "await " in application:
        application = (
            "import asyncio\nasync def main():\n" + re.sub("^", "    ", application, flags=re.MULTILINE) + "\nasyncio.run(main())"
        )
    reader.write("application.py", f"from reports import *\n{application}\n")
    [(command, _)] = commands(block)
    assert "redis://localhost" in command
    reader.environment["BROKER"] = url
    with reader.running(command.replace("redis://localhost", url)) as process:
        reader.shell("python application.py", timeout=60)
        assert process.wait_until(lambda: "3 words" in process.log, timeout=60), process.log


def test_five_minutes_end_with_a_web_application(reader: Reader) -> None:
    block = blocks.find(__file__, f"{START} console uvicorn")
    python = python_of(START)
    [web] = [index for index, text in enumerate(python) if "from fastapi import" in text]
    (reader.folder / ".venv").symlink_to(PROGRAMS.parent)
    reader.write("app.py", "\n\n".join(python[:web]))
    (install, _), (start, _) = commands(block)
    assert install.startswith(tuple(COMMANDS_NOT_RUN))
    [(run, printed)] = commands(blocks.find(__file__, f"{START} console app.py"))
    pattern = ".*".join(map(re.escape, printed.strip().split("...")))
    assert re.fullmatch(pattern, reader.shell(run).strip(), re.DOTALL)
    assert not [path for path in (reader.folder / "filerow-start").rglob("*") if path.is_file()]

    reader.write("web.py", "\n\n".join([python[0], python[web]]))
    with reader.serving(start) as origin, httpx.Client(base_url=origin, trust_env=False, follow_redirects=True) as client:
        assert "a.txt" in client.post("/", data={"title": "A"}, files={"file": ("a.txt", b"hello")}).text
        assert client.get("/1").content == b"hello"
        assert client.get("/99").status_code == 404
