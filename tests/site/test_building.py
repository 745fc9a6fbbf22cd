"""What the site's extension makes of Markdown, links and inventories."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="not covered: Sphinx is not installed; to install it: make site")

from tools.site import inventories, pages


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("[a](guide.md#columns)", "[a](guide.md#columns)"),
        ("[a](../CHANGELOG.md)", "[a](changelog.md)"),
        ("[a](../SECURITY.md#what-counts)", "[a](reporting.md#what-counts)"),
        ("[a](../src/filerow/hooks.py)", "[a](source:src/filerow/hooks.py)"),
        ("[a](#here) [b](https://example.com/x)", "[a](#here) [b](https://example.com/x)"),
    ],
)
def test_links_out_of_docs_lead_to_pages(link: str, shown: str) -> None:
    assert pages.redirected(link, "docs", "docs") == shown


def test_links_of_an_included_file_stay_right() -> None:
    text = "[guide](docs/guide.md) [own](CHANGELOG.md#x)"
    assert pages.redirected(text, ".", "docs/shown") == "[guide](../guide.md) [own](../changelog.md#x)"


def test_an_inventory_is_compiled(tmp_path: Path) -> None:
    target = tmp_path / "a.inv"
    inventories.compile_lines("a", ["a.B class page.html#$"], target)
    head, _, body = target.read_bytes().partition(b"zlib.\n")
    assert head.startswith(b"# Sphinx inventory version 2\n# Project: a\n")
    assert zlib.decompress(body) == b"a.B py:class 1 page.html#$ -\n"


def test_a_broken_line_of_an_inventory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"docs/inventories/a\.txt: expected a name, .* not 'a\.B class'"):
        inventories.compile_lines("a", ["a.B class"], tmp_path / "a.inv")
