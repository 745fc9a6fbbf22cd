"""A gigabyte up or down needs a few parts of memory (promise P11), measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers._s3 import S3Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc"),
]

GIB = 1 << 30
ALLOWED = 64 << 20
CHILD = Path(__file__).with_name("_transfer_in_child.py")
KINDS = {  # what is read, and how, is the same code for every store; what was sent from a path is fetched again
    "local": ["path", "async iterator"],
    "s3": ["async path", "file", "path", "iterator", "async iterator"],
}
QUICK = {("local", "async iterator"), ("s3", "async path"), ("s3", "iterator")}
"""Each store, sync and async, up and down; the others are ``thorough``."""


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gigabyte that takes no room on the disk."""
    path = tmp_path_factory.mktemp("zeros") / "zeros.bin"
    with path.open("wb") as file:
        file.truncate(GIB)
    return path


@pytest.fixture(scope="module")
def where(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Any]]]:
    """The URL and options of a backend."""
    if request.param == "local":
        yield f"file://{tmp_path_factory.mktemp('root')}", {"fsync": False}
        return
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = server.make_bucket()
    yield (
        f"s3://{bucket}/",
        {
            "aws_endpoint": server.endpoint,
            "aws_access_key_id": server.access_key,
            "aws_secret_access_key": server.secret_key,
            "aws_region": server.region,
        },
    )


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("where", "kind"),
    [
        pytest.param(where, kind, marks=() if (where, kind) in QUICK else pytest.mark.thorough)
        for where, kinds in KINDS.items()
        for kind in kinds
    ],
    indirect=["where"],
)
def test_a_gigabyte_needs_a_few_parts_of_memory(
    kind: str, where: tuple[str, dict[str, Any]], zeros: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, options = where
    command = [sys.executable, str(CHILD), kind, str(GIB), str(zeros), url, json.dumps(options)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "NO_PROXY": "*"})
    assert done.returncode == 0, done.stderr
    for way, measured in json.loads(done.stdout).items():
        above = measured["peak"] - measured["before"]
        with capsys.disabled():
            sys.stdout.write(
                f"\n  1 GiB {way}, {kind}, {url.split(':')[0]}: {above / (1 << 20):.1f} MiB above "
                f"{measured['before'] / (1 << 20):.0f} MiB, {time.monotonic() - began:.1f} s\n"
            )
        assert above <= ALLOWED
