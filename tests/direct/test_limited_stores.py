"""Direct upload to S3-compatible stores with limits: a claim makes one file, or none and the upload stays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal

import httpx
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from filerow.exceptions import ClaimError, StoragePermissionError, UnsupportedOperationError
from filerow.outbox import Outbox
from tests.backends.stores import s3_options
from tests.direct.conftest import PNG, SECRET, Document, Send, Side, kept, s3_backend
from tests.direct.test_headers import send as send_with
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import LIMITED, LimitedS3, Limits

pytestmark = pytest.mark.servers


class NotedBase(DeclarativeBase):
    pass


class Noted(NotedBase):
    __tablename__ = "noted"
    id: Mapped[int] = mapped_column(primary_key=True)
    image: Mapped[FileObject | None] = mapped_column(StoredObject("direct", content_types=["image/png"]))


Outbox(NotedBase.metadata)

IMAGE = {"filename": "cat.png", "size": len(PNG), "content_type": "image/png"}


@pytest.fixture
def limited(s3_server: S3Server) -> Iterator[LimitedS3]:
    with LimitedS3(s3_server, Limits()) as store:
        storages.register_backend(s3_backend(s3_server, endpoint=store.endpoint))
        yield store
        storages.clear_backends()


@pytest.mark.parametrize("name", ["ignores-conditions", "answers-501", "answers-400"])
def test_no_upload_begins_where_a_claim_could_be_used_twice(
    limited: LimitedS3, side: Side, send: Send, session: Session, name: str
) -> None:
    uploads = DirectUploads(Document.image, secret=SECRET)
    old = side(uploads, "begin", **IMAGE)
    assert send(old, PNG) == 204
    limited.limits = LIMITED[name]
    again = storages.get_backend("direct")  # another process, which has not asked the store yet
    storages.clear_backends()
    assert isinstance(again, ObstoreBackend)
    storages.register_backend(ObstoreBackend("direct", again.store))
    with pytest.raises(UnsupportedOperationError, match=r"works once.*Outbox"):
        side(uploads, "begin", **IMAGE)
    session.add(Document(image=side(uploads, "claim", old.claim)))
    with pytest.raises(UnsupportedOperationError, match="second writer"):
        session.commit()
    assert [info.size for info in storages.get_backend("direct").list()] == [len(PNG)]


@pytest.mark.parametrize("name", ["ignores-conditions", "answers-501", "answers-400"])
def test_with_an_outbox_a_claim_makes_one_file_everywhere(limited: LimitedS3, side: Side, send: Send, name: str) -> None:
    limited.limits = LIMITED[name]
    engine = create_engine("sqlite://")
    Noted.metadata.create_all(engine)
    uploads = DirectUploads(Noted.image, secret=SECRET)
    ticket = side(uploads, "begin", **IMAGE)
    assert send(ticket, PNG) == 204
    files = [side(uploads, "claim", ticket.claim) for _ in range(2)]
    with Session(engine) as session:
        session.add(Noted(image=files[0]))
        session.flush()
        session.rollback()
        session.add(Noted(image=files[0]))
        session.commit()
        assert send(ticket, PNG) == 204
        session.add(Noted(image=files[1]))
        with pytest.raises(ClaimError, match="used before"):
            session.commit()
        session.rollback()
        side(uploads, "abort", ticket.claim)
        assert [info.path for info in storages.get_backend("direct").list()] == [files[0].path]
        assert files[0].get_content() == PNG
    engine.dispose()


def test_no_upload_begins_where_conditions_are_switched_off(
    s3_server: S3Server, side: Side, send: Send, session: Session
) -> None:
    backend = s3_backend(s3_server)
    claim = DirectUploads(Document.image, secret=SECRET)
    storages.register_backend(backend)
    ticket = side(claim, "begin", **IMAGE)
    assert send(ticket, PNG) == 204
    storages.clear_backends()
    url = f"s3://{backend.store.config['bucket']}/{backend.store.prefix}"
    options = s3_options(s3_server) | {"aws_conditional_put": "disabled"}
    storages.register_backend(ObstoreBackend("direct", url, **options))
    with pytest.raises(UnsupportedOperationError, match="works once"):
        side(claim, "begin", **IMAGE)
    session.add(Document(image=side(claim, "claim", ticket.claim)))
    with pytest.raises(UnsupportedOperationError, match="works once"):
        session.commit()
    storages.clear_backends()


@pytest.mark.parametrize("name", ["ignores-on-copies", "ignores-on-uploads", "no-bulk-delete", "no-bulk-delete-501"])
def test_a_claim_makes_one_file_where_paths_are_kept(
    limited: LimitedS3, side: Side, send: Send, session: Session, name: str
) -> None:
    limited.limits = LIMITED[name]
    uploads = DirectUploads(Document.image, secret=SECRET)
    ticket = side(uploads, "begin", **IMAGE)
    assert send(ticket, PNG) == 204
    file = side(uploads, "claim", ticket.claim)
    session.add(Document(image=file))
    session.commit()
    assert send(ticket, PNG) == 204
    session.add(Document(image=side(uploads, "claim", ticket.claim)))
    with pytest.raises(ClaimError, match="used before"):
        session.commit()
    assert file.get_content() == PNG


def test_claim_without_upload_says_so_where_missing_is_forbidden(limited: LimitedS3, side: Side, send: Send) -> None:
    limited.limits = LIMITED["no-listing"]
    uploads = DirectUploads(Document.image, secret=SECRET)
    ticket = side(uploads, "begin", **IMAGE)
    with pytest.raises(ClaimError, match="nothing was uploaded"):
        side(uploads, "claim", ticket.claim)
    assert send(ticket, PNG) == 204
    assert side(uploads, "claim", ticket.claim).get_content() == PNG


LARGE = PNG + b"x" * (9 << 20)
DIGEST = f"sha256:{hashlib.sha256(LARGE).hexdigest()}"


@pytest.mark.one_in(2)
@pytest.mark.parametrize("checksum", [None, DIGEST], ids=["unknown", "checksum"])
@pytest.mark.parametrize("keeps_headers", [False, True], ids=["replaces", "keeps"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_store_copies_large_upload_without_client_headers(
    limited: LimitedS3, side: Side, session: Session, method: Literal["POST", "PUT"], checksum: str | None, keeps_headers: bool
) -> None:
    uploads = DirectUploads(Document.anything, secret=SECRET, s3_method=method)
    ticket = side(uploads, "begin", filename="cat.png", content_type="image/png", size=len(LARGE), checksum=checksum)
    added = {"Content-Encoding": "deflate", "Cache-Control": "evil"} if method == "PUT" else {}
    assert send_with(ticket, LARGE, added) in {200, 204}
    limited.limits = Limits(keeps_headers=keeps_headers)
    limited.asked.clear()
    file = kept(session, side(uploads, "claim", ticket.claim), Document.anything)
    kinds = [asked.kind for asked in limited.asked if asked.kind in {"copy", "put", "complete"}]
    written_again = keeps_headers and method == "PUT"  # the form has bound all of them, so nothing of a client's is kept
    assert kinds.count("copy") == 1
    assert ("complete" in kinds) == written_again
    assert (file.size, file.checksum, file.content_type) == (len(LARGE), DIGEST, "image/png")
    answer = httpx.get(file.sign(), trust_env=False)
    assert "evil" not in str(answer.headers)
    assert answer.headers.get("content-encoding") is None
    assert answer.headers["content-disposition"] == 'inline; filename="cat.png"'
    assert answer.content == LARGE
    assert [info.path for info in storages.get_backend("direct").list("document")] == [file.path]


def test_a_large_upload_that_is_replaced_after_a_look_is_refused(limited: LimitedS3, side: Side, session: Session) -> None:
    uploads = DirectUploads(Document.anything, secret=SECRET)
    ticket = side(uploads, "begin", filename="cat.png", content_type="image/png", size=len(LARGE))
    assert send_with(ticket, LARGE, {}) == 204
    file = side(uploads, "claim", ticket.claim)
    other = b"<!doctype html>".ljust(len(LARGE))
    assert send_with(ticket, other, {}) == 204
    with pytest.raises(ClaimError, match="since this claim was looked at"):
        kept(session, file, Document.anything)
    session.rollback()
    assert len(list(storages.get_backend("direct").list())) == 1
    assert limited.limits == Limits()


def test_a_copy_that_cannot_be_looked_at_is_removed(limited: LimitedS3, side: Side, session: Session) -> None:
    uploads = DirectUploads(Document.anything, secret=SECRET)
    ticket = side(uploads, "begin", filename="cat.png", content_type="image/png", size=len(LARGE))
    assert send_with(ticket, LARGE, {}) == 204
    file = side(uploads, "claim", ticket.claim)
    limited.limits = Limits(denied=frozenset({"s3:GetObject"}))
    with pytest.raises(StoragePermissionError):
        kept(session, file, Document.anything)
    session.rollback()
    limited.limits = Limits()
    assert [info.size for info in storages.get_backend("direct").list()] == [len(LARGE)]


def test_a_claim_leaves_no_second_version(
    limited: LimitedS3, side: Side, send: Send, session: Session, s3_server: S3Server
) -> None:
    bucket = s3_server.make_bucket()
    s3_server.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    storages.clear_backends()
    storages.register_backend(s3_backend(s3_server, bucket=bucket, endpoint=limited.endpoint))
    uploads = DirectUploads(Document.image, secret=SECRET)
    ticket = side(uploads, "begin", **IMAGE)
    assert send(ticket, PNG) == 204
    file = side(uploads, "claim", ticket.claim)
    session.add(Document(image=file))
    session.commit()
    versions = s3_server.client.list_object_versions(Bucket=bucket)
    held = [
        (one["Key"].endswith(file.path), one["Size"]) for one in versions["Versions"] if one["Size"] > 40
    ]  # a mark is shorter
    assert held == [(True, len(PNG))]
    assert not [one for one in versions.get("DeleteMarkers", []) if not one["Key"].count("staged/")]
