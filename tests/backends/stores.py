"""Backends on the stores of others, for the contract: obstore's and fsspec's, on real servers and emulators."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from filerow.backends.base import StorageBackend
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.obstore import ObstoreBackend
from tests.backends.conftest import factory

QUICK = {"max_retries": 1}
"""A test should learn of a failure, not wait for it to pass."""


def s3_options(server: Any) -> dict[str, Any]:
    """Options of an ObstoreBackend for an S3 server of the tests."""
    return {
        "aws_endpoint": server.endpoint,
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
        "aws_region": server.region,
        "retry_config": QUICK,
    }


def bucket_of(request: pytest.FixtureRequest, fixture: str) -> tuple[Any, str]:
    """Return a server and its one bucket for this session; tests keep to folders of their own."""
    server = request.getfixturevalue(fixture)
    made = getattr(server, "make_container", None) or server.make_bucket
    if fixture not in _buckets:
        _buckets[fixture] = made()
    return server, _buckets[fixture]


_buckets: dict[str, str] = {}


# aiohttp, below gcsfs and adlfs, warns of any body above 1 MiB; it is sent on fsspec's own event loop, not on the application's.
LARGE_BODY = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


@factory("obstore-memory")
def _obstore_memory(request: pytest.FixtureRequest) -> StorageBackend:
    return ObstoreBackend("obstore", "memory://")


@factory("obstore-local")
def _obstore_local(request: pytest.FixtureRequest) -> StorageBackend:
    return ObstoreBackend("obstore", f"file://{request.getfixturevalue('tmp_path')}/root")


@factory("obstore-s3")
def _obstore_s3(request: pytest.FixtureRequest) -> StorageBackend:
    server, bucket = bucket_of(request, "s3_server")
    return ObstoreBackend("obstore", f"s3://{bucket}/{uuid.uuid4().hex}", **s3_options(server))


@factory("obstore-azure")
def _obstore_azure(request: pytest.FixtureRequest) -> StorageBackend:
    server, container = bucket_of(request, "azurite_server")
    return ObstoreBackend(
        "obstore",
        f"az://{container}/{uuid.uuid4().hex}",
        account_name=server.account_name,
        account_key=server.account_key,
        endpoint=server.endpoint,
        retry_config=QUICK,
    )


@factory("obstore-gcs")
def _obstore_gcs(request: pytest.FixtureRequest) -> StorageBackend:
    server, bucket = bucket_of(request, "gcs_facade")
    return ObstoreBackend(
        "obstore",
        f"gs://{bucket}/{uuid.uuid4().hex}",
        base_url=server.endpoint,
        bearer_token="test",
        retry_config=QUICK,
    )


@factory("fsspec-memory")
def _fsspec_memory(request: pytest.FixtureRequest) -> StorageBackend:
    return FSSpecBackend("fsspec", "memory", prefix=f"/{uuid.uuid4().hex}")


@factory("fsspec-file")
def _fsspec_file(request: pytest.FixtureRequest) -> StorageBackend:
    return FSSpecBackend("fsspec", "file", prefix=f"{request.getfixturevalue('tmp_path')}/root")


def s3fs_options(server: Any) -> dict[str, Any]:
    """Options of s3fs for an S3 server of the tests."""
    return {
        "storage_options": {"key": server.access_key, "secret": server.secret_key},
        "endpoint_url": server.endpoint,
        "client_kwargs": {"region_name": server.region},
    }


@factory("fsspec-s3")
def _fsspec_s3(request: pytest.FixtureRequest) -> StorageBackend:
    server, bucket = bucket_of(request, "s3_server")
    return shared(f"s3://{bucket}", **s3fs_options(server))


@factory("fsspec-gcs", LARGE_BODY)
def _fsspec_gcs(request: pytest.FixtureRequest) -> StorageBackend:
    server, bucket = bucket_of(request, "gcs_server")
    return shared(f"gs://{bucket}", project=server.project, token="anon", endpoint_url=server.endpoint)


@factory("fsspec-azure", LARGE_BODY)
def _fsspec_azure(request: pytest.FixtureRequest) -> StorageBackend:
    server, container = bucket_of(request, "azurite_server")
    return shared(f"az://{container}", connection_string=server.connection_string)


def shared(url: str, **options: Any) -> FSSpecBackend:
    """Return a backend on a filesystem that tests share: each has connections of its own that only its end closes."""
    if url not in _filesystems:
        _filesystems[url] = FSSpecBackend("fsspec", url, **options)
    return FSSpecBackend("fsspec", _filesystems[url].fs, prefix=f"{url.partition('://')[2]}/{uuid.uuid4().hex}")


_filesystems: dict[str, FSSpecBackend] = {}
