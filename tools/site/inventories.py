"""Writes the inventories of other projects' documentation, so that their names are links without a network.

docs/inventories/NAME.txt is kept by hand: its first line is the address of the documentation, and each other line a name, its
kind (``class``, ``function``, …) and its page with the anchor; ``$`` stands for the name.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from tools.site._root import DOCS

if TYPE_CHECKING:
    from pathlib import Path

    from sphinx.application import Sphinx
    from sphinx.config import Config


def write(app: Sphinx, config: Config) -> None:
    """Compile the inventories and tell intersphinx of them."""
    folder = app.outdir.parent / "inventories"
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((DOCS / "inventories").glob("*.txt")):
        address, *lines = source.read_text().splitlines()
        compiled = folder / f"{source.stem}.inv"
        compile_lines(source.stem, [line for line in lines if line], compiled)
        config.intersphinx_mapping[source.stem] = (address, str(compiled))


def compile_lines(project: str, lines: list[str], target: Path) -> None:
    """Write an inventory of version 2.

    Raises:
        ValueError: A line does not have three words.
    """
    entries = ""
    for line in lines:
        words = line.split()
        if len(words) != 3:
            raise ValueError(f"docs/inventories/{project}.txt: expected a name, a kind and a page, not {line!r}")
        name, kind, page = words
        entries += f"{name} py:{kind} 1 {page} -\n"
    head = [
        "Sphinx inventory version 2",
        f"Project: {project}",
        "Version: ",
        "The remainder of this file is compressed using zlib.",
    ]
    target.write_bytes("".join(f"# {line}\n" for line in head).encode() + zlib.compress(entries.encode()))
