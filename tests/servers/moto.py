"""A quick S3 that checks neither signatures nor expiry: moto, for tests that need a second S3.

It runs as a child process, not in a thread: no thread of its own competes with the event loop under test, and a test
may fork without being warned about threads.
"""

from __future__ import annotations

import http.client
import importlib.util
import sys

from tests.servers._process import HOST, ServerMissingError, ServerProcess, free_ports, start_with_retries
from tests.servers._s3 import S3Server

ACCESS_KEY, SECRET_KEY = "moto-key", "moto-secret"


def start() -> S3Server:
    """Start moto.

    Raises:
        ServerMissingError: moto, or its server extra, is not installed.
    """
    if not (importlib.util.find_spec("moto") and importlib.util.find_spec("flask_cors")):
        raise ServerMissingError("moto", "pip install 'moto[s3,server]'")
    process = ServerProcess("moto")
    port = 0

    def attempt() -> bool:
        nonlocal port
        port = free_ports()
        process.spawn([sys.executable, "-W", "ignore", "-m", "moto.server", "-H", HOST, "-p", str(port)])
        return process.wait_until(lambda: answers(port, "/moto-api/data.json"))

    start_with_retries(process, attempt)
    return S3Server(f"http://{HOST}:{port}", ACCESS_KEY, SECRET_KEY, process=process)


def answers(port: int, path: str) -> bool:
    """Return True if an HTTP server on this machine answers ``GET path``, with whatever status."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()
