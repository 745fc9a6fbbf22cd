"""A real browser opens what clients have uploaded straight to a store, by the row's signed URL: nothing of it runs.

Each script asks the application for a beacon. The same uploads, as the store keeps them before their rows are written, do run
where the store lets a client say what they are, which proves that the test could fail.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy.orm import Session

from filerow.backends.base import SignRequest
from filerow.direct import Ticket
from tests.direct.conftest import Document, Store, kept
from tests.direct.test_headers import at_google
from tests.http.site import Site as Application
from tests.http.test_browser import HTML_NS, TYPES
from tests.servers.chromium import Chromium, Page
from tests.tokens import said_by

pytestmark = pytest.mark.servers

LETS_A_CLIENT_SAY = {"azure": {"html", "svg", "xhtml"}, "fsspec-s3": {"svg"}, "gcs": {"html", "svg", "xhtml"}}
"""Which uploads run before they are claimed, at the store's own origin."""


@pytest.fixture
def application() -> Iterator[Application]:
    with Application() as running:
        yield running


def hostile(name: str, beacon: str) -> bytes:
    code = f"fetch('{beacon}', {{mode: 'no-cors'}})"
    return {
        "html": f"<!doctype html><script>{code}</script>",
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg"><script>{code}</script></svg>',
        "xhtml": f'<html xmlns="{HTML_NS}"><head><title>x</title><script>{code}</script></head></html>',
        "xml": f'<?xml version="1.0"?><r><x:script xmlns:x="{HTML_NS}">{code}</x:script></r>',
        "js": code,
        "txt": code,
    }[name].encode()


def send(ticket: Ticket, body: bytes, content_type: str) -> None:
    """Upload, with all that the store lets a client say."""
    headers = dict(ticket.headers)
    if ticket.method == "POST":
        answer = httpx.post(ticket.url, data=dict(ticket.fields), files={"file": ("x", body)}, trust_env=False)
    else:
        evil = {**headers, "Content-Type": content_type, "x-ms-blob-content-type": content_type, "Content-Disposition": "inline"}
        answer = httpx.put(ticket.url, content=body, headers=evil, trust_env=False)
        if answer.status_code in {400, 403, 415}:
            answer = httpx.put(ticket.url, content=body, headers={**headers, "Content-Disposition": "inline"}, trust_env=False)
        if answer.status_code in {400, 403}:
            answer = httpx.put(ticket.url, content=body, headers=headers, trust_env=False)
    assert answer.status_code in {200, 201, 204}, answer.text


def embedding(urls: list[str]) -> bytes:
    """Return a page that uses each file in each way that runs something, but for plain scripts, which no store can stop."""
    parts = ["<!doctype html><title>page</title>"]
    for url in urls:
        source = url.replace("&", "&amp;")
        parts += [f'<iframe src="{source}"></iframe><object data="{source}"></object><embed src="{source}"><img src="{source}">']
        parts += [f'<link rel="stylesheet" href="{source}"><script type="module" src="{source}"></script>']
        parts += [f"<script>try {{ new Worker('{url}') }} catch {{}}"]
        parts += [f"try {{ navigator.serviceWorker.register('{url}').catch(() => 0) }} catch {{}}</script>"]
    return "".join(parts).encode()


def settle(page: Page, application: Application) -> None:
    """Wait until what was asked for before has been asked for."""
    page.evaluate(f"new Promise(done => setTimeout(done, 300)).then(() => fetch('{application.origin}/beacon?end'))")


@pytest.mark.one_in(2)
@pytest.mark.parametrize("store", ["azure", "s3-post", "s3-put", "fsspec-s3", "gcs", "local"], indirect=True)
def test_nothing_that_a_client_has_uploaded_runs(
    chromium: Chromium, application: Application, store: Store, session: Session
) -> None:
    uploads = store.uploads(Document.anything)
    tickets: dict[str, Ticket] = {}
    for name, content_type in TYPES.items():
        body = hostile(name, f"{application.origin}/beacon?{name}")
        tickets[name] = uploads.begin(filename=f"a.{name}", size=len(body), content_type=content_type)
        send(tickets[name], body, content_type)
    application.pages["/"] = ("text/html", b"<title>page</title>", ())
    files = {name: kept(session, uploads.claim(ticket.claim), Document.anything) for name, ticket in tickets.items()}
    urls = [at_google(store, file) if store.kind == "gcs" else file.sign() for file in files.values()]
    urls = [url if url.startswith("http") else f"{store.site.url}{url}" for url in urls]
    application.pages["/page"] = ("text/html", embedding(urls), ())
    with chromium.page() as page:
        for url in urls:
            page.open(url)
        page.open(f"{application.origin}/page")
        settle(page, application)
    assert application.beacons == ["end"]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("store", list(LETS_A_CLIENT_SAY), indirect=True)
def test_before_their_rows_are_written_such_uploads_run(chromium: Chromium, application: Application, store: Store) -> None:
    uploads = store.uploads(Document.anything)
    with chromium.page() as page:
        for name in sorted(LETS_A_CLIENT_SAY[store.kind]):
            body = hostile(name, f"{application.origin}/beacon?{name}")
            ticket = uploads.begin(filename=f"a.{name}", size=len(body), content_type=TYPES[name])
            send(ticket, body, TYPES[name])
            path = said_by(ticket.claim)["path"]
            signed = at_google(store, path) if store.kind == "gcs" else store.backend.sign(path, SignRequest("GET", 60))
            page.open(signed)
            application.wait_for(name)
