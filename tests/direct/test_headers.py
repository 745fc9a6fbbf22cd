"""Nothing that a client sends with its upload reaches a reader: no header, no metadata, no tag (P14)."""

from __future__ import annotations

import gzip
import json
import zlib
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy.orm import Session

from filerow import FileObject
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import Ticket
from tests.direct.conftest import PNG, Document, Side, Store, kept

pytestmark = pytest.mark.one_in(2)

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'

HOSTILE = {
    "Cache-Control": "public, max-age=31536000",
    "Content-Disposition": 'inline; filename="evil.html"',
    "Content-Encoding": "deflate",
    "Content-Language": "xx",
    "Expires": "Fri, 01 Jan 2038 00:00:00 GMT",
}
OF_THE_STORE = {
    "s3": {"x-amz-meta-evil": "1", "x-amz-storage-class": "REDUCED_REDUNDANCY", "x-amz-tagging": "public=yes"},
    "azure": {
        "x-ms-blob-cache-control": HOSTILE["Cache-Control"],
        "x-ms-blob-content-disposition": HOSTILE["Content-Disposition"],
        "x-ms-blob-content-encoding": "deflate",
        "x-ms-blob-content-language": "xx",
        "x-ms-blob-content-type": "image/svg+xml",
        "x-ms-meta-evil": "1",
    },
    "gcs": {"x-goog-meta-evil": "1", "x-goog-acl": "public-read"},
}
SAFE = {None, "", "identity", "binary"}


def send(ticket: Ticket, body: bytes, added: dict[str, str]) -> int:
    if ticket.method == "POST":
        fields = {**ticket.fields, **added}
        return httpx.post(ticket.url, data=fields, files={"file": ("x", body)}, trust_env=False).status_code
    return httpx.put(ticket.url, content=body, headers={**ticket.headers, **added}, trust_env=False).status_code


def at_google(store: Store, file: FileObject | str) -> str:
    """Return where a stand-in for Google, which checks no signature, answers as Google would to a signed URL."""
    backend = store.backend
    assert isinstance(backend, ObstoreBackend)
    config = dict(backend.store.config)
    endpoint = json.loads(str(config["service_account_key"]))["gcs_base_url"]
    path = file if isinstance(file, str) else file.path
    return f"{endpoint}/{config['bucket']}/{quote(f'{backend.store.prefix}/{path}')}"


def downloaded(store: Store, file: FileObject) -> tuple[bytes, dict[str, str]]:
    """Return what a reader gets: the bytes as they come, and the headers."""
    url = file.sign() if store.kind != "gcs" else at_google(store, file)
    with httpx.stream("GET", url, trust_env=False) as answer:
        answer.raise_for_status()
        return b"".join(answer.iter_raw()), {name.lower(): value for name, value in answer.headers.items()}


def assert_clean(store: Store, file: FileObject, body: bytes, tags: str = "0") -> None:
    content, said = downloaded(store, file)
    assert content == file.get_content() == body
    assert said.get("content-encoding") in SAFE
    assert said["content-type"].partition(";")[0] in {file.content_type, "application/octet-stream"}
    evil = [
        name for name, value in said.items() if "evil" in f"{name} {value}" or "31536000" in str(value) or "2038" in str(value)
    ]
    assert not evil, said
    assert said.get("content-language", "") != "xx"
    assert said.get("x-amz-storage-class", "STANDARD") == "STANDARD"
    assert said.get("x-amz-tagging-count", "0") == tags


@pytest.mark.servers
@pytest.mark.parametrize("store", ["s3-post", "s3-put", "azure", "gcs", "fsspec-s3"], indirect=True)
@pytest.mark.parametrize("body", [PNG, zlib.compress(PNG), gzip.compress(PNG * 500)], ids=["plain", "zlib", "gzip"])
def test_no_header_of_a_client_s_reaches_a_reader(store: Store, side: Side, session: Session, body: bytes) -> None:
    uploads = store.uploads(Document.anything)
    kind = next((kind for kind in OF_THE_STORE if kind in store.kind), "s3")
    taken = 0
    for name, value in {**HOSTILE, **OF_THE_STORE[kind]}.items():
        ticket = side(uploads, "begin", filename="cat.bin", size=len(body), content_type="application/octet-stream")
        if send(ticket, body, {name: value}) in {200, 201, 204}:
            taken += 1
            assert_clean(store, kept(session, side(uploads, "claim", ticket.claim), Document.anything), body)
    assert taken >= (store.kind != "s3-post"), "a store that binds nothing takes some"


@pytest.mark.servers
@pytest.mark.parametrize("store", ["azure", "gcs", "fsspec-s3"], indirect=True)
def test_script_a_client_calls_an_image_is_stored_as_what_it_is(store: Store, side: Side, session: Session) -> None:
    uploads = store.uploads(Document.anything)
    ticket = side(uploads, "begin", filename="cat.svg", size=len(SVG), content_type="application/octet-stream")
    added = {"x-ms-blob-content-type": "image/svg+xml", "Content-Disposition": "inline"}
    if store.kind != "fsspec-s3":  # which binds the type
        added["Content-Type"] = "image/svg+xml"
    assert send(ticket, SVG, added) in {200, 201}
    file = kept(session, side(uploads, "claim", ticket.claim), Document.anything)
    content, said = downloaded(store, file)
    assert content == SVG
    assert said["content-disposition"].startswith("attachment")
