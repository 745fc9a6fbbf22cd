"""Azurite, Microsoft's emulator of Azure Blob Storage: it checks signatures, expiry and conditions.

It is looked for in ``.servers/node_modules`` of the checkout; the environment variable ``FILEROW_AZURITE`` names
another folder that holds ``dist/src/blob/main.js``.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from tests.servers._process import (
    HOST,
    ROOT,
    RunningServer,
    ServerMissingError,
    ServerProcess,
    free_ports,
    start_with_retries,
)
from tests.servers.moto import answers

VERSION = "3.35.0"
"""The last version that runs on Node.js 20."""

ACCOUNT_NAME = "filerow"
ACCOUNT_KEY = "ZmlsZXJvdy10ZXN0LWtleS1maWxlcm93LXRlc3Qta2V5"
"""Base64 of nothing secret."""


class AzuriteServer(RunningServer):
    """A running Azurite."""

    account_name = ACCOUNT_NAME
    account_key = ACCOUNT_KEY

    def __init__(self, process: ServerProcess, port: int) -> None:
        super().__init__(process)
        self.port = port
        self.endpoint = f"http://{HOST}:{port}/{ACCOUNT_NAME}"

    @property
    def connection_string(self) -> str:
        """What Azure's own client and adlfs take."""
        parts = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": ACCOUNT_NAME,
            "AccountKey": ACCOUNT_KEY,
            "BlobEndpoint": self.endpoint,
        }
        return ";".join(f"{name}={value}" for name, value in parts.items()) + ";"

    def client(self) -> Any:
        """Return Azure's own client, a context manager; the view of the store that Filerow has no part in."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(self.connection_string, retry_total=0)

    def make_container(self, name: str | None = None) -> str:
        """Create a container, under a fresh name unless given one, and return its name."""
        name = name or f"test-{uuid.uuid4().hex[:20]}"
        with self.client() as client:
            client.create_container(name)
        return name

    def keys(self, container: str) -> set[str]:
        """Return the names of all blobs in ``container``, asked from the server itself."""
        with self.client() as client:
            return set(client.get_container_client(container).list_blob_names())


def start() -> AzuriteServer:
    """Start Azurite.

    Raises:
        ServerMissingError: Node.js or Azurite is not installed.
    """
    program = _find()
    node = shutil.which("node")
    if node is None or program is None:
        raise ServerMissingError("azurite", f"npm install --prefix .servers azurite@{VERSION} (needs Node.js 20)")
    process = ServerProcess("azurite")
    port = 0

    def attempt() -> bool:
        nonlocal port
        port = free_ports()
        process.spawn(
            [
                node, program, "--blobHost", HOST, "--blobPort", str(port), "--inMemoryPersistence",
                "--disableTelemetry", "--silent",
                # Azure's own client speaks a newer version of the protocol than any Azurite knows.
                "--skipApiVersionCheck",
            ],
            environment={"AZURITE_ACCOUNTS": f"{ACCOUNT_NAME}:{ACCOUNT_KEY}"},
        )  # fmt: skip
        return process.wait_until(lambda: answers(port, f"/{ACCOUNT_NAME}?comp=list"))

    start_with_retries(process, attempt)
    return AzuriteServer(process, port)


def _find() -> Path | None:
    folder = Path(os.environ.get("FILEROW_AZURITE") or ROOT / ".servers" / "node_modules" / "azurite")
    program = folder / "dist" / "src" / "blob" / "main.js"
    return program if program.exists() else None
