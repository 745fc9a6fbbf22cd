"""Check, as clients do, the public host and permanent URLs of a backend."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from filerow.backends.base import SignRequest, StorageBackend
from filerow.exceptions import FilerowError
from filerow.maintenance._doctor.ask import HttpAnswer, ask, fetched, in_a_thread
from filerow.maintenance._report import Finding

_FORBIDDEN = 403
_OVERRIDES = "response-content-type=text/html&response-content-disposition=inline"


def public_findings(backend: StorageBackend, path: str, content: bytes) -> Iterator[Finding]:
    """Find out whether clients can read an object by the URLs that they are given."""
    urls = backend.public_urls
    if backend.public_endpoint is not None and not (urls is not None and urls.signs):
        yield from _endpoint(backend, backend.public_endpoint, path, content)
    if urls is not None and urls.permanent and urlsplit(backend.url(path)).netloc:
        yield from _permanent(backend, path, content)


def _endpoint(backend: StorageBackend, endpoint: str, path: str, content: bytes) -> Iterator[Finding]:
    try:
        url = ask(backend, "sign", path, SignRequest("GET", 60))
    except FilerowError:
        return  # reported as cannot-sign
    answer: HttpAnswer = in_a_thread(fetched, url)
    if answer.status == 0:
        message = f"public_endpoint {endpoint} does not answer from here: {answer.text}"
        advice = "that is right if clients alone reach it; then ask for a signed URL from where they are"
        yield Finding("public-unreachable", message, "info", backend=backend.key, advice=advice)
    elif answer.status == _FORBIDDEN:
        message = f"public_endpoint {endpoint} refuses a URL that was signed for it: {answer.text}"
        advice = "let the proxy pass on host and path as they came (nginx: proxy_set_header Host $http_host)"
        yield Finding("public-endpoint", message, backend=backend.key, advice=advice)
    elif answer.body != content:
        message = f"public_endpoint {endpoint} does not lead to what was written: HTTP {answer.status} {answer.text}"
        yield Finding("public-endpoint", message, backend=backend.key, advice="let it lead to this very store")


def _permanent(backend: StorageBackend, path: str, content: bytes) -> Iterator[Finding]:
    url = backend.url(path)
    answer: HttpAnswer = in_a_thread(fetched, url)
    host = urlsplit(url).netloc
    if answer.status == 0:
        message = f"permanent URLs ({host}) do not answer from here: {answer.text}"
        yield Finding("public-unreachable", message, "info", backend=backend.key, advice="look at one from where clients are")
        return
    if answer.body != content:
        message = f"permanent URLs ({host}) do not show what was written to {path!r}: HTTP {answer.status} {answer.text}"
        advice = (
            "right if only the folders of columns are public; else let everybody read the backend's files there, prefix included"
        )
        yield Finding("public-url", message, "warning", backend=backend.key, advice=advice)
        return
    changed: HttpAnswer = in_a_thread(fetched, f"{url}{'&' if '?' in url else '?'}{_OVERRIDES}")
    if changed.status == answer.status and changed.headers.get("Content-Type", "").startswith("text/html"):
        message = f"by a query everybody can have a file of {host} answered as a page (response-content-type), scripts included"
        advice = "let a proxy or CDN in front drop the query (nginx: set $args ''), and serve from a domain of its own"
        yield Finding("public-override", message, "warning", backend=backend.key, advice=advice)
