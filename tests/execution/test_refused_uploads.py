"""A client whose large upload is refused gets the answer, on servers that close a connection on unread bytes.

nginx before them would report a connection that breaks while it sends as 502.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.execution.refused import refused_urls
from tests.execution.running import Service, serving
from tests.servers._process import HOST, accepts_connections

ASKED_WHEN_READ = {"granian", "uvicorn"}
"""Servers that ask for an upload when the application reads it; the others ask at once, before the answer is known."""

STATUSES = (403, 409, 413, 503)
SERVERS: dict[str, list[str]] = {
    "gunicorn": ["gunicorn", "--no-control-socket", "--bind={where}", "tests.execution.refusing:wsgi"],
    "hypercorn": ["hypercorn", "--bind={where}", "tests.execution.refusing:asgi"],
    "granian": ["granian", "--interface=asgi", "--port={port}", "tests.execution.refusing:asgi"],
    "uvicorn": ["uvicorn", "--port={port}", "tests.execution.refusing:asgi"],
}


@pytest.fixture(scope="module", params=SERVERS)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Each server with its application."""

    def argv(port: int) -> list[str]:
        return ["-m", *(part.format(port=port, where=f"{HOST}:{port}") for part in SERVERS[request.param])]

    with serving(argv, tmp_path_factory.mktemp("server"), {}) as running:
        running.wait_until(lambda: accepts_connections(running.port))
        yield running


def head_of(url: str, size: int, *more: str) -> bytes:
    lines = (f"PUT {url} HTTP/1.1", "Host: app", f"Content-Length: {size}", *more)
    return "\r\n".join((*lines, "", "")).encode()


def status_of(answer: bytes) -> int:
    return int(answer.split()[1])


def blocks(size: int) -> Iterator[bytes]:
    for start in range(0, size, 1 << 20):
        yield b"x" * min(1 << 20, size - start)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("status", STATUSES)
def test_a_refused_upload_is_answered_before_the_connection_ends(service: Service, status: int) -> None:
    url, size = refused_urls()[status]
    with socket.create_connection((HOST, service.port), timeout=60) as connection:
        connection.sendall(head_of(url, size))
        for block in blocks(size):
            connection.sendall(block)
        assert status_of(connection.recv(64)) == status


@pytest.mark.one_in(4)
def test_a_refused_upload_that_stops_half_way_is_answered(service: Service) -> None:
    url, size = refused_urls()[403]
    with socket.create_connection((HOST, service.port), timeout=20) as connection:
        connection.sendall(head_of(url, size) + b"x")
        assert status_of(connection.recv(64)) == 403


@pytest.mark.parametrize("status", STATUSES)
def test_a_refused_upload_that_waits_to_be_asked_is_answered(
    request: pytest.FixtureRequest, service: Service, status: int
) -> None:
    """The client waits to be asked, sends what it was asked for to its end, and reads only then."""
    url, size = refused_urls()[status]
    with socket.create_connection((HOST, service.port), timeout=60) as connection:
        connection.sendall(head_of(url, size, "Expect: 100-continue"))
        answer = first_line(connection, 5.0)
        if request.node.callspec.params["service"] in ASKED_WHEN_READ:
            assert status_of(answer) == status
        if not answer or status_of(answer) == 100:
            for block in blocks(size):
                connection.sendall(block)
            answer = first_line(connection, 60.0)
        assert status_of(answer) == status


def first_line(connection: socket.socket, seconds: float) -> bytes:
    """Return the first line of the next answer without its headers, or nothing when there was none in time."""
    connection.settimeout(seconds)
    got = b""
    try:
        while b"\r\n\r\n" not in got:
            part = connection.recv(1)
            if not part:
                break
            got += part
    except TimeoutError:
        assert not got
    return got.partition(b"\r\n")[0]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("status", STATUSES)
def test_curl_shows_the_answer_to_a_refused_upload(service: Service, status: int, tmp_path: Path) -> None:
    url, size = refused_urls()[status]
    body = tmp_path / "body"
    body.write_bytes(bytes(size))
    shown = ["--silent", "--show-error", "--max-time", "60", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}"]
    sent = ["--upload-file", str(body), "-H", "Expect: 100-continue"]
    curl = ["curl", *shown, *sent, f"http://{HOST}:{service.port}{url}"]
    done = subprocess.run(curl, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode, done.stderr) == (str(status), 0, "")
