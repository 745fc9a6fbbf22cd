"""Brings SQLAlchemy's source distribution, and a Python that has that version installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

_TEST_TOOLS = ("pytest-xdist>=3.6", "psycopg[binary]>=3.2", "asyncpg>=0.30", "aiosqlite>=0.20")


def installed() -> str:
    """Return the version of SQLAlchemy that is installed here."""
    return version("sqlalchemy")


def tests_of(wanted: str, cache: Path) -> Path:
    """Return the folder of the unpacked distribution; bring it first if it is not there.

    Args:
        wanted: A version of SQLAlchemy.
        cache: Where to keep it; a folder that git does not see.
    """
    folder = cache / f"sqlalchemy-{wanted}"
    if folder.exists():
        return folder
    draft = cache / f"draft-{wanted}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    _run(
        "pip", "download", "--quiet", "--no-deps", "--no-binary", "sqlalchemy",
        "--dest", str(draft), f"sqlalchemy=={wanted}",
    )  # fmt: skip
    (archive,) = draft.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(draft, filter="data")
    archive.unlink()
    (unpacked,) = draft.iterdir()
    unpacked.rename(folder)
    draft.rmdir()
    return folder


def python_for(wanted: str, cache: Path) -> Path:
    """Return a Python that has a version of SQLAlchemy, and what Filerow and the suite need.

    This is the one that runs us, if it has that version.
    """
    if wanted == installed():
        return Path(sys.executable)
    folder = cache / f"venv-{wanted}"
    python = folder / "bin" / "python"
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run("venv", str(folder))
        ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        needed = [one for one in ours if not one.startswith("sqlalchemy")]
        pytest = "pytest>=8.3" if wanted.startswith("2.1") else "pytest>=8,<8.4"
        _run(
            "pip", "install", "--quiet", f"sqlalchemy[asyncio]=={wanted}", pytest, *_TEST_TOOLS, *needed,
            python=python,
        )  # fmt: skip
        done.touch()
    return python


def _run(module: str, *arguments: str, python: Path | str = sys.executable) -> None:
    subprocess.run([python, "-m", module, *arguments], check=True)
