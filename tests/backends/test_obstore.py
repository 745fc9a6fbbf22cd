"""What ObstoreBackend does beyond the contract: options, requests, parts, signatures, forks, secrets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from obstore.store import AzureStore, GCSStore, HTTPStore, MemoryStore, S3Store

from filerow.backends._headers import encode_metadata
from filerow.backends.base import PutOptions, SignRequest
from filerow.backends.obstore import ObstoreBackend
from filerow.backends.obstore.store import enter
from filerow.exceptions import (
    ForkedProcessError,
    InvalidOptionError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StoragePermissionError,
    StorageTimeoutError,
    UnsupportedOperationError,
)
from tests.backends.stores import QUICK, bucket_of, s3_options
from tests.servers.counting import CountingProxy
from tests.servers.latency import LatencyProxy

SECRET = "Top+Secret/Key0123456789abcdefghijklmnop"
MIB = 1 << 20
OVERWRITE = PutOptions(create_only=False)


@pytest.fixture
def s3(request: pytest.FixtureRequest) -> ObstoreBackend:
    server, bucket = bucket_of(request, "s3_server")
    return ObstoreBackend("docs", f"s3://{bucket}/{uuid.uuid4().hex}", **s3_options(server))


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Iterator[tuple[ObstoreBackend, CountingProxy]]:
    """A backend whose requests are counted; its store has been asked already how it refuses copies."""
    server, bucket = bucket_of(request, "s3_server")
    with CountingProxy(server.endpoint) as proxy:
        options = {**s3_options(server), "aws_endpoint": proxy.endpoint}
        backend = ObstoreBackend("docs", f"s3://{bucket}/{uuid.uuid4().hex}", **options)
        backend.put("first", b"x")
        backend.copy("first", "second")
        yield backend, proxy


def methods(proxy: CountingProxy, call: Callable[[], Any]) -> list[str]:
    with proxy.record() as seen:
        call()
    return [each.method for each in seen]


def fetch(url: str, method: str = "GET", data: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=data, method=method, headers=sent)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {}, b""


def chunks_of(size: int, each: int = MIB) -> Iterator[bytes]:
    for start in range(0, size, each):
        yield os.urandom(min(each, size - start))


# -- building ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "options", "protocol", "store"),
    [
        ("s3://bucket/some/prefix", {}, "s3", S3Store),
        ("s3a://bucket", {}, "s3", S3Store),
        ("gs://bucket/prefix", {"bearer_token": "x"}, "gs", GCSStore),
        ("az://container", {"account_name": "me", "account_key": "a2V5"}, "az", AzureStore),
        ("memory://", {}, "memory", MemoryStore),
        ("https://example.org/files", {}, "http", HTTPStore),
    ],
)
def test_a_url_names_the_store(url: str, options: dict[str, Any], protocol: str, store: type) -> None:
    backend = ObstoreBackend("docs", url, **options)
    assert backend.protocol == protocol
    assert isinstance(backend.store, store)


def test_a_local_folder_is_made(tmp_path: Any) -> None:
    backend = ObstoreBackend("docs", f"file://{tmp_path}/not/yet there")
    backend.put("a/b", b"x")
    assert (tmp_path / "not" / "yet there" / "a" / "b").read_bytes() == b"x"


def test_a_store_is_taken_as_it_is() -> None:
    store = MemoryStore()
    assert ObstoreBackend("docs", store).store is store
    with pytest.raises(TypeError, match="options belong to the store"):
        ObstoreBackend("docs", store, aws_region="x")
    with pytest.raises(TypeError, match="not int"):
        ObstoreBackend("docs", 3)


def test_the_call_of_the_readme_works_as_written(s3_server: Any) -> None:
    bucket = s3_server.make_bucket()
    backend = ObstoreBackend(
        key="local",
        fs=f"s3://{bucket}/",
        aws_endpoint=s3_server.endpoint,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
    )
    backend.put("a", b"x")
    assert s3_server.keys(bucket) == {"a"}


def test_an_endpoint_in_the_environment_counts_too(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    bucket = s3_server.make_bucket()
    backend = ObstoreBackend("docs", f"s3://{bucket}", access_key_id=s3_server.access_key, secret_access_key=s3_server.secret_key)
    backend.put("a", b"x")
    assert s3_server.keys(bucket) == {"a"}


def test_options_may_come_as_config(s3_server: Any) -> None:
    bucket = s3_server.make_bucket()
    config = {
        "aws_endpoint": s3_server.endpoint,
        "aws_access_key_id": s3_server.access_key,
        "aws_secret_access_key": s3_server.secret_key,
    }
    ObstoreBackend("docs", f"s3://{bucket}", config=config).put("a", b"x")
    assert s3_server.keys(bucket) == {"a"}


@pytest.mark.parametrize(
    ("url", "options", "name", "value"),
    [
        ("s3://bucket", {"aws_allow_http": True}, "allow_http", "true"),
        ("s3://bucket", {"allow_http": "true"}, "allow_http", "true"),
        ("s3://bucket", {"config": {"AWS_ALLOW_HTTP": "true"}}, "allow_http", "true"),
        ("s3://bucket", {"config": {"aws_user_agent": "one"}, "client_options": {"user_agent": "two"}}, "user_agent", "two"),
        ("gs://bucket", {"bearer_token": "x", "google_proxy_url": "http://proxy.example"}, "proxy_url", "http://proxy.example"),
        ("az://box", {"account_name": "n", "account_key": "YQ==", "azure_read_timeout": "5s"}, "read_timeout", "5s"),
    ],
)
def test_http_client_options_may_be_named_as_the_store_s(url: str, options: dict[str, Any], name: str, value: str) -> None:
    before = repr(options)
    assert ObstoreBackend("docs", url, **options).store.client_options[name] == value
    assert repr(options) == before


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://bucket", {"aws_zork": "1", "aws_secret_access_key": SECRET}),
        ("memory://", {"zork": 1}),
        ("file:///tmp", {"zork": 1}),
        ("ftp://host", {}),
        ("no url", {}),
    ],
)
def test_what_is_not_understood_is_a_value_error_without_secrets(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"zork|ftp|no url") as caught:
        ObstoreBackend("docs", url, **options)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_importing_filerow_does_not_import_the_stores() -> None:
    code = "import sys, filerow.backends.base; print([m for m in ('obstore', 'fsspec', 'botocore') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("s3://bucket", {}, (True, True, True)),
        ("s3://bucket", {"aws_endpoint": "https://minio.example.org"}, (True, True, False)),
        ("gs://bucket", {"bearer_token": "x"}, (False, True, True)),
        ("az://c", {"account_name": "me", "account_key": "a2V5"}, (True, True, False)),
        ("memory://", {}, (False, True, True)),
        ("https://example.org/", {}, (False, False, False)),
    ],
)
def test_capabilities_go_by_the_store(url: str, options: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    able = ObstoreBackend("docs", url, **options).capabilities
    assert (able.sign_get, able.keeps_content_type, able.ordered_list) == expected
    assert able.native_async


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.servers
def test_each_operation_costs_the_requests_it_must(counted: tuple[ObstoreBackend, CountingProxy]) -> None:
    backend, proxy = counted
    assert methods(proxy, lambda: backend.put("bytes", b"x" * 10_000)) == ["PUT"]
    assert methods(proxy, lambda: backend.put("five", b"x" * 5 * MIB)) == ["PUT"]
    assert methods(proxy, lambda: backend.put("small iterator", iter([b"x"] * 30))) == ["PUT"]
    assert methods(proxy, lambda: backend.read("bytes")) == ["GET"]
    assert methods(proxy, lambda: backend.read("bytes", 5, 10)) == ["GET"]
    assert methods(proxy, lambda: list(backend.stream("five"))) == ["GET"]
    assert methods(proxy, lambda: backend.head("bytes")) == ["HEAD"]
    assert methods(proxy, lambda: backend.copy("bytes", "copied")) == ["PUT", "HEAD"]
    assert methods(proxy, lambda: list(backend.list())) == ["GET"]
    assert methods(proxy, lambda: backend.delete(["bytes", "five", "small iterator", "copied", "missing"])) == ["POST"]
    assert methods(proxy, lambda: backend.sign_many(["a", "b"], SignRequest("GET", 60))) == []


@pytest.mark.servers
def test_only_large_iterators_go_in_parts(counted: tuple[ObstoreBackend, CountingProxy]) -> None:
    backend, proxy = counted
    seen = methods(proxy, lambda: backend.put("large", chunks_of(11 * MIB), OVERWRITE))
    assert sorted(seen) == ["POST", "POST", "PUT", "PUT", "PUT"]


@pytest.mark.servers
async def test_the_asynchronous_side_costs_the_same(counted: tuple[ObstoreBackend, CountingProxy]) -> None:
    backend, proxy = counted
    with proxy.record() as seen:
        await backend.put_async("a", b"x")
        await backend.put_async("b", iter([b"x"]))
        await backend.copy_async("a", "c")
        await backend.delete_async(["a", "b", "c"])
    assert [each.method for each in seen] == ["PUT", "PUT", "PUT", "HEAD", "POST"]


# -- create-only streams and copies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["s3_server", "moto_server"])
def test_create_only_stream_keeps_headers_and_leaves_no_staging(request: pytest.FixtureRequest, fixture: str) -> None:
    server, bucket = bucket_of(request, fixture)
    folder = uuid.uuid4().hex
    backend = ObstoreBackend("docs", f"s3://{bucket}/{folder}", **s3_options(server))
    options = PutOptions(content_type="image/png", content_disposition="inline")
    stored = backend.put("a/large", chunks_of(7 * MIB), options)
    assert stored.size == 7 * MIB
    assert backend.head("a/large").content_type == "image/png"
    with pytest.raises(ObjectExistsError):
        backend.put("a/large", chunks_of(7 * MIB), options)
    assert server.keys(bucket, folder) == {f"{folder}/a/large"}


def test_a_store_given_without_conditional_copies_gets_them(s3_server: Any) -> None:
    store = S3Store(
        s3_server.make_bucket(),
        prefix="sub/folder",
        endpoint=s3_server.endpoint,
        access_key_id=s3_server.access_key,
        secret_access_key=s3_server.secret_key,
        client_options={"allow_http": True},
    )
    backend = ObstoreBackend("docs", store)
    backend.put("a", b"a", PutOptions(content_type="image/png"))
    backend.put("b", b"b")
    with pytest.raises(ObjectExistsError):
        backend.copy("a", "b")
    for target in ("c", "d"):  # the first copy asks the store how it refuses, the second one knows
        assert backend.copy("a", target).content_type == "image/png"
    with pytest.raises(ObjectExistsError):
        backend.copy("a", "b")
    assert backend.read("b") == b"b"


def test_a_store_that_ignores_the_condition_is_found_out(moto_server: Any) -> None:
    """Moto overwrites; so the target is reserved first, and many copies to one path have one winner."""
    backend = ObstoreBackend("docs", f"s3://{moto_server.make_bucket()}", **s3_options(moto_server))
    for number in range(8):
        backend.put(f"{number}", bytes([number]))
    won: list[int] = []

    def copy(number: int) -> None:
        try:
            backend.copy(f"{number}", "target")
        except ObjectExistsError:
            return
        won.append(number)

    threads = [threading.Thread(target=copy, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    with pytest.raises(ObjectExistsError):
        backend.copy(f"{(won[0] + 1) % 8}", "target")
    assert backend.read("target") == bytes(won)
    with pytest.raises(ObjectNotFoundError):
        backend.copy("missing", "free")
    assert not backend.exists("free")


# -- content -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [memoryview(bytes(range(10)))[::2], memoryview(bytes(8)).cast("I"), bytearray(b"xyz")])
def test_odd_buffers_are_straightened(view: Any) -> None:
    backend = ObstoreBackend("docs", "memory://")
    backend.put("whole", view)
    backend.put("chunk", iter([view]))
    assert backend.read("whole") == backend.read("chunk") == bytes(view)


@pytest.mark.servers
def test_content_may_come_from_the_same_native_runtime(s3: ObstoreBackend) -> None:
    """Obstore pulls plain iterators inside its runtime, where reading through obstore panics."""
    s3.put("source", os.urandom(8 * MIB))
    for options in (OVERWRITE, PutOptions()):
        s3.put(f"copied {options.create_only}", s3.stream("source"), options)
    assert s3.read("copied True") == s3.read("copied False") == s3.read("source")


@pytest.mark.servers
async def test_content_may_come_from_the_same_native_runtime_async(s3: ObstoreBackend) -> None:
    await s3.put_async("source", os.urandom(8 * MIB))
    await s3.put_async("plain", s3.stream("source"), OVERWRITE)
    await s3.put_async("async", s3.stream_async("source"), OVERWRITE)
    assert await s3.read_async("plain") == await s3.read_async("async") == await s3.read_async("source")


async def test_a_cancelled_upload_leaves_neither_object_nor_parts(s3_server: Any) -> None:
    bucket = s3_server.make_bucket()
    backend = ObstoreBackend("docs", f"s3://{bucket}", **s3_options(s3_server))
    started = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield os.urandom(MIB)
            started.set()
            await asyncio.sleep(0.02)

    upload = asyncio.ensure_future(backend.put_async("a", slow(), OVERWRITE))
    await started.wait()
    await asyncio.sleep(0.4)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert s3_server.keys(bucket) == set()
    assert s3_server.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


async def test_closed_put_ends_silently() -> None:
    """An event loop that ends closes what still waits in it; there is no answer then, and nobody to give it to."""
    writing = ObstoreBackend("docs", "memory:///").put_async("a", b"content")
    writing.send(None)
    writing.close()
    await asyncio.sleep(0.05)  # what it has begun ends in its own time


@pytest.mark.servers
async def test_a_cancelled_put_is_undone_when_the_store_was_faster(request: pytest.FixtureRequest) -> None:
    server, bucket = bucket_of(request, "s3_server")
    with LatencyProxy(server.endpoint, round_trip=0.3) as far:
        options = {**s3_options(server), "aws_endpoint": far.endpoint}
        backend = ObstoreBackend("docs", f"s3://{bucket}/{uuid.uuid4().hex}", **options)
        upload = asyncio.ensure_future(backend.put_async("a", b"x"))
        await asyncio.sleep(0.4)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert not await backend.exists_async("a")


@pytest.mark.one_in(2)
@pytest.mark.slow
@pytest.mark.parametrize("source", ["generator", "file"])
def test_a_quarter_of_a_gigabyte_goes_up_in_64_mib(s3_server: Any, source: str, tmp_path: Any) -> None:
    code = """
import os, sys, threading, time
from filerow.backends.obstore import ObstoreBackend
from filerow.backends.base import PutOptions
endpoint, key, secret, bucket, source, folder = sys.argv[1:]
backend = ObstoreBackend("docs", f"s3://{bucket}", aws_endpoint=endpoint, aws_access_key_id=key, aws_secret_access_key=secret)
backend.put("warm", b"x")
rss = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
before, peak, done = rss(), 0, False
def watch():
    global peak
    while not done:
        peak = max(peak, rss())
        time.sleep(0.01)
watcher = threading.Thread(target=watch); watcher.start()
def generate():
    for _ in range(256):
        yield os.urandom(1 << 20)
def read():
    with open(folder + "/file", "wb") as file:
        file.truncate(256 << 20)
    with open(folder + "/file", "rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
try:
    backend.put("large", generate() if source == "generator" else read(), PutOptions(create_only=False))
finally:
    done = True
    watcher.join()
assert backend.head("large").size == 256 << 20
print(peak - before)
"""
    bucket = s3_server.make_bucket()
    arguments = [s3_server.endpoint, s3_server.access_key, s3_server.secret_key, bucket, source, str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    s3_server.client.delete_object(Bucket=bucket, Key="large")
    assert int(done.stdout) <= 64


# -- headers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["content_type", "content_disposition", "cache_control"])
@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\0", "größe", "", "tab\t"])
def test_a_header_that_is_none_is_refused_before_it_leaves(field: str, value: str) -> None:
    backend = ObstoreBackend("docs", "memory://")
    with pytest.raises(InvalidOptionError) as caught:
        backend.put("a", b"x", PutOptions(**{field: value}))
    assert isinstance(caught.value, ValueError)
    assert not backend.exists("a")


def test_metadata_is_encoded_reversibly() -> None:
    given = {"Ünï key": "grüße\n %41 日本", "A_b": "plain", "content-type": "text/html"}
    encoded = encode_metadata(given, backend="docs", path="a")
    assert list(encoded) == ["-n--key", "a-b", "x-content-type"]
    assert [urllib.parse.unquote(value) for value in encoded.values()] == list(given.values())
    assert encode_metadata({"2-b": "x"}, backend="", path="", identifiers=True) == {"x_2_b": "x"}
    with pytest.raises(InvalidOptionError, match="two metadata keys"):
        encode_metadata({"a b": "1", "a_b": "2"}, backend="docs", path="a")
    with pytest.raises(InvalidOptionError, match="strings to strings"):
        encode_metadata({"a": 3}, backend="docs", path="a")  # type: ignore[dict-item]


def test_metadata_cannot_choose_the_content_type(s3_server: Any) -> None:
    bucket = s3_server.make_bucket()
    backend = ObstoreBackend("docs", f"s3://{bucket}", **s3_options(s3_server))
    backend.put("a", b"x", PutOptions(content_type="image/png", metadata={"Content-Type": "text/html", "k": "wörd\n"}))
    found = s3_server.client.head_object(Bucket=bucket, Key="a")
    assert found["ContentType"] == "image/png"
    assert found["Metadata"] == {"x-content-type": "text/html", "k": "w%C3%B6rd%0A"}


# -- deleting and listing ----------------------------------------------------------------------------------------------


def test_missing_objects_do_not_keep_others_from_being_deleted(tmp_path: Any) -> None:
    backend = ObstoreBackend("docs", f"file://{tmp_path}/root")
    there = [f"{number}" for number in range(40)]
    for path in there:
        backend.put(path, b"x")
    wanted = [path for pair in zip((f"missing{n}" for n in range(40)), there, strict=True) for path in pair]
    assert backend.delete(wanted) == {}
    assert list(backend.list()) == []


async def test_failed_delete_is_reported_path_by_path(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = ObstoreBackend("docs", f"s3://{s3_server.make_bucket()}", **s3_options(s3_server))
    no_bucket = ObstoreBackend("docs", "s3://no-such-bucket", **s3_options(s3_server))
    for failed in (no_bucket.delete(["a", "b"]), await no_bucket.delete_async(["a", "b"])):
        assert list(failed) == ["a", "b"]
        assert all(isinstance(error, StorageError) for error in failed.values())
    backend.put("good", b"x")
    bad = "s" * 300  # longer than SeaweedFS takes a name
    for failed in (backend.delete(["good", bad]), await backend.delete_async(["good", bad])):
        assert set(failed) <= {bad}
    assert not backend.exists("good")


@pytest.mark.servers
@pytest.mark.parametrize(
    ("prefix", "after", "offset"),
    [
        ("", "", ""),
        ("a", "a/0199.png", "a/0198"),
        ("t/c", "t/c/b", "t/c/a"),
        ("", "x-y/z", "w"),
        ("x-y", "x-y/z", "x-y/y"),
        ("a", "a/b/é", "a/a"),
        ("a", "b", "a"),
    ],
)
def test_a_listing_starts_before_what_it_must_not_miss(
    counted: tuple[ObstoreBackend, CountingProxy], prefix: str, after: str, offset: str
) -> None:
    backend, proxy = counted
    backend.put("x-y/zz", b"")
    with proxy.record() as seen:
        list(backend.list(prefix, after))
    (query,) = [urllib.parse.parse_qs(request.query) for request in seen]
    (folder,) = {query["prefix"][0].removesuffix("/").removesuffix(f"/{prefix}" if prefix else "")}
    (start,) = query.get("start-after", [f"{folder}/"])
    assert start.removeprefix(f"{folder}/") <= after
    if offset:
        assert start == f"{folder}/{offset}"


@pytest.mark.thorough
@pytest.mark.servers
def test_a_listing_of_many_pages_comes_in_pages(counted: tuple[ObstoreBackend, CountingProxy]) -> None:
    backend, proxy = counted

    async def fill() -> None:
        for first in range(0, 1100, 50):  # or there would be a thousand connections
            await asyncio.gather(*(backend.put_async(f"many/{number:04}", b"") for number in range(first, first + 50)))

    asyncio.run(fill())
    with proxy.record() as seen:
        listing = backend.list("many")
        assert next(listing).path == "many/0000"
        listing.close()
    assert len(seen) <= 2
    assert [info.path for info in backend.list("many", "many/1097")] == ["many/1098", "many/1099"]


# -- signing -----------------------------------------------------------------------------------------------------------


@pytest.mark.servers
def test_s3_binds_what_it_must_answer_with(s3: ObstoreBackend) -> None:
    path = "a/ü b+c&d.png"
    s3.put(path, b"hello", PutOptions(content_type="text/html"))
    disposition = "attachment; filename*=UTF-8''%E2%82%AC.png"
    url = s3.sign(path, SignRequest("GET", 60, content_disposition=disposition, content_type="image/png"))
    status, headers, body = fetch(url)
    assert (status, body) == (200, b"hello")
    assert (headers["content-type"], headers["content-disposition"]) == ("image/png", disposition)
    assert fetch(url.replace("image%2Fpng", "text%2Fhtml"))[0] == 403
    assert fetch(s3.sign(path, SignRequest("GET", 60)))[2] == b"hello"


@pytest.mark.servers
async def test_s3_demands_the_type_of_an_upload(s3: ObstoreBackend) -> None:
    url = await s3.sign_async("up", SignRequest("PUT", 60, content_type="image/png"))
    assert fetch(url, "PUT", b"x", content_type="text/html")[0] == 403
    assert fetch(url, "PUT", b"x", content_type="image/png")[0] == 200
    assert await s3.read_async("up") == b"x"


@pytest.mark.parametrize(
    "request_",
    [SignRequest("GET", 7 * 24 * 3600 + 1), SignRequest("GET", 0), SignRequest("GET", 60, content_type="a\r\nb")],
)
def test_s3_signs_nothing_that_it_would_refuse(request_: SignRequest) -> None:
    backend = ObstoreBackend("docs", "s3://bucket", aws_access_key_id="a", aws_secret_access_key="b")
    with pytest.raises(InvalidOptionError) as caught:
        backend.sign("a", request_)
    assert isinstance(caught.value, ValueError)


def test_botocore_signs_for_aws_and_with_provided_credentials() -> None:
    store = S3Store(
        "bucket",
        prefix="pre",
        region="eu-west-1",
        credential_provider=lambda: {"access_key_id": "AKID", "secret_access_key": SECRET, "token": "T", "expires_at": None},
    )
    url = ObstoreBackend("docs", store).sign("a", SignRequest("GET", 60, content_type="image/png"))
    assert url.startswith("https://s3.eu-west-1.amazonaws.com/bucket/pre/a?")
    assert "X-Amz-Security-Token=T" in url


def test_azure_binds_what_it_must_answer_with(azurite_server: Any) -> None:
    backend = ObstoreBackend(
        "docs",
        f"az://{azurite_server.make_container()}/pre",
        account_name=azurite_server.account_name,
        account_key=azurite_server.account_key,
        endpoint=azurite_server.endpoint,
        retry_config=QUICK,
    )
    backend.put("a/ü.png", b"hello", PutOptions(metadata={"some-key": "wörd\n"}))
    request_ = SignRequest("GET", 60, content_disposition="attachment", content_type="image/png")
    status, headers, body = fetch(backend.sign("a/ü.png", request_))
    assert (status, body) == (200, b"hello")
    assert (headers["content-type"], headers["content-disposition"]) == ("image/png", "attachment")
    url = backend.sign("up", SignRequest("PUT", 60))
    assert fetch(url, "PUT", b"x", x_ms_blob_type="BlockBlob")[0] == 201
    with pytest.raises(UnsupportedOperationError, match="Azure"):
        backend.sign("up", SignRequest("PUT", 60, content_type="image/png"))


def test_google_signs_offline_with_a_key() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    account = {"private_key": pem, "private_key_id": "1", "client_email": "tests@example.org", "client_id": "1"}
    backend = ObstoreBackend("docs", "gs://bucket/pre", service_account_key=json.dumps(account))
    assert backend.capabilities.sign_get
    url = urllib.parse.urlsplit(backend.sign("a", SignRequest("GET", 60)))
    query = dict(urllib.parse.parse_qsl(url.query))
    signature = bytes.fromhex(query.pop("X-Goog-Signature"))
    canonical = "\n".join(["GET", url.path, urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote, safe="")])
    canonical += f"\nhost:{url.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashes.Hash(hashes.SHA256())
    digest.update(canonical.encode())
    scope = query["X-Goog-Credential"].partition("/")[2]
    signed = f"GOOG4-RSA-SHA256\n{query['X-Goog-Date']}\n{scope}\n{digest.finalize().hex()}"
    key.public_key().verify(signature, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert query["X-Goog-Expires"] == "60"


@pytest.mark.parametrize("url", ["memory://", "file:///tmp", "https://example.org/"])
def test_stores_without_signatures_say_so(url: str) -> None:
    with pytest.raises(UnsupportedOperationError, match="LocalBackend"):
        ObstoreBackend("docs", url).sign("a", SignRequest("GET", 60))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    backend = ObstoreBackend("docs", "s3://bucket", aws_access_key_id="a", aws_secret_access_key="b")
    with pytest.raises(UnsupportedOperationError, match=r"filerow\[s3\]"):
        backend.sign("a", SignRequest("GET", 60, content_type="image/png"))


# -- errors ------------------------------------------------------------------------------------------------------------


def test_wrong_credentials_raise_without_secrets(s3_server: Any) -> None:
    options = {**s3_options(s3_server), "aws_secret_access_key": SECRET}
    backend = ObstoreBackend("docs", f"s3://{s3_server.make_bucket()}", **options)
    with pytest.raises(StoragePermissionError) as caught:
        backend.put("a", b"x")
    assert isinstance(caught.value, PermissionError)
    assert (caught.value.operation, caught.value.backend, caught.value.path) == ("put", "docs", "a")
    for shown in (str(caught.value), str(caught.value.__cause__), repr(caught.value.__cause__), repr(backend)):
        assert SECRET not in shown
        assert "Debug source" not in shown


def test_a_signature_in_the_url_is_not_shown(azurite_server: Any) -> None:
    sas = "sv=2023-11-03&ss=b&srt=sco&sp=rl&se=2020-01-01T00:00:00Z&sig=dGhpc2lzYXNlY3JldA%3D%3D"
    backend = ObstoreBackend(
        "docs",
        f"az://{azurite_server.make_container()}",
        account_name=azurite_server.account_name,
        sas_key=sas,
        endpoint=azurite_server.endpoint,
        retry_config=QUICK,
    )
    with pytest.raises(StorageError) as caught:
        backend.read("a")
    for shown in (str(caught.value), str(caught.value.__cause__), repr(backend)):
        assert "dGhpc2lzYXNlY3JldA" not in shown


@pytest.mark.servers
def test_silence_is_a_timeout(request: pytest.FixtureRequest) -> None:
    server, bucket = bucket_of(request, "s3_server")
    with LatencyProxy(server.endpoint, round_trip=3) as far:
        options = {**s3_options(server), "aws_endpoint": far.endpoint, "client_options": {"timeout": "200ms"}}
        options["retry_config"] = {"max_retries": 0}
        backend = ObstoreBackend("docs", f"s3://{bucket}", **options)
        with pytest.raises(StorageTimeoutError) as caught:
            backend.read("a")
    assert isinstance(caught.value, TimeoutError)


@pytest.mark.servers
def test_a_slow_reader_is_not_a_timeout(s3: ObstoreBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Obstore ends a transfer after 30 s, body included, whatever flows; only silence is limited here."""
    options = s3.store.client_options
    assert options["timeout"] != options["read_timeout"]
    assert {"timeout", "read_timeout", "connect_timeout"} <= set(options)


def test_a_missing_bucket_is_named_when_writing(s3_server: Any) -> None:
    backend = ObstoreBackend("docs", "s3://no-such-bucket", **s3_options(s3_server))
    with pytest.raises(ObjectNotFoundError, match="bucket or container does not exist"):
        backend.put("a", b"x")
    with pytest.raises(StorageError):
        list(backend.list())


def test_a_native_panic_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = ObstoreBackend("docs", "s3://bucket", aws_access_key_id="a", aws_secret_access_key="b")
    monkeypatch.setattr(backend, "_attributes", lambda *_: {"key": "line\nbreak"})
    with pytest.raises(StorageError, match="panicked") as caught:
        backend.put("a", b"x")
    assert not isinstance(caught.value.__cause__, Exception)


# -- fork --------------------------------------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[ObstoreBackend], Any]] = {
    "put": lambda b: b.put("a", b"x"),
    "put_async": lambda b: asyncio.run(b.put_async("a", b"x")),
    "read": lambda b: b.read("a"),
    "stream": lambda b: list(b.stream("a")),
    "head": lambda b: b.head("a"),
    "copy": lambda b: b.copy("a", "b"),
    "list": lambda b: list(b.list()),
    "delete": lambda b: next(iter(b.delete("a").values())),
    "sign": lambda b: b.sign("a", SignRequest("GET", 60)),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("new", [False, True], ids=["same", "new"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_gets_an_error_at_once(operation: str, *, new: bool) -> None:
    used = ObstoreBackend("docs", "memory://")
    used.put("used", b"x")
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        status = 1
        try:
            backend = ObstoreBackend("docs", "s3://bucket", aws_access_key_id="a", aws_secret_access_key="b") if new else used
            found = OPERATIONS[operation](backend)
            status = 0 if isinstance(found, ForkedProcessError) else 2
        except ForkedProcessError as error:
            status = 0 if "spawn" in str(error) and isinstance(error, RuntimeError) else 3
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_of_a_parent_that_used_nothing_works() -> None:
    code = """
import os
from filerow.backends.obstore import ObstoreBackend
backend = ObstoreBackend("docs", "memory://")
child = os.fork()
if child == 0:
    backend.put("a", b"x")
    os._exit(backend.read("a") != b"x")
raise SystemExit(os.waitpid(child, 0)[1])
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0


@pytest.mark.slow
def test_the_guard_costs_next_to_nothing() -> None:
    import timeit

    seconds = min(timeit.repeat(lambda: enter("put", "docs", "a"), number=10_000, repeat=5)) / 10_000
    assert seconds < 1e-6


@pytest.mark.servers
def test_forbidden_listing_of_unfinished_uploads_shows_no_secret(request: pytest.FixtureRequest) -> None:
    server, bucket = bucket_of(request, "s3_server")
    options = s3_options(server)
    wrong = ObstoreBackend("docs", f"s3://{bucket}", **{**options, "aws_secret_access_key": SECRET})
    with pytest.raises(StoragePermissionError) as refused:
        list(wrong.unfinished("a"))
    assert SECRET not in str(refused.value)
    nowhere = ObstoreBackend("docs", f"s3://{bucket}", timeout=0.5, **{**options, "aws_endpoint": "http://127.0.0.1:9"})
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9"):
        list(nowhere.unfinished("a"))
