"""Direct upload to S3-compatible stores with limits: a claim makes one file, or none and the upload stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from filerow import storages
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from filerow.exceptions import ClaimError, UnsupportedOperationError
from tests.backends.stores import s3_options
from tests.direct.conftest import PNG, SECRET, Document, Send, Side, s3_backend
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import LIMITED, LimitedS3, Limits

pytestmark = pytest.mark.servers

IMAGE = {"filename": "cat.png", "size": len(PNG), "content_type": "image/png"}


@pytest.fixture
def limited(s3_server: S3Server) -> Iterator[LimitedS3]:
    with LimitedS3(s3_server, Limits()) as store:
        storages.register_backend(s3_backend(s3_server, endpoint=store.endpoint))
        yield store
        storages.clear_backends()


@pytest.mark.parametrize("name", ["ignores-conditions", "answers-501", "answers-400"])
def test_no_claim_is_redeemed_where_it_could_be_twice(limited: LimitedS3, side: Side, send: Send, name: str) -> None:
    limited.limits = LIMITED[name]
    uploads = DirectUploads(Document.image, secret=SECRET)
    ticket = side(uploads, "begin", **IMAGE)
    assert send(ticket, PNG) == 204
    for _ in range(2):
        with pytest.raises(UnsupportedOperationError, match="second writer"):
            side(uploads, "claim", ticket.claim)
    assert [info.size for info in storages.get_backend("direct").list()] == [len(PNG)]


def test_no_upload_begins_where_conditions_are_switched_off(s3_server: S3Server, side: Side) -> None:
    backend = s3_backend(s3_server)
    claim = DirectUploads(Document.image, secret=SECRET)
    storages.register_backend(backend)
    ticket = side(claim, "begin", **IMAGE)
    storages.clear_backends()
    url = f"s3://{backend.store.config['bucket']}/{backend.store.prefix}"
    options = s3_options(s3_server) | {"aws_conditional_put": "disabled"}
    storages.register_backend(ObstoreBackend("direct", url, **options))
    with pytest.raises(UnsupportedOperationError, match="works once"):
        side(claim, "begin", **IMAGE)
    with pytest.raises(UnsupportedOperationError, match="works once"):
        side(claim, "claim", ticket.claim)
    storages.clear_backends()


@pytest.mark.parametrize("name", ["ignores-on-copies", "ignores-on-uploads", "no-bulk-delete", "no-bulk-delete-501"])
def test_a_claim_makes_one_file_where_paths_are_kept(limited: LimitedS3, side: Side, send: Send, name: str) -> None:
    limited.limits = LIMITED[name]
    uploads = DirectUploads(Document.image, secret=SECRET)
    ticket = side(uploads, "begin", **IMAGE)
    assert send(ticket, PNG) == 204
    file = side(uploads, "claim", ticket.claim)
    assert send(ticket, PNG) == 204
    with pytest.raises(ClaimError, match="used before"):
        side(uploads, "claim", ticket.claim)
    assert file.get_content() == PNG


def test_a_claim_without_an_upload_says_so_where_missing_is_forbidden(limited: LimitedS3, side: Side, send: Send) -> None:
    limited.limits = LIMITED["no-listing"]
    uploads = DirectUploads(Document.image, secret=SECRET)
    ticket = side(uploads, "begin", **IMAGE)
    with pytest.raises(ClaimError, match="nothing was uploaded"):
        side(uploads, "claim", ticket.claim)
    assert send(ticket, PNG) == 204
    assert side(uploads, "claim", ticket.claim).get_content() == PNG


def test_a_claim_leaves_no_second_version(limited: LimitedS3, side: Side, send: Send, s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    s3_server.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    storages.clear_backends()
    storages.register_backend(s3_backend(s3_server, bucket=bucket, endpoint=limited.endpoint))
    uploads = DirectUploads(Document.image, secret=SECRET)
    ticket = side(uploads, "begin", **IMAGE)
    assert send(ticket, PNG) == 204
    file = side(uploads, "claim", ticket.claim)
    versions = s3_server.client.list_object_versions(Bucket=bucket)
    held = [(one["Key"].endswith(file.path), one["Size"]) for one in versions["Versions"] if one["Size"] > 1]
    assert held == [(True, len(PNG))]
    assert not [one for one in versions.get("DeleteMarkers", []) if not one["Key"].count("staged/")]
