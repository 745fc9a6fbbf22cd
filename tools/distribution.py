"""Build the sdist, and the wheel from it, and look at both: ``python -m tools.distribution [--keep FOLDER]``.

``twine`` checks the metadata, ``check-wheel-contents`` what is in the wheel. Besides, the wheel has to hold what ``src/`` holds
and nothing else, the entry points of ``pyproject.toml``, and the page on PyPI no link that leads nowhere.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from email import message_from_bytes
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
UV = [sys.executable, "-m", "uv"]
CHECKS = [
    ["--from", "twine>=6.1", "twine", "check", "--strict"],
    ["--from", "check-wheel-contents>=0.6.1", "check-wheel-contents"],
]
RELATIVE = re.compile(r"(?:\]\(|<img [^<>]*src=\")(?!https://|#|mailto:)([^)\"]*)[)\"]")


def build(folder: Path) -> Path:
    """Build into a folder, and return the wheel; uv builds it from the sdist."""
    subprocess.run([*UV, "build", "--quiet", "--no-create-gitignore", "--out-dir", str(folder)], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def complaints(wheel: Path) -> list[str]:
    """Return what is wrong with the contents of a wheel, and with its page."""
    source = ROOT / "src"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        page = str(message_from_bytes(archive.read(metadata)).get_payload())
        points = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    wanted = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and ".egg-info" not in path.as_posix()
    }
    return [
        *(f"missing in the wheel: {name}" for name in sorted(wanted - names)),
        *(f"odd in the wheel: {name}" for name in sorted(names - wanted)),
        *(f"an entry point that the wheel lacks: {point}" for point in missing_points(points)),
        *(f"a link of README that leads nowhere on PyPI: {link}" for link in RELATIVE.findall(page)),
    ]


def missing_points(text: str) -> list[str]:
    """Return the entry points of ``pyproject.toml`` that are not in a wheel's file of them, by which others find Filerow."""
    found = ConfigParser(delimiters=("=",), interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {**project["entry-points"], "console_scripts": project["scripts"]}
    return [
        f"{group}: {name} = {value}"
        for group, points in wanted.items()
        for name, value in points.items()
        if found.get(group, name, fallback=None) != value
    ]


def main() -> None:
    """Build and check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave sdist and wheel there")
    keep: Path | None = parser.parse_args().keep
    with TemporaryDirectory() as made:
        folder = Path(made)
        wheel = build(folder)
        (sdist,) = folder.glob("*.tar.gz")
        subprocess.run([*UV, "tool", "run", *CHECKS[0], str(sdist), str(wheel)], check=True)
        subprocess.run([*UV, "tool", "run", *CHECKS[1], str(wheel)], check=True)
        if found := complaints(wheel):
            sys.exit("\n".join(found))
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            for file in (sdist, wheel):
                shutil.copy(file, keep)
    print(f"{sdist.name} and {wheel.name} are as they should be")


if __name__ == "__main__":
    main()
