"""What the site's extension makes of Markdown, links and inventories."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="not covered: Sphinx is not installed; to install it: make site")

from tests.servers._process import ROOT
from tools.site import inventories, pages, tables


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


@pytest.mark.parametrize("page", sorted(pages.homes().values()))
def test_pages_that_include_a_file_name_it_on_github_only(page: str) -> None:
    text = (ROOT / page).read_text()
    assert len(pages.ITSELF.findall(text)) == 1
    assert not pages.LINK.findall(pages.ITSELF.sub("", text))


def test_an_inventory_is_compiled(tmp_path: Path) -> None:
    target = tmp_path / "a.inv"
    inventories.compile_lines("a", ["a.B class page.html#$"], target)
    head, _, body = target.read_bytes().partition(b"zlib.\n")
    assert head.startswith(b"# Sphinx inventory version 2\n# Project: a\n")
    assert zlib.decompress(body) == b"a.B py:class 1 page.html#$ -\n"


def test_a_broken_line_of_an_inventory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"docs/inventories/a\.txt: expected a name, .* not 'a\.B class'"):
        inventories.compile_lines("a", ["a.B class"], tmp_path / "a.inv")


def table(*rows: list[str]) -> str:
    head, *others = ["".join(f"<td><p>{cell}</p></td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{row}</tr>" for row in others)
    return f'<table class="docutils align-default"><thead><tr>{head.replace("td>", "th>")}</tr></thead>{body}</table>'


def test_short_columns_are_marked() -> None:
    long = "a sentence of more words"
    marked = tables.marked(table(["question", "ours", "theirs"], [long, "yes", "<em>no</em>"]))
    assert re.findall(r'<td class="short"><p>(.*?)</p>', marked) == ["yes", "<em>no</em>"]
    assert "stacked" not in marked


def test_cells_of_many_sentences_say_their_column() -> None:
    long = "a sentence of more words"
    marked = tables.marked(f"<p>{long}</p>" + table(["", "why &amp; how", "do", "status"], [long, long, long, "422"]))
    assert marked.startswith(f'<p>{long}</p><table class="docutils stacked align-default">')
    assert re.findall(r'<td data-column="(.*?)">', marked) == ["why &amp; how", "do", "status"]
    assert "short" not in marked
