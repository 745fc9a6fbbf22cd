"""The doctor finds what a backend may not do, does not do, or does at another time."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex, token_urlsafe
from typing import Any

import pytest

from filerow import storages
from filerow.backends.base import SignRequest
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import StoragePermissionError
from filerow.maintenance import Finding, doctor, sweep
from filerow.testing.faults import Fault, FaultyBackend
from tests.databases import EmptyDatabase
from tests.direct.site import Site
from tests.maintenance.models import Models, engine_of, models
from tests.servers import nginx, seaweedfs
from tests.servers._s3 import S3Server
from tests.servers.azurite import AzuriteServer
from tests.servers.nginx import Nginx


@pytest.fixture(autouse=True)
def _own_backends(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("FILEROW_SECRET", raising=False)
    yield
    storages.clear_backends()


class SlowClock(MemoryBackend):
    """A store whose clock is a day behind."""

    def _head(self, path: str) -> Any:
        info = super()._head(path)
        return info._replace(last_modified=time.time() - 86_400)


@dataclass
class Denying(MemoryBackend):
    """A store whose credentials may not do some things."""

    denied: set[str] = field(default_factory=set)

    def __init__(self, key: str, *denied: str) -> None:
        super().__init__(key)
        self.denied = set(denied)

    def _deny(self, verb: str) -> None:
        if verb in self.denied:
            raise PermissionError(verb)

    def _put(self, path: str, content: Any, options: Any) -> Any:
        self._deny("write")
        return super()._put(path, content, options)

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        self._deny("read")
        return super()._read(path, start, end)

    def _list(self, prefix: str, start_after: str) -> Iterator[Any]:
        self._deny("list")
        return super()._list(prefix, start_after)

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        self._deny("delete")
        return super()._delete(paths)


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Callable[..., Models]]:
    """Tables in a SQLite database of its own, without a finding of theirs."""
    database = EmptyDatabase("sqlite", tmp_path / "rows.db")
    with database._open:
        yield lambda **column: models(engine_of(database), **column)


@pytest.mark.parametrize("verb", ["write", "read", "list", "delete"])
def test_what_a_backend_may_not_do_is_found(tables: Callable[..., Models], verb: str) -> None:
    backend = Denying("docs", verb)
    storages.register_backend(backend)
    found = tables().found()
    assert set(found) == {f"cannot-{verb}"}
    assert found[f"cannot-{verb}"].advice
    left = [info.path for info in MemoryBackend.list(backend, "")] if verb != "list" else []
    assert len(left) == (verb == "delete")
    if left:
        assert left[0] in found["cannot-delete"].advice


def test_a_store_that_may_not_delete_is_found_by_what_it_answers(
    tables: Callable[..., Models], azurite_server: AzuriteServer
) -> None:
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    container = azurite_server.make_container()
    token = generate_container_sas(
        azurite_server.account_name,
        container,
        account_key=azurite_server.account_key,
        permission=ContainerSasPermissions(read=True, write=True, create=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    options = {"account_name": azurite_server.account_name, "sas_token": token, "endpoint": azurite_server.endpoint}
    storages.register_backend(ObstoreBackend("docs", f"az://{container}/papers/", **options))
    found = tables().found()
    assert "cannot-delete" in found
    assert set(found) <= {"cannot-delete", "cannot-sign"}
    [left] = azurite_server.keys(container)
    path = left.removeprefix("papers/")
    assert path in found["cannot-delete"].advice
    assert [type(error) for error in storages.get_backend("docs").delete([path]).values()] == [StoragePermissionError]
    refused = storages.get_backend("docs").delete([path, f"{path}2"])
    assert {type(error) for error in refused.values()} == {StoragePermissionError}


def test_a_store_that_does_not_answer_is_asked_for_one_file_only(tables: Callable[..., Models]) -> None:
    storages.register_backend(MemoryBackend("docs"))
    healthy = tables()
    for _ in range(3):
        healthy.store()
    storages.clear_backends()
    nobody = {"aws_endpoint": "http://127.0.0.1:9", "aws_access_key_id": "x", "aws_secret_access_key": "y"}
    storages.register_backend(ObstoreBackend("docs", "s3://papers/", retry_config={"max_retries": 0}, **nobody))
    findings = [finding for progress in doctor(healthy.metadata, healthy.engine) for finding in progress.findings]
    assert [one.code for one in findings] == ["cannot-write", "cannot-list", "unreadable"]
    assert "is it running" in findings[0].advice


LOST = ConnectionResetError("the answer was lost")


def test_probe_whose_answer_is_lost_is_removed(tables: Callable[..., Models]) -> None:
    store = MemoryBackend("docs")
    storages.register_backend(FaultyBackend(store, Fault("put", error=LOST, after=True)))
    assert set(tables().found()) == {"cannot-write"}
    assert list(store.list()) == []


def left_by_a_doctor(healthy: Models, store: FaultyBackend) -> str:
    """Let a doctor leave its probe behind, and return its path."""
    with store.inject(Fault("put", error=LOST, after=True), Fault("delete", error=LOST)):
        healthy.found()
    [left] = [info.path for info in store.backend.list()]
    return left


def test_probe_that_a_doctor_left_is_removed_by_a_later_one(tables: Callable[..., Models]) -> None:
    store = FaultyBackend(MemoryBackend("docs"))
    storages.register_backend(store)
    healthy = tables()
    left = left_by_a_doctor(healthy, store)
    assert healthy.found() == {}
    assert store.exists(left), "it may be that of a doctor who is at work"
    folder, _, name = left.rpartition("/")
    old = f"{folder}/{int((time.time() - 7200) * 1000):012x}{name[12:]}"
    store.backend.put(old, store.backend.read(left))
    other = f"{folder}/of-somebody-else"
    store.backend.put(other, b"not a probe")
    assert healthy.found() == {}
    assert {info.path for info in store.backend.list()} == {left, other}


def test_probe_that_a_doctor_left_is_removed_by_a_sweep(tables: Callable[..., Models]) -> None:
    store = FaultyBackend(MemoryBackend("docs"))
    storages.register_backend(store)
    healthy = tables()
    left = left_by_a_doctor(healthy, store)
    list(sweep(healthy.metadata, healthy.engine, delete=True))
    assert store.exists(left), "it is younger than the grace period"
    list(sweep(healthy.metadata, healthy.engine, delete=True, grace=timedelta(0), full=True))
    assert not store.exists(left)


def test_probe_is_removed_when_a_doctor_is_interrupted(tables: Callable[..., Models]) -> None:
    store = FaultyBackend(MemoryBackend("docs"), Fault("head", error=KeyboardInterrupt, times=1))
    storages.register_backend(store)
    with pytest.raises(KeyboardInterrupt):
        tables().found()
    assert list(store.backend.list()) == []


def test_a_store_of_another_time_is_found(tables: Callable[..., Models]) -> None:
    storages.register_backend(SlowClock("docs"))
    found = tables().found()
    assert set(found) == {"clock-skew"}
    assert (found["clock-skew"].level, found["clock-skew"].backend) == ("error", "docs")
    assert found["clock-skew"].message.startswith("its clock is 86")


def test_a_backend_that_nobody_registered_is_found(tables: Callable[..., Models]) -> None:
    storages.register_backend(MemoryBackend("docs"))
    healthy = tables()
    healthy.store()
    storages.clear_backends()
    storages.register_backend(MemoryBackend("other"))
    findings = [finding for progress in doctor(healthy.metadata, healthy.engine) for finding in progress.findings]
    assert [(one.code, one.backend, one.where) for one in findings] == [
        ("backend-missing", "docs", "document.file, document.pages"),
        ("backend-missing", "docs", "document.file"),
    ]


def test_files_that_are_gone_are_found_among_the_first(tables: Callable[..., Models]) -> None:
    backend = MemoryBackend("docs")
    storages.register_backend(backend)
    healthy = tables()
    healthy.store()
    gone = healthy.store()
    backend.delete(gone.path)
    finding = healthy.found()["missing"]
    assert (finding.where, finding.backend, finding.path) == ("document.file", "docs", gone.path)


def test_two_keys_of_one_place_are_found(tables: Callable[..., Models], tmp_path: Path) -> None:
    for key, folder in [("docs", "files"), ("again", "files"), ("below", "files/below")]:
        storages.register_backend(LocalBackend(key, tmp_path / folder, fsync=False))
    found = tables().found()
    assert set(found) == {"same-place"}
    assert "'docs' and 'again'" in found["same-place"].message


def test_a_missing_secret_is_found(tables: Callable[..., Models]) -> None:
    storages.register_backend(MemoryBackend("docs", base_url="/files"))
    healthy = tables()
    assert set(healthy.found()) == {"secret-missing"}
    assert healthy.found()["secret-missing"].level == "error"
    findings = [one for progress in doctor(healthy.metadata, healthy.engine, direct=["docs"]) for one in progress.findings]
    assert [(one.code, one.level) for one in findings] == [("secret-missing", "error"), ("secret-missing", "info")]


GOOD = token_urlsafe(32)
REFUSED = {
    "words": "a-secret-of-this-application",
    "short": "s3Qx0aLm9-Pz_7R",
    "same": "a" * 40,
    "placeholder": "please-change-me-in-production",
}
WEAK = {
    "words": "kitchen-table-window-Berlin",
    "sixteen characters": "s3Qx0aLm9-Pz_7Rt",
    "repeated": "s3Qx0aLm9" * 8,
    "the old one of two": f"{GOOD},kitchen-table-window-Berlin",
}


def codes_of(findings: Mapping[str, Finding]) -> list[tuple[str, str]]:
    return [(code, finding.level) for code, finding in findings.items()]


def assert_silent(findings: Mapping[str, Finding], secret: str) -> None:
    said = repr(findings)
    assert not [part for part in re.split(r"[,\s]+", secret) if part in said]


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_secret_is_weak_and_not_missing(
    tables: Callable[..., Models], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("FILEROW_SECRET", REFUSED[name])
    storages.register_backend(MemoryBackend("docs", base_url="/files"))
    healthy = tables()
    found = healthy.found()
    assert codes_of(found) == [("secret-weak", "error")]
    assert "token_urlsafe(32)" in found["secret-weak"].advice
    assert_silent(found, REFUSED[name])
    storages.clear_backends()
    storages.register_backend(MemoryBackend("docs"))
    assert codes_of(healthy.found(direct=["docs"])) == [("secret-weak", "error")]


@pytest.mark.parametrize("name", WEAK)
@pytest.mark.parametrize("given", [True, False], ids=["given", "of the environment"])
def test_a_secret_of_little_chance_is_weak(
    tables: Callable[..., Models], monkeypatch: pytest.MonkeyPatch, name: str, given: bool
) -> None:
    if not given:
        monkeypatch.setenv("FILEROW_SECRET", WEAK[name])
    storages.register_backend(MemoryBackend("docs", base_url="/files", secret=WEAK[name].split(",") if given else None))
    found = tables().found()
    assert codes_of(found) == [("secret-weak", "warning")]
    assert "token_urlsafe(32)" in found["secret-weak"].advice
    assert_silent(found, WEAK[name])


def test_a_weak_secret_for_claims_is_found(tables: Callable[..., Models], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILEROW_SECRET", WEAK["words"])
    storages.register_backend(MemoryBackend("docs", base_url="/files", secret=GOOD))
    assert codes_of(tables().found(direct=["docs"])) == [("secret-weak", "warning")]


@pytest.mark.parametrize(
    "secret", [GOOD, token_hex(32), token_hex(16), f"{GOOD} {token_urlsafe(48)}"], ids=["urlsafe", "hex", "short hex", "two"]
)
def test_random_secret_is_not_reported(tables: Callable[..., Models], monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("FILEROW_SECRET", secret)
    storages.register_backend(MemoryBackend("docs", base_url="/files", development=True))
    assert tables().found(direct=["docs"]) == {}


def test_a_secret_of_this_process_alone_is_found(tables: Callable[..., Models]) -> None:
    storages.register_backend(MemoryBackend("docs", base_url="/files", development=True))
    found = tables().found()
    assert codes_of(found) == [("secret-random", "warning")]
    assert "FILEROW_SECRET" in found["secret-random"].advice


class Elsewhere(MemoryBackend):
    """A store that has a server somewhere, and signs URLs of it."""

    capabilities = MemoryBackend.capabilities._replace(sign_get=True)

    def __init__(self, key: str, endpoint: str) -> None:
        super().__init__(key)
        self.own_urls = None  # type: ignore[assignment]
        self.endpoint = endpoint

    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        return [f"{self.endpoint}/{path}?expires={request.expires_in}" for path in paths]


def test_plain_http_is_reported_unless_it_is_local(tables: Callable[..., Models]) -> None:
    healthy = tables()

    def codes(endpoint: str) -> list[str]:
        storages.clear_backends()
        storages.register_backend(Elsewhere("docs", endpoint))
        return list(healthy.found())

    assert codes("http://files.example") == ["plain-http"]
    assert codes("https://files.example") == codes("http://127.0.0.1:9000") == codes("http://localhost:9000") == []


def s3(server: S3Server, bucket: str, *, reader: bool = False) -> ObstoreBackend:
    keys = (seaweedfs.READER_ACCESS_KEY, seaweedfs.READER_SECRET_KEY) if reader else (server.access_key, server.secret_key)
    options = {"aws_endpoint": server.endpoint, "aws_access_key_id": keys[0], "aws_secret_access_key": keys[1]}
    return ObstoreBackend("docs", f"s3://{bucket}/papers/", **options)


def test_s3_is_asked_what_it_lets_credentials_and_browsers_do(
    tables: Callable[..., Models], s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILEROW_SECRET", "Zk3uB-0q9Vw7_xT1mJ8rYh2cLs5NdPaG")
    bucket = s3_server.make_bucket()
    storages.register_backend(s3(s3_server, bucket))
    healthy = tables()
    assert healthy.found(direct=["docs"]) == {}
    rule = {"AllowedOrigins": ["https://app.example"], "AllowedMethods": ["PUT", "POST"], "AllowedHeaders": ["*"]}
    s3_server.client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    assert healthy.found(direct=["docs=https://app.example"]) == {}
    refused = healthy.found(direct=["docs=https://evil.example"])
    assert {code: finding.level for code, finding in refused.items()} == {"cors": "error"}
    assert {code: one.level for code, one in healthy.found(direct=["docs"]).items()} == {"cors-unknown": "info"}
    assert s3_server.keys(bucket) == set()
    storages.unregister_backend("docs")
    storages.register_backend(s3(s3_server, bucket, reader=True))
    assert set(healthy.found()) == {"cannot-write"}


# -- as clients see it -----------------------------------------------------------------------------------------------------


def outside(server: S3Server, bucket: str, **options: str) -> ObstoreBackend:
    keys = {"aws_access_key_id": server.access_key, "aws_secret_access_key": server.secret_key}
    return ObstoreBackend("docs", f"s3://{bucket}/papers", aws_endpoint=server.endpoint, **keys, **options)


@pytest.mark.servers
def test_the_public_host_is_asked_as_a_client_asks(
    tables: Callable[..., Models], s3_server: S3Server, public_host: Nginx
) -> None:
    healthy, bucket = tables(), s3_server.make_bucket()

    def codes(endpoint: str) -> list[tuple[str, str]]:
        storages.clear_backends()
        storages.register_backend(outside(s3_server, bucket, public_endpoint=endpoint))
        return codes_of(healthy.found())

    assert codes(public_host.endpoint) == []
    assert codes("http://localhost:9") == [("public-unreachable", "info")]
    with nginx.start(s3_server.endpoint, keeps_host=False) as proxy:
        assert codes(proxy.endpoint) == [("public-endpoint", "error")]
        assert "proxy_set_header Host" in healthy.found()["public-endpoint"].advice
    with Site() as other:
        assert codes(other.url) == [("public-endpoint", "error")]
        assert "does not lead to what was written" in healthy.found()["public-endpoint"].message


@pytest.mark.servers
def test_backends_that_differ_in_public_host_alone_are_one_place(
    tables: Callable[..., Models], s3_server: S3Server, public_host: Nginx
) -> None:
    bucket = s3_server.make_bucket()
    storages.register_backend(outside(s3_server, bucket))
    options = {"aws_access_key_id": s3_server.access_key, "aws_secret_access_key": s3_server.secret_key}
    place = {"aws_endpoint": s3_server.endpoint, "public_endpoint": public_host.endpoint}
    storages.register_backend(ObstoreBackend("again", f"s3://{bucket}/papers", **place, **options))
    found = tables().found()
    assert codes_of(found) == [("same-place", "error")]
    assert "'docs' and 'again'" in found["same-place"].message


@pytest.mark.servers
def test_permanent_urls_are_asked_as_everybody_asks(tables: Callable[..., Models], s3_server: S3Server) -> None:
    healthy, bucket = tables(), s3_server.make_bucket()

    def codes(base: str) -> list[tuple[str, str]]:
        storages.clear_backends()
        storages.register_backend(outside(s3_server, bucket, public_url=base))
        return codes_of(healthy.found())

    base = f"{s3_server.endpoint}/{bucket}/papers"
    assert codes(base) == [("public-url", "warning")]  # private
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    s3_server.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    assert codes(base) == [("public-override", "warning")]
    assert codes(f"{s3_server.endpoint}/{bucket}") == [("public-url", "warning")]  # without the prefix
    assert codes("http://localhost:9/papers") == [("public-unreachable", "info")]
    assert codes("/media") == []
    with nginx.start(s3_server.endpoint, keeps_query=False) as proxy:
        assert codes(f"{proxy.endpoint}/{bucket}/papers") == []
