"""A local directory on a disk that is full or read-only, or where the process may do little."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits and permissions")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users may enter; pytest's own is private."""
    made = Path(tempfile.mkdtemp(prefix="filerow-disk-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def run(*command: str | Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.one_in(2)
@pytest.mark.parametrize("case", ["full", "read-only"])
def test_full_disk_fails_the_transaction_and_leaves_nothing(case: str, folder: Path) -> None:
    unshare = shutil.which("unshare")
    namespace = (unshare or "unshare", "--map-root-user", "--mount")
    if unshare is None or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("not covered: a disk of our own; it takes `unshare` of util-linux and a kernel that lets users mount")
    run(*namespace, sys.executable, "-W", "error", HERE / "full_disk.py", case, folder)


def test_file_limit_and_forbidden_folder_are_clear_errors(folder: Path) -> None:
    run(sys.executable, "-W", "error", HERE / "small_files.py", folder)
