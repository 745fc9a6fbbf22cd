"""curl, which knows HTTP better than we do: ranges, resuming, conditions, uploads."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest

from filerow import FileObject
from filerow.backends.base import SignRequest
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from tests.http.site import Site

DATA = bytes(range(256)) * 1000
Curl = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def program() -> str:
    found = shutil.which("curl")
    if found is None:
        missing = "curl is not installed; to install it: apt install curl"
        if os.environ.get("FILEROW_REQUIRE_SERVERS") == "1":
            pytest.fail(missing, pytrace=False)
        pytest.skip(f"not covered: {missing}")
    return found


@pytest.fixture
def curl(program: str, tmp_path: Path) -> Curl:
    """Run curl in an empty folder; the status goes to standard error."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        folder = tmp_path / "downloads"
        folder.mkdir(exist_ok=True)
        command = [program, "-q", "-sS", "--noproxy", "*", "-w", "%{stderr}%{http_code}", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)

    return run


@pytest.fixture(params=["app", "route"])
def url(request: pytest.FixtureRequest, site: Site, folder: LocalBackend) -> str:
    """The address of a file, streamed by an application or by a signed URL."""
    file = FileObject("folder", "grüße.bin", content_type="application/x-thing", content=DATA).save()
    if request.param == "route":
        return site.origin + file.sign()
    site.files["thing"] = file
    return f"{site.origin}/app/thing"


@pytest.mark.parametrize(
    ("wanted", "status", "expected"),
    [
        ("0-9", b"206", DATA[:10]),
        ("100000-100099", b"206", DATA[100_000:100_100]),
        ("-5", b"206", DATA[-5:]),
        ("255990-", b"206", DATA[255_990:]),
        ("255990-999999", b"206", DATA[255_990:]),
        ("0-1,5-6", b"200", DATA),
        ("256000-", b"416", b""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_ranges(curl: Curl, url: str, wanted: str, status: bytes, expected: bytes) -> None:
    done = curl("-r", wanted, url)
    assert (done.returncode, done.stderr, done.stdout) == (0, status, expected)


def test_a_download_that_broke_off_is_resumed(curl: Curl, url: str, tmp_path: Path, site: Site) -> None:
    (tmp_path / "downloads").mkdir()
    target = tmp_path / "downloads" / "thing"
    target.write_bytes(DATA[:123_456])
    done = curl("-C", "-", "-o", "thing", url)
    assert (done.returncode, done.stderr) == (0, b"206")
    assert target.read_bytes() == DATA
    assert curl("-C", "-", "-o", "thing", url).stderr == b"416"  # there is nothing more
    assert target.read_bytes() == DATA


def test_what_is_known_is_not_sent_again(curl: Curl, url: str, tmp_path: Path) -> None:
    assert curl("--etag-save", "tag", "-o", "thing", url).stderr == b"200"
    assert (tmp_path / "downloads" / "tag").read_text().startswith('"')
    again = curl("--etag-compare", "tag", url)
    assert (again.returncode, again.stderr, again.stdout) == (0, b"304", b"")
    (tmp_path / "downloads" / "tag").write_text('"another"')
    assert curl("--etag-compare", "tag", url).stdout == DATA


def test_the_time_is_a_condition(curl: Curl, url: str, tmp_path: Path) -> None:
    assert curl("-R", "-o", "thing", url).stderr == b"200"  # -R keeps the file's time
    again = curl("-z", "thing", url)
    assert (again.stderr, again.stdout) == (b"304", b"")
    assert curl("-z", formatdate(1_000_000_000, usegmt=True), url).stdout == DATA
    assert curl("-z", f"-{formatdate(1_000_000_000, usegmt=True)}", url).stderr == b"412"


def test_a_head_has_the_headers_of_a_get(curl: Curl, url: str) -> None:
    head, get = curl("-I", url), curl("-D", "-", "-o", "thing", url)
    assert head.stderr == get.stderr == b"200"

    def facts(raw: bytes) -> set[bytes]:
        return {line for line in raw.splitlines() if not line.startswith((b"Date:", b"cache-control:"))}

    assert facts(head.stdout) == facts(get.stdout)
    assert b"content-length: 256000" in facts(head.stdout)


def test_several_requests_share_a_connection(curl: Curl, url: str, site: Site) -> None:
    # an answer with a wrong length would be taken apart wrongly by the next one
    done = curl(
        url, "-r", "0-3", "--next", "-sS", "-I", url, "--next", "-sS", "-r", "999999-", url, "--next", "-sS", "-r", "-4", url
    )
    assert done.returncode == 0
    assert done.stdout.startswith(DATA[:4] + b"HTTP/1.1 200 OK")
    assert done.stdout.endswith(DATA[-4:])


def test_an_upload_is_held_to_its_link(curl: Curl, site: Site, folder: LocalBackend, docs: MemoryBackend, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)

    def link(path: str, **bound: int | str | None) -> str:
        return site.origin + folder.sign(path, SignRequest("PUT", 60, **bound))  # type: ignore[arg-type]

    url = link("a.bin", content_type="application/x-thing", content_length=len(DATA))
    typed = ("-H", "Content-Type: application/x-thing")
    assert curl("-T", source, "-H", "Content-Type: text/html", url).stderr == b"415"
    done = curl("-T", source, *typed, "-D", "-", url)
    assert done.stderr == b"201"
    assert f'etag: "{folder.head("a.bin").etag}"'.encode() in done.stdout
    assert folder.read("a.bin") == DATA
    assert curl("-T", source, *typed, url).stderr == b"409"
    assert curl("-T", source, link("b.bin", max_length=1000)).stderr == b"413"
    chunked = ("-H", "Transfer-Encoding: chunked")
    assert curl("-T", source, *chunked, link("b.bin", max_length=1000)).stderr == b"413"
    assert not folder.exists("b.bin")
    assert curl("-T", source, *chunked, link("b.bin", max_length=len(DATA))).stderr == b"201"
    assert folder.read("b.bin") == DATA
    assert curl("-X", "DELETE", url).stderr == b"405"
    assert curl("-X", "PUT", "-H", "Content-Type:", link("c.bin")).stderr == b"411"
