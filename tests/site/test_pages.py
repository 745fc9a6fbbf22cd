"""The built site: complete, without a broken link, and without a word from elsewhere."""

from __future__ import annotations

import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.servers._process import ROOT
from tests.site.structure import DRAWN, PARTS

PUBLIC = (ROOT / "tests" / "public_names.txt").read_text().splitlines()


class Parts(HTMLParser):
    """What a page links to, loads, and can be linked at."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.anchors.add(values["id"] or "")
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")
        elif tag in {"script", "img", "link", "iframe", "source", "form", "use"}:
            self.loaded += [value for name in ("src", "href", "action", "srcset") if (value := values.get(name))]


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Parts]:
    return {page: Parts(page) for page in sorted(site.rglob("*.html"))}


@pytest.mark.thorough
def test_links_and_anchors_lead_somewhere(pages: dict[Path, Parts]) -> None:
    broken = set()
    for page, parts in pages.items():
        for link in [*parts.links, *parts.loaded]:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            anchor = unquote(address.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.add((page.name, link))
    assert not broken


@pytest.mark.thorough
def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Parts]) -> None:
    loaded = {link for parts in pages.values() for link in parts.loaded if urlsplit(link).netloc}
    assert not loaded
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text()), style


def documented(site: Path) -> dict[str, str]:
    """Return each name of the reference, with its page; those it can also be asked for by have an anchor of another name."""
    data = (site / "objects.inv").read_bytes()
    lines = zlib.decompress(data.split(b"zlib.\n", 1)[1]).decode().splitlines()
    words = [line.split(" ", 4) for line in lines if " py:" in line]
    return {name: where for name, _, _, where, _ in words if where.endswith("$")}


@pytest.mark.thorough
def test_reference_shows_each_public_name_once(site: Path) -> None:
    from tools.site import api

    names = documented(site)
    homes = api.homes()
    assert not set(homes.values()) - set(names)
    assert not [name for name in names if any(part.startswith("_") for part in name.split("."))]
    assert {line.partition(": ")[2] for line in PUBLIC} == {name.rpartition(".")[2] for name in homes.values()}


def test_reference_has_a_page_for_each_module() -> None:
    pytest.importorskip("sphinx", reason="not covered: Sphinx is not installed; to install it: make site")
    from tools.site.stubs import REFERENCE, texts

    wanted = texts()
    assert {*REFERENCE.glob("filerow*.md"), REFERENCE / "index.md"} == set(wanted), "run: python -m tools.site.stubs"
    assert not [page.name for page, text in wanted.items() if page.read_text() != text], "run: python -m tools.site.stubs"


def test_each_public_name_is_explained() -> None:
    pytest.importorskip("sphinx", reason="not covered: Sphinx is not installed; to install it: make site")
    import inspect

    from tools.site import api

    unexplained = []
    for home in api.homes().values():
        module, _, name = home.rpartition(".")
        value = getattr(api.load(module), name)
        if inspect.isclass(value) or inspect.isroutine(value):
            if not inspect.getdoc(value):
                unexplained.append(home)
        elif not api.value_docs(module, name):
            unexplained.append(home)
    assert not unexplained


@pytest.mark.thorough
def test_each_page_is_in_the_navigation(site: Path) -> None:
    menu = Parts(site / "index.html").links
    for document in (ROOT / "docs").rglob("*.md"):
        page = document.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert page == "index.html" or page in menu, page


@pytest.mark.thorough
def test_options_keep_their_hyphens(site: Path) -> None:
    """A dash in place of two hyphens makes a command that does not work; and no line breaks between them."""
    wrong = {}
    for page in site.rglob("*.html"):
        text = page.read_text()
        if found := re.findall(r"(?:^|[\s>])\u2013[a-z][\w-]*", text) + re.findall(r'<span class="pre">--[\w-]+</span>', text):
            wrong[page.name] = found
    assert not wrong


def test_each_part_has_a_page() -> None:
    assert not [page for page in PARTS.values() if not (ROOT / "docs" / f"{page}.md").exists()]


@pytest.mark.parametrize("word", DRAWN)
def test_concept_has_a_drawing_and_a_line_in_the_glossary(word: str) -> None:
    page = (ROOT / "docs" / "concepts.md").read_text()
    explained, _, glossary = page.partition("## Glossary")
    [section] = re.findall(rf"^## {word.capitalize()}\n(.*?)(?=^## |\Z)", explained, re.MULTILINE | re.DOTALL)
    [(alternative, drawing)] = re.findall(r"!\[([^\]]+)\]\((drawings/[\w-]+\.svg)\)", section)
    assert len(alternative.split()) >= 5, "who cannot see it reads what it shows"
    assert (ROOT / "docs" / drawing).read_text().startswith("<svg")
    assert f"\n| {word} |" in glossary


def test_each_error_says_when_and_what_to_do() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| (`\w+Error`.*)\|$", page, re.MULTILINE)
    assert len(rows) > 35
    for row in rows:
        name, when, what, *_ = (cell.strip() for cell in row.split(" | "))
        assert len(when.split()) >= 3, name
        assert len(what.split()) >= 2, name


def test_each_error_is_explained() -> None:
    from filerow import exceptions

    errors = (ROOT / "docs" / "errors.md").read_text()
    assert not [name for name in exceptions.__all__ if f"`{name}`" not in errors and f"`filerow.{name}`" not in errors]


CODE = re.compile(
    r'(?:code(?:: str)? ?= ?|UnmakableError\(\s*|refusal\([\w.]+, |[(,] ?\d{3}, )(?:"(?P<code>[a-z-]+)"|(?P<name>_?[A-Z]+)\b)'
)
"""Where our code gives a problem its code, as a text or by the name of a constant."""


def sources(*without: str) -> dict[Path, str]:
    """Return the text of each module that is not in one of these packages."""
    found = sorted((ROOT / "src" / "filerow").rglob("*.py"))
    return {source: source.read_text() for source in found if not {*without} & set(source.parts)}


def test_each_code_is_a_heading_that_its_type_leads_to() -> None:
    explained = set(re.findall(r"^### (\S+)$", (ROOT / "docs" / "problems.md").read_text(), re.MULTILINE))
    texts = sources("maintenance", "testing", "outbox")
    constants = dict(re.findall(r'^(_?[A-Z]+) = "([a-z-]+)"$', "\n".join(texts.values()), re.MULTILINE))
    given = {found["code"] or constants.get(found["name"], "") for text in texts.values() for found in CODE.finditer(text)} - {""}
    assert {"not-allowed", "request-invalid", "store-timeout", "killed", "broken"} <= given
    unseen = {"variant", "unloaded"}  # the code of a base class, and what becomes a WorkerError
    assert not {code for code in given - unseen if code not in explained and f"variant-{code}" not in explained}
    quoted = set(re.findall(r'"([a-z-]+)"', "\n".join(texts.values())))
    assert not {code for code in explained if code not in quoted and code.removeprefix("variant-") not in quoted}


def test_each_finding_is_explained() -> None:
    commands = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in ("cli", "maintenance"))
    for source, text in sources().items():
        assert not [code for code in re.findall(r'Finding\(\s*"([a-z-]+)"', text) if f"`{code}`" not in commands], source
