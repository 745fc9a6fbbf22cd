from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers._process import ROOT


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning fails its tests. FILEROW_SITE names the folder of one that is built already."""
    if "FILEROW_SITE" in os.environ:
        return Path(os.environ["FILEROW_SITE"]).resolve()
    pytest.importorskip("sphinx", reason="not covered: Sphinx is not installed; to install it: make site")
    output = tmp_path_factory.mktemp("site")
    code = f"import sys, pathlib; from tools.site.build import build; sys.exit(build(pathlib.Path({str(output)!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return output / "html"
