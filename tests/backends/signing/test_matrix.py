"""Every kind of URL, tried with every method and every change: exactly the intended cells succeed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest

from filerow.backends.base import SignRequest
from filerow.exceptions import UnsupportedOperationError
from tests.backends.signing.worlds import BODY, METHODS, Answer, World, make, refuses

ORIGINAL = b"what was there before"
DISPOSITION = "attachment; filename*=UTF-8''%E2%82%AC.png"
READS = {
    "read": SignRequest("GET", 300),
    "read as": SignRequest("GET", 300, content_disposition=DISPOSITION, content_type="image/png"),
}


@pytest.fixture(params=["s3", "nginx", "azure", "google", "own"])
def world(request: pytest.FixtureRequest) -> World:
    return make(request.param, request)


def requests_of(world: World) -> Iterator[SignRequest]:
    """Yield every kind of request, signed from now on and at a time of our choice."""
    for request in (*READS.values(), *world.uploads.values()):
        yield request
        yield request._replace(signed_at=time.time() - 60)


def send(world: World, method: str, url: str, request: SignRequest) -> Answer:
    """Send what an honest holder of the URL would send, with any method."""
    with_body = request.method == "PUT" or method in {"PUT", "POST"}
    headers = world.backend.upload_headers(SignRequest("PUT", 300) if request.method == "GET" else request)
    return world.send(method, url, BODY if with_body else None, headers if with_body else None)


def assert_refused(world: World, answer: Answer, path: str) -> None:
    assert 400 <= answer.status < 500
    assert ORIGINAL not in answer.body
    assert world.stored(path) == ORIGINAL


def assert_works(world: World, request: SignRequest, url: str, path: str) -> None:
    answer = send(world, request.method, url, request)
    assert answer.status in {200, 201}
    if request.method == "PUT":
        assert world.stored(path) == BODY
        return
    assert answer.body == ORIGINAL
    if request.content_disposition is not None:
        assert answer.headers["content-disposition"] == DISPOSITION
        assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize("method", sorted({*METHODS} - {"GET", "PUT"}))
def test_no_url_is_issued_for_what_the_rows_must_decide(world: World, method: str) -> None:
    """A URL to delete would take the bytes from under their row; ``HEAD`` comes with ``GET``, a form with its own policy."""
    request = SignRequest("GET", 300)._replace(method=method)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOperationError, match=f"signed URLs are for GET or PUT, not {method}"):
        world.backend.sign("cat.png", request)


def test_a_url_allows_its_own_method_and_no_other(world: World) -> None:
    for request in requests_of(world):
        path = world.store(ORIGINAL)
        url = world.backend.sign(path, request)
        for method in METHODS:
            if method not in world.allowed(request):
                assert_refused(world, send(world, method, url, request), path)
            elif method == "HEAD":
                assert send(world, method, url, request).status == 200
        assert_works(world, request, url, path)


def test_a_url_is_for_one_path(world: World) -> None:
    for request in requests_of(world):
        path, other = world.store(ORIGINAL), world.store(ORIGINAL)
        url = world.backend.sign(path, request)
        encoded = urlsplit(url).path
        for name in (other, path.upper(), f"{path}x", path[:-1], f"x/{path}"):
            changed = encoded.replace(encoded[-len(quote(path)) :], quote(name))
            assert changed != encoded
            assert_refused(world, send(world, request.method, url.replace(encoded, changed), request), other)
        assert world.stored(path) == ORIGINAL
        assert_works(world, request, url, path)


def changes_of(world: World, query: str) -> Iterator[str]:
    """Yield the query with each parameter changed, left out, emptied and doubled, and with one added."""
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    for index, (name, value) in enumerate(pairs):
        before, after = pairs[:index], pairs[index + 1 :]
        flipped = ("1" if value[0] != "1" else "2") + value[1:]
        for changed in (flipped, f"{value}0", ""):
            yield urlencode([*before, (name, changed), *after], quote_via=quote)
        yield urlencode(before + after, quote_via=quote)
    known = {name for name, _ in pairs}
    answers = ("rscd", "rsct") if world.ignores_strangers else ("response-content-disposition", "disposition", "type", "max", "x")
    for name in answers:
        if name not in known:
            yield urlencode([*pairs, (name, "attachment")], quote_via=quote)
    yield ""


@pytest.mark.one_in(2)
def test_no_parameter_can_be_changed_left_out_or_added(world: World) -> None:
    for request in requests_of(world):
        path = world.store(ORIGINAL)
        url = world.backend.sign(path, request)
        where, _, query = url.partition("?")
        for changed in changes_of(world, query):
            assert changed != query
            assert_refused(world, send(world, request.method, f"{where}?{changed}", request), path)
        assert_works(world, request, url, path)


@pytest.mark.servers
def test_azure_overlooks_a_parameter_that_it_does_not_know(request: pytest.FixtureRequest) -> None:
    world = make("azure", request)
    path = world.store(ORIGINAL)
    assert world.send("GET", f"{world.backend.sign(path, READS['read'])}&x=1").body == ORIGINAL


def test_a_url_whose_time_is_over_is_refused(world: World) -> None:
    path = world.store(ORIGINAL)
    for request in (*READS.values(), *world.uploads.values()):
        late = request._replace(signed_at=time.time() - 100, expires_in=90)
        assert_refused(world, send(world, request.method, world.backend.sign(path, late), request), path)
    for request in (*READS.values(), *world.uploads.values()):
        in_time = request._replace(signed_at=time.time() - 100, expires_in=190)
        again = world.store(ORIGINAL)
        assert_works(world, request, world.backend.sign(again, in_time), again)


@pytest.mark.servers
def test_a_url_expires_by_the_clock(request: pytest.FixtureRequest) -> None:
    signed = []
    for world in (make("s3", request), make("azure", request), make("own", request)):
        for each in (READS["read"], world.uploads["upload"]):
            path = world.store(ORIGINAL)
            signed.append((world, each, path, world.backend.sign(path, each._replace(expires_in=1))))
    time.sleep(2.1)  # whole seconds are signed, so one second may last two
    for world, each, path, url in signed:
        assert_refused(world, send(world, each.method, url, each), path)


def test_an_upload_must_be_what_was_signed(world: World) -> None:
    path = world.store(ORIGINAL)
    for request in world.uploads.values():
        url = world.backend.sign(path, request)
        headers = world.backend.upload_headers(request)
        if request.content_type is not None:
            for wrong in ("text/html", "image/png; charset=utf-8", "image/pn"):
                assert_refused(world, world.send("PUT", url, BODY, {**headers, "Content-Type": wrong}), path)
        if request.content_length is not None:
            for body in (BODY + b"x", BODY * 1000, BODY[:-1], b""):
                assert_refused(world, world.send("PUT", url, body, headers), path)
        if request.max_length is not None:
            assert_refused(world, world.send("PUT", url, BODY + b"x", headers), path)
        for name in headers:
            fewer = {known: value for known, value in headers.items() if known != name}
            assert_refused(world, world.send("PUT", url, BODY, fewer), path)
        for name, value in headers.items():
            assert_refused(world, world.send("PUT", url, BODY, {**headers, name: f"{value}0"}), path)


@pytest.mark.servers
def test_the_bound_type_is_what_is_stored(request: pytest.FixtureRequest) -> None:
    world = make("s3", request)
    path = world.store(ORIGINAL)
    kind = world.uploads["upload of a type and length"]
    assert_works(world, kind, world.backend.sign(path, kind), path)
    assert world.backend.head(path).content_type == "image/png"


@pytest.mark.parametrize(
    ("name", "field"),
    [("s3", "max_length"), ("azure", "content_type"), ("azure", "content_length"), ("azure", "max_length")],
)
def test_what_a_store_cannot_bind_is_refused_by_name(request: pytest.FixtureRequest, name: str, field: str) -> None:
    world = make(name, request)
    bound = SignRequest("PUT", 60)._replace(**{field: "image/png" if field == "content_type" else 10})
    assert f"cannot bind {field} into the URL of a PUT" in refuses(world, bound)


def test_no_upload_sets_its_disposition(world: World) -> None:
    with pytest.raises(UnsupportedOperationError, match="Content-Disposition"):
        world.backend.sign("a", SignRequest("PUT", 60, content_disposition="inline"))
