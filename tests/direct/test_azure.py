"""What the holder of a ticket can do on Azure: create one blob. It cannot be written again, leased, or written page by page."""

from __future__ import annotations

import sys
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import obstore
import pytest
from sqlalchemy.orm import Session

from filerow.backends.obstore import ObstoreBackend
from filerow.direct import Ticket
from filerow.exceptions import ClaimError, ContentTypeError
from tests.direct.conftest import PNG, Document, Side, Store, kept

pytestmark = [pytest.mark.parametrize("store", ["azure"], indirect=True)]

PAGES = 1024
CREATED, FORBIDDEN = 201, 403


def ask(ticket: Ticket, body: bytes = b"", query: str = "", method: str = "PUT", **headers: str) -> int:
    """Send one request with the ticket's signature; a header's name is written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{ticket.url}&{query}" if query else ticket.url
    return httpx.request(method, url, content=body, headers=named, trust_env=False).status_code


def put(ticket: Ticket, body: bytes) -> int:
    return httpx.put(ticket.url, content=body, headers=dict(ticket.headers), trust_env=False).status_code


def page_blob(ticket: Ticket, size: int) -> int:
    return ask(ticket, x_ms_blob_type="PageBlob", x_ms_blob_content_length=str(size))


def begun(store: Store, side: Side, size: int = len(PNG), kind: str = "image/png", name: str = "cat.png") -> Ticket:
    column = Document.image if kind == "image/png" else Document.anything
    ticket = side(store.uploads(column), "begin", filename=name, size=size, content_type=kind)
    assert isinstance(ticket, Ticket)
    return ticket


def delete_snapshots(store: Store, path: str) -> None:
    backend = store.backend
    assert isinstance(backend, ObstoreBackend)
    [url] = obstore.sign(backend.store, "DELETE", [path], timedelta(seconds=60))
    assert httpx.delete(url, headers={"x-ms-delete-snapshots": "only"}, trust_env=False).status_code == 202


@pytest.mark.parametrize("name", ["cat.png", "ein Bär.png"])
def test_a_ticket_signs_the_creation_of_a_blob_alone(store: Store, side: Side, name: str) -> None:
    assert parse_qs(urlsplit(begun(store, side, name=name).url).query)["sp"] == ["c"]


def test_ticket_without_azure_s_library_signs_what_obstore_signs(
    store: Store, side: Side, monkeypatch: pytest.MonkeyPatch, session: Session
) -> None:
    monkeypatch.setitem(sys.modules, "azure.storage.blob", None)
    ticket = begun(store, side)
    assert parse_qs(urlsplit(ticket.url).query)["sp"] == ["w"]
    assert put(ticket, PNG) == CREATED
    assert kept(session, side(store.uploads(), "claim", ticket.claim)).get_content() == PNG


def test_a_second_upload_on_the_same_url_is_refused(store: Store, side: Side, session: Session) -> None:
    ticket = begun(store, side)
    assert put(ticket, PNG) == CREATED
    assert put(ticket, PNG[:-1] + b"!") == FORBIDDEN
    assert page_blob(ticket, PAGES) == FORBIDDEN
    file = kept(session, side(store.uploads(), "claim", ticket.claim))
    assert file.get_content() == PNG
    assert store.paths() == {file.path}


@pytest.mark.parametrize("action", ["acquire", "break"])
def test_an_upload_cannot_be_leased(store: Store, side: Side, session: Session, action: str) -> None:
    ticket = begun(store, side)
    assert put(ticket, PNG) == CREATED
    assert ask(ticket, query="comp=lease", x_ms_lease_action=action, x_ms_lease_duration="-1") == FORBIDDEN
    file = kept(session, side(store.uploads(), "claim", ticket.claim))
    assert store.paths() == {file.path}


def test_pages_of_a_page_blob_cannot_be_written(store: Store, side: Side) -> None:
    ticket = begun(store, side, PAGES, "application/octet-stream", "a.bin")
    assert page_blob(ticket, PAGES) == CREATED
    written = {"x_ms_page_write": "update", "x_ms_range": f"bytes=0-{PAGES - 1}"}
    assert ask(ticket, b"x" * PAGES, "comp=page", **written) == FORBIDDEN
    assert ask(ticket, query="comp=properties", x_ms_blob_content_length="512") == FORBIDDEN


def test_zeros_in_a_page_blob_are_a_file_of_zeros(store: Store, side: Side, session: Session) -> None:
    ticket = begun(store, side, PAGES, "application/octet-stream", "a.bin")
    assert page_blob(ticket, PAGES) == CREATED
    file = kept(session, side(store.uploads(Document.anything), "claim", ticket.claim), Document.anything)
    assert file.get_content() == bytes(PAGES)
    assert store.paths() == {file.path}
    info = store.backend.copy(file.path, f"{file.path}-copy")  # an ordinary blob, which can be copied and replaced
    assert info is not None


def test_zeros_in_a_page_blob_are_not_an_image(store: Store, side: Side) -> None:
    ticket = begun(store, side, PAGES)
    assert page_blob(ticket, PAGES) == CREATED
    with pytest.raises(ContentTypeError):
        side(store.uploads(), "claim", ticket.claim)
    assert store.paths() == set()


@pytest.mark.parametrize("size", [512, 1 << 40])
def test_a_page_blob_of_another_size_is_refused_and_removed(store: Store, side: Side, size: int) -> None:
    ticket = begun(store, side, PAGES, "application/octet-stream", "a.bin")
    assert page_blob(ticket, size) == CREATED
    with pytest.raises(ClaimError, match="announced with"):
        side(store.uploads(Document.anything), "claim", ticket.claim)
    assert store.paths() == set()


def test_a_snapshot_keeps_an_upload_and_hurts_no_row(store: Store, side: Side, session: Session) -> None:
    """Azure takes permission to create for permission to snapshot. Ours may be somebody's backups, so we delete none."""
    ticket = begun(store, side)
    assert put(ticket, PNG) == CREATED
    assert ask(ticket, query="comp=snapshot") == CREATED
    file = kept(session, side(store.uploads(), "claim", ticket.claim))
    assert file.get_content() == PNG
    [left] = store.paths() - {file.path}
    session.add(Document(image=side(store.uploads(), "claim", ticket.claim)))
    with pytest.raises(ClaimError, match="used before"):
        session.commit()
    session.rollback()
    delete_snapshots(store, left)  # as the container's lifecycle rule does
    assert not store.backend.delete(left)
    assert store.paths() == {file.path}


@pytest.mark.parametrize("query", ["comp=metadata", "comp=properties", "comp=tier", "comp=tags", "comp=block&blockid=AAAA"])
def test_nothing_else_of_an_upload_can_be_changed(store: Store, side: Side, query: str) -> None:
    ticket = begun(store, side)
    assert put(ticket, PNG) == CREATED
    assert ask(ticket, query=query, x_ms_meta_evil="1", x_ms_access_tier="Archive") == FORBIDDEN


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_upload_can_be_neither_read_nor_deleted(store: Store, side: Side, method: str) -> None:
    ticket = begun(store, side)
    assert put(ticket, PNG) == CREATED
    assert ask(ticket, method=method) == FORBIDDEN
