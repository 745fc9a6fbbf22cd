"""Where the keys come from that URLs of S3 are signed with, how long they last, and who pays."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest
from obstore.store import S3Store
from sqlalchemy import create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.base import SignRequest
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from filerow.exceptions import StoragePermissionError
from tests.backends.stores import s3_options
from tests.servers.counting import CountingProxy

if TYPE_CHECKING:
    from tests.servers._s3 import S3Server

NOWHERE = "http://127.0.0.1:1"
HOUR = SignRequest("GET", 3600)
Provider = Callable[[], Any]


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Keys:
    """A provider of temporary keys, which counts how often it is asked."""

    def __init__(self, seconds: float | None, *, token: str | None = "T") -> None:
        self.seconds = seconds
        self.token = token
        self.asked = 0

    def __call__(self) -> dict[str, Any]:
        self.asked += 1
        ends = None if self.seconds is None else datetime.now(UTC) + timedelta(seconds=self.seconds)
        return {"access_key_id": f"AKID{self.asked}", "secret_access_key": "s" * 20, "token": self.token, "expires_at": ends}


def backend_of(provider: Provider, **options: Any) -> ObstoreBackend:
    options.setdefault("aws_endpoint", NOWHERE)
    return ObstoreBackend("docs", "s3://bucket/pre", credential_provider=provider, **options)


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def policy_of(ticket: Any) -> dict[str, Any]:
    policy: dict[str, Any] = json.loads(base64.b64decode(ticket.fields["policy"]))
    return policy


# -- providers that must be awaited ----------------------------------------------------------------------------------------


class Awaited:
    """An asynchronous provider of a server's own keys, whose lock belongs to the first event loop that uses it."""

    def __init__(self, server: S3Server) -> None:
        self.keys = {"access_key_id": server.access_key, "secret_access_key": server.secret_key, "expires_at": None}
        self.lock = asyncio.Lock()
        self.threads: set[str] = set()

    async def __call__(self) -> dict[str, Any]:
        async with self.lock:
            await asyncio.sleep(0)
            self.threads.add(threading.current_thread().name)
        return self.keys


@pytest.fixture(params=["url", "store"])
def awaited(s3_server: S3Server, request: pytest.FixtureRequest) -> ObstoreBackend:
    options = {name: value for name, value in s3_options(s3_server).items() if "key" not in name}
    url, options["credential_provider"] = f"s3://{s3_server.make_bucket()}", Awaited(s3_server)
    if request.param == "url":
        backend = ObstoreBackend("docs", url, **options)
    else:
        options |= {"virtual_hosted_style_request": False, "client_options": {"allow_http": True}}
        backend = ObstoreBackend("docs", S3Store.from_url(url, **options))
    storages.register_backend(backend)
    return backend


async def chunks(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number]) * 1000


def read(url: str) -> bytes:
    with urlopen(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content


async def test_async_provider_serves_an_async_session(awaited: ObstoreBackend) -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        few = [
            Paper(file=FileObject(filename="s.bin", content=chunks(3))),
            Paper(file=FileObject(filename="b.bin", content=b"x")),
        ]
        crowd = [Paper(file=FileObject(filename=f"{number}.bin", content=b"y")) for number in range(40)]
        session.add_all([*few, *crowd])
        await session.commit()
        assert few[0].file is not None
        assert len(await few[0].file.get_content_async()) == 3000
        assert await asyncio.to_thread(read, await few[0].file.sign_async())
        named = await few[0].file.sign_async(download_as="other.bin")
        assert await asyncio.to_thread(read, named)
        assert await storages.sign_many_async([paper.file for paper in crowd if paper.file])
    await engine.dispose()


def test_async_provider_serves_a_sync_session(awaited: ObstoreBackend) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Paper(file=FileObject(filename="b.bin", content=b"x")))
        session.commit()
        file = session.scalars(select(Paper)).one().file
        assert file is not None
        assert file.get_content() == b"x"
        assert read(file.sign()) == b"x"
        assert read(file.sign(download_as="other.bin")) == b"x"
    engine.dispose()


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_async_provider_serves_direct_uploads(awaited: ObstoreBackend, method: Any) -> None:
    uploads = DirectUploads(Paper.file, secret="a secret of these tests, and no other", s3_method=method)
    ticket = await uploads.begin_async(filename="a.bin", size=3)
    assert ticket.method == method
    assert uploads.begin(filename="a.bin", size=3).url


def test_async_provider_runs_on_a_loop_of_its_own(awaited: ObstoreBackend) -> None:
    provider = awaited.store.credential_provider.given
    for _ in range(3):  # each asyncio.run() has another loop
        asyncio.run(awaited.sign_async("a", HOUR))
        awaited.sign("a", HOUR)
    assert provider.threads == {"filerow-credentials"}


def test_provider_that_fails_is_named() -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("the vault is closed")

    with pytest.raises(StoragePermissionError, match=r"credential_provider= .* RuntimeError: the vault is closed"):
        backend_of(broken).sign("a", HOUR)


def sign(backend: ObstoreBackend, request: SignRequest) -> str:
    return backend.sign("a.bin", request)


def sign_async(backend: ObstoreBackend, request: SignRequest) -> str:
    return asyncio.run(backend.sign_async("a.bin", request))


WAYS = [
    sign,
    sign_async,
    lambda b, r: b.sign_many(["a", "b"], r)[1],
    lambda b, r: asyncio.run(b.sign_many_async(["a", "b"], r))[1],
]
REQUESTS = [
    HOUR,
    SignRequest("GET", 3600, 'attachment; filename="a"'),
    SignRequest("PUT", 3600),
    SignRequest("PUT", 3600, content_length=3),
]


LASTING = {"access_key_id": "AKID", "secret_access_key": "s" * 20}
TEMPORARY = {**LASTING, "token": "T"}
MISTAKES: dict[str, tuple[Any, str]] = {
    "nothing": (None, "returned no dictionary, but NoneType"),
    "list": (["AKID", "s"], "returned no dictionary, but list"),
    "no keys": ({}, "must return access_key_id and secret_access_key"),
    "other names": ({"AccessKeyId": "A", "SecretAccessKey": "s"}, "must return access_key_id and secret_access_key"),
    "empty keys": ({"access_key_id": "", "secret_access_key": ""}, "must return access_key_id and secret_access_key"),
    "bytes": ({**LASTING, "secret_access_key": b"s"}, "as texts"),
    "token by another name": ({**LASTING, "session_token": "T"}, "returned session_token, which obstore reads as token"),
    "no time zone": (
        {**TEMPORARY, "expires_at": datetime(2030, 1, 1, tzinfo=UTC).replace(tzinfo=None)},
        "expires_at is a datetime without a time zone",
    ),
    "text": ({**TEMPORARY, "expires_at": "2030-01-01T00:00:00Z"}, "expires_at is str; it must be a datetime"),
    "number": ({**TEMPORARY, "expires_at": 1.9e9}, "expires_at is float; it must be a datetime"),
}


@pytest.mark.parametrize(("given", "words"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("is_awaited", [False, True])
def test_what_a_provider_returns_by_mistake_is_named(given: Any, words: str, is_awaited: bool) -> None:
    async def awaited() -> Any:
        return given

    backend = backend_of(awaited if is_awaited else lambda: given, retry_config={"max_retries": 0})
    for request in (HOUR, SignRequest("GET", 60, content_disposition="attachment"), SignRequest("PUT", 60)):
        for way in WAYS:
            with pytest.raises(StoragePermissionError, match=words) as refused:
                way(backend, request)
            assert refused.value.backend == "docs"
            assert "secret" not in str(refused.value).replace("secret_access_key", "")
    if "expires_at" in words or "dictionary" in words:  # nor is a request made with it
        with pytest.raises(StoragePermissionError, match=words):
            backend.read("a.bin")


@pytest.mark.parametrize("word", [True, "1", "yes", "on", "TRUE"])
@pytest.mark.parametrize("is_variable", [False, True])
def test_requester_pays_may_be_switched_on_by_any_word(word: Any, is_variable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_variable:
        monkeypatch.setenv("AWS_REQUEST_PAYER", str(word))
    options: dict[str, Any] = {} if is_variable else {"request_payer": word}
    backend = ObstoreBackend(
        "docs", "s3://bucket", aws_endpoint=NOWHERE, aws_access_key_id="a", aws_secret_access_key="s", **options
    )
    for request in REQUESTS:
        assert query_of(backend.sign("a.bin", request))["x-amz-request-payer"] == "requester"


# -- how long keys last ----------------------------------------------------------------------------------------------------


@pytest.mark.one_in(3)
@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("way", WAYS)
def test_url_ends_with_the_temporary_keys_that_sign_it(way: Callable[..., str], request_: SignRequest) -> None:
    asked = query_of(way(backend_of(Keys(900)), request_))
    assert 890 <= int(asked["X-Amz-Expires"]) <= 900
    assert asked["X-Amz-Security-Token"] == "T"


@pytest.mark.one_in(3)
@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("keys", [Keys(7200), Keys(900, token=None), Keys(None)], ids=["long", "lasting", "unknown"])
def test_url_lasts_as_long_as_asked_where_the_keys_do(way: Callable[..., str], request_: SignRequest, keys: Keys) -> None:
    assert query_of(way(backend_of(keys), request_))["X-Amz-Expires"] == "3600"


def test_shorter_url_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    backend = backend_of(Keys(900))
    with caplog.at_level(logging.WARNING, logger="filerow"):
        for _ in range(3):
            backend.sign("a", HOUR)
    (said,) = caplog.records
    assert re.match(r"URLs for 3600 s were asked for, but end with .* that sign them, in 8\d\d s by now", said.message)


@pytest.mark.parametrize("request_", REQUESTS)
def test_expired_keys_sign_nothing(request_: SignRequest) -> None:
    with pytest.raises(StoragePermissionError, match="the credentials have expired"):
        backend_of(Keys(-5)).sign("a", request_)


def test_rounded_url_ends_with_its_keys() -> None:
    url = backend_of(Keys(900)).sign("a", SignRequest("GET", 600).rounded(600))
    asked = query_of(url)
    begins = datetime.strptime(asked["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    assert begins + int(asked["X-Amz-Expires"]) <= time.time() + 901


def test_keys_are_asked_for_again_before_they_end() -> None:
    keys = Keys(3600)
    backend = backend_of(keys)
    for _ in range(5):
        backend.sign("a", SignRequest("GET", 60))
    assert keys.asked == 1
    keys.seconds = 7200  # it ends before the URL does, so there may be longer ones; but not at every URL
    for _ in range(5):
        backend.sign("a", SignRequest("GET", 7100))
    assert keys.asked == 1


def test_provider_without_an_expiry_is_asked_for_each_url() -> None:
    keys = Keys(None)
    backend = backend_of(keys)
    assert [query_of(backend.sign("a", HOUR))["X-Amz-Credential"].partition("/")[0] for _ in range(2)] == ["AKID1", "AKID2"]


def test_role_of_boto3_ends_when_botocore_says() -> None:
    from boto3.session import Session as Boto
    from botocore.credentials import RefreshableCredentials
    from botocore.session import Session as Botocore
    from obstore.auth.boto3 import Boto3CredentialProvider

    ends = datetime.now(UTC) + timedelta(seconds=2000)

    def renew() -> dict[str, Any]:
        return {"access_key": "A", "secret_key": "s", "token": "T", "expiry_time": ends.isoformat()}

    session = Botocore()
    session._credentials = RefreshableCredentials.create_from_metadata(renew(), renew, "sts")  # type: ignore[attr-defined]
    backend = backend_of(Boto3CredentialProvider(Boto(botocore_session=session, region_name="eu-west-1")))
    assert 1990 <= int(query_of(backend.sign("a", HOUR))["X-Amz-Expires"]) <= 2000  # and not its own half hour


def test_form_and_parts_end_with_the_keys(s3_server: S3Server) -> None:
    server = {"access_key_id": s3_server.access_key, "secret_access_key": s3_server.secret_key}

    def keys() -> dict[str, Any]:
        return {**server, "token": None, "expires_at": datetime.now(UTC) + timedelta(seconds=400)}

    options = {name: value for name, value in s3_options(s3_server).items() if "key" not in name}
    backend = ObstoreBackend("docs", f"s3://{s3_server.make_bucket()}", credential_provider=keys, **options)
    storages.register_backend(backend)
    uploads = DirectUploads(Paper.file, secret="a secret of these tests, and no other", expires_in=3600)
    parts = uploads.begin(filename="a.bin", size=70 << 20).parts
    assert {int(query_of(part.url)["X-Amz-Expires"]) > 3500 for part in parts} == {True}  # as the keys last

    storages.clear_backends()
    storages.register_backend(backend_of(Keys(400)))
    ends = datetime.fromisoformat(policy_of(uploads.begin(filename="a.bin", size=3))["expiration"]).timestamp()
    assert time.time() + 380 <= ends <= time.time() + 401


# -- in the event loop -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "backend",
    [
        lambda: ObstoreBackend("docs", "s3://b/p", aws_endpoint=NOWHERE, aws_access_key_id="a", aws_secret_access_key="s"),
        lambda: backend_of(Keys(7200)),
        lambda: ObstoreBackend("docs", "az://c/p", account_name="a", account_key="a2V5"),
    ],
    ids=["s3", "provider", "azure"],
)
def test_plain_url_is_signed_without_leaving_the_event_loop(backend: Callable[[], ObstoreBackend]) -> None:
    storages.register_backend(backend())
    file = FileObject.from_dict({"v": 1, "backend": "docs", "path": "paper/file/a.bin", "filename": "a.bin"})
    file.sign()  # has asked whoever has to be asked
    step = file.sign_async(expires_in=60)
    with pytest.raises(StopIteration) as done:
        step.send(None)
    assert urlsplit(done.value.value).path == urlsplit(file.sign()).path


@pytest.mark.parametrize("path", ["../a", "a/../../b", "./a", "", "a\0b"])
def test_path_that_leads_elsewhere_is_not_signed(path: str) -> None:
    backend = ObstoreBackend("docs", "s3://b/p", aws_endpoint=NOWHERE, aws_access_key_id="a", aws_secret_access_key="s")
    for way in (sign_path, lambda *given: asyncio.run(sign_path_async(*given))):
        with pytest.raises(ValueError, match="path"):
            way(backend, path)


def sign_path(backend: ObstoreBackend, path: str) -> str:
    return backend.sign(path, HOUR)


async def sign_path_async(backend: ObstoreBackend, path: str) -> str:
    return await backend.sign_async(path, HOUR)


# -- requester pays --------------------------------------------------------------------------------------------------------


PAYING = {"aws_access_key_id": "a", "aws_secret_access_key": "s" * 20, "request_payer": True}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("way", WAYS)
def test_url_says_that_the_requester_pays(way: Callable[..., str], request_: SignRequest) -> None:
    backend = ObstoreBackend("docs", "s3://bucket", aws_endpoint=NOWHERE, **PAYING)
    asked = query_of(way(backend, request_))
    assert asked["x-amz-request-payer"] == "requester"
    assert "payer" not in asked["X-Amz-SignedHeaders"]


def test_direct_upload_says_that_the_requester_pays(s3_server: S3Server) -> None:
    proxy = CountingProxy(s3_server.endpoint)
    try:
        options = {**s3_options(s3_server), "aws_endpoint": proxy.endpoint}
        backend = ObstoreBackend("docs", f"s3://{s3_server.make_bucket()}", request_payer=True, **options)
        storages.register_backend(backend)
        secret = "a secret of these tests, and no other"
        form = DirectUploads(Paper.file, secret=secret).begin(filename="a.bin", size=3)
        assert form.fields["x-amz-request-payer"] == "requester"
        assert {"x-amz-request-payer": "requester"} in policy_of(form)["conditions"]
        for uploads, size in (
            (DirectUploads(Paper.file, secret=secret, s3_method="PUT"), 3),
            (DirectUploads(Paper.file, secret=secret), 70 << 20),
        ):
            ticket = uploads.begin(filename="a.bin", size=size)
            first = ticket.parts[0] if ticket.parts else None
            body = b"x" * (first.end - first.start if first else size)
            put = Request(first.url if first else ticket.url, body, dict(ticket.headers), method="PUT")
            assert "x-amz-request-payer" in {name.lower() for name in ticket.headers}
            with urlopen(put, timeout=10) as answer:
                assert answer.status == 200
            uploads.abort(ticket.claim)
    finally:
        proxy.stop()


def test_s3fs_signs_that_the_requester_pays_or_refuses() -> None:
    given: dict[str, Any] = {"endpoint_url": NOWHERE, "requester_pays": True}
    given["storage_options"] = {"key": "a", "secret": "s" * 20}
    old = FSSpecBackend("docs", "s3://bucket", config_kwargs={"signature_version": "s3"}, **given)
    assert query_of(old.sign("a", HOUR))["x-amz-request-payer"] == "requester"
    new = FSSpecBackend("docs", "s3://bucket", **given)
    with pytest.raises(NotImplementedError, match="request_payer=True"):
        new.sign("a", HOUR)
    assert new.upload_headers(SignRequest("PUT", 60)) == {"x-amz-request-payer": "requester"}


# -- no credentials --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "given", "words"),
    [
        ("s3://b/p", {"metadata_endpoint": NOWHERE, "aws_endpoint": NOWHERE}, "AWS_PROFILE.*Boto3CredentialProvider"),
        ("az://c/p", {"account_name": "a", "msi_endpoint": NOWHERE}, "az login.*AzureCredentialProvider"),
    ],
)
def test_missing_credentials_say_what_finds_them(url: str, given: dict[str, str], words: str) -> None:
    backend = ObstoreBackend("docs", url, retry_config={"max_retries": 0}, **given)
    with pytest.raises(StoragePermissionError, match=words):
        backend.read("a")
