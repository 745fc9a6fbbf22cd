"""Images that nobody here made: those of Pillow's own tests, from its source distribution."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import PIL
import pytest

from tests.servers._process import ROOT

CACHE = ROOT / ".servers" / "pillow"
PATIENCE = 1200  # pip builds the metadata of what it downloads


@pytest.fixture(scope="session")
def pillow_images() -> Path:
    """The folder ``Tests/images`` of the installed version of Pillow; skips where the package index cannot be reached."""
    name = f"pillow-{PIL.__version__}"
    images = CACHE / name / "Tests" / "images"
    if images.is_dir():
        return images
    CACHE.mkdir(parents=True, exist_ok=True)
    if not list(CACHE.glob(f"{name}.tar.gz")):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            "pillow",
            f"pillow=={PIL.__version__}",
        ]
        done = subprocess.run([*command, "--dest", CACHE], capture_output=True, text=True, check=False, timeout=PATIENCE)
        if done.returncode:
            pytest.skip(f"not covered: the images of {name}, which cannot be downloaded: {done.stderr.strip()[-200:]}")
    with tarfile.open(CACHE / f"{name}.tar.gz") as archive:
        wanted = [member for member in archive if member.name.startswith(f"{name}/Tests/images/")]
        archive.extractall(CACHE, members=wanted, filter="data")
    return images
