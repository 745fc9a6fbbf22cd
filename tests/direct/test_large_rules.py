"""Large uploads, which a store may copy by itself: their column's rules hold, and what it refuses to copy is read and written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.exceptions import ClaimError, ContentTypeError, FileValidationError, ImageDimensionsError
from tests.backends.stores import LARGE_BODY
from tests.direct.conftest import PNG, SECRET, Document, Side, Store, kept, make_store, s3_backend
from tests.direct.site import Site
from tests.direct.test_headers import send
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import LimitedS3, Limits

pytestmark = [pytest.mark.servers, LARGE_BODY]

LARGE = PNG + b"x" * (9 << 20)
DIGEST = f"sha256:{hashlib.sha256(LARGE).hexdigest()}"


class Base(DeclarativeBase):
    pass


class Paper(Base):
    """A row whose rules have become stricter since its uploads began."""

    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    anything: Mapped[FileObject | None] = mapped_column(StoredObject("direct", content_types=["application/pdf"]))


class Icon(DeclarativeBase):
    pass


class Small(Icon):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    anything: Mapped[FileObject | None] = mapped_column(StoredObject("direct", max_pixels=10))


@pytest.fixture(params=["s3-put"])
def store(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[Store]:
    made = make_store(request, site, tmp_path, request.param)
    storages.register_backend(made.backend)
    yield made
    storages.clear_backends()


@pytest.mark.parametrize("checksum", [DIGEST, None], ids=["proven by the store", "read"])
@pytest.mark.parametrize(("row", "error"), [(Paper, ContentTypeError), (Small, ImageDimensionsError)], ids=["type", "pixels"])
def test_rules_of_the_row_hold_for_a_large_upload(
    store: Store, row: type[Paper | Small], error: type[FileValidationError], checksum: str | None
) -> None:
    ticket = store.uploads(Document.anything).begin(
        filename="a.png", size=len(LARGE), content_type="image/png", checksum=checksum
    )
    assert send(ticket, LARGE, {}) < 300
    file = FileObject.from_claim(ticket.claim, secret=SECRET)  # by the rules of the time at which the upload began
    engine = create_engine("sqlite://")
    row.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(row(anything=file))
        with pytest.raises(error):
            session.commit()
    engine.dispose()
    assert len(store.paths()) == 1, "the upload waits for another try"


def test_large_upload_with_a_checksum_is_stored_if_rules_allow(store: Store, session: Session) -> None:
    uploads = store.uploads(Document.cover)
    ticket = uploads.begin(filename="a.png", size=len(LARGE), content_type="image/png", checksum=DIGEST)
    assert send(ticket, LARGE, {}) < 300
    file = kept(session, uploads.claim(ticket.claim), Document.cover)
    assert (file.content_type, file.checksum, file.size) == ("image/png", DIGEST, len(LARGE))


def test_a_claim_is_for_its_own_column(store: Store, session: Session) -> None:
    uploads = store.uploads(Document.cover)
    ticket = uploads.begin(filename="a.png", size=len(PNG), content_type="image/png")
    assert send(ticket, PNG, {}) < 300
    session.add(Document(anything=uploads.claim(ticket.claim)))
    with pytest.raises(ClaimError, match=r"for document\.cover, not for document\.anything"):
        session.commit()
    session.rollback()
    assert kept(session, uploads.claim(ticket.claim), Document.cover).get_content() == PNG


@pytest.mark.parametrize("status", [501, 400, 403])
def test_a_store_without_tags_reads_and_writes(
    s3_server: S3Server, site: Site, side: Side, session: Session, status: int
) -> None:
    with LimitedS3(s3_server, Limits(tags=status)) as limited:
        made = Store("s3-put", s3_backend(limited.server), site, s3_method="PUT")
        storages.register_backend(made.backend)
        for _ in range(2):
            uploads = made.uploads(Document.anything)
            ticket = uploads.begin(filename="a.png", size=len(LARGE), content_type="image/png")
            assert send(ticket, LARGE, {}) < 300
            file = kept(session, side(uploads, "claim", ticket.claim), Document.anything)
            assert file.checksum == DIGEST
        assert limited.count("copy") == 1, "asked once, and not again"
        storages.clear_backends()


@pytest.mark.parametrize("store", ["azure"], indirect=True)
def test_an_upload_in_an_archive_is_refused_and_removed(store: Store) -> None:
    uploads = store.uploads(Document.anything)
    ticket = uploads.begin(filename="a.png", size=len(PNG), content_type="image/png")
    assert send(ticket, PNG, {"x-ms-access-tier": "Archive"}) < 300
    with pytest.raises(ClaimError, match="archive"):
        uploads.claim(ticket.claim)
    assert store.paths() == set()


@pytest.mark.parametrize("answer", [{"done": False}, {"done": False, "rewriteToken": "more"}], ids=["no token", "forever"])
@pytest.mark.parametrize("store", ["gcs"], indirect=True)
def test_a_rewrite_that_never_ends_is_given_up(
    store: Store, session: Session, answer: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.transport.requests import AuthorizedSession

    real: Any = AuthorizedSession.request
    asked: list[str] = []

    def request(self: Any, method: str, url: str, **options: Any) -> Any:
        response = real(self, method, url, **options)
        if "rewriteTo" in url:
            asked.append(url)
            response._content = json.dumps(answer).encode()
        return response

    monkeypatch.setattr("filerow.backends._rewrite._LONGEST_PENDING", 0.2)
    monkeypatch.setattr(AuthorizedSession, "request", request)
    uploads = store.uploads(Document.anything)
    ticket = uploads.begin(filename="a.png", size=len(LARGE), content_type="image/png")
    assert send(ticket, LARGE, {}) < 300
    assert kept(session, uploads.claim(ticket.claim), Document.anything).checksum == DIGEST
    assert 1 <= len(asked) <= 8
