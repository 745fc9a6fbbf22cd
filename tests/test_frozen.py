"""A program that PyInstaller has frozen still serves ``filerow.js``: the package brings a hook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.distribution import build

PROGRAM = """
import tempfile

from flask import Flask

from filerow import FileObject, storages
from filerow.ext.flask import routes

for key, url in (("docs", "memory://"), ("local", "file://" + tempfile.mkdtemp())):
    storages.register_backend(url, key=key)
    assert FileObject(key, "a.txt", content=b"abc").save().get_content() == b"abc"
app = Flask(__name__)
app.register_blueprint(routes("/files"))
answer = app.test_client().get("/files/filerow.js")
print(answer.status_code, b"export" in answer.data)
"""


@pytest.mark.thorough
@pytest.mark.slow
def test_frozen_program_serves_the_script(tmp_path: Path) -> None:
    wheel = build(tmp_path / "dist")
    (tmp_path / "program.py").write_text(PROGRAM)
    python = str(tmp_path / "venv" / "bin" / "python")
    uv = [sys.executable, "-m", "uv"]
    environment = {**os.environ, "PYTHONPATH": ""}
    for command in (
        [*uv, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv")],
        [*uv, "pip", "install", "--quiet", "--python", python, f"filerow[flask] @ {wheel.as_uri()}", "pyinstaller>=6"],
        [python, "-m", "PyInstaller", "--noconfirm", "--onedir", "--log-level", "ERROR", "program.py"],
    ):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=1200)
    done = subprocess.run([tmp_path / "dist" / "program" / "program"], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "200 True"
