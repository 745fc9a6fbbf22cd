"""What S3 itself enforces of a ticket, on a real server; and uploads in parts."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import boto3
import pytest

from filerow import FileObject, storages
from filerow.direct import DirectUploads, Ticket
from filerow.exceptions import ClaimError, FileTooLargeError
from tests.direct.conftest import HTML, PNG, SECRET, Document, Send, Side, post, put, s3_backend
from tests.tokens import said_by

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from filerow.backends.obstore import ObstoreBackend
    from tests.servers._s3 import S3Server

IMAGE = {"filename": "cat.png", "size": len(PNG), "content_type": "image/png"}
DIGEST = f"sha256:{hashlib.sha256(PNG).hexdigest()}"
LARGE = os.urandom(1 << 20) * 12 + b"the end"


@pytest.fixture
def backend(s3_server: S3Server) -> Iterator[ObstoreBackend]:
    made = s3_backend(s3_server)
    storages.register_backend(made)
    yield made
    storages.clear_backends()


def paths(backend: ObstoreBackend) -> set[str]:
    return {info.path for info in backend.list() if not info.path.startswith("staged/claims/")}


def weaker_policy(fields: dict[str, str]) -> str:
    policy = json.loads(base64.b64decode(fields["policy"]))
    policy["conditions"] = [[*c[:2], 10**9] if "content-length-range" in c else c for c in policy["conditions"]]
    return base64.b64encode(json.dumps(policy).encode()).decode()


@pytest.mark.parametrize(
    ("changed", "body"),
    [
        ({}, PNG + b"x"),
        ({}, PNG[:-1]),
        ({"Content-Type": "text/html"}, PNG),
        ({"Content-Disposition": "inline"}, PNG),
        ({"key": "document/image/elsewhere.png"}, PNG),
        ({"x-amz-signature": "0" * 64}, PNG),
        ({"x-amz-meta-added": "x"}, PNG),
        ({"policy": weaker_policy}, PNG + b"x"),
        ({"policy": None}, PNG),
        ({"Content-Type": None}, PNG),
        ({"checksum": DIGEST}, HTML),
        ({"checksum": DIGEST, "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(HTML).digest()).decode()}, HTML),
    ],
    ids=[
        "long", "short", "type", "disposition", "key", "signature", "field", "policy", "no-policy", "no-type", "checksum",
        "other-checksum",
    ],
)  # fmt: skip
def test_a_form_takes_the_announced_file_and_no_other(
    backend: ObstoreBackend, tmp_path: Path, changed: dict[str, Any], body: bytes
) -> None:
    changed = dict(changed)
    ticket = DirectUploads(Document.image, secret=SECRET).begin(**IMAGE, checksum=changed.pop("checksum", None))
    fields = dict(ticket.fields)
    for name, value in changed.items():
        fields[name] = value(fields) if callable(value) else value
    given = {name: value for name, value in fields.items() if value is not None}
    assert post(tmp_path, ticket.url, given, body) in {400, 403}
    assert paths(backend) == set()
    assert post(tmp_path, ticket.url, dict(ticket.fields), PNG) == 204


@pytest.mark.parametrize(
    ("changed", "body", "method"),
    [
        ({}, PNG + b"x", "PUT"),
        ({}, PNG[:-1], "PUT"),
        ({"Content-Type": "text/html"}, PNG, "PUT"),
        ({"Content-Disposition": "inline"}, PNG, "PUT"),
        ({"checksum": DIGEST}, HTML, "PUT"),
        ({}, PNG, "POST"),
        ({}, b"", "DELETE"),
    ],
    ids=["long", "short", "type", "disposition", "checksum", "post", "delete"],
)
def test_a_signed_put_takes_the_announced_file_and_no_other(
    backend: ObstoreBackend, tmp_path: Path, changed: dict[str, str], body: bytes, method: str
) -> None:
    changed = dict(changed)
    uploads = DirectUploads(Document.image, secret=SECRET, s3_method="PUT")
    ticket = uploads.begin(**IMAGE, checksum=changed.pop("checksum", None))
    assert put(tmp_path, ticket.url, {**ticket.headers, **changed}, body, method) in {400, 403, 405}
    elsewhere = ticket.url.replace("document/image/", "document/other/")
    assert put(tmp_path, elsewhere, dict(ticket.headers), PNG) == 403
    assert paths(backend) == set()
    assert put(tmp_path, ticket.url, dict(ticket.headers), PNG) == 200


def test_the_stored_object_has_headers_that_are_safe_to_serve(
    backend: ObstoreBackend, s3_server: S3Server, send: Send, session: Session
) -> None:
    uploads = DirectUploads(Document.anything, secret=SECRET)
    ticket = uploads.begin(filename="päge.html", size=len(HTML), content_type="text/html")
    assert send(ticket, HTML) == 204
    file = uploads.claim(ticket.claim)
    session.add(Document(anything=file))
    session.commit()
    assert file.content_type == "text/html"
    head = s3_server.client.head_object(Bucket=s3_server.shared_bucket, Key=f"{backend.store.prefix}/{file.path}")
    # SeaweedFS puts a guess of its own in the place of a type that says nothing; saved it is all the same.
    assert head["ContentType"] in {"application/octet-stream", "text/html; charset=utf-8"}
    assert head["ContentDisposition"].startswith("attachment;")


# -- in parts --------------------------------------------------------------------------------------------------------------


def in_parts(side: Side, **options: object) -> tuple[DirectUploads, Ticket]:
    uploads = DirectUploads(
        Document.anything,
        **{"secret": SECRET, "multipart_from": "6 MB", "part_size": "5 MiB", **options},  # type: ignore[arg-type]
    )
    return uploads, side(uploads, "begin", filename="large.bin", size=len(LARGE))


def send_parts(folder: Path, ticket: Ticket, *numbers: int) -> None:
    for part in ticket.parts:
        if part.number in numbers:
            assert put(folder, part.url, {}, LARGE[part.start : part.end]) == 200


def unfinished(server: S3Server, backend: ObstoreBackend) -> list[str]:
    found = server.client.list_multipart_uploads(Bucket=server.shared_bucket).get("Uploads", [])
    return [upload["Key"] for upload in found if upload["Key"].startswith(backend.store.prefix)]


def test_a_large_file_goes_in_parts_and_is_resumed(
    backend: ObstoreBackend, s3_server: S3Server, side: Side, session: Session, tmp_path: Path
) -> None:
    uploads, ticket = in_parts(side)
    assert ticket.method == "PARTS"
    assert [(part.number, part.start, part.end) for part in ticket.parts] == [
        (1, 0, 5 << 20),
        (2, 5 << 20, 10 << 20),
        (3, 10 << 20, len(LARGE)),
    ]
    send_parts(tmp_path, ticket, 1, 3)
    with pytest.raises(ClaimError, match="1 of 3 parts are missing"):
        side(uploads, "claim", ticket.claim)
    again = side(uploads, "resume", ticket.claim)
    assert [part.number for part in again.parts] == [2]
    assert again.claim == ticket.claim
    send_parts(tmp_path, again, 2)
    assert side(uploads, "resume", ticket.claim).parts == ()
    file = side(uploads, "claim", ticket.claim)
    session.add(Document(anything=file))
    session.commit()
    assert file.size == len(LARGE)
    assert file.checksum == f"sha256:{hashlib.sha256(LARGE).hexdigest()}"
    assert file.get_content() == LARGE
    assert paths(backend) == {file.path}
    assert unfinished(s3_server, backend) == []
    with pytest.raises(ClaimError, match="used before"):
        side(uploads, "claim", ticket.claim)
    with pytest.raises(ClaimError, match="finished or aborted"):
        side(uploads, "resume", ticket.claim)
    assert paths(backend) == {file.path}


def test_a_part_is_bound_to_its_length_number_and_upload(backend: ObstoreBackend, side: Side, tmp_path: Path) -> None:
    _, ticket = in_parts(side)
    _, other = in_parts(side)
    first, body = ticket.parts[0], LARGE[: 5 << 20]
    assert put(tmp_path, first.url, {}, body[:-1]) == 403
    assert put(tmp_path, first.url, {}, body + b"x") == 403
    assert put(tmp_path, first.url.replace("partNumber=1", "partNumber=2"), {}, body) == 403
    theirs = other.parts[0].url.partition("uploadId=")[2].partition("&")[0]
    ours = first.url.partition("uploadId=")[2].partition("&")[0]
    assert put(tmp_path, first.url.replace(ours, theirs), {}, body) in {400, 403, 404}
    assert put(tmp_path, first.url, {}, body) == 200


def test_an_aborted_upload_in_parts_leaves_nothing(
    backend: ObstoreBackend, s3_server: S3Server, side: Side, tmp_path: Path
) -> None:
    uploads, ticket = in_parts(side)
    send_parts(tmp_path, ticket, 1)
    assert len(unfinished(s3_server, backend)) == 1
    side(uploads, "abort", ticket.claim)
    side(uploads, "abort", ticket.claim)  # once more does no harm
    assert unfinished(s3_server, backend) == []
    with pytest.raises(ClaimError, match="nothing was uploaded"):
        side(uploads, "claim", ticket.claim)
    assert paths(backend) == set()


def test_parts_joined_by_a_failed_attempt_can_be_claimed(
    s3_server: S3Server, backend: ObstoreBackend, side: Side, tmp_path: Path
) -> None:
    _, ticket = in_parts(side)
    send_parts(tmp_path, ticket, 1, 2, 3)
    assert paths(backend) == set()
    bucket, _, key = unquote(urlsplit(ticket.parts[0].url).path).lstrip("/").partition("/")
    upload = {"Bucket": bucket, "Key": key, "UploadId": said_by(ticket.claim)["upload_id"]}
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
        region_name="us-east-1",
    )
    with closing(client):
        parts = [{name: part[name] for name in ("PartNumber", "ETag")} for part in client.list_parts(**upload)["Parts"]]
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert len(paths(backend)) == 1
    assert side(FileObject, "from_claim", ticket.claim, secret=SECRET).get_content() == LARGE


def test_what_s3_could_not_copy_is_refused_at_the_beginning(backend: ObstoreBackend) -> None:
    uploads = DirectUploads(Document.cover, secret=SECRET, max_size="1 TB")
    with pytest.raises(FileTooLargeError, match="copies no more than"):
        uploads.begin(filename="a.png", size=(5 << 30) + 1)
