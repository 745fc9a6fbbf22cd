"""From a client's upload to a row's file: what becomes one, once, and what is refused; on every store, sync and async."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from filerow.exceptions import (
    ClaimError,
    ContentTypeError,
    ExpiredTokenError,
    FilerowError,
    InvalidTokenError,
    UnsupportedOperationError,
)
from tests.direct.conftest import (
    EVERY_STORE,
    EXACT_STORES,
    HTML,
    JPEG,
    PNG,
    SECRET,
    Base,
    Document,
    Send,
    Side,
    Store,
    make_store,
)
from tests.tokens import sealed

if TYPE_CHECKING:
    from filerow.direct import Ticket
    from tests.direct.site import Site

pytestmark = pytest.mark.one_in(2)

ONE_WORD = "a-secret-without-spaces-or-commas"
IMAGE = {"filename": "cat.png", "size": len(PNG), "content_type": "image/png"}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def uploaded(side: Side, uploads: DirectUploads, send: Send, body: bytes = PNG, **changed: object) -> Ticket:
    ticket = side(uploads, "begin", **(IMAGE | changed))
    assert send(ticket, body) in {200, 201, 204}
    return ticket


@pytest.mark.parametrize("store", EVERY_STORE, indirect=True)
def test_what_a_client_uploaded_becomes_the_row_s_file(store: Store, side: Side, send: Send, session: Session) -> None:
    uploads = store.uploads()
    ticket = uploaded(side, uploads, send, filename="C:\\fakepath\\cat.png")
    document = Document(image=side(uploads, "claim", ticket.claim))
    session.add(document)
    session.commit()
    session.expire_all()
    file = document.image
    assert file is not None
    assert (file.filename, file.size, file.content_type) == ("cat.png", len(PNG), "image/png")
    assert file.checksum == digest(PNG)
    assert file.etag is not None
    assert file.last_modified is not None
    assert abs(file.last_modified - time.time()) < 60
    assert file.get_content() == PNG
    assert file.path.startswith("document/image/")
    assert store.paths() == {file.path}
    info = store.backend.head(file.path)
    assert info.content_type in {"image/png", None}
    session.delete(document)
    session.commit()
    assert store.paths() == set()


@pytest.mark.parametrize("store", EVERY_STORE, indirect=True)
def test_a_claim_makes_one_file(store: Store, side: Side, send: Send, session: Session) -> None:
    uploads = store.uploads()
    ticket = uploaded(side, uploads, send)
    file, again = side(uploads, "claim", ticket.claim), side(uploads, "claim", ticket.claim)
    assert file.state.value == "pending", "a form error must burn nothing"
    session.add(Document(image=file))
    session.commit()
    assert send(ticket, PNG) in {200, 201, 204}  # the URL is still good
    for second in (again, side(uploads, "claim", ticket.claim)):
        session.add(Document(image=second))
        with pytest.raises(ClaimError, match="used before"):
            session.commit()
        session.rollback()
    side(uploads, "abort", ticket.claim)
    with pytest.raises(ClaimError, match="used before"):
        side(uploads, "claim", ticket.claim)
    assert store.paths() == {file.path}
    assert len(store.marks()) == 1


@pytest.mark.parametrize("store", EXACT_STORES, indirect=True)
def test_of_many_who_use_a_claim_at_once_one_gets_the_file(store: Store, side: Side, send: Send, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'db'}")
    Base.metadata.create_all(engine)
    uploads = store.uploads()
    ticket = uploaded(side, uploads, send)
    together = threading.Barrier(4)
    files: list[FileObject] = []
    refused: list[FilerowError] = []

    def use() -> None:
        file = side(uploads, "claim", ticket.claim)
        together.wait()
        with Session(engine, expire_on_commit=False) as mine:
            mine.add(Document(image=file))
            try:
                mine.commit()
            except FilerowError as error:
                refused.append(error)
            else:
                files.append(file)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(error) for error in refused] == [ClaimError] * 3, refused
    assert store.paths() == {file.path for file in files}
    assert files[0].get_content() == PNG
    engine.dispose()


def test_what_is_uploaded_after_the_commit_reaches_no_row(store: Store, side: Side, send: Send, session: Session) -> None:
    uploads = store.uploads()
    ticket = uploaded(side, uploads, send)
    file = side(uploads, "claim", ticket.claim)
    session.add(Document(image=file))
    session.commit()
    other = PNG[:-1] + b"!"
    assert send(ticket, other) in {200, 201, 204}  # the URL is still good
    assert file.get_content() == PNG
    assert len(store.paths()) == 2  # the second upload is an orphan, which a sweep removes
    side(uploads, "abort", ticket.claim)
    assert store.paths() == {file.path}
    assert file.get_content() == PNG


def test_a_claim_for_nothing_is_refused(store: Store, side: Side) -> None:
    uploads = store.uploads()
    ticket = side(uploads, "begin", **IMAGE)
    with pytest.raises(ClaimError, match="nothing was uploaded"):
        side(uploads, "claim", ticket.claim)
    assert store.paths() == set()


@pytest.mark.parametrize("store", ["s3-post"], indirect=True)  # Azure and our own route take no second upload
@pytest.mark.parametrize("body", [HTML, JPEG], ids=["html", "jpeg"])
def test_upload_replaced_after_a_look_is_checked_like_the_first(
    store: Store, side: Side, send: Send, session: Session, body: bytes
) -> None:
    uploads = store.uploads()
    ticket = uploaded(side, uploads, send)
    file = side(uploads, "claim", ticket.claim)
    assert send(ticket, body) in {200, 201, 204}
    session.add(Document(image=file))
    if body is JPEG:  # which the column takes, and which is stored as what it is
        session.commit()
        assert (file.content_type, file.get_content()) == ("image/jpeg", JPEG)
        return
    with pytest.raises(ContentTypeError):
        session.commit()
    session.rollback()
    assert store.marks() == set()
    assert len(store.paths()) == 1
    assert send(ticket, PNG) in {200, 201, 204}
    session.add(Document(image=file))
    session.commit()
    assert file.get_content() == PNG


@pytest.mark.parametrize("body", [HTML, JPEG], ids=["html", "jpeg"])
def test_an_object_of_another_type_is_refused_and_removed(store: Store, side: Side, send: Send, body: bytes) -> None:
    uploads = store.uploads()
    ticket = uploaded(side, uploads, send, body)
    with pytest.raises(ContentTypeError) as refused:
        side(uploads, "claim", ticket.claim)
    assert refused.value.field == "image"
    assert store.paths() == set()


def test_upload_of_another_type_is_refused_or_stored_as_it_is(store: Store, side: Side, send: Send, session: Session) -> None:
    uploads = store.uploads()
    ticket = side(uploads, "begin", **IMAGE)
    changed = {"Content-Type": "text/html"}
    stored = send(ticket, PNG, fields={**ticket.fields, **changed}, headers={**ticket.headers, **changed}) in {200, 201, 204}
    assert stored == (store.kind == "azure")  # the one store that cannot bind a type
    if not stored:
        with pytest.raises(ClaimError):
            side(uploads, "claim", ticket.claim)
        return
    file = side(uploads, "claim", ticket.claim)
    session.add(Document(image=file))
    session.commit()
    assert store.backend.head(file.path).content_type == "image/png"


@pytest.mark.parametrize("store", EXACT_STORES, indirect=True)
def test_upload_of_another_size_is_refused_at_once_or_with_claim(store: Store, side: Side, send: Send) -> None:
    uploads = store.uploads()
    for body in (PNG + b"x", PNG[:-1]):
        ticket = side(uploads, "begin", **IMAGE)
        stored = send(ticket, body) in {200, 201, 204}
        assert stored == (store.kind == "azure")  # the one store that cannot bind a length
        with pytest.raises(ClaimError, match="announced with" if stored else "nothing was uploaded"):
            side(uploads, "claim", ticket.claim)
        assert store.paths() == set()


def test_upload_of_another_checksum_is_refused_or_fails_on_read(store: Store, side: Side, send: Send, session: Session) -> None:
    uploads = store.uploads()
    ticket = side(uploads, "begin", **IMAGE, checksum=digest(PNG))
    stored = send(ticket, PNG[:-1] + b"!") in {200, 201, 204}
    assert stored == (not store.kind.startswith("s3"))
    with pytest.raises(ClaimError, match="announced with checksum sha256" if stored else "nothing was uploaded"):
        session.add(Document(image=side(uploads, "claim", ticket.claim)))
        session.commit()
    session.rollback()
    assert store.marks() == set()
    assert len(store.paths()) == stored  # the upload, for another try
    ticket = uploaded(side, uploads, send, checksum=digest(PNG))
    file = side(uploads, "claim", ticket.claim)
    session.add(Document(image=file))
    session.commit()
    assert file.checksum == digest(PNG)


@pytest.mark.servers
def test_after_its_time_neither_the_url_nor_the_claim_is_good(
    request: pytest.FixtureRequest, site: Site, tmp_path: Path, send: Send
) -> None:
    tickets = {}
    for kind in ("s3-post", "s3-put", "azure", "memory"):  # together, to wait but once
        storages.clear_backends()
        store = make_store(request, site, tmp_path, kind)
        storages.register_backend(store.backend)
        tickets[store] = store.uploads(expires_in=1).begin(**IMAGE)
    late = max(ticket.expires_at for ticket in tickets.values())
    time.sleep(max(0.0, late - time.time()) + 1.1)  # some stores count whole seconds
    for store, ticket in tickets.items():
        assert send(ticket, PNG) in {400, 403}, store.kind
        assert store.paths() == set(), store.kind
        for side in (Side("sync"), Side("async")):
            for method in ("claim", "resume", "abort"):
                with pytest.raises(ExpiredTokenError):
                    side(store.uploads(), method, ticket.claim)
    storages.clear_backends()


def test_claim_for_another_column_is_refused_and_stays_valid(store: Store, side: Side, send: Send) -> None:
    uploads = store.uploads()
    ticket = uploaded(side, uploads, send)
    for method in ("claim", "resume", "abort"):
        with pytest.raises(ClaimError, match=r"document\.image, not for document\.cover"):
            side(store.uploads(Document.cover), method, ticket.claim)
    with pytest.raises(ClaimError, match=r"document\.image, not for document\.cover"):
        side(FileObject, "from_claim", ticket.claim, Document.cover, secret=SECRET)
    assert side(FileObject, "from_claim", ticket.claim, Document.image, secret=SECRET).get_content() == PNG


def test_a_list_takes_one_file_for_each_claim(store: Store, side: Side, send: Send, session: Session) -> None:
    uploads = store.uploads(Document.pages)
    first, second, third = [uploaded(side, uploads, send, filename=f"{name}.png").claim for name in "abc"]
    document = Document(pages=[side(uploads, "claim", first)])
    session.add(document)
    session.commit()
    document.pages.append(side(uploads, "claim", second))
    session.commit()
    document.pages.append(side(uploads, "claim", third))
    session.flush()
    session.rollback()
    assert len(store.marks()) == 2
    assert [page.filename for page in document.pages] == ["a.png", "b.png"]
    assert [page.get_content() for page in document.pages] == [PNG, PNG]
    for claim in (first, second):
        with pytest.raises(ClaimError, match="used before"):
            side(uploads, "claim", claim)
    del document.pages[0]
    session.commit()
    assert {page.path for page in document.pages} < store.paths()
    assert len(store.paths()) == 2  # and what was uploaded for the third
    document.pages.append(side(uploads, "claim", third))
    session.commit()
    assert [page.filename for page in document.pages] == ["b.png", "c.png"]
    assert store.paths() == {page.path for page in document.pages}


def test_an_aborted_upload_leaves_nothing(store: Store, side: Side, send: Send) -> None:
    uploads = store.uploads()
    ticket = uploaded(side, uploads, send)
    assert len(store.paths()) == 1
    side(uploads, "abort", ticket.claim)
    assert store.paths() == set()
    side(uploads, "abort", ticket.claim)  # once more does no harm
    with pytest.raises(ClaimError, match="nothing was uploaded"):
        side(uploads, "claim", ticket.claim)


def test_a_ticket_can_be_had_again_for_the_same_claim(store: Store, side: Side, send: Send) -> None:
    uploads = store.uploads()
    first = side(uploads, "begin", **IMAGE)
    again = side(uploads, "resume", first.claim)
    assert (again.claim, again.method, again.expires_at) == (first.claim, first.method, first.expires_at)
    assert send(again, PNG) in {200, 201, 204}
    assert side(uploads, "claim", first.claim).get_content() == PNG


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_a_claim_that_is_not_ours_is_refused(store: Store, side: Side, send: Send) -> None:
    uploads = store.uploads()
    claim = uploaded(side, uploads, send).claim
    body, _, signature = claim.rpartition(".")
    url_token = sealed({"path": "x"}, SECRET, purpose="url")
    for wrong in ("", "x", claim[:-1], f"{body[:-2]}AA.{signature}", f"{body}.{signature[::-1]}", claim + "A", "ü.ü", url_token):
        for method in ("claim", "resume", "abort"):
            with pytest.raises(InvalidTokenError):
                side(uploads, method, wrong)
        with pytest.raises(InvalidTokenError):
            side(FileObject, "from_claim", wrong, secret=SECRET)
    with pytest.raises(InvalidTokenError):
        side(store.uploads(secret="7RinSTfFMH7p4dPwBP7QTXVG1kkt7Vb5"), "claim", claim)
    rotated = store.uploads(secret=["s1m96UKwKGYUOz-QrS_3M7DmvRyYVYTa", SECRET])
    assert side(rotated, "claim", claim).get_content() == PNG


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_a_claim_alone_brings_the_column_s_rules(store: Store, side: Side, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = store.uploads(secret=ONE_WORD)
    good, bad = uploaded(side, uploads, send), uploaded(side, uploads, send, HTML)
    monkeypatch.setenv("FILEROW_SECRET", ONE_WORD)
    assert side(FileObject, "from_claim", good.claim).get_content() == PNG
    with pytest.raises(ContentTypeError):
        side(FileObject, "from_claim", bad.claim)


@pytest.mark.parametrize("store", ["memory", "s3-post"], indirect=True)
def test_after_a_rollback_a_claim_is_as_good_as_before(store: Store, side: Side, send: Send, session: Session) -> None:
    uploads = store.uploads()
    claim = uploaded(side, uploads, send).claim
    file = side(uploads, "claim", claim)
    before = store.paths()
    session.add(Document(image=file))
    session.flush()
    assert len(store.marks()) == 1
    session.rollback()
    assert file.state.value == "pending"
    assert (store.paths(), store.marks()) == (before, set())
    with session.begin_nested() as savepoint:
        session.add(Document(image=side(uploads, "claim", claim)))
        session.flush()
        savepoint.rollback()
    assert (store.paths(), store.marks()) == (before, set())
    session.add(Document(image=file))
    session.commit()
    assert file.get_content() == PNG
    assert store.paths() == {file.path}
    assert len(store.marks()) == 1


@pytest.mark.parametrize("store", ["memory", "s3-post"], indirect=True)
def test_an_empty_file_is_a_file(store: Store, side: Side, send: Send) -> None:
    uploads = store.uploads(Document.anything)
    ticket = side(uploads, "begin", filename="empty.txt", size=0)
    assert send(ticket, b"") in {200, 201, 204}
    file = side(uploads, "claim", ticket.claim)
    assert (file.size, file.content_type, file.get_content()) == (0, "text/plain", b"")


def test_a_backend_that_clients_cannot_reach_says_so(side: Side) -> None:
    storages.register_backend(ObstoreBackend("direct", "memory://"))
    try:
        with pytest.raises(UnsupportedOperationError):
            side(DirectUploads(Document.image, secret=SECRET), "begin", **IMAGE)
    finally:
        storages.clear_backends()
