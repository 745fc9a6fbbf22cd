"""Runs Sphinx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.site._root import DOCS

if TYPE_CHECKING:
    from pathlib import Path


def build(output: Path, *options: str) -> int:
    """Build the site into the folder ``html`` of a folder; a warning is an error.

    Args:
        output: The folder; what it has from an earlier build is used again.
        options: Options of ``sphinx-build``, as ``-E`` to read all pages again.

    Returns:
        0, or another number after a warning or an error.
    """
    from sphinx.cmd.build import main

    fixed = ["-q", "-W", "--keep-going", "-b", "html", "-d", str(output / ".doctrees")]
    return int(main([*fixed, *options, str(DOCS), str(output / "html")]))
