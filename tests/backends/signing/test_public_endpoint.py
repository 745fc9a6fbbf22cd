"""URLs for another host than the one we talk to: what is refused, what is signed, and that nothing else goes there."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import re
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from filerow import FileObject, StorageBackend, storages
from filerow.backends.base import SignRequest
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import UnsupportedOperationError
from tests.backends.signing.worlds import BODY, Google, service_account
from tests.backends.stores import azure_options, bucket_of, s3_options, s3fs_options
from tests.servers import nginx

if TYPE_CHECKING:
    from tests.servers._s3 import S3Server
    from tests.servers.nginx import Nginx

KEYS = {"aws_access_key_id": "AKID", "aws_secret_access_key": "the secret of nobody"}
NOWHERE = "http://localhost:9"


def s3(public_endpoint: Any, url: str = "s3://bucket/pre", **options: Any) -> ObstoreBackend:
    given = {"aws_endpoint": "http://minio:9000", **KEYS, **options}
    return ObstoreBackend("docs", url, public_endpoint=public_endpoint, **given)


# -- what is an endpoint ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("https://files.example.org/minio", "has a path"),
        ("https://files.example.org//", "has a path"),
        ("https://files.example.org?x=1", "has a query"),
        ("https://files.example.org#x", "has a fragment"),
        ("https://user:pa55word@files.example.org", "has a user or password"),
        ("user:pa55word@files.example.org", "does not begin with"),
        ("files.example.org", "does not begin with"),
        ("//files.example.org", "does not begin with"),
        ("ftp://files.example.org", "does not begin with"),
        ("https://", "names no host"),
        ("https://:443", "names no host"),
        ("https://files.example.org:port", "is not a URL"),
        ("https://files.example.org:99999", "is not a URL"),
        ("http://[::1", "is not a URL"),
        ("http://::1:9000", "is not a URL|names no host"),
        ("https://files.example.org\r\nX-Evil: 1", "has a character that no URL has"),
        ("https://files.exa mple.org", "has a character that no URL has"),
        ("https://dateien.müller.example", "xn--"),
        ("https://{bucket}.{bucket}.example.org", "names no host"),
        ("http://minio_public:9000", "names no host"),  # botocore takes none with an underscore
        ("https://x.{bucket}.example.org", "names no host"),
        # what browsers read as another address
        ("http://127.1:9000", "names no host"),
        ("http://2130706433:9000", "names no host"),
        ("http://0x7f.0.0.1", "names no host"),
        ("http://192.168.000.001", "names no host"),
        ("http://1.2.3.4.5", "names no host"),
        ("http://[fe80::1%25eth0]:9000", "names no host"),
        ("http://[:::]:9000", "is not a URL"),
        # what no name may be
        ("https://files..example.org", "names no host"),
        ("https://files-.example.org", "names no host"),
        (f"https://{'a' * 64}.example.org", "names no host"),
        (f"https://{'a.' * 130}example.org", "names no host"),
        ("https://files%2eexample.org", "names no host"),
        ("https://*.example.org", "names no host"),
        ("", "does not begin with"),
    ],
)
def test_anything_but_scheme_and_host_is_refused_at_construction(given: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        s3(given)
    message = str(caught.value)
    assert message.startswith("public_endpoint of backend 'docs': ")
    assert "write the scheme and the host by which clients reach the store" in message
    assert "pa55word" not in message
    assert "\n" not in message


def test_what_is_not_text_is_refused() -> None:
    with pytest.raises(TypeError, match="public_endpoint of backend 'docs' is a URL, not int"):
        s3(9000)


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://files.example.org", "https://files.example.org"),
        ("https://files.example.org/", "https://files.example.org"),
        ("HTTPS://Files.Example.ORG:443/", "https://files.example.org"),
        ("http://files.example.org:80", "http://files.example.org"),
        ("https://files.example.org:80", "https://files.example.org:80"),
        ("http://minio:9000", "http://minio:9000"),
        ("http://192.0.2.7:9000", "http://192.0.2.7:9000"),
        ("http://[2001:DB8::1]:9000", "http://[2001:db8::1]:9000"),
        ("http://[::1]", "http://[::1]"),
        ("http://[0:0:0:0:0:0:0:1]:9000", "http://[::1]:9000"),
        ("http://[2001:db8:0:0:1:0:0:1]", "http://[2001:db8::1:0:0:1]"),
        ("http://[::ffff:192.0.2.7]:9000", "http://[::ffff:c000:207]:9000"),
        ("https://files.example.org:", "https://files.example.org"),
        ("https://XN--MLLER-KVA.example", "https://xn--mller-kva.example"),
        ("https://{bucket}.files.example.org", "https://bucket.files.example.org"),
    ],
)
def test_the_origin_is_what_a_browser_makes_of_it(given: str, origin: str) -> None:
    backend = s3(given, aws_session_token="nobodys-token")
    assert backend.public_endpoint == origin
    folder = "pre" if "{bucket}" in given else "bucket/pre"
    for request in (SignRequest("GET", 60), SignRequest("GET", 60, content_disposition="attachment"), SignRequest("PUT", 60)):
        url = backend.sign("a b.txt", request)
        assert url.startswith(f"{origin}/{folder}/a%20b.txt?")
        assert "X-Amz-Security-Token=nobodys-token" in url


ADDRESSES = ["http://[::1]:9000", "https://files.example.org", "http://files.example.org:8080", "https://{bucket}.example.org"]


@pytest.mark.parametrize("public_endpoint", ADDRESSES)
def test_two_libraries_sign_the_same_for_a_host(public_endpoint: str) -> None:
    """What obstore signs natively, and what botocore signs of the same second."""
    backend = s3(public_endpoint, aws_region="eu-central-1")
    for _ in range(5):
        url = backend.sign("a b/ü.txt", SignRequest("GET", 60))
        found = re.search(r"X-Amz-Date=(\w+)", url)
        assert found is not None
        moment = datetime.strptime(found[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        other = backend.sign("a b/ü.txt", SignRequest("GET", 60, signed_at=moment))
        assert urlsplit(other)[:3] == urlsplit(url)[:3]
        assert sorted(urlsplit(other).query.split("&")) == sorted(urlsplit(url).query.split("&"))


ENVIRONMENTS: list[dict[str, str]] = [
    {"AWS_REGION": "eu-west-1"},
    {"AWS_DEFAULT_REGION": "eu-west-1"},
    {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-west-2"},
    {"AWS_ENDPOINT": "http://minio:9000"},
    {"AWS_ENDPOINT_URL": "http://minio:9000", "AWS_REGION": "eu-west-1"},
]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=" ".join)
@pytest.mark.parametrize("public_endpoint", [None, "https://files.example.org"])
def test_two_libraries_read_the_same_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], public_endpoint: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    backend = ObstoreBackend("docs", "s3://bucket", public_endpoint=public_endpoint, **KEYS)
    plain = urlsplit(backend.sign("a.txt", SignRequest("GET", 60)))
    bound = urlsplit(backend.sign("a.txt", SignRequest("GET", 60, content_disposition="attachment")))
    assert bound[:3] == plain[:3]
    scope = r"X-Amz-Credential=AKID%2F\d+%2F([\w-]+)%2F"
    assert re.findall(scope, bound.query) == re.findall(scope, plain.query) != []


@pytest.mark.parametrize(
    ("internal", "public", "where"),
    [
        # an internal host that begins with the bucket, and a public one that does, or does not
        ({"aws_endpoint": "http://bucket.minio:9000", "aws_virtual_hosted_style_request": True}, "https://bucket.x.org", "/pre/"),
        ({"aws_endpoint": "http://bucket.minio:9000", "aws_virtual_hosted_style_request": True}, "https://x.org", "/bucket/pre/"),
        # a name that begins as the bucket does by chance
        ({"aws_endpoint": "http://minio:9000"}, "https://bucket.x.org", "/bucket/pre/"),
        # Amazon's own inside, a name outside
        ({"aws_endpoint": "", "aws_region": "eu-west-1"}, "https://x.org", "/bucket/pre/"),
    ],
)
def test_the_bucket_is_addressed_as_the_public_host_says(internal: dict[str, Any], public: str, where: str) -> None:
    backend = s3(public, **{name: value for name, value in internal.items() if value != ""})
    for request in (SignRequest("GET", 60), SignRequest("GET", 60, content_disposition="attachment")):
        assert backend.sign("a.txt", request).startswith(f"{public}{where}a.txt?")


@pytest.mark.parametrize("word", [True, "true", "TRUE", "1", "yes", "on", "y"])
@pytest.mark.parametrize("public_endpoint", [None, "http://bucket.files.example.org"])
def test_a_bucket_in_the_host_may_be_switched_on_by_any_word(word: Any, public_endpoint: str | None) -> None:
    backend = s3(public_endpoint, aws_endpoint="http://bucket.minio:9000", aws_virtual_hosted_style_request=word)
    origin = public_endpoint or "http://bucket.minio:9000"
    for request in (SignRequest("GET", 60), SignRequest("GET", 60, content_disposition="attachment"), SignRequest("PUT", 60)):
        assert backend.sign("a.txt", request).startswith(f"{origin}/pre/a.txt?")


@pytest.mark.parametrize(
    ("bucket", "public_endpoint", "why"),
    [
        ("my.files", "https://{bucket}.example.org", "has a dot, so no certificate"),
        ("My_Files", "http://{bucket}.example.org", "is none that a host can have"),
        ("MyFiles", "https://{bucket}.example.org", "is none that a host can have"),
    ],
)
@pytest.mark.parametrize("kind", ["obstore", "s3fs"])
def test_a_bucket_that_no_host_can_have_is_refused(bucket: str, public_endpoint: str, why: str, kind: str) -> None:
    with pytest.raises(ValueError, match=f"public_endpoint of backend 'docs': .*{why}.*leave {{bucket}} out"):
        if kind == "obstore":
            s3(public_endpoint, f"s3://{bucket}/pre")
        else:
            options = {"key": "a", "secret": "b", "endpoint_url": NOWHERE}
            FSSpecBackend("docs", f"s3://{bucket}/pre", public_endpoint=public_endpoint, storage_options=options)
    dotted = s3("http://{bucket}.example.org", "s3://my.files/pre")
    for request in (SignRequest("GET", 60), SignRequest("GET", 60, content_disposition="attachment")):
        assert dotted.sign("a.txt", request).startswith("http://my.files.example.org/pre/a.txt?")


@pytest.mark.parametrize("endpoint", ["HTTP://MINIO:9000", "http://Minio:9000/"])
def test_an_endpoint_is_signed_as_clients_send_it(endpoint: str) -> None:
    backend = s3(None, aws_endpoint=endpoint)
    for request in (SignRequest("GET", 60), SignRequest("GET", 60, content_disposition="attachment"), SignRequest("PUT", 60)):
        assert backend.sign("a.txt", request).startswith("http://minio:9000/bucket/pre/a.txt?")


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("https://bucket.s3.eu-west-1.amazonaws.com/pre", "https://bucket.s3.eu-west-1.amazonaws.com/pre/"),
        ("https://s3.eu-west-1.amazonaws.com/bucket/pre", "https://s3.eu-west-1.amazonaws.com/bucket/pre/"),
        ("https://account.r2.cloudflarestorage.com/bucket/pre", "https://account.r2.cloudflarestorage.com/bucket/pre/"),
    ],
)
def test_a_bucket_may_be_named_by_its_url(url: str, where: str) -> None:
    for public_endpoint, begin in ((None, where), ("https://x.org", "https://x.org/bucket/pre/")):
        backend = ObstoreBackend("docs", url, public_endpoint=public_endpoint, **KEYS)
        for request in (SignRequest("GET", 60), SignRequest("GET", 60, content_disposition="attachment")):
            assert backend.sign("a.txt", request).startswith(f"{begin}a.txt?")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: ObstoreBackend("docs", "memory://", public_endpoint=NOWHERE), "a memory store signs none"),
        (lambda: ObstoreBackend("docs", "https://example.org/x", public_endpoint=NOWHERE), "a http store signs none"),
        (lambda: FSSpecBackend("docs", "memory://x", public_endpoint=NOWHERE), "fsspec's memory filesystem"),
        (lambda: FSSpecBackend("docs", "gs://bucket", token="anon", public_endpoint=NOWHERE), "fsspec's gs filesystem"),
    ],
)
def test_where_it_cannot_be_done_it_is_refused_by_name(make: Callable[[], StorageBackend], why: str) -> None:
    with pytest.raises(UnsupportedOperationError, match="public_endpoint= ") as caught:
        make()
    assert why in str(caught.value)


@pytest.mark.parametrize("url", ["gs://bucket/pre", "az://container/pre"])
def test_a_bucket_in_the_host_is_for_s3(url: str) -> None:
    options = {"account_name": "a", "account_key": "a2V5"} if url.startswith("az") else {"service_account_key": google_key()}
    with pytest.raises(ValueError, match="names no host"):
        ObstoreBackend("docs", url, public_endpoint="https://{bucket}.example.org", **options)


def google_key() -> str:
    return json.dumps(service_account()[1])


# -- on real servers -------------------------------------------------------------------------------------------------------


def fetch(
    url: str, method: str = "GET", body: bytes | None = None, *, resolved: str = "", **options: Any
) -> tuple[int, bytes, dict[str, str]]:
    """Send a request; ``resolved`` is where the host of the URL is found."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(resolved or parts.netloc, timeout=30, **options)
    try:
        headers = {"Host": parts.netloc, **({"Content-Type": "text/plain"} if body else {})}
        connection.request(method, f"{parts.path}?{parts.query}", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def given_store(server: S3Server, prefix: str, public_endpoint: str) -> ObstoreBackend:
    from obstore.store import S3Store

    keys = {"access_key_id": server.access_key, "secret_access_key": server.secret_key, "region": server.region}
    store = S3Store(server.shared_bucket, prefix=prefix, endpoint=server.endpoint, client_options={"allow_http": True}, **keys)
    return ObstoreBackend("docs", store, public_endpoint=public_endpoint)


def provided(server: S3Server, prefix: str, public_endpoint: str) -> ObstoreBackend:
    """Credentials that are asked for, and that expire."""
    options = {name: value for name, value in s3_options(server).items() if "key" not in name}
    found = {"access_key_id": server.access_key, "secret_access_key": server.secret_key, "token": None, "expires_at": None}
    url = f"s3://{server.shared_bucket}/{prefix}"
    return ObstoreBackend("docs", url, public_endpoint=public_endpoint, credential_provider=lambda: found, **options)


MAKERS: dict[str, Callable[[Any, str, str], StorageBackend]] = {
    "url": lambda server, prefix, public: ObstoreBackend(
        "docs", f"s3://{server.shared_bucket}/{prefix}", public_endpoint=public, **s3_options(server)
    ),
    "store": given_store,
    "provided": provided,
    "registered": lambda server, prefix, public: storages.register_backend(
        f"s3://{server.shared_bucket}/{prefix}", key="docs", public_endpoint=public, **s3_options(server)
    ),
    "s3fs": lambda server, prefix, public: FSSpecBackend(
        "docs", f"s3://{server.shared_bucket}/{prefix}", public_endpoint=public, **s3fs_options(server)
    ),
}


@pytest.fixture(params=list(MAKERS))
def backend(request: pytest.FixtureRequest, s3_server: S3Server, public_host: Nginx) -> StorageBackend:
    made = MAKERS[request.param](s3_server, s3_server.make_prefix().strip("/"), public_host.endpoint)
    if not storages.is_registered("docs"):
        storages.register_backend(made)
    return made


SIDES = ("sync", "async")


def signed(side: str, owner: Any, *args: Any, method: str = "sign", **options: Any) -> Any:
    if side == "sync":
        return getattr(owner, method)(*args, **options)

    async def awaited() -> Any:
        return await getattr(owner, f"{method}_async")(*args, **options)

    return asyncio.run(awaited())


@pytest.mark.servers
@pytest.mark.one_in(2)
@pytest.mark.parametrize("side", SIDES)
def test_clients_read_and_write_by_the_public_host(backend: StorageBackend, public_host: Nginx, side: str) -> None:
    file = FileObject("docs", "a report.txt", content=b"what we keep").save()
    urls = [
        signed(side, file),
        signed(side, file, download_as="Bericht ä.txt"),
        signed(side, file, inline=True),
        *signed(side, storages, [file, file], method="sign_many"),
    ]
    for url in urls:
        assert url.startswith(f"{public_host.endpoint}/")
        status, body, headers = fetch(url)
        assert (status, body) == (200, b"what we keep")
        assert "disposition" not in url or headers["content-disposition"] in {
            "attachment; filename=\"Bericht _.txt\"; filename*=UTF-8''Bericht%20%C3%A4.txt",
            'inline; filename="a report.txt"',
            "attachment; filename*=UTF-8''Bericht%20%C3%A4.txt",
        }
    put = signed(side, file, for_upload=True, content_type="text/plain", content_length=len(BODY))
    assert fetch(put, "PUT", BODY)[0] == 200
    assert file.backend.read(file.path) == BODY
    asked = public_host.requests(file.path)
    assert [one.method for one in asked] == ["GET"] * len(urls) + ["PUT"]  # and nothing of ours


@pytest.mark.servers
def test_a_url_is_for_the_public_host_alone(s3_server: S3Server, public_host: Nginx) -> None:
    backend = MAKERS["url"](s3_server, s3_server.make_prefix().strip("/"), public_host.endpoint)
    backend.put("a.txt", b"x")
    url = backend.sign("a.txt", SignRequest("GET", 60))
    assert fetch(url)[0] == 200
    assert fetch(url.replace(public_host.endpoint, s3_server.endpoint))[0] == 403


@pytest.mark.servers
def test_the_public_host_may_speak_tls_where_the_store_does_not(s3_server: S3Server, public_host: Nginx) -> None:
    backend = MAKERS["url"](s3_server, s3_server.make_prefix().strip("/"), public_host.secure_endpoint)
    backend.put("a.txt", b"x")
    url = backend.sign("a.txt", SignRequest("GET", 60))
    assert url.startswith("https://localhost:")
    assert fetch(url, context=public_host.trust())[:2] == (200, b"x")


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["url", "s3fs"])
def test_nothing_of_ours_goes_to_the_public_host(s3_server: S3Server, kind: str) -> None:
    """It need not be reachable from here at all."""
    backend = MAKERS[kind](s3_server, s3_server.make_prefix().strip("/"), NOWHERE)
    backend.put("a.txt", b"x" * 10)
    backend.put("large.bin", iter([b"y" * (6 << 20)]))
    backend.copy("a.txt", "b.txt")
    assert backend.head("b.txt").size == 10
    assert backend.read("b.txt", 2, 5) == b"xxx"
    assert b"".join(backend.stream("a.txt")) == b"x" * 10
    assert {info.path for info in backend.list()} == {"a.txt", "b.txt", "large.bin"}
    assert list(backend.unfinished()) == []
    assert backend.limits() == {}
    assert backend.sign("a.txt", SignRequest("GET", 60)).startswith(f"{NOWHERE}/")
    assert not backend.delete(["a.txt", "b.txt", "large.bin"])


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["obstore", "adlfs"])
def test_on_azure_the_host_is_swapped(request: pytest.FixtureRequest, kind: str) -> None:
    server, container = bucket_of(request, "azurite_server")
    url = f"az://{container}/{uuid.uuid4().hex}"
    parts = urlsplit(server.endpoint)
    with nginx.start(f"{parts.scheme}://{parts.netloc}") as proxy:
        backend: StorageBackend
        if kind == "obstore":
            backend = ObstoreBackend("docs", url, public_endpoint=proxy.endpoint, **azure_options(server))
        else:
            string = {"connection_string": server.connection_string}
            backend = FSSpecBackend("docs", url, storage_options=string, public_endpoint=proxy.endpoint)
        reads = (SignRequest("GET", 60), SignRequest("GET", 60, content_disposition="attachment"))
        for path, asked in itertools.product(("a b.txt", "plain.txt"), reads):
            if not backend.exists(path):
                backend.put(path, b"x")
            for url in (*(signed(side, backend, path, asked) for side in SIDES), *backend.sign_many([path, path], asked)):
                assert url.startswith(f"{proxy.endpoint}{parts.path}/{container}/")
                assert fetch(url)[:2] == (200, b"x")
        assert {one.method for one in proxy.requests()} == {"GET"}
        if kind == "obstore":
            assert backend.sign("plain.txt", SignRequest("PUT", 60)).startswith(f"{proxy.endpoint}/")


def test_the_emulator_of_azure_is_named_by_its_endpoint() -> None:
    with pytest.raises(UnsupportedOperationError, match="give endpoint=, account_name= and account_key=, not use_emulator="):
        ObstoreBackend("docs", "az://container", use_emulator=True, public_endpoint=NOWHERE)


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:10000/account"])
def test_the_environment_may_name_the_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    if endpoint:
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
    account = {"account_name": "account", "account_key": "a2V5"}
    backend = ObstoreBackend("docs", "az://container", public_endpoint="https://files.example.org", **account)
    path = "/account" if endpoint else ""
    for name in ("a.txt", "a b.txt"):
        assert backend.sign(name, SignRequest("GET", 60)).startswith(f"https://files.example.org{path}/container/a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobodys")
    backend = ObstoreBackend("docs", "s3://bucket", public_endpoint="https://files.example.org")
    for request in (SignRequest("GET", 60), SignRequest("GET", 60, content_disposition="attachment"), SignRequest("PUT", 60)):
        assert backend.sign("a.txt", request).startswith("https://files.example.org/bucket/a.txt?")


def test_on_google_the_public_host_is_signed() -> None:
    world = Google()
    world.backend = ObstoreBackend(
        "docs", "gs://bucket/pre", service_account_key=google_key(), public_endpoint="https://files.example.org"
    )
    world.write("a b.txt", b"x")
    for asked in (SignRequest("GET", 60), SignRequest("GET", 60, content_disposition="attachment")):
        url = world.backend.sign("a b.txt", asked)
        assert url.startswith("https://files.example.org/bucket/pre/a%20b.txt?")
        assert world.send("GET", url).body == b"x"
        assert world.send("GET", url.replace("files.example.org", "storage.googleapis.com")).status == 403


def test_on_google_nothing_is_signed_for_the_wrong_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """With obstore alone the signature would be for Google's own host."""
    monkeypatch.setitem(sys.modules, "google.oauth2.service_account", None)
    backend = ObstoreBackend("docs", "gs://bucket", service_account_key=google_key(), public_endpoint="https://files.example.org")
    for side, request in itertools.product(SIDES, (SignRequest("GET", 60), SignRequest("PUT", 60))):
        with pytest.raises(UnsupportedOperationError, match=r"another host than Google's, needs the extra 'filerow\[gcs\]'"):
            signed(side, backend, "a.txt", request)


def test_secrets_are_not_shown() -> None:
    backend = s3("https://files.example.org")
    assert KEYS["aws_secret_access_key"] not in f"{backend!r} {backend._signing_store!r}"


@pytest.mark.servers
def test_a_bucket_is_addressed_by_the_host(s3_server: S3Server, public_host: Nginx) -> None:
    """The server takes both ways; the proxy passes on the host that the client has asked for."""
    public = public_host.endpoint.replace("://", "://{bucket}.")
    backend = MAKERS["url"](s3_server, s3_server.make_prefix().strip("/"), public)
    backend.put("a b.txt", b"x")
    for asked in (SignRequest("GET", 60), SignRequest("GET", 60, content_disposition="attachment")):
        url = backend.sign("a b.txt", asked)
        parts = urlsplit(url)
        assert parts.hostname == f"{s3_server.shared_bucket}.localhost"
        assert not parts.path.startswith(f"/{s3_server.shared_bucket}/")
        assert fetch(url, resolved=urlsplit(public_host.endpoint).netloc)[:2] == (200, b"x")
        elsewhere = url.replace(f"{s3_server.shared_bucket}.localhost", "localhost").replace(
            parts.path, f"/{s3_server.shared_bucket}{parts.path}"
        )
        assert fetch(elsewhere)[0] == 403
