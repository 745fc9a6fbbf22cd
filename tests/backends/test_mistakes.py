"""Errors distinguish a wrong address of a store from wrong credentials, and name what to fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import ObjectNotFoundError, StorageError, StoragePermissionError
from tests.backends.stores import bucket_of, s3fs_options
from tests.backends.test_obstore import s3_options

SECRET = "Top+Secret/Key0123456789"


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("static-files", {}, r"'static-files' is not a URL; write 's3://static-files'"),
        ("s3://", {}, r"'s3://' names no bucket; write 's3://bucket' or 's3://bucket/prefix'"),
        ("s3:/bucket", {}, r"'s3:/bucket' names no bucket"),
        ("az://", {}, r"names no bucket; write 'az://bucket'"),
        ("s3://b", {"aws_endpoint": "localhost:9000"}, r"'localhost:9000' .* write 'http://localhost:9000' or 'https://"),
        ("s3://b", {"config": {"endpoint": "minio:9000"}}, r"'minio:9000' .* write 'http://minio:9000'"),
        ("az://b", {"account_name": "a", "endpoint": "host"}, r"'host' .* write 'http://host'"),
    ],
)
def test_wrong_address_is_an_error_where_the_backend_is_made(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ObstoreBackend("docs", url, **options)


def test_environment_endpoint_without_a_scheme_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(ValueError, match="write 'http://localhost:9000'"):
        ObstoreBackend("docs", "s3://bucket")


def test_directory_as_first_argument_gets_an_error_that_reorders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"LocalBackend\('docs', '{tmp_path}'\)"):
        LocalBackend(str(tmp_path), "docs")


CALLS: dict[str, Callable[[ObstoreBackend], Any]] = {
    "put": lambda backend: backend.put("a", b"x"),
    "read": lambda backend: backend.read("a"),
}
QUICKLY = {"max_retries": 0}


@pytest.mark.parametrize("call", CALLS)
def test_a_store_that_cannot_be_reached_has_its_endpoint_doubted(call: str) -> None:
    backend = ObstoreBackend(
        "docs",
        "s3://bucket",
        aws_endpoint="http://127.0.0.1:9",
        aws_access_key_id="a",
        aws_secret_access_key=SECRET,
        retry_config=QUICKLY,
    )
    with pytest.raises(StorageError, match=r"could not be reached; is its endpoint right.*127\.0\.0\.1:9") as raised:
        CALLS[call](backend)
    assert SECRET not in str(raised.value)


@pytest.mark.servers
def test_missing_object_is_looked_for_in_a_named_bucket(request: pytest.FixtureRequest) -> None:
    server, bucket = bucket_of(request, "s3_server")
    backends = {
        f"in the bucket '{bucket}', folder 'some/files'": ObstoreBackend(
            "docs", f"s3://{bucket}/some/files", **s3_options(server)
        ),
        f"in 's3://{bucket}/some/files'": FSSpecBackend("docs", f"s3://{bucket}/some/files", **s3fs_options(server)),
    }
    for place, backend in backends.items():
        for call in (backend.read, backend.head):
            with pytest.raises(ObjectNotFoundError, match=f"there is no object at this path {place}"):
                call("gone.txt")


@pytest.mark.servers
def test_http_and_https_mixed_up_are_named(request: pytest.FixtureRequest) -> None:
    server, bucket = bucket_of(request, "s3_server")
    options = {**s3_options(server), "aws_endpoint": server.endpoint.replace("http:", "https:"), "retry_config": QUICKLY}
    with pytest.raises(StorageError, match="endpoint right, host, port and http or https"):
        ObstoreBackend("docs", f"s3://{bucket}", **options).put("a", b"x")


@pytest.mark.servers
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"aws_secret_access_key": SECRET}, "SignatureDoesNotMatch: "),
        ({"aws_access_key_id": "nobody"}, "InvalidAccessKeyId: "),
    ],
)
def test_wrong_credentials_are_one_line_with_the_store_s_reason(
    request: pytest.FixtureRequest, wrong: dict[str, str], said: str
) -> None:
    server, bucket = bucket_of(request, "s3_server")
    backend = ObstoreBackend("docs", f"s3://{bucket}", **{**s3_options(server), **wrong})
    with pytest.raises(StoragePermissionError, match=f"refused the credentials.*{said}") as raised:
        backend.put("a", b"x")
    text = str(raised.value)
    assert "\n" not in text
    assert "<" not in text


@pytest.mark.servers
def test_missing_bucket_is_one_line(request: pytest.FixtureRequest) -> None:
    server, _ = bucket_of(request, "s3_server")
    with pytest.raises(FileNotFoundError, match=r"NoSuchBucket: The specified bucket does not exist$"):
        ObstoreBackend("docs", "s3://no-such-bucket", **s3_options(server)).put("a", b"x")
