"""Asking for URLs: times that many requests share, many files at once, limits, and what an upload must come with."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from math import inf, nan
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from google.oauth2.service_account import Credentials
from hypothesis import given
from hypothesis import strategies as st

from filerow import FileObject, storages
from filerow.backends.base import SignRequest, StorageBackend
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import InvalidOptionError, UnsupportedOperationError
from tests.backends.signing.worlds import SECRET, service_account

NOW = 1_800_000_000
S3 = {"aws_access_key_id": "AKID", "aws_secret_access_key": "Top+Secret/Key0123456789", "aws_region": "eu-west-1"}
AZURE = {"account_name": "account", "account_key": "ZmlsZXJvdy10ZXN0LWtleS1maWxlcm93LXRlc3Qta2V5"}


def google() -> ObstoreBackend:
    return ObstoreBackend("docs", "gs://bucket/pre", service_account_key=json.dumps(service_account()[1]))


BACKENDS: dict[str, Callable[[], StorageBackend]] = {
    "s3:": lambda: ObstoreBackend("docs", "s3://bucket/pre", **S3),
    "azure:": lambda: ObstoreBackend("docs", "az://container/pre", **AZURE),
    "google": google,
    "own": lambda: MemoryBackend("docs", base_url="/files", secret=SECRET),
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> StorageBackend:
    made = BACKENDS[request.param]()
    storages.register_backend(made)
    return made


def at(monkeypatch: pytest.MonkeyPatch, moment: float) -> None:
    monkeypatch.setattr(time, "time", lambda: moment)


async def test_urls_of_one_window_are_the_same(backend: StorageBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    file = FileObject("docs", "ü.png", to_filename="a b/ü.png")
    real = time.time()
    start = real - real % 600
    for options in ({}, {"inline": True}, {"download_as": "x.png"}, {"for_upload": True}):
        seen = set()
        for moment in (start, start + 1, start + 599.9):
            at(monkeypatch, moment)
            seen |= {file.sign(**options, round_expiry=600), await file.sign_async(**options, round_expiry=600)}
        assert len(seen) == 1
        at(monkeypatch, start + 600)
        assert file.sign(**options, round_expiry=600) not in seen
    at(monkeypatch, start + 599)
    assert (
        len({*storages.sign_many([file] * 3, round_expiry=600), *await storages.sign_many_async([file], round_expiry=600)}) == 1
    )


@pytest.mark.thorough
def test_another_process_makes_the_same_urls() -> None:
    request = SignRequest("GET", 600, "attachment", signed_at=NOW)
    key = json.dumps(service_account()[1])
    code = f"""
        from filerow import storages
        from filerow.backends.base import SignRequest
        for key, url, options in (
            ("s3:", "s3://bucket/pre", {S3!r}),
            ("azure:", "az://container/pre", {AZURE!r}),
            ("google", "gs://bucket/pre", {{"service_account_key": {key!r}}}),
            ("own", "memory://", {{"base_url": "/files", "secret": {SECRET!r}}}),
        ):
            storages.clear_backends()
            print(storages.register_backend(url, key="docs", **options).sign("a b", {request!r}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [make().sign("a b", request) for make in BACKENDS.values()]


@given(now=st.floats(1e9, 2e9), window=st.integers(1, 100_000), expires_in=st.integers(1, 100_000))
def test_rounded_url_lives_as_asked_or_at_most_a_window_longer(now: float, window: int, expires_in: int) -> None:
    rounded = SignRequest("GET", expires_in).rounded(window, now)
    assert rounded.signed_at is not None
    assert rounded.signed_at % window == 0
    left = rounded.signed_at + rounded.expires_in - int(now)
    assert expires_in < left <= expires_in + window


async def test_an_expiry_is_checked_for_many_files_as_for_one(backend: StorageBackend) -> None:
    file: Any = FileObject("docs", to_filename="a")
    wrongs = ((timedelta(hours=1), TypeError), (True, TypeError), *((one, ValueError) for one in (0, -1, -0.5, inf, -inf, nan)))
    for wrong, error in wrongs:
        with pytest.raises(error, match="expires_in is"):
            file.sign(expires_in=wrong)
        with pytest.raises(error, match="expires_in is"):
            storages.sign_many([file], expires_in=wrong)  # type: ignore[arg-type]
        with pytest.raises(error, match="expires_in is"):
            await storages.sign_many_async([file], expires_in=wrong)  # type: ignore[arg-type]


async def test_seconds_may_be_fractions(backend: StorageBackend) -> None:
    file = FileObject("docs", to_filename="a")
    for seconds in (60.0, 59.5, 0.25):
        assert file.sign(expires_in=seconds)
        assert await file.sign_async(expires_in=seconds, round_expiry=120.0)
        assert storages.sign_many([file], expires_in=seconds)
    assert file.sign(expires_in=59.5, round_expiry=120) == file.sign(expires_in=60, round_expiry=120.0)


async def test_rounding_is_checked(backend: StorageBackend) -> None:
    file = FileObject("docs", to_filename="a")
    for wrong in (0, -1, inf, nan):
        with pytest.raises(ValueError, match="round_expiry"):
            file.sign(round_expiry=wrong)
        with pytest.raises(ValueError, match="round_expiry"):
            await storages.sign_many_async([file], round_expiry=wrong)
    if backend.protocol in {"s3", "gs"}:
        with pytest.raises(InvalidOptionError, match="round_expiry"):
            file.sign(expires_in=604_800, round_expiry=60)


async def test_many_urls_are_those_of_one_by_one(backend: StorageBackend) -> None:
    paths = ["a", "a b/ü.png", "c"]
    for request in (
        SignRequest("GET", 60, signed_at=NOW),
        SignRequest("GET", 60, "attachment", "image/png", signed_at=NOW),
        SignRequest("PUT", 60, signed_at=NOW),
    ):
        one_by_one = [backend.sign(path, request) for path in paths]
        assert list(backend.sign_many(paths, request)) == one_by_one
        assert list(await backend.sign_many_async(paths, request)) == one_by_one
    assert list(backend.sign_many([], SignRequest("GET", 60))) == []


class Counting(MemoryBackend):
    """Counts the calls of its hook."""

    calls = 0

    def _sign(self, paths: Any, request: SignRequest) -> Any:
        self.calls += 1
        return super()._sign(paths, request)


async def test_one_call_per_backend_signs_all_its_files() -> None:
    made = [Counting(key, base_url="/files", secret=SECRET) for key in ("one", "two")]
    for each in made:
        storages.register_backend(each)
    files = [FileObject(("one", "two")[number % 2], to_filename=f"{number}") for number in range(10)]
    urls = storages.sign_many(files, round_expiry=60)
    assert [each.calls for each in made] == [1, 1]
    assert await storages.sign_many_async(files, round_expiry=60) == urls
    assert [each.calls for each in made] == [2, 2]
    assert urls == [file.sign(round_expiry=60) for file in files]


async def test_urls_of_many_files_are_those_of_each_file(backend: StorageBackend) -> None:
    files = [
        FileObject("docs", filename="saved as.txt", content_type="text/plain", content=b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        FileObject("docs", filename="two.txt", content_type="text/plain", content=b"two"),
    ]
    if backend.protocol in {"file", "memory"}:
        for file in files:
            file.save()
    else:
        files = [FileObject("docs", to_filename=name, content_type="text/plain") for name in ("a", "b")]
    one_by_one = [file.sign(round_expiry=3600) for file in files]
    assert storages.sign_many(files, round_expiry=3600) == one_by_one
    assert await storages.sign_many_async(reversed(files), round_expiry=3600) == one_by_one[::-1]


def test_plain_urls_of_s3_cost_one_native_call(monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore

    calls: list[Any] = []
    real = obstore.sign

    def watched(*args: Any) -> Any:
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(obstore, "sign", watched)
    storages.register_backend(BACKENDS["s3:"]())
    assert len(storages.sign_many([FileObject("docs", to_filename=f"{n}") for n in range(100)])) == 100
    assert len(calls) == 1


# -- compared with Google's own library -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        SignRequest("GET", 60, signed_at=NOW),
        SignRequest("GET", 60, "attachment; filename*=UTF-8''%E2%82%AC.png", "image/png", signed_at=NOW),
        SignRequest("PUT", 60, None, "text/plain; charset=utf-8", 10, signed_at=NOW),
        SignRequest("PUT", 60, None, None, None, 99, signed_at=NOW),
    ],
)
def test_google_s_own_library_makes_the_same_url(request_: SignRequest) -> None:
    from google.cloud.storage import _signing

    theirs = _signing.generate_signed_url_v4(
        Credentials.from_service_account_info(service_account()[1]),
        "/bucket/pre/a%20b/%C3%BC%2B%28~.png",
        60,
        api_access_endpoint="https://storage.googleapis.com",
        method=request_.method,
        response_type=request_.content_type if request_.method == "GET" else None,
        response_disposition=request_.content_disposition,
        headers={name: value for name, value in google().upload_headers(request_).items() if name != "Content-Type"},
        content_type=request_.content_type if request_.method == "PUT" else None,
        _request_timestamp=time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(NOW)),
    )
    ours = google().sign("a b/ü+(~.png", request_)
    assert ours.partition("?")[0] == theirs.partition("?")[0]
    assert sorted(parse_qsl(urlsplit(ours).query)) == sorted(parse_qsl(urlsplit(theirs).query))


def test_google_s_libraries_load_when_needed_and_ask_no_server() -> None:
    account = json.dumps(service_account()[1])
    code = f"""
        import socket, sys
        def refuse(*args, **kwargs): raise AssertionError("asked the network")
        socket.socket.connect = socket.getaddrinfo = refuse
        from filerow.backends.obstore import ObstoreBackend
        from filerow.backends.base import SignRequest
        backend = ObstoreBackend("docs", "gs://bucket", service_account_key={account!r})
        backend.sign("a", SignRequest("GET", 60))
        assert "google.auth" not in sys.modules
        backend.sign("a", SignRequest("GET", 60, "attachment"))
        assert "google.auth" in sys.modules
        assert "google.cloud.storage" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.parametrize("key", ["{}", "no json", json.dumps({"type": "authorized_user", "refresh_token": "x"})])
def test_a_google_store_without_a_key_says_what_it_needs(key: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key.json"
    file.write_text(key)
    backend = google()
    monkeypatch.setattr(type(backend.store), "config", {"bucket": "b", "application_credentials": str(file)}, raising=False)
    with pytest.raises(UnsupportedOperationError, match="service account") as caught:
        backend.sign("a", SignRequest("GET", 60, "attachment"))
    assert caught.value.backend == "docs"


# -- what is asked ---------------------------------------------------------------------------------------------------------


async def test_arguments_that_do_not_go_together_are_refused(backend: StorageBackend) -> None:
    file = FileObject("docs", to_filename="a")
    wrong: list[dict[str, Any]] = [
        {"content_type": "image/png"},
        {"content_length": 1},
        {"max_length": 1},
        {"for_upload": True, "content_length": -1},
        {"for_upload": True, "content_length": 2, "max_length": 1},
        {"for_upload": True, "content_type": "a\r\nb"},
        {"for_upload": True, "content_type": ""},
        {"for_upload": True, "download_as": "a"},
    ]
    for options in wrong:
        with pytest.raises(ValueError):  # noqa: PT011 - each says something else
            file.sign(**options)
        with pytest.raises(ValueError):  # noqa: PT011
            await file.sign_async(**options)


@pytest.mark.parametrize("length", ["content_length", "max_length"])
def test_a_url_to_read_has_no_length(backend: StorageBackend, length: str) -> None:
    with pytest.raises(InvalidOptionError, match="a URL to read has none"):
        backend.sign("a", SignRequest("GET", 60)._replace(**{length: 1}))


def test_what_an_upload_must_come_with(backend: StorageBackend) -> None:
    plain, typed = SignRequest("PUT", 60), SignRequest("PUT", 60, content_type="image/png", content_length=7)
    extra = {"az": {"x-ms-blob-type": "BlockBlob"}}.get(backend.protocol, {})
    assert backend.upload_headers(plain) == extra
    assert backend.upload_headers(SignRequest("GET", 60, content_type="image/png")) == {}
    limit = {"x-goog-content-length-range": "7,7"} if backend.protocol == "gs" else {}
    assert backend.upload_headers(typed) == {"Content-Type": "image/png", **extra, **limit}
    most = backend.upload_headers(plain._replace(max_length=9))
    assert most == ({"x-goog-content-length-range": "0,9"} if backend.protocol == "gs" else extra)


# -- fsspec ----------------------------------------------------------------------------------------------------------------


def test_fsspec_refuses_by_name_what_it_cannot_bind() -> None:
    s3 = FSSpecBackend("docs", "s3://bucket", storage_options={"key": "a", "secret": "b"})
    for field, value in (("max_length", 1), ("signed_at", NOW)):
        with pytest.raises(UnsupportedOperationError, match=f"cannot bind {field} into the URL of a PUT"):
            s3.sign("a", SignRequest("PUT", 60)._replace(**{field: value}))
    with pytest.raises(UnsupportedOperationError, match="cannot bind signed_at into the URL of a GET"):
        s3.sign("a", SignRequest("GET", 60, signed_at=NOW))
    azure = FSSpecBackend("docs", "az://container", **AZURE)
    with pytest.raises(UnsupportedOperationError, match="cannot sign a PUT"):
        azure.sign("a", SignRequest("PUT", 60))


@pytest.mark.parametrize("window", [True, "60", Decimal(60)])
def test_a_window_is_a_number_of_seconds(window: object) -> None:
    with pytest.raises(TypeError, match="round_expiry is a number of seconds"):
        SignRequest("GET", 60).rounded(window)  # type: ignore[arg-type]
