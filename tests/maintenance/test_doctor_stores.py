"""The doctor says what an S3-compatible store lacks, what it keeps, and what the credentials may not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from filerow import storages
from filerow.backends.obstore import ObstoreBackend
from tests.databases import EmptyDatabase
from tests.maintenance.models import Models, engine_of, models
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import LIMITED, LimitedS3, Limits

pytestmark = pytest.mark.servers

Find = Callable[..., dict[str, Any]]


@pytest.fixture
def healthy(tmp_path: Path) -> Iterator[Models]:
    database = EmptyDatabase("sqlite", tmp_path / "rows.db")
    with database._open:
        yield models(engine_of(database))


@pytest.fixture
def find(s3_server: S3Server, healthy: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[Find]:
    """Returns what the doctor finds of a store with limits, which it leaves as it was."""
    monkeypatch.setenv("FILEROW_SECRET", "Zk3uB-0q9Vw7_xT1mJ8rYh2cLs5NdPaG")
    prefix = s3_server.make_prefix()

    def call(limits: Limits, bucket: str = "", direct: list[str] | None = None, **options: Any) -> dict[str, Any]:
        with LimitedS3(s3_server, limits) as limited:
            server = limited.server
            storages.register_backend(
                ObstoreBackend(
                    "docs",
                    f"s3://{bucket or server.shared_bucket}/{prefix}",
                    aws_endpoint=server.endpoint,
                    aws_access_key_id=server.access_key,
                    aws_secret_access_key=server.secret_key,
                    **options,
                )
            )
            try:
                return healthy.found(direct=direct or [])
            finally:
                storages.clear_backends()

    yield call
    assert s3_server.keys(s3_server.shared_bucket, prefix) == set()


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("ignores-conditions", {"no-create-only": "warning"}),
        ("ignores-on-copies", {}),
        ("answers-501", {"no-create-only": "warning"}),
        ("answers-400", {"no-create-only": "warning"}),
        ("no-bulk-delete", {"no-bulk-delete": "info"}),
        ("no-bulk-delete-501", {"no-bulk-delete": "info"}),
        ("no-listing", {"cannot-list": "error", "missing-hidden": "warning"}),
    ],
)
def test_the_doctor_names_what_a_store_lacks(find: Find, name: str, levels: dict[str, str]) -> None:
    found = find(LIMITED[name])
    assert {code: finding.level for code, finding in found.items()} == levels
    assert all(finding.advice and finding.backend == "docs" for finding in found.values())


def test_conditions_that_are_switched_off_are_named_too(find: Find) -> None:
    found = find(LIMITED["answers-501"], aws_conditional_put="disabled")
    assert set(found) == {"no-create-only"}
    assert "looked at" in found["no-create-only"].message


@pytest.mark.parametrize(
    ("action", "codes"),
    [
        ("s3:PutObject", {"cannot-write"}),
        ("s3:ListBucketMultipartUploads", {"cannot-list-uploads"}),
        ("s3:ListMultipartUploadParts", {"cannot-upload-parts"}),
    ],
)
def test_the_doctor_names_a_permission_that_is_missing(find: Find, action: str, codes: set[str]) -> None:
    found = find(Limits(denied=frozenset({action})), direct=["docs"])
    assert set(found) - {"cors-unknown"} >= codes
    assert set(found) - {"cors-unknown", "cannot-upload-parts"} <= codes
    assert any(action in found[code].advice or "permission" in found[code].advice for code in codes)


def test_an_upload_that_cannot_be_aborted_is_named(find: Find, s3_server: S3Server) -> None:
    found = find(Limits(denied=frozenset({"s3:AbortMultipartUpload"})), direct=["docs"])
    assert "s3:AbortMultipartUpload" in found["cannot-abort"].advice
    client, bucket = s3_server.client, s3_server.shared_bucket
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def test_a_bucket_with_versions_is_named_with_its_rule(find: Find, s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    s3_server.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    found = find(Limits(), bucket)
    assert {code: finding.level for code, finding in found.items()} == {"versioned": "info"}
    assert "NoncurrentVersionExpiration" in found["versioned"].advice
    versions = s3_server.client.list_object_versions(Bucket=bucket)
    for one in [*versions.get("Versions", []), *versions.get("DeleteMarkers", [])]:
        s3_server.client.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
