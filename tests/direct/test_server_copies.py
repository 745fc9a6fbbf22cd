"""Stores copy large uploads themselves, with nothing of the client's; what they cannot copy that way is read and written."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from sqlalchemy.orm import Session

from filerow import storages
from filerow.backends.fsspec import FSSpecBackend
from filerow.direct import Ticket
from filerow.exceptions import ClaimError, StorageError
from tests.backends.stores import LARGE_BODY, s3fs_options
from tests.direct.conftest import PNG, Document, Side, Store, kept, make_store
from tests.direct.site import Site
from tests.direct.test_headers import HOSTILE, OF_THE_STORE, SVG, assert_clean, downloaded, send
from tests.servers._s3 import S3Server
from tests.servers.counting import CountingProxy, Request

pytestmark = [pytest.mark.servers, pytest.mark.one_in(3), LARGE_BODY]

LARGE = PNG + b"x" * (9 << 20)
OTHER = PNG + b"y" * (9 << 20)
DIGEST = f"sha256:{hashlib.sha256(LARGE).hexdigest()}"
PAGES = 9 << 20

EVERY = ["azure", "gcs", "fsspec-s3", "fsspec-gcs", "fsspec-azure"]
REPLACING = [kind for kind in EVERY if kind != "fsspec-gcs"]
"""fake-gcs-server keeps what a rewrite with metadata does not name, which Google does not."""
ON_AZURE = ["azure", "fsspec-azure"]

_proxies: dict[str, CountingProxy] = {}


def through(endpoint: str) -> str:
    """Return a server's endpoint behind the proxy that counts."""
    where = urlsplit(endpoint)
    if where.netloc not in _proxies:
        _proxies[where.netloc] = CountingProxy(f"http://{where.netloc}")
    return f"{_proxies[where.netloc].endpoint}{where.path}"


@pytest.fixture(scope="session", autouse=True)
def counted() -> Iterator[None]:
    """End the proxies with the session, for filesystems keep their connections until then."""
    yield
    for proxy in _proxies.values():
        proxy.stop()
    _proxies.clear()


@pytest.fixture(params=EVERY)
def store(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[Store]:
    made = make_store(request, site, tmp_path, request.param, through)
    storages.register_backend(made.backend)
    for proxy in _proxies.values():
        proxy.reset()
    yield made
    storages.clear_backends()


def hostile(store: Store) -> dict[str, str]:
    """All headers of a client's that a store takes."""
    kind = next(kind for kind in OF_THE_STORE if kind in store.kind)
    added = HOSTILE if kind == "s3" else {**HOSTILE, **OF_THE_STORE[kind]}  # S3 wants all of its own to be signed
    undecoded = store.kind in {
        "azure",
        "gcs",
        "fsspec-s3",
    }  # the clients of others decode, and fail to look at what is not encoded
    return {name: value for name, value in added.items() if undecoded or "encoding" not in name.lower()}


def uploaded(store: Store, side: Side, body: bytes = LARGE, added: dict[str, str] | None = None, **facts: Any) -> Ticket:
    facts = {"filename": "cat.png", "content_type": "image/png", "size": len(body), **facts}
    ticket = side(store.uploads(Document.anything), "begin", **facts)
    assert isinstance(ticket, Ticket)
    assert send(ticket, body, added or {}) in {200, 201}
    return ticket


def requests() -> list[Request]:
    return [request for proxy in _proxies.values() for request in proxy.requests]


def written(path: str) -> list[Request]:
    """Return the requests that have sent bytes for a path; a copy is one without any."""
    found = []
    for asked in requests():
        where = f"{unquote(asked.path)}?{unquote(asked.query)}"
        sends = asked.method == "PUT" and ("comp=block" in asked.query or "uploadId" in asked.query)
        if (sends and path in where) or "uploadType=resumable" in asked.query:
            found.append(asked)
    return found


def large_ones(store: Store) -> set[str]:
    return {info.path for info in store.backend.list() if (info.size or 0) >= 1 << 20}


def test_a_large_upload_is_copied_by_the_store(store: Store, side: Side, session: Session) -> None:
    ticket = uploaded(store, side)
    file = kept(session, side(store.uploads(Document.anything), "claim", ticket.claim), Document.anything)
    assert written(file.path) == []
    assert (file.size, file.checksum, file.content_type) == (len(LARGE), DIGEST, "image/png")
    assert_clean(store, file, LARGE)
    assert downloaded(store, file)[1].get("content-disposition", "") in {'inline; filename="cat.png"', ""}  # fake-gcs shows none
    assert large_ones(store) == {file.path}
    info = store.backend.head(file.path)
    assert (file.etag, file.version_id) == (info.etag, info.version_id)


@pytest.mark.parametrize("store", REPLACING, indirect=True)
def test_nothing_of_the_client_s_comes_with_the_copy(store: Store, side: Side, session: Session) -> None:
    ticket = uploaded(store, side, added=hostile(store))
    file = kept(session, side(store.uploads(Document.anything), "claim", ticket.claim), Document.anything)
    assert written(file.path) == []
    assert_clean(store, file, LARGE)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("store", EVERY, indirect=True)
def test_no_single_header_of_a_client_s_is_copied(store: Store, side: Side, session: Session) -> None:
    uploads = store.uploads(Document.anything)
    for name, value in hostile(store).items():
        ticket = uploaded(store, side, added={name: value})
        assert_clean(store, kept(session, side(uploads, "claim", ticket.claim), Document.anything), LARGE)


@pytest.mark.parametrize("store", ["fsspec-gcs"], indirect=True)
def test_a_store_that_keeps_headers_is_found_out_once(store: Store, side: Side, session: Session) -> None:
    uploads = store.uploads(Document.anything)
    for tries in (1, 0):
        ticket = uploaded(store, side, added={"x-goog-meta-evil": "1"})
        for proxy in _proxies.values():
            proxy.reset()
        file = kept(session, side(uploads, "claim", ticket.claim), Document.anything)
        assert sum("/rewriteTo/" in asked.path for asked in requests()) == tries
        assert sum(asked.method == "DELETE" and file.path in unquote(asked.path) for asked in requests()) == tries
        assert written(file.path)
        assert_clean(store, file, LARGE)
        assert large_ones(store) >= {file.path}
    assert len(large_ones(store)) == 2


ADDED: list[dict[str, Any]] = [
    {"CacheControl": "max-age=60"}, {"Metadata": {"Owner": "ours"}}, {"ContentLanguage": "de"}, {"Tagging": "a=b&c=d"},
]  # fmt: skip


@pytest.mark.parametrize("added", ADDED, ids=lambda added: next(iter(added)))
def test_additions_of_s3fs_are_not_a_client_s(
    added: dict[str, Any], s3_server: S3Server, site: Site, side: Side, session: Session
) -> None:
    """One such header, and no upload was copied by the store any more."""
    options = s3fs_options(s3_server) | {"endpoint_url": through(s3_server.endpoint)}
    options["storage_options"] |= {"s3_additional_kwargs": added}
    place = f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix()}"
    store = Store("fsspec-s3", FSSpecBackend("direct", place, **options), site)
    storages.register_backend(store.backend)
    for proxy in _proxies.values():
        proxy.reset()
    try:
        ticket = uploaded(store, side, added={"Cache-Control": "no-store", "Content-Language": "xx"})
        file = kept(session, side(store.uploads(Document.anything), "claim", ticket.claim), Document.anything)
        assert written(file.path) == []
        assert_clean(store, file, LARGE, tags="2" if "Tagging" in added else "0")
    finally:
        storages.clear_backends()


@pytest.mark.one_in(2)
def test_an_upload_that_is_replaced_after_a_look_is_refused(store: Store, side: Side, session: Session) -> None:
    ticket = uploaded(store, side)
    file = side(store.uploads(Document.anything), "claim", ticket.claim)
    [upload] = large_ones(store)
    store.backend.delete(upload)
    store.backend.put(upload, OTHER)
    with pytest.raises(ClaimError, match="since this claim was looked at"):
        kept(session, file, Document.anything)
    session.rollback()
    assert large_ones(store) == {upload}


@pytest.mark.one_in(2)
def test_an_upload_that_is_gone_after_a_look_is_refused(store: Store, side: Side, session: Session) -> None:
    ticket = uploaded(store, side)
    file = side(store.uploads(Document.anything), "claim", ticket.claim)
    for path in large_ones(store):
        store.backend.delete(path)
    with pytest.raises(ClaimError, match="since this claim was looked at"):
        kept(session, file, Document.anything)
    session.rollback()
    assert large_ones(store) == set()


def fail_after_the_copy(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the request fail by which the copy is looked at."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise ConnectionResetError("cut")

    if store.kind == "azure":
        monkeypatch.setattr("azure.storage.blob.BlobClient.set_blob_metadata", refuse)
    elif store.kind == "fsspec-azure":
        monkeypatch.setattr("azure.storage.blob.aio.BlobClient.set_blob_metadata", refuse)
    elif store.kind == "gcs":
        from google.auth.transport.requests import AuthorizedSession

        real = AuthorizedSession.request
        copied: list[bool] = []

        def request(self: Any, method: str, url: str, **options: Any) -> Any:
            if copied:
                refuse()
            answer = real(self, method, url, **options)
            copied.extend([True] if answer.json().get("done") else [])
            return answer

        monkeypatch.setattr(AuthorizedSession, "request", request)
    else:
        name, last = {"fsspec-s3": ("call_s3", "head_object"), "fsspec-gcs": ("call", "GET")}[store.kind]
        fs = store.backend.fs  # type: ignore[attr-defined]
        real = getattr(fs, name)
        begun: list[bool] = []

        def call(method: str, *args: Any, **options: Any) -> Any:
            if begun and method == last:
                refuse()
            begun.extend([True] if method in {"copy_object", "POST"} else [])
            return real(method, *args, **options)

        monkeypatch.setattr(fs, name, call)


@pytest.mark.one_in(2)
def test_a_copy_that_fails_in_the_middle_leaves_nothing(
    store: Store, side: Side, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = uploaded(store, side)
    uploads = store.uploads(Document.anything)
    file = side(uploads, "claim", ticket.claim)
    [upload] = large_ones(store)
    with monkeypatch.context() as broken:
        fail_after_the_copy(store, broken)
        with pytest.raises(StorageError):
            kept(session, file, Document.anything)
        session.rollback()
    assert large_ones(store) == {upload}
    file = kept(session, side(uploads, "claim", ticket.claim), Document.anything)
    assert file.get_content() == LARGE
    assert large_ones(store) == {file.path}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("store", ["azure", "gcs", "fsspec-s3"], indirect=True)
def test_a_copy_that_turns_out_to_be_something_else_is_removed(store: Store, side: Side, session: Session) -> None:
    ticket = uploaded(store, side, checksum=f"sha256:{'0' * 64}")
    file = side(store.uploads(Document.anything), "claim", ticket.claim)
    [upload] = large_ones(store)
    with pytest.raises(ClaimError, match="checksum"):
        kept(session, file, Document.anything)
    session.rollback()
    assert large_ones(store) == {upload}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("store", REPLACING, indirect=True)
def test_a_large_script_that_a_client_calls_an_image_is_saved(store: Store, side: Side, session: Session) -> None:
    body = SVG + b" " * (9 << 20)
    ticket = side(store.uploads(Document.anything), "begin", filename="a.svg", size=len(body), content_type="image/svg+xml")
    added = {"x-ms-blob-content-type": "image/svg+xml", "Content-Disposition": "inline"}
    assert send(ticket, body, added) in {200, 201}
    file = kept(session, side(store.uploads(Document.anything), "claim", ticket.claim), Document.anything)
    assert written(file.path) == []
    assert downloaded(store, file)[1]["content-disposition"].startswith("attachment")


# -- what is read and written all the same ---------------------------------------------------------------------------------


@pytest.mark.one_in(2)
@pytest.mark.parametrize("store", [kind for kind in EVERY if kind != "fsspec-s3"], indirect=True)
def test_a_small_upload_is_read_and_written(store: Store, side: Side, session: Session) -> None:
    ticket = uploaded(store, side, PNG)
    kept(session, side(store.uploads(Document.anything), "claim", ticket.claim), Document.anything)
    assert not [asked for asked in requests() if "/rewriteTo/" in asked.path or "comp=properties" in asked.query]


@pytest.mark.parametrize("store", ON_AZURE, indirect=True)
def test_a_large_page_blob_is_read_and_written(store: Store, side: Side, session: Session) -> None:
    facts = {"filename": "a.bin", "content_type": "application/octet-stream", "size": PAGES}
    ticket = side(store.uploads(Document.anything), "begin", **facts)
    page = {"x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": str(PAGES)}
    assert send(ticket, b"", page) == 201
    file = kept(session, side(store.uploads(Document.anything), "claim", ticket.claim), Document.anything)
    assert written(file.path)
    assert file.get_content() == bytes(PAGES)
    assert large_ones(store) == {file.path}
    assert_one_more_is_copied(store, side, session)


@pytest.mark.parametrize("store", ON_AZURE, indirect=True)
def test_large_upload_in_a_client_s_tier_moves_to_the_usual_one(store: Store, side: Side, session: Session) -> None:
    ticket = uploaded(store, side, added={"x-ms-access-tier": "Cool"})
    file = kept(session, side(store.uploads(Document.anything), "claim", ticket.claim), Document.anything)
    assert written(file.path)
    head = httpx.head(file.sign(), trust_env=False).headers
    assert (head["x-ms-access-tier"], head["x-ms-access-tier-inferred"]) == ("Hot", "true")
    assert_one_more_is_copied(store, side, session)


def assert_one_more_is_copied(store: Store, side: Side, session: Session) -> None:
    """See that what a client did to one upload changes nothing for others."""
    ticket = uploaded(store, side)
    file = kept(session, side(store.uploads(Document.anything), "claim", ticket.claim), Document.anything)
    assert written(file.path) == []


@pytest.mark.parametrize(("store", "library"), [("azure", "azure.storage.blob"), ("gcs", "google.auth.jwt")], indirect=["store"])
def test_upload_is_read_and_written_without_the_cloud_s_library(
    store: Store, side: Side, session: Session, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    ticket = uploaded(store, side)
    monkeypatch.setitem(sys.modules, library, None)
    file = kept(session, side(store.uploads(Document.anything), "claim", ticket.claim), Document.anything)
    assert written(file.path)
    assert file.get_content() == LARGE
