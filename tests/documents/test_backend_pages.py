"""The complete programs of docs/backends, each on its store: they store, read, sign and delete, and leave nothing."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from filerow import storages
from filerow.http import answer
from tests.documents.reader import python_of
from tests.documents.test_fragments import make_key
from tests.servers import ftp, samba, sftp
from tests.servers._process import ROOT
from tests.servers._s3 import S3Server
from tests.servers.azurite import AzuriteServer

PAGES = sorted(page.stem for page in ROOT.glob("docs/backends/*.md") if page.stem != "index")
SERVERS = {"sftp": "sftp_server", "ftp": "ftp_server", "smb": "smb_server"}
FSSPEC = (ROOT / "docs" / "backends" / "fsspec.md").read_text()

Left = Callable[[], set[str]]
"""Returns what is in the store."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "GOOGLE_SERVICE_ACCOUNT", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    storages.clear_backends()
    gc.collect()


def program(page: str) -> str:
    return python_of(f"docs/backends/{page}.md")[0]


def run(source: str) -> list[str]:
    """Run a program; each address that it prints is opened at once, while its file is there."""
    opened: list[str] = []

    def show(*values: object) -> None:
        for url in (str(value) for value in values if "://" in str(value) or str(value).startswith("/")):
            assert read(url) == b"Hello", url
            opened.append(url)

    engines: dict[str, Any] = {"__name__": "__main__", "print": show}
    try:
        exec(compile(source, "program.py", "exec", dont_inherit=True), engines)
    finally:
        engines["engine"].dispose()
    return opened


def read(url: str) -> bytes:
    parts = urlsplit(url)
    if parts.scheme:
        return httpx.get(url, trust_env=False).raise_for_status().content
    _, _, key, path = parts.path.split("/", 3)
    body = answer("GET", key, unquote(path), parts.query, {}).body
    return body if isinstance(body, bytes) else b"".join(body.begin())


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_each_page_has_a_program_that_is_run() -> None:
    ran = {"s3", "compatible", "gcs", "azure", "directory", "memory", "fsspec"}
    assert set(PAGES) == ran
    for page in PAGES:
        assert "session.delete(document)" in program(page)
        assert "get_content() ==" in program(page)
        assert ".sign(" in program(page) or page == "fsspec"


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Left]:
    for name, value in {
        "AWS_ENDPOINT": s3_server.endpoint, "AWS_REGION": s3_server.region,
        "AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3_server.make_bucket("my-bucket")
    yield lambda: s3_server.keys("my-bucket")
    s3_server.remove_bucket("my-bucket")


def test_s3(s3: Left) -> None:
    [url] = run(program("s3"))
    assert "/my-bucket/shop/document/file/" in url
    assert s3() == set()


def test_compatible_by_its_public_name(s3: Left, s3_server: S3Server) -> None:
    from tests.servers import nginx

    with nginx.start(s3_server.endpoint) as proxy:
        [url] = run(program("compatible").replace("https://files.example", proxy.endpoint))
        assert url.startswith(proxy.endpoint)
    assert s3() == set()


@pytest.mark.servers
def test_options_for_single_stores_are_taken(s3: Left) -> None:
    page = (ROOT / "docs" / "backends" / "compatible.md").read_text()
    options = re.findall(r'`(aws_\w+=(?:"[^"]*"|True))`', page)
    assert len(options) == 2
    for option in options:
        storages.clear_backends()
        assert run(program("compatible").replace('public_endpoint="https://files.example",', f"{option},"))
    assert s3() == set()


def test_gcs(gcs_facade: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = {"type": "service_account", "private_key": make_key().decode(), "private_key_id": "1", "client_id": "1"}
    (folder / "account.json").write_text(json.dumps({**account, "client_email": "shop@example.iam.gserviceaccount.com"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(folder / "account.json"))
    monkeypatch.setenv("GOOGLE_BASE_URL", gcs_facade.endpoint)
    gcs_facade.make_bucket("my-bucket")
    [url] = run(program("gcs"))
    assert "X-Goog-Signature=" in url
    assert gcs_facade.keys("my-bucket") == set()


def test_azure(azurite_server: AzuriteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", azurite_server.account_name)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", azurite_server.account_key)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azurite_server.endpoint)
    azurite_server.make_container("my-container")
    [url] = run(program("azure"))
    assert "sig=" in url
    assert azurite_server.keys("my-container") == set()


@pytest.mark.parametrize(
    ("page", "shown"), [("directory", "/tmp/filerow-directory"), ("memory", ""), ("fsspec", "/tmp/filerow-fsspec")]
)
def test_this_machine(page: str, shown: str, folder: Path) -> None:
    source = program(page)
    (folder / "files").mkdir()
    if shown:
        assert shown in source
        source = source.replace(shown, str(folder / "files"))
    assert len(run(source)) == (0 if page == "fsspec" else 1)
    assert files_in(folder / "files") == set()
    if page == "memory":
        assert list(storages.get_backend("docs").list()) == []


@pytest.mark.servers
@pytest.mark.parametrize("protocol", ["sftp", "ftp", "smb"])
def test_other_machines(request: pytest.FixtureRequest, protocol: str) -> None:
    [shown] = re.findall(rf'`(FSSpecBackend\("docs", "{protocol}", .*?\))`', FSSPEC)
    server: sftp.SFTPServer | ftp.FTPServer | samba.SambaServer = request.getfixturevalue(SERVERS[protocol])
    options = dict(server.options)
    place = {"sftp": "/docs-page", "ftp": "/docs-page", "smb": f"/{samba.SHARE}/docs-page"}[protocol]
    names = set(re.findall(r"(\w+)=", shown))
    assert names <= {*options, "key_filename"}
    real = f'FSSpecBackend("docs", "{protocol}", {place!r}, **{options!r})'
    source = program("fsspec").replace('FSSpecBackend("docs", "file", "/tmp/filerow-fsspec", auto_mkdir=True)', real)
    assert real in source
    assert run(source) == []
    backend = storages.get_backend("docs")
    assert list(backend.list()) == []
