"""An integration whose framework is missing says which extra brings it."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.ext.conftest import FRAMEWORKS

NEEDED = [*FRAMEWORKS, "alembic", "flask_admin", "msgspec", "sqladmin", "sqlmodel", "starlette_admin"]

CODE = f"""
import importlib, json, sys
said = {{}}
for name in {NEEDED!r}:
    sys.modules[name] = None  # as if it were not installed
for name in {NEEDED!r}:
    try:
        importlib.import_module(f"filerow.ext.{{name}}")
    except ImportError as error:
        said[name] = str(error)
print(json.dumps(said))
"""


def test_a_missing_framework_is_named_with_its_extra() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=120)
    said = json.loads(done.stdout)
    assert sorted(said) == sorted(NEEDED)
    for framework, message in said.items():
        assert f"pip install 'filerow[{framework.replace('_', '-')}]'" in message
