"""Who sends a large upload that is refused gets the answer, on servers that close a connection on unread bytes.

nginx before them would report a connection that breaks while it sends as 502.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.processes.running import serving
from tests.servers._process import HOST, accepts_connections

SIZE = 10 << 20
SERVERS: dict[str, list[str]] = {
    "gunicorn": ["gunicorn", "--no-control-socket", "--bind={where}", "tests.processes.refusing:wsgi"],
    "hypercorn": ["hypercorn", "--bind={where}", "tests.processes.refusing:asgi"],
    "granian": ["granian", "--interface=asgi", "--port={port}", "tests.processes.refusing:asgi"],
    "uvicorn": ["uvicorn", "--port={port}", "tests.processes.refusing:asgi"],
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_refused_upload_is_answered_before_the_connection_ends(name: str, tmp_path: Path) -> None:
    def argv(port: int) -> list[str]:
        return ["-m", *(part.format(port=port, where=f"{HOST}:{port}") for part in SERVERS[name])]

    with serving(argv, tmp_path, {}) as service:
        service.wait_until(lambda: accepts_connections(service.port))
        head = f"PUT /files/docs/a.txt?expires=1&signature=x HTTP/1.1\r\nHost: app\r\nContent-Length: {SIZE}\r\n\r\n"
        with socket.create_connection((HOST, service.port), timeout=60) as connection:
            connection.sendall(head.encode() + b"x" * SIZE)
            assert connection.recv(64).startswith(b"HTTP/1.1 403")
