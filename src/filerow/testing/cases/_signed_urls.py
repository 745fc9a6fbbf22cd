"""Signed URLs: each allows one thing with one object for a limited time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal
from urllib.parse import parse_qsl, quote, urlencode

from filerow.backends.base import SignRequest
from filerow.exceptions import UnsupportedOperationError
from filerow.testing._case import case, ensure, equal, raised
from filerow.testing._driver import SMALL, SyncDriver
from filerow.testing._errors import DoesNotApplyError
from filerow.testing._harness import Answer

_BODY = b"0123456789"
_ORIGINAL = b"what was there before"
_DISPOSITION = "attachment; filename*=UTF-8''%E2%82%AC.png"
_MINUTES = 300
_LATE = 100


@case()
def capabilities_are_honest_about_signing(d: SyncDriver) -> None:
    """What is declared works, what is not is refused with an error that says so."""
    path = d.at("signed")
    d.put(path, SMALL)
    methods: tuple[tuple[Literal["GET", "PUT"], str], ...] = (("GET", "sign_get"), ("PUT", "sign_put"))
    for method, capability in methods:
        request = SignRequest(method, 60)
        if getattr(d.backend.capabilities, capability):
            url = d.call("sign", path, request)
            ensure(url.startswith(("http://", "https://", "/")), f"a signed URL is {url!r}")
            equal(len(d.call("sign_many", [path, d.at("other")], request)), 2, "how many URLs sign_many() made of two paths")
        else:
            error = raised(UnsupportedOperationError, d.call, "sign", path, request)
            ensure(isinstance(error, NotImplementedError), "UnsupportedOperationError is a NotImplementedError")
            equal(error.operation, "sign", "the operation that the error names")
            raised(UnsupportedOperationError, d.call, "sign_many", [path, path], request)


@case()
def a_backend_says_what_it_is(d: SyncDriver) -> None:
    """By its protocol and in its repr."""
    ensure(d.backend.protocol, "a backend has a protocol")
    ensure(d.backend.key in repr(d.backend), f"repr() does not show the key: {d.backend!r}")


def _send(d: SyncDriver, method: str, url: str, request: SignRequest, body: bytes = _BODY) -> Answer:
    """Send what an honest holder of the URL would send, with any method."""
    if method not in {"PUT", "POST"}:
        return d.harness.send(d.backend, method, url, None, {})
    headers = d.backend.upload_headers(request if request.method == "PUT" else SignRequest("PUT", _MINUTES))
    return d.harness.send(d.backend, method, url, body, headers)


def _refused(d: SyncDriver, got: Answer, path: str, what: str) -> None:
    ensure(400 <= got.status < 500, f"{what} was answered with {got.status}, not refused")  # noqa: PLR2004 - RFC 9110
    ensure(_ORIGINAL not in got.body, f"{what} was answered with {got.status} and the object's bytes")
    if d.call("exists", path):
        equal(d.read(path), _ORIGINAL, f"what the object holds after {what}")


def _reads(d: SyncDriver, url: str, what: str) -> Answer:
    got = d.harness.send(d.backend, "GET", url, None, {})
    equal((got.status, got.body), (200, _ORIGINAL), what)
    return got


def _uploads(d: SyncDriver, url: str, request: SignRequest, path: str) -> None:
    got = _send(d, "PUT", url, request)
    ensure(got.status in {200, 201}, f"an upload to a signed URL was answered with {got.status}: {got.body[:200]!r}")
    equal(d.read(path), _BODY, "what was uploaded to a signed URL")


def _signed(d: SyncDriver, path: str, request: SignRequest) -> str:
    """Return a URL, or skip the case if the store cannot bind what is asked."""
    try:
        url: str = d.call("sign", path, request)
    except UnsupportedOperationError as error:
        raise DoesNotApplyError(error.message) from error
    return url


@case()
def a_url_signed_to_read_reads_and_does_nothing_else(d: SyncDriver) -> None:
    """It is for ``GET``; whether for ``HEAD`` too is left to the store."""
    d.needs("sign_get")
    path = d.at("a b/object")
    d.put(path, _ORIGINAL)
    request = SignRequest("GET", _MINUTES)
    url = _signed(d, path, request)
    for method in ("PUT", "DELETE", "POST"):
        _refused(d, _send(d, method, url, request), path, f"{method} to a URL signed to read")
    _reads(d, url, "what a signed URL answers")


@case()
def a_url_signed_to_upload_uploads_and_does_nothing_else(d: SyncDriver) -> None:
    """It is for ``PUT``."""
    d.needs("sign_put")
    path = d.at("a b/object")
    request = SignRequest("PUT", _MINUTES)
    url = _signed(d, path, request)
    _uploads(d, url, request, path)
    d.call("delete", path)
    d.put(path, _ORIGINAL)
    for method in ("GET", "DELETE", "POST"):
        _refused(d, _send(d, method, url, request), path, f"{method} to a URL signed to upload")
    equal(d.read(path), _ORIGINAL, "what the object holds")


def _requests(d: SyncDriver) -> Iterator[SignRequest]:
    """Yield a request to read and one to upload, as far as the backend signs them."""
    if not (d.backend.capabilities.sign_get or d.backend.capabilities.sign_put):
        raise DoesNotApplyError("sign_get")
    if d.backend.capabilities.sign_get:
        yield SignRequest("GET", _MINUTES)
    if d.backend.capabilities.sign_put:
        yield SignRequest("PUT", _MINUTES)


@case()
def a_signed_url_is_for_one_path(d: SyncDriver) -> None:
    """The signature is not valid on another object's URL."""
    for request in _requests(d):
        path, other = d.at(f"{request.method}-one"), d.at(f"{request.method}-two")
        d.put(path, _ORIGINAL)
        d.put(other, _ORIGINAL)
        url = _signed(d, path, request)
        for name in (other, f"{path}x", path[:-1], path.upper()):
            changed = url.replace(path, name)
            ensure(changed != url, f"the signed URL does not hold the path as it is: {url.partition('?')[0]}")
            _refused(d, _send(d, request.method, changed, request), other, f"{request.method} of another path")


def _changes(query: str) -> Iterator[tuple[str, str]]:
    """Yield the query with each of its parameters changed, emptied and left out."""
    pairs = parse_qsl(query, keep_blank_values=True)
    for index, (name, value) in enumerate(pairs):
        before, after = pairs[:index], pairs[index + 1 :]
        flipped = ("1" if value[:1] != "1" else "2") + value[1:]
        for changed in (flipped, f"{value}0", ""):
            yield name, urlencode([*before, (name, changed), *after], quote_via=quote)
        yield name, urlencode(before + after, quote_via=quote)


@case()
def a_signed_url_that_was_changed_is_refused(d: SyncDriver) -> None:
    """Any parameter: changed, made longer, emptied, left out."""
    for request in _requests(d):
        path = d.at(f"{request.method}-object")
        d.put(path, _ORIGINAL)
        where, _, query = _signed(d, path, request).partition("?")
        ensure(query, "the signed URL has no query")
        for name, changed in _changes(query):
            got = _send(d, request.method, f"{where}?{changed}", request)
            _refused(d, got, path, f"{request.method} with another {name}")


@case()
def a_signed_url_expires(d: SyncDriver) -> None:
    """Its time is part of the signature, and is over when it is over."""
    signed = []
    for request in _requests(d):
        path = d.at(f"{request.method}-object")
        d.put(path, _ORIGINAL)
        late = request._replace(signed_at=time.time() - _LATE, expires_in=_LATE - 10)
        try:
            signed.append((request, path, d.call("sign", path, late)))
        except UnsupportedOperationError:  # this store signs from now on only
            signed.append((request, path, d.call("sign", path, request._replace(expires_in=1))))
            time.sleep(2.2)  # whole seconds are signed, so one second may last two
    for request, path, url in signed:
        _refused(d, _send(d, request.method, url, request), path, f"{request.method} after the URL has expired")


@case()
def a_url_to_read_answers_with_the_headers_it_was_signed_for(d: SyncDriver) -> None:
    """Type and disposition; the holder of the URL cannot choose others."""
    d.needs("sign_get")
    path = d.at("object")
    d.put(path, _ORIGINAL)
    request = SignRequest("GET", _MINUTES, content_disposition=_DISPOSITION, content_type="image/png")
    url = _signed(d, path, request)
    got = _reads(d, url, "what a signed URL answers")
    equal(got.headers.get("content-disposition"), _DISPOSITION, "the disposition that was signed")
    equal(got.headers.get("content-type"), "image/png", "the type that was signed")
    changed = url.replace("image%2Fpng", "text%2Fhtml").replace("image/png", "text/html")
    ensure(changed != url, "the type that was signed is not in the URL")
    _refused(d, _send(d, "GET", changed, request), path, "GET of another type than was signed")


@case()
def an_upload_is_of_the_type_that_was_signed(d: SyncDriver) -> None:
    """Another type is refused, and the signed one is what is stored."""
    d.needs("sign_put")
    path = d.at("object")
    request = SignRequest("PUT", _MINUTES, content_type="image/png")
    url = _signed(d, path, request)
    headers = d.backend.upload_headers(request)
    for wrong in ("text/html", "image/png; charset=utf-8"):
        got = d.harness.send(d.backend, "PUT", url, _BODY, {**headers, "Content-Type": wrong})
        ensure(400 <= got.status < 500, f"an upload of type {wrong} was answered with {got.status}")  # noqa: PLR2004 - RFC 9110
        ensure(d.call("exists", path) is False, f"exists() is not False after an upload of type {wrong}")
    _uploads(d, url, request, path)
    if d.backend.capabilities.keeps_content_type:
        equal(d.call("head", path).content_type, "image/png", "the type of what was uploaded")


def _upload_is_limited(d: SyncDriver, request: SignRequest, wrong: tuple[bytes, ...]) -> None:
    d.needs("sign_put")
    path = d.at("object")
    url = _signed(d, path, request)
    headers = d.backend.upload_headers(request)
    for body in wrong:
        got = d.harness.send(d.backend, "PUT", url, body, headers)
        ensure(400 <= got.status < 500, f"an upload of {len(body)} bytes was answered with {got.status}")  # noqa: PLR2004
        ensure(d.call("exists", path) is False, f"exists() is not False after an upload of {len(body)} bytes")
    _uploads(d, url, request, path)


@case()
def an_upload_is_of_the_length_that_was_signed(d: SyncDriver) -> None:
    """Not a byte more, not a byte less."""
    _upload_is_limited(d, SignRequest("PUT", _MINUTES, content_length=len(_BODY)), (_BODY + b"x", _BODY[:-1], _BODY * 1000))


@case()
def an_upload_is_no_longer_than_was_signed(d: SyncDriver) -> None:
    """Few stores can bind a maximum size; the others refuse to sign it."""
    _upload_is_limited(d, SignRequest("PUT", _MINUTES, max_length=len(_BODY)), (_BODY + b"x", _BODY * 1000))
