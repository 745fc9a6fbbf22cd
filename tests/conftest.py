"""Fixtures for the real servers: each starts when the first test asks for it and ends with the session.

Environment variables:
    FILEROW_REQUIRE_SERVERS: "1" makes a server that is not installed a failure. Without it, the tests that need the
        server are skipped and counted in a block at the very end of the run.
    FILEROW_TEST_S3_ENDPOINT, FILEROW_TEST_S3_ACCESS_KEY, FILEROW_TEST_S3_SECRET_KEY: run the S3 tests against this
        server (the MinIO of ``docker/minio``, say) and not against a SeaweedFS of our own. FILEROW_TEST_S3_REGION is
        optional.
    FILEROW_AZURITE: the folder of an installed Azurite, if it is not in ``.servers/node_modules``.
    FILEROW_THOROUGH: "1" runs the tests marked ``thorough`` too: the rest of a matrix whose every pair is in each run.
        ``make thorough`` does, and ``.ci/run``.
    FILEROW_SOAK: "1" runs the tests marked ``soak`` too, which take minutes each. ``make soak`` does.

Under pytest-xdist every worker starts its own servers: they are ready in about a second, which is less than workers
waiting for each other over a lock would cost, and no test can see another worker's objects.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import hypothesis  # before gc.freeze() below hides from its plugins who holds what they register
import pytest

from filerow import storages
from filerow.backends.obstore import ObstoreBackend
from filerow.variants import configure
from tests.backends.stores import s3_options
from tests.databases import NAMES, empty_database
from tests.servers import (
    ServerMissingError,
    azurite,
    external_s3,
    fake_gcs,
    ftp,
    mariadb,
    moto,
    nginx,
    postgres,
    redis,
    samba,
    seaweedfs,
    sftp,
)
from tests.servers import chromium as browser
from tests.servers import gcs_facade as facade
from tests.servers.counting import CountingProxy

# A busy machine is slow to make examples, and to try them; that says nothing of what is tested.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")

# No test needs the authorities of the system, and to read them takes each new store of obstore 4 ms, each client of httpx 20.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("no_authority.pem"))
os.environ.pop("SSL_CERT_DIR", None)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from multiprocessing.context import ForkServerContext

    from tests.databases import EmptyDatabase
    from tests.servers._gcs import GCSServer
    from tests.servers._s3 import S3Server

    Server = TypeVar("Server", bound=AbstractContextManager[object])

pytest_plugins = ["filerow.testing.plugin"]  # shows what of the conformance kit did not apply

fake_gcs.quiet_gcsfs()

NOT_COVERED = "not covered: "
SERVERS = {
    "azurite_server",
    "chromium",
    "ftp_server",
    "gcs_facade",
    "gcs_server",
    "mariadb_server",
    "moto_server",
    "public_host",
    "postgres_server",
    "redis_server",
    "s3_server",
    "sftp_server",
    "smb_server",
}


TIERS = {"thorough": "FILEROW_THOROUGH", "soak": "FILEROW_SOAK"}
"""Marks of tests that run only where an environment variable asks for them."""

_NAMED = re.compile(r"(?<![a-z])(s3|moto|azure|gcs|nginx|postgresql|mariadb)(?![a-z:])")

_without_servers: list[str] = []


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Mark what needs a server, before ``-m`` chooses, and put off what this run has no time for, when all is marked.

    ``-m "not servers"`` is the suite that runs anywhere. A parametrized test names the server in its id, and asks for
    the fixture only when it runs.
    """
    for item in items:
        parameters = item.name.partition("[")[2]
        if SERVERS.intersection(getattr(item, "fixturenames", ())) or _NAMED.search(parameters):
            item.add_marker("servers")
    _put_off_variants(items)
    yield
    tiers = {tier for tier, variable in TIERS.items() if os.environ.get(variable) != "1"}
    put_off = {item for item in items if tiers.intersection(marker.name for marker in item.iter_markers())}
    if put_off:
        config.hook.pytest_deselected(items=list(put_off))
        items[:] = [item for item in items if item not in put_off]


def _put_off_variants(items: list[pytest.Item]) -> None:
    """Mark as thorough all but one in n variants of each test that is marked ``one_in(n)``; the names of the variants decide."""
    variants: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not any(item.get_closest_marker(tier) for tier in TIERS):
            variants.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for group in variants.values():
        marker = group[0].get_closest_marker("one_in")
        if marker is not None:
            (n,), least = marker.args, marker.kwargs.get("least", 1)
            group.sort(key=lambda item: zlib.crc32(item.name.encode()))
            for item in group[max(least, -(-len(group) // n)) :]:
                item.add_marker("thorough")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Collect tests without the garbage collector, which would look at all of them again and again: a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Take the thousands of collected tests out of the garbage collector's way; some tests collect after each of their steps."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Notice a run that is to need no server."""
    _without_servers.extend(["-m"] if "not servers" in config.getoption("-m") else [])


def _start(start: Callable[[], Server]) -> Server:
    if _without_servers:
        pytest.fail("this test needs a server and is not marked so: @pytest.mark.servers", pytrace=False)
    try:
        return start()
    except ServerMissingError as missing:
        if os.environ.get("FILEROW_REQUIRE_SERVERS") == "1":
            pytest.fail(f"{missing} (FILEROW_REQUIRE_SERVERS=1)", pytrace=False)
        pytest.skip(f"{NOT_COVERED}{missing}")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real S3 server that checks what it is asked: SeaweedFS, or the one that the environment names."""
    with _start(external_s3.start if external_s3.is_configured() else seaweedfs.start) as server:
        yield server


@pytest.fixture(scope="session")
def public_host(s3_server: S3Server) -> Iterator[nginx.Nginx]:
    """A proxy (nginx) before the S3 server, by another name: the host that clients reach."""
    with _start(lambda: nginx.start(s3_server.endpoint)) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """A second S3, quick to start, which checks neither signatures nor expiry."""
    with _start(moto.start) as server:
        yield server


@pytest.fixture(scope="session")
def azurite_server() -> Iterator[azurite.AzuriteServer]:
    """Azure Blob Storage's emulator."""
    with _start(azurite.start) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GCSServer]:
    """Google Cloud Storage's JSON API, for gcsfs."""
    with _start(fake_gcs.start) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_facade() -> Iterator[GCSServer]:
    """Google Cloud Storage's XML API, for obstore."""
    with _start(facade.start) as server:
        yield server


@pytest.fixture(scope="session")
def sftp_server() -> Iterator[sftp.SFTPServer]:
    """SFTP."""
    with _start(sftp.start) as server:
        yield server


@pytest.fixture(scope="session")
def smb_server() -> Iterator[samba.SambaServer]:
    """SMB."""
    with _start(samba.start) as server:
        yield server


@pytest.fixture(scope="session")
def ftp_server() -> Iterator[ftp.FTPServer]:
    """FTP."""
    with _start(ftp.start) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.PostgresServer]:
    """PostgreSQL."""
    with _start(postgres.start) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[mariadb.MariaDBServer]:
    """MariaDB."""
    with _start(mariadb.start) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[redis.RedisServer]:
    """Redis."""
    with _start(redis.start) as server:
        yield server


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Starts children from one process that has imported what they all run, and has used no network."""
    context = multiprocessing.get_context("forkserver")
    shared = ["tests.soak.crash.works", "tests.outbox.worker", "tests.direct.redeemer", "psycopg", "pymysql"]
    context.set_forkserver_preload(shared)
    return context


@pytest.fixture(scope="module")
def frozen_heap() -> None:
    """Make ``gc.collect()`` quick: it looks no more at the million objects that earlier tests and their imports have left."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=NAMES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmptyDatabase]:
    """An empty database of each kind; ``@pytest.mark.parametrize("database", ["postgresql"], indirect=True)`` for some."""
    with empty_database(request.param, tmp_path, request) as one:
        yield one


@pytest.fixture
def counted_s3(s3_server: S3Server) -> Iterator[CountingProxy]:
    """What counts the requests to S3 of the backend ``docs``, which is registered."""
    with CountingProxy(s3_server.endpoint) as proxy:
        where = f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix()}"
        storages.register_backend(ObstoreBackend("docs", where, **s3_options(s3_server) | {"aws_endpoint": proxy.endpoint}))
        yield proxy
        storages.clear_backends()


@pytest.fixture(scope="module")
def variant_workers() -> Iterator[None]:
    """Two workers that make variants, for the tests of a module, since each takes a moment to start."""
    with configure(workers=2, queue_seconds=60):
        yield
    configure()


@pytest.fixture(scope="session")
def chromium() -> Iterator[browser.Chromium]:
    """A real browser; ``with chromium.page() as page`` is a tab with a profile of its own."""
    with _start(browser.start) as running:
        yield running


@pytest.fixture
def tab(chromium: browser.Chromium) -> Iterator[browser.Page]:
    """A tab of the browser, with what its network and its console report."""
    with chromium.page() as page:
        page.call("Network.enable")
        page.call("Log.enable")
        yield page


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """After everything else, show what was measured, and say loudly what this run could not cover."""
    yield
    _show_killed(terminalreporter)
    _show_load(terminalreporter)
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _, found, missing = reason.partition(NOT_COVERED)
        if found:
            reasons[missing] += 1
    if not reasons:
        return
    terminalreporter.section("NOT COVERED BY THIS RUN", sep="!", red=True, bold=True)
    for missing, tests in sorted(reasons.items()):
        terminalreporter.line(f"{tests} test{'s' if tests > 1 else ''}: {missing}", red=True)
    terminalreporter.line("FILEROW_REQUIRE_SERVERS=1 makes this a failure.", red=True)


def _show_killed(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each process that tests/soak/crash has sent a signal."""
    reports = terminalreporter.stats.get("passed", ())
    rows = sorted({tuple(value) for report in reports for name, value in report.user_properties if name == "killed"})
    if not rows:
        return
    terminalreporter.section("signals: what each process left, and what was there after drain and sweep")
    terminalreporter.line(f"{'ended':42} {'where':34} {'signal':8} {'files in rows':>13} {'objects':>8} {'recovered':>10}")
    for step, where, signal, files, objects, recovered in rows:
        terminalreporter.line(f"{step:42} {where:34} {signal:8} {files:13} {objects:8} {recovered:10}")


def _show_load(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each load that tests/soak/load/test_load.py has put on a server, failed or not."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    rows = [value for report in reports for name, value in report.user_properties if name == "load"]
    if not rows:
        return
    widths = "{:22} {:19} {:>8} {:>14} {:>18} {:>6} {:>10} {:>7}  {}"
    heads = ("server", "load", "RSS +MiB", "threads", "descriptors", "lag ms", "latency ms", "seconds", "answers")
    terminalreporter.section("load: threads and descriptors before, at most, after; worst lag of the loop, worst plain request")
    for row in (heads, *rows):
        terminalreporter.line(widths.format(*row))
