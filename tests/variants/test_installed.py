"""A worker finds Filerow, Pillow and the application where its parent does, though ``python -I`` looks in few places."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import filerow

HOME = Path(filerow.__file__).parent
PROGRAM = """
import io, sys
import filerow
from PIL import Image
from filerow.variants import Custom, Resize, make_variant
target = io.BytesIO()
Image.new("RGB", (40, 20), "red").save(target, "PNG")
assert make_variant(target.getvalue(), Resize(width=10)).height == 5
made = make_variant(target.getvalue(), Custom("where", "probe:where", version=1, format="png"))
print(filerow.__file__)
print(Image.open(io.BytesIO(made.content)).tobytes().decode())
"""
PROBE = """
import sys
from PIL import Image
def where(image):
    text = sys.modules["filerow.variants._pillow"].__file__.encode()
    return Image.frombytes("L", (len(text), 1), text)
"""


@pytest.mark.parametrize("way", ["copied", pytest.param("editable", marks=pytest.mark.thorough)])
def test_worker_has_the_same_filerow(way: str, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    packages = tmp_path / "venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    source = packages if way == "copied" else tmp_path / "source" / "src"
    shutil.copytree(HOME, source / "filerow", ignore=shutil.ignore_patterns("__pycache__"))
    others = sysconfig.get_path("purelib")
    (packages / "places.pth").write_text(f"{source}\n{others}\n")
    (tmp_path / "application").mkdir()
    (tmp_path / "application" / "probe.py").write_text(PROBE)
    (tmp_path / "application" / "main.py").write_text(PROGRAM)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [python, "application/main.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(source / "filerow" / "__init__.py"), str(source / "filerow" / "variants" / "_pillow.py")]
