"""Whole files of a directory go out by the server itself: Granian's ``pathsend``, and ``wsgi.file_wrapper`` of gunicorn."""

from __future__ import annotations

import gzip
import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.execution.running import Service, serving
from tests.servers._process import HOST, accepts_connections

BIG = os.urandom(1 << 20) * 3
TEXT = b"compressible " * 1000
FILES = {"big.bin": BIG, "text.txt": TEXT, "cut.bin": BIG[:-1], "grown.bin": BIG + b"!", "linked.bin": BIG}
SITE = "tests.execution.handing_over"
SERVERS = ["starlette", "gzipped", "plain_litestar", "compressed", "wsgi"]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    sent: list[str]


class Site:
    def __init__(self, service: Service, name: str) -> None:
        self.service = service
        self.name = name

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection(HOST, self.service.port, timeout=30)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            try:
                body = answer.read()
            except http.client.IncompleteRead as error:
                body = error.partial
        finally:
            connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, body, self.service.get("/sent") if path != "/sent" else [])


@pytest.fixture(params=SERVERS, scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("files")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "linked.bin").rename(folder.parent / "elsewhere.bin")
    (folder / "linked.bin").symlink_to(folder.parent / "elsewhere.bin")
    known = [(name, "text/plain" if name == "text.txt" else "application/x-unknown", len(BIG)) for name in (*FILES, "gone.bin")]
    settings = {
        "FILEROW_TEST_ROOT": str(folder),
        "FILEROW_TEST_FILES": json.dumps([(name, kind, len(TEXT) if name == "text.txt" else size) for name, kind, size in known]),
    }

    def argv(port: int) -> list[str]:
        if request.param == "wsgi":
            return ["-m", "gunicorn", "--bind", f"{HOST}:{port}", "--no-control-socket", f"{SITE}:wsgi"]
        return ["-m", "granian", "--interface=asgi", f"--port={port}", "--log-level=warning", f"{SITE}:{request.param}"]

    with serving(argv, tmp_path_factory.mktemp("log"), settings) as service:
        service.wait_until(lambda: accepts_connections(service.port))
        yield Site(service, request.param)


def test_whole_file_is_handed_over(site: Site) -> None:
    answer = site.ask("/big.bin")
    assert (answer.status, answer.body == BIG) == (200, True)
    assert answer.headers["content-length"] == str(len(BIG))
    by_server = "http.response.pathsend" in answer.sent
    assert by_server is (site.name != "compressed")  # whose middleware would drop the message


def test_part_of_a_file_is_streamed(site: Site) -> None:
    answer = site.ask("/big.bin", Range="bytes=5-9")
    assert (answer.status, answer.body) == (206, BIG[5:10])
    assert "http.response.pathsend" not in answer.sent
    assert site.ask("/big.bin", "HEAD").body == b""


@pytest.mark.parametrize("name", ["gone.bin", "linked.bin"])
def test_missing_or_linked_file_has_a_status_of_its_own(site: Site, name: str) -> None:
    answer = site.ask(f"/{name}")
    assert answer.status in {404, 502}
    assert BIG[:10] not in answer.body


@pytest.mark.parametrize("name", ["cut.bin", "grown.bin"])
def test_file_of_another_length_is_not_handed_over(site: Site, name: str) -> None:
    answer = site.ask(f"/{name}")
    assert "http.response.pathsend" not in answer.sent
    assert answer.body == BIG[: len(answer.body)]


def test_compression_still_works(site: Site) -> None:
    answer = site.ask("/text.txt", Accept_Encoding="gzip")
    zipped = answer.headers.get("content-encoding") == "gzip"
    assert (gzip.decompress(answer.body) if zipped else answer.body) == TEXT
    assert zipped is (site.name == "compressed")  # Starlette's lets such a file pass


def test_headers_of_the_application_replace_ours(site: Site) -> None:
    answer = site.ask("/big.bin")
    assert answer.headers["x-own"] == "yes"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
