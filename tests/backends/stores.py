"""Backends on the stores of others: obstore's and fsspec's, on real servers and emulators."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.obstore import ObstoreBackend

_AT_ONCE = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=2), "base": 2}
QUICK = {"max_retries": 1, "backoff": _AT_ONCE}
"""A test should learn of a failure, not wait for it to pass: obstore waits a tenth of a second before it tries again."""

# aiohttp, below gcsfs and adlfs, warns of any body above 1 MiB; it is sent on fsspec's own event loop, not on the application's.
LARGE_BODY = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

NO_BUCKET = "filerow-no-such-bucket"


def s3_options(server: Any) -> dict[str, Any]:
    """Options of an ObstoreBackend for an S3 server of the tests."""
    return {
        "aws_endpoint": server.endpoint,
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
        "aws_region": server.region,
        "retry_config": QUICK,
    }


def azure_options(server: Any) -> dict[str, Any]:
    """Options of an ObstoreBackend for Azurite."""
    account = {"account_name": server.account_name, "account_key": server.account_key}
    return {**account, "endpoint": server.endpoint, "retry_config": QUICK}


def gcs_options(server: Any) -> dict[str, Any]:
    """Options of an ObstoreBackend for a GCS server of the tests."""
    return {"base_url": server.endpoint, "bearer_token": "test", "retry_config": QUICK}


def s3fs_options(server: Any) -> dict[str, Any]:
    """Options of s3fs for an S3 server of the tests."""
    return {
        "storage_options": {"key": server.access_key, "secret": server.secret_key},
        "endpoint_url": server.endpoint,
        "client_kwargs": {"region_name": server.region},
    }


def bucket_of(request: pytest.FixtureRequest, fixture: str) -> tuple[Any, str]:
    """Return a server and its one bucket for this session; tests keep to folders of their own."""
    server = request.getfixturevalue(fixture)
    made = getattr(server, "make_container", None) or server.make_bucket
    if fixture not in _buckets:
        _buckets[fixture] = made()
    return server, _buckets[fixture]


_buckets: dict[str, str] = {}


def on_obstore(url: str, **options: Any) -> ObstoreBackend:
    """Return a backend in a folder that nothing else has."""
    return ObstoreBackend("obstore", f"{url}/{uuid.uuid4().hex}", **options)


def shared(url: str, **options: Any) -> FSSpecBackend:
    """Return a backend on a filesystem that tests share: each has connections of its own that only its end closes."""
    scheme, _, root = url.partition("://")
    known = scheme, str(sorted(options.items()))
    if known not in _filesystems:
        _filesystems[known] = FSSpecBackend("fsspec", url, **options)
    return FSSpecBackend("fsspec", _filesystems[known].fs, prefix=f"{root}/{uuid.uuid4().hex}")


_filesystems: dict[tuple[str, str], FSSpecBackend] = {}
