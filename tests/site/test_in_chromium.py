"""The site in a real browser: readable on a telephone and in the dark, searched offline, usable by everyone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.servers._process import ROOT
from tests.servers.chromium import Page
from tests.site.structure import PARTS

pytestmark = pytest.mark.thorough

AXE = ROOT / ".servers" / "node_modules" / "axe-core" / "axe.min.js"
VERSION = "4.14.1"
KINDS = (
    "index", "start", "guide", "security", "speed", "search", "genindex", "reference/index", "reference/commands",
    "reference/filerow", "reference/filerow.maintenance", "concepts", "errors", "troubleshooting",
    "problems", "frameworks/fastapi", "_files/docker/minio/try_it.py",
)  # fmt: skip
"""A page of each kind; axe takes more than a second for each."""
NARROW, WIDE = 400, 1280
RIGHT = "one => one.getBoundingClientRect().right"


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.exists():
        pytest.skip(f"not covered: axe is not installed; to install it: npm install --prefix .servers axe-core@{VERSION}")
    return AXE.read_text()


def show(page: Page, path: Path, *, width: int = WIDE, theme: str = "light") -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width == NARROW)
    assert page.open(path.as_uri()) is None
    page.evaluate(f"document.body.dataset.theme = '{theme}', 0")


def complaints(page: Page) -> list[str]:
    """Return the errors of the console, and what was asked of others."""
    found = []
    for event in page.events:
        values: dict[str, Any] = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            found.append(values["exceptionDetails"]["text"])
        elif event["method"] == "Runtime.consoleAPICalled" and values["type"] in {"error", "warning"}:
            found.append(str(values["args"]))
        elif event["method"] == "Log.entryAdded" and values["entry"]["level"] == "error":
            found.append(values["entry"]["text"])
        elif event["method"] == "Network.requestWillBeSent" and not values["request"]["url"].startswith(("file:", "data:")):
            found.append(values["request"]["url"])
    page.events.clear()
    return found


def shown(site: Path) -> list[Path]:
    return sorted(page for page in site.rglob("*.html") if page.name != "search.html")


def test_pages_fit_a_telephone(site: Path, tab: Page) -> None:
    too_wide = {}
    for path in shown(site):
        show(tab, path, width=NARROW)
        widths = f"document.documentElement.scrollWidth, ...Array.from(document.querySelectorAll('.stacked td'), {RIGHT})"
        width = tab.evaluate(f"Math.max(document.body.scrollWidth, {widths})")
        if width > NARROW:
            too_wide[path.name] = width
        assert not complaints(tab), path
    assert not too_wide


def test_no_window_cuts_text_off(site: Path, tab: Page) -> None:
    """Furo hides what is wider than the window, so there is nothing to scroll either."""
    cut = {}
    for path in (site / "index.html", site / "start.html", site / "frameworks.html"):
        for width in (700, 900, 1050, 1080, 1200, WIDE, 1300, 1320, 1440, 1920):
            show(tab, path, width=width)
            over = "document.querySelector('article').getBoundingClientRect().right - document.documentElement.clientWidth"
            if (missing := tab.evaluate(over)) > 0:
                cut[path.name, width] = missing
    assert not cut


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(site: Path, tab: Page, axe: str, theme: str) -> None:
    found: dict[str, set[str]] = {}
    for path in [site / f"{name}.html" for name in KINDS]:
        show(tab, path, theme=theme)
        tab.evaluate(f"{axe}; 0")
        options = json.dumps({"resultTypes": ["violations"], "preload": False})
        for violation in tab.evaluate(f"axe.run(document, {options}).then(result => result.violations)", timeout=120):
            if violation["impact"] in {"serious", "critical"}:
                nodes = "; ".join(node["html"][:200] for node in violation["nodes"][:2])
                found.setdefault(f"{violation['id']}: {nodes}", set()).add(path.name)
        assert not complaints(tab), path
    assert not found


def searched(page: str) -> str:
    """Return a script that waits until the search has found a page: results come one after another."""
    return """new Promise((resolve, reject) => {
        const begin = Date.now();
        const look = () => document.querySelector('#search-results li a[href^="PAGE.html"]') ? resolve(true)
            : Date.now() - begin > 20000 ? reject(new Error(document.body.innerText.slice(0, 2000))) : setTimeout(look, 50);
        look();
    })""".replace("PAGE", page)


def test_search_works_offline(site: Path, tab: Page) -> None:
    show(tab, site / "index.html")
    tab.evaluate("document.querySelector('.sidebar-search').value = 'tombstone', 0")
    tab.evaluate("document.querySelector('.sidebar-search-container').submit(), 0")
    tab.wait_for("Page.loadEventFired", timeout=30)
    assert tab.evaluate(searched("outbox"))
    assert not complaints(tab)


def test_each_part_of_the_site_is_found_by_search(site: Path, tab: Page) -> None:
    for words, page in PARTS.items():
        tab.open(f"{(site / 'search.html').as_uri()}?q={quote(words)}")
        assert tab.evaluate(searched(page)), words
    assert not complaints(tab)
