"""A bucket that refuses each write without encryption or a checksum: every way that bytes take has what it demands."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from filerow import Encryption, FileObject, StoredWith, storages
from filerow.backends.base import SignRequest
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import Ticket
from filerow.exceptions import (
    ClaimError,
    FileValidationError,
    StorageError,
    StoragePermissionError,
    UndecodableError,
    UnsupportedOperationError,
)
from filerow.variants import Thumbnail
from tests.backends.stored_with.conftest import Model, Side
from tests.backends.stored_with.test_read_back import LARGE, chunks, committed, png
from tests.backends.stores import s3_options, s3fs_options
from tests.direct.conftest import PNG, SECRET, Send, Store, put
from tests.direct.site import Site
from tests.servers._s3 import S3Server
from tests.servers.demanding_s3 import CHECKSUM, SSE, DemandingS3
from tests.variants.pictures import four_colours, saved

pytestmark = [pytest.mark.servers, pytest.mark.one_in(2)]

ENCRYPTED: dict[str, dict[str, Any]] = {
    "encryption": {"encryption": "AES256"},
    "obstore's own option": {"aws_server_side_encryption": "AES256"},
}
CHECKED: dict[str, Any] = {"checksum": "sha256", "encryption": "AES256"}
NOTHING = StoredWith(cache_control="no-store")
PART = 5 << 20

Sessions = Callable[[Model], Session]


class DemandingStore(Store):
    """A backend on a bucket that demands something, registered as ``direct``."""

    def __init__(self, bucket: DemandingS3, site: Site, **options: Any) -> None:
        self.bucket = bucket
        self.folder = uuid.uuid4().hex
        backend = ObstoreBackend(
            "direct", f"s3://{bucket.server.shared_bucket}/{self.folder}", **s3_options(bucket.server), **options
        )
        super().__init__("s3", backend, site)
        storages.register_backend(backend)


@pytest.fixture
def open_store(s3_server: S3Server, site: Site) -> Iterator[Callable[..., DemandingStore]]:
    made: list[DemandingS3] = []

    def make(options: dict[str, Any], *, checksum: bool = False) -> DemandingStore:
        _ = s3_server.shared_bucket
        made.append(DemandingS3(s3_server, encryption="AES256", checksum=checksum))
        return DemandingStore(made[-1], site, **options)

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def model() -> Model:
    return Model(NOTHING)


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def encryption_of(server: S3Server, store: DemandingStore, path: str) -> str | None:
    where = {"Bucket": server.shared_bucket, "Key": f"{store.folder}/{path}"}
    found: str | None = server.client.head_object(**where).get("ServerSideEncryption")
    return found


def test_what_brings_nothing_is_refused(open_store: Callable[..., DemandingStore], model: Model, session_of: Sessions) -> None:
    store = open_store({})
    with pytest.raises(StoragePermissionError):
        committed(session_of(model), model, file=png())
    assert [write.missing for write in store.bucket.refused()] == [(SSE,)]


@pytest.mark.parametrize("options", [*ENCRYPTED.values(), CHECKED], ids=[*ENCRYPTED, "checksum"])
def test_commits_and_copies_pass(
    open_store: Callable[..., DemandingStore],
    model: Model,
    session_of: Sessions,
    s3_server: S3Server,
    options: dict[str, Any],
) -> None:
    store, session = open_store(options, checksum="checksum" in options), session_of(model)
    scan = committed(session, model, file=png(), plain=png(chunks()))
    copies = committed(session, model, file=scan.plain, other=scan.file)
    storages._expected.clear()  # pyright: ignore[reportPrivateUsage]
    plain = committed(session, model, plain=scan.plain)
    assert store.bucket.refused() == []
    assert store.bucket.kinds() >= {"put", "start", "part", "complete", "copy"}
    for file in (scan.file, scan.plain, copies.file, copies.other, plain.plain):
        assert encryption_of(s3_server, store, file.path) == "AES256"
    assert copies.file.get_content() == LARGE


@pytest.mark.parametrize("options", [*ENCRYPTED.values(), CHECKED], ids=[*ENCRYPTED, "checksum"])
def test_variants_and_their_notes_pass(
    open_store: Callable[..., DemandingStore], session_of: Sessions, s3_server: S3Server, options: dict[str, Any]
) -> None:
    model = Model(NOTHING, variants={"thumb": Thumbnail(8, 8), "late": Thumbnail(9, 9)}, make_variants={"thumb": "commit"})
    store, session = open_store(options, checksum="checksum" in options), session_of(model)
    scan = committed(session, model, file=png(saved(four_colours(40, 20), "PNG")))
    copied = committed(session, model, file=scan.file, plain=scan.file)
    assert scan.file.variant("late").get_content()
    broken = FileObject("direct", "cat.png", content=PNG).save()
    with pytest.raises(UndecodableError):
        broken.variant(Thumbnail(8, 8)).get_content()
    assert store.bucket.refused() == []
    listed = [scan.file.variant("thumb"), copied.file.variant("thumb"), copied.plain.variant("thumb"), scan.file.variant("late")]
    notes = [f"{broken.variant(Thumbnail(8, 8)).path.removesuffix('.webp')}.failed"]
    for path in [*(one.path for one in listed), *notes]:
        assert encryption_of(s3_server, store, path) == "AES256"


@pytest.mark.parametrize("options", [*ENCRYPTED.values(), CHECKED], ids=[*ENCRYPTED, "checksum"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("body", [PNG, LARGE], ids=["small", "large"])
def test_direct_uploads_pass(
    open_store: Callable[..., DemandingStore],
    model: Model,
    session_of: Sessions,
    send: Send,
    side: Side,
    s3_server: S3Server,
    options: dict[str, Any],
    method: str,
    body: bytes,
) -> None:
    store = open_store(options, checksum="checksum" in options)
    uploads = store.uploads(model.Scan.file, s3_method=method)
    ticket = side(uploads, "begin", filename="cat.png", content_type="image/png", size=len(body))
    if "checksum" in options:
        assert (ticket.url, ticket.checksum) == ("", "sha256")
        ticket = side(uploads, "resume", ticket.claim, checksum=sha256(body))
    assert isinstance(ticket, Ticket)
    assert ticket.checksum == ""
    assert send(ticket, body) in {200, 204}
    assert store.bucket.refused() == []
    scan = committed(session_of(model), model, file=side(uploads, "claim", ticket.claim))
    assert store.bucket.refused() == []
    assert encryption_of(s3_server, store, scan.file.path) == "AES256"
    assert (scan.file.get_content(), scan.file.checksum) == (body, sha256(body))


@pytest.mark.parametrize("options", [ENCRYPTED["encryption"], CHECKED], ids=["encryption", "checksum"])
def test_direct_uploads_in_parts_pass(
    open_store: Callable[..., DemandingStore],
    model: Model,
    session_of: Sessions,
    side: Side,
    s3_server: S3Server,
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    store = open_store(options, checksum="checksum" in options)
    uploads = store.uploads(model.Scan.file, multipart_from="6 MiB", part_size=PART)
    ticket = side(uploads, "begin", filename="cat.png", content_type="image/png", size=len(LARGE))
    assert [part.number for part in ticket.parts] == [1, 2]
    if "checksum" in options:
        assert (ticket.checksum, {part.url for part in ticket.parts}) == ("sha256", {""})
        digests = {part.number: sha256(LARGE[part.start : part.end]) for part in ticket.parts}
        one = side(uploads, "resume", ticket.claim, checksums={1: digests[1]})
        assert [bool(part.url) for part in one.parts] == [True, False]
        ticket = side(uploads, "resume", ticket.claim, checksums=digests)
    assert ticket.checksum == ""
    for part in ticket.parts:
        assert put(tmp_path, part.url, dict(part.headers), LARGE[part.start : part.end]) == 200
    scan = committed(session_of(model), model, file=side(uploads, "claim", ticket.claim))
    assert store.bucket.refused() == []
    assert store.bucket.kinds() >= {"start", "part", "complete"}
    assert encryption_of(s3_server, store, scan.file.path) == "AES256"
    assert scan.file.get_content() == LARGE


# -- object lock -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(s3_server: S3Server) -> Iterator[DemandingS3]:
    """A bucket with object lock, which takes no write without Content-MD5 or a checksum."""
    _ = s3_server.shared_bucket
    with DemandingS3(s3_server, lock=True) as bucket:
        yield bucket


def on_locked(bucket: DemandingS3, kind: str) -> Any:
    where = f"s3://{bucket.server.shared_bucket}/{uuid.uuid4().hex}"
    if kind == "s3fs":
        return storages.register_backend(FSSpecBackend("direct", where, **s3fs_options(bucket.server)))
    options: dict[str, Any] = {"checksum": "sha256"} if kind == "obstore" else {}
    return storages.register_backend(ObstoreBackend("direct", where, **s3_options(bucket.server), **options))


@pytest.mark.parametrize("kind", ["obstore", "s3fs"])
def test_object_lock_takes_commits_and_copies(locked: DemandingS3, model: Model, session_of: Sessions, kind: str) -> None:
    on_locked(locked, kind)
    session = session_of(model)
    scan = committed(session, model, file=png(), plain=png(chunks()), other=png(LARGE))
    copies = committed(session, model, file=scan.plain, other=scan.file, pages=[scan.other])
    chosen = committed(session, model, file=FileObject("direct", "cat.png", content=PNG, to_filename="chosen/cat.png"))
    assert chosen.file.path == "chosen/cat.png"
    assert locked.refused() == []
    assert locked.kinds() >= {"put", "start", "part", "complete", "copy"}
    assert copies.file.get_content() == LARGE


@pytest.mark.parametrize("method", ["POST", "PUT", "PARTS"])
def test_object_lock_takes_direct_uploads(
    locked: DemandingS3, model: Model, session_of: Sessions, site: Site, send: Send, tmp_path: Path, method: str
) -> None:
    store = Store("s3", on_locked(locked, "obstore"), site)
    body = LARGE if method == "PARTS" else PNG
    options = {"multipart_from": "6 MiB", "part_size": PART} if method == "PARTS" else {"s3_method": method}
    uploads = store.uploads(model.Scan.file, **options)
    ticket = uploads.begin(filename="cat.png", content_type="image/png", size=len(body))
    if method == "PARTS":
        digests = {part.number: sha256(body[part.start : part.end]) for part in ticket.parts}
        for part in uploads.resume(ticket.claim, checksums=digests).parts:
            assert put(tmp_path, part.url, dict(part.headers), body[part.start : part.end]) == 200
    else:
        ticket = uploads.resume(ticket.claim, checksum=sha256(body))
        assert send(ticket, body) in {200, 204}
    scan = committed(session_of(model), model, file=uploads.claim(ticket.claim))
    assert scan.file.get_content() == body
    assert locked.refused() == []


def test_object_lock_without_a_checksum_says_what_to_give(locked: DemandingS3, model: Model, session_of: Sessions) -> None:
    on_locked(locked, "plain")
    with pytest.raises(StorageError, match=r"has object lock, which demands a checksum of each write; give .* checksum='sha256'"):
        committed(session_of(model), model, file=png())
    assert {write.missing for write in locked.refused()} == {("content-md5",)}


# -- what a client may not do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [SSE, CHECKSUM, "x-amz-checksum-algorithm"])
@pytest.mark.parametrize("change", ["drop", "change", "both"])
def test_a_form_without_what_was_signed_is_refused(
    open_store: Callable[..., DemandingStore], model: Model, send: Send, field: str, change: str
) -> None:
    store = open_store(CHECKED)
    ticket = store.uploads(model.Scan.file).begin(filename="cat.png", size=len(PNG), checksum=sha256(PNG))
    fields = dict(ticket.fields)
    wrong = {SSE: "aws:kms", CHECKSUM: base64.b64encode(hashlib.sha256(b"other").digest()).decode()}.get(field, "SHA1")
    if change == "drop":
        del fields[field]
    elif change == "change":
        fields[field] = wrong
    else:
        fields["x-amz-acl"] = "public-read"
    assert send(ticket, PNG, fields=fields) == 403
    assert store.paths() == set()


@pytest.mark.parametrize("header", [SSE, CHECKSUM, "x-amz-tagging", "x-amz-acl", "x-amz-storage-class"])
def test_a_put_with_other_headers_is_refused(open_store: Callable[..., DemandingStore], send: Send, header: str) -> None:
    store, model = open_store(CHECKED), Model(StoredWith(tags={"team": "a"}))
    ticket = store.uploads(model.Scan.file, s3_method="PUT").begin(filename="cat.png", size=len(PNG), checksum=sha256(PNG))
    assert ticket.headers["x-amz-tagging"] == "team=a"
    values = {"x-amz-acl": "public-read", "x-amz-storage-class": "GLACIER", "x-amz-tagging": "team=b", SSE: "aws:kms"}
    headers = {**ticket.headers, header: values.get(header, "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=")}
    assert send(ticket, PNG, headers=headers) == 403
    assert store.paths() == set()
    model.engine.dispose()


def test_a_claim_gets_one_checksum(open_store: Callable[..., DemandingStore], model: Model) -> None:
    uploads = open_store(CHECKED).uploads(model.Scan.file)
    ticket = uploads.begin(filename="cat.png", size=len(PNG))
    again = uploads.resume(ticket.claim, checksum=sha256(PNG))
    assert again.claim != ticket.claim
    assert again.url
    with pytest.raises(ClaimError, match="another checksum"):
        uploads.resume(again.claim, checksum=sha256(b"other"))
    for bad in ("md5:0", 7, f"sha256:{'G' * 64}"):
        with pytest.raises(FileValidationError, match="sha256"):
            uploads.resume(ticket.claim, checksum=bad)  # type: ignore[arg-type]
    for odd in ({"x": sha256(b"")}, [1], {1: "no"}, {-1: sha256(b"")}):
        with pytest.raises(FileValidationError, match="checksum"):
            uploads.resume(ticket.claim, checksums=odd)  # type: ignore[arg-type]


def test_a_customer_s_key_is_not_handed_out(s3_server: S3Server, model: Model) -> None:
    key = base64.b64encode(b"k" * 32).decode()
    options = {"aws_server_side_encryption": "sse-c", "aws_sse_customer_key_base64": key}
    storages.register_backend(ObstoreBackend("direct", f"s3://{s3_server.shared_bucket}/c", **s3_options(s3_server), **options))
    from filerow.direct import DirectUploads

    with pytest.raises(UnsupportedOperationError, match="SSE-C"):
        DirectUploads(model.Scan.file, secret=SECRET).begin(filename="cat.png", size=3)


# -- keys of the store's, and ACLs -----------------------------------------------------------------------------------------

KMS = Encryption("aws:kms", key="arn:aws:kms:us-east-1:123456789012:key/1", bucket_key=True)


@pytest.mark.parametrize("kind", ["obstore", "s3fs"])
def test_keys_and_acls_are_read_back(
    moto_server: S3Server, model: Model, session_of: Sessions, site: Site, send: Send, kind: str
) -> None:
    bucket, folder = moto_server.shared_bucket, uuid.uuid4().hex
    where = f"s3://{bucket}/{folder}"
    if kind == "obstore":
        backend: Any = ObstoreBackend("direct", where, **s3_options(moto_server), encryption=KMS)
    else:
        backend = FSSpecBackend("direct", where, **s3fs_options(moto_server), encryption=KMS, acl="public-read")
    storages.register_backend(backend)
    store, session = Store("s3", backend, site, s3_method="PUT"), session_of(model)
    scan = committed(session, model, file=png(), plain=png(chunks()))
    copies = committed(session, model, file=scan.plain, other=scan.file)
    storages._expected.clear()  # pyright: ignore[reportPrivateUsage]
    plain = committed(session, model, plain=scan.file)
    uploads = store.uploads(model.Scan.file)
    ticket = uploads.begin(filename="cat.png", content_type="image/png", size=len(PNG))
    assert "x-amz-acl" not in {name.lower() for name in ticket.headers}, "what nobody has looked at is not public"
    assert send(ticket, PNG) == 200
    uploaded = committed(session, model, file=uploads.claim(ticket.claim))
    for file in (scan.file, scan.plain, copies.file, copies.other, plain.plain, uploaded.file):
        key = {"Bucket": bucket, "Key": f"{folder}/{file.path}"}
        head = moto_server.client.head_object(**key)
        in_parts = "-" in head["ETag"]  # of which moto forgets the bucket key
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"], head.get("BucketKeyEnabled", in_parts)) == KMS
        if kind == "s3fs":
            assert "READ" in {grant["Permission"] for grant in moto_server.client.get_object_acl(**key)["Grants"]}


@pytest.mark.parametrize("kind", ["obstore", "s3fs"])
def test_signed_uploads_bring_the_encryption(s3_server: S3Server, tmp_path: Path, kind: str) -> None:
    _ = s3_server.shared_bucket
    with DemandingS3(s3_server, encryption="AES256") as bucket:
        where = f"s3://{s3_server.shared_bucket}/{uuid.uuid4().hex}"
        if kind == "obstore":
            backend: Any = ObstoreBackend("direct", where, **s3_options(bucket.server), encryption="AES256")
        else:
            backend = FSSpecBackend("direct", where, **s3fs_options(bucket.server), encryption="AES256")
        request = SignRequest("PUT", 600)
        url, headers = backend.sign("a.png", request), backend.upload_headers(request)
        assert headers == {SSE: "AES256"}
        assert put(tmp_path, url, {}, PNG) == 403
        assert put(tmp_path, url, {SSE: "aws:kms"}, PNG) == 403
        assert put(tmp_path, url, headers, PNG) == 200
        assert backend.upload_headers(SignRequest("GET", 600)) == {}
        assert SSE not in backend.sign("a.png", SignRequest("GET", 600))
