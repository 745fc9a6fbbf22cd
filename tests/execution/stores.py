"""The stores of these tests, described in the environment so that any process can register them."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from filerow import StorageBackend, storages

KINDS = ["s3", "s3fs", "local", "memory"]
"""By obstore, by s3fs, a directory, and this process's memory."""


def settings_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """Return environment variables that describe an empty store of one kind."""
    described: dict[str, Any] = {"kind": kind, "url": "memory://"}
    if kind == "local":
        described = {"kind": kind, "url": f"file://{folder / 'store'}", "fsync": False}
    elif kind in {"s3", "s3fs"}:
        server = request.getfixturevalue("s3_server")
        described = {"kind": kind, "url": f"s3://{server.make_bucket()}/{uuid.uuid4().hex[:8]}", "server": _credentials(server)}
    return {"FILEROW_TEST_STORE": json.dumps(described), "FILEROW_TEST_ROWS": str(folder / "rows.db")}


def _credentials(server: Any) -> dict[str, str]:
    return {"endpoint": server.endpoint, "key": server.access_key, "secret": server.secret_key, "region": server.region}


def registered(environ: Mapping[str, str] = os.environ) -> StorageBackend:
    """Register the store that the environment describes, as an application does when it is imported."""
    described = json.loads(environ["FILEROW_TEST_STORE"])
    kind, url, server = described.pop("kind"), described.pop("url"), described.pop("server", None)
    if kind == "s3":
        options = {
            "aws_endpoint": server["endpoint"], "aws_region": server["region"], "aws_access_key_id": server["key"],
            "aws_secret_access_key": server["secret"],
        }  # fmt: skip
        return storages.register_backend(url, key="docs", **options)
    if kind == "s3fs":
        from filerow.backends.fsspec import FSSpecBackend

        options = {"key": server["key"], "secret": server["secret"], "endpoint_url": server["endpoint"]}
        return storages.register_backend(FSSpecBackend("docs", url, storage_options=options))
    return storages.register_backend(url, key="docs", **described)
