"""The forms of the examples in a real browser: upload, refusals at the field, replace, delete, download, no script."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from tests.examples import EXAMPLES
from tests.examples.sites import signed_in
from tests.servers._process import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.chromium import Page

pytestmark = pytest.mark.one_in(3)

AXE = ROOT / ".servers" / "node_modules" / "axe-core" / "axe.min.js"
AXE_VERSION = "4.14.1"
LIMIT = 25 * 1024 * 1024


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, bytes], Path]:
    """Return a function that makes a file of the user's."""

    def make(name: str, content: bytes) -> Path:
        path = tmp_path / "mine" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return make


def picture(colour: str, width: int = 900, height: int = 600) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(target, "PNG")
    return target.getvalue()


def submit(page: Page, form: str, files: dict[str, Path], **values: str) -> None:
    """Fill in a form, send it as its button does, and wait for what is shown then."""
    for selector, path in files.items():
        found = page.call("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        page.call("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])
    for name, value in values.items():
        page.evaluate(f"document.querySelector('[name={name}]').value = {json.dumps(value)}, 0")
    page.events = [event for event in page.events if event["method"] != "Page.loadEventFired"]
    page.evaluate(f"document.querySelector({form!r} + ' button').click(), 0")
    page.wait_for("Page.loadEventFired")


def open_signed_in(page: Page, site: str) -> None:
    """Open the page; sign in where it asks for that."""
    assert page.open(site + "/") is None
    if page.evaluate("document.querySelector('[action=\"/sign-in\"]') !== null"):
        submit(page, '[action="/sign-in"]', {}, email="ada@example.org", password="difference engine")


def names(page: Page) -> list[str]:
    found: list[str] = page.evaluate("Array.from(document.querySelectorAll('li h2'), one => one.innerText)")
    return found


def shown_error(page: Page, field: str) -> str:
    """Return what the page says is wrong with a field, which names it for screen readers."""
    described = f"document.getElementById(document.querySelector({field!r}).getAttribute('aria-describedby')).innerText"
    assert page.evaluate(f"document.querySelector({field!r}).getAttribute('aria-invalid')") == "true"
    is_focused = f"document.activeElement === document.querySelector({field!r})"
    assert page.evaluate(f"new Promise(done => requestAnimationFrame(() => setTimeout(() => done({is_focused}))))")
    return str(page.evaluate(described))


def without_checks(page: Page) -> None:
    """Send forms as an old browser does, which checks nothing."""
    page.evaluate("document.querySelectorAll('form').forEach(one => { one.noValidate = true }), 0")


def shoot(page: Page, name: str) -> None:
    if folder := os.environ.get("FILEROW_SCREENSHOTS"):
        case = os.environ["PYTEST_CURRENT_TEST"].rpartition("[")[2].partition("]")[0]
        shot = page.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        Path(folder, f"{name}-{case}.png").write_bytes(base64.b64decode(shot))


def look(page: Page, width: int, theme: str) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])


def test_people_add_replace_and_delete_files(
    empty_site: str, tab: Page, file: Callable[[str, bytes], Path], tmp_path: Path
) -> None:
    open_signed_in(tab, empty_site)
    assert tab.evaluate("document.scripts.length") == 0
    red, blue = picture("red"), picture("blue", 600, 600)

    submit(tab, '[action="/"]', {"#file": file("red.png", red)}, name="A <b>colour</b>")
    assert names(tab) == ["A <b>colour</b>"]
    assert tab.evaluate("document.images[0].decode().then(() => document.images[0].naturalWidth)") > 0
    assert httpx.get(tab.evaluate("document.images[0].currentSrc"), trust_env=False).headers["content-type"] == "image/webp"
    links = "Array.from(document.querySelectorAll('li .about a'), one => [one.href, one.download])"
    (shown, _), (download, name) = tab.evaluate(links)
    assert (shown, name) == (download, "red.png")
    assert httpx.get(download, trust_env=False).content == red

    tab.evaluate("document.querySelector('details').open = true, 0")
    submit(tab, '[action$="/replace"]', {'input[id^="file-"]': file("blue.png", blue)})
    assert names(tab) == ["A <b>colour</b>"]
    assert httpx.get(download, trust_env=False).content == blue
    stored = [path.read_bytes() for path in (tmp_path / "files" / "document").rglob("*") if path.is_file()]
    assert [content for content in stored if content in {red, blue}] == [blue]

    tab.evaluate("document.querySelector('details').open = true, 0")
    submit(tab, '[action$="/delete"]', {})
    assert names(tab) == []
    assert httpx.get(download, trust_env=False).status_code == 404
    assert not [path for path in (tmp_path / "files" / "document").rglob("*") if path.is_file()]


def test_refusals_are_readable_at_their_field(empty_site: str, tab: Page, file: Callable[[str, bytes], Path]) -> None:
    open_signed_in(tab, empty_site)
    page = file("page.html", b"<!doctype html><p>Hello")
    submit(tab, '[action="/"]', {"#file": page}, name="Mine")
    assert shown_error(tab, "#file") == "This is not a picture, a PDF or a text. Choose another file."
    assert tab.evaluate("document.querySelector('#name').value") == "Mine"

    large = file("large.txt", b"")
    os.truncate(large, LIMIT + 1)
    submit(tab, '[action="/"]', {"#file": large})
    assert shown_error(tab, "#file") == "This file is too large. Choose one of up to 25 MiB."

    assert tab.evaluate("Array.from(document.querySelector('[action=\"/\"]').elements, one => one.validity.valid)") == [
        True, False, True,
    ]  # fmt: skip
    without_checks(tab)
    submit(tab, '[action="/"]', {})
    assert shown_error(tab, "#file") == "Choose a file first."

    without_checks(tab)
    submit(tab, '[action="/"]', {"#file": file("a.txt", b"a")}, name=" ")
    assert shown_error(tab, "#name") == "Give it a name of 1 to 200 characters."
    assert names(tab) == []

    submit(tab, '[action="/"]', {"#file": file("a.txt", b"a")}, name="Mine")
    submit(tab, '[action$="/replace"]', {'input[id^="file-"]': page})
    assert shown_error(tab, "li input") == "This is not a picture, a PDF or a text. Choose another file."
    assert tab.evaluate("document.querySelector('details').open")
    assert names(tab) == ["Mine"]
    shoot(tab, "refused-replacement")


def test_file_far_over_the_limit_is_refused_at_its_field(empty_site: str, tab: Page, file: Callable[[str, bytes], Path]) -> None:
    open_signed_in(tab, empty_site)
    submit(tab, '[action="/"]', {"#file": file("a.txt", b"a")}, name="Mine")
    huge = file("huge.txt", b"")
    os.truncate(huge, 2 * LIMIT)
    for form, field in (('[action="/"]', "#file"), ('[action$="/replace"]', "li input")):
        submit(tab, form, {field: huge}, name="Huge")
        assert shown_error(tab, field) == "This file is too large. Choose one of up to 25 MiB."
    assert names(tab) == ["Mine"]


def test_unknown_documents_are_not_found(empty_site: str) -> None:
    with signed_in(empty_site) as client:
        for unknown in [uuid4()] if client.get("/me").status_code == 200 else [0, 4711, 2**31, 10**30]:
            assert client.get(f"/documents/{unknown}").status_code == 404
            assert client.get(f"/documents/{unknown}/file").status_code == 404
            assert client.post(f"/documents/{unknown}/delete").status_code == 404
            answer = client.post(f"/documents/{unknown}/replace", files={"file": ("a.txt", b"a")})
            assert answer.status_code == 404


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.one_in(6)
def test_pages_suit_everyone(empty_site: str, tab: Page, file: Callable[[str, bytes], Path], theme: str) -> None:
    if not AXE.exists():
        pytest.skip(f"not covered: axe is not installed; to install it: npm install --prefix .servers axe-core@{AXE_VERSION}")
    look(tab, 1280, theme)
    assert tab.open(empty_site + "/") is None
    shoot(tab, f"first-{theme}")
    assert not serious(tab)
    open_signed_in(tab, empty_site)
    for name, content in {"a.txt": b"a" * 2000, "red.png": picture("teal"), "tall.png": picture("orange", 300, 900)}.items():
        submit(tab, '[action="/"]', {"#file": file(name, content)}, name=f"The file {name} with a name that is long")
    submit(tab, '[action="/"]', {"#file": file("a.html", b"<p>")}, name="W" * 60)
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true }), 0")
    for width in (1280, 400, 320):
        look(tab, width, theme)
        tab.evaluate("Promise.all(Array.from(document.images, one => one.decode()))")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        shoot(tab, f"list-{theme}-{width}")
        assert not serious(tab)


def serious(page: Page) -> list[Any]:
    page.evaluate(f"{AXE.read_text()}; 0")
    options = json.dumps({"resultTypes": ["violations"], "preload": False})
    found = page.evaluate(f"axe.run(document, {options}).then(result => result.violations)", timeout=120)
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in {"serious", "critical"}]


@pytest.mark.parametrize("empty_site", ["fastapi", "litestar"], indirect=True)
def test_page_of_the_api_asks_nobody_else(empty_site: str, tab: Page) -> None:
    path = "/schema" if httpx.get(f"{empty_site}/docs", trust_env=False).status_code == 404 else "/docs"
    assert tab.open(empty_site + path) is None
    there = """new Promise(done => { const look = () =>
        document.querySelector('.opblock') ? done(true) : setTimeout(look, 20); look() })"""
    assert tab.evaluate(there)
    assert "documents" in tab.evaluate("document.body.innerText")
    asked = [one["params"]["request"]["url"] for one in tab.events if one["method"] == "Network.requestWillBeSent"]
    assert asked
    assert not [url for url in asked if not url.startswith((f"{empty_site}/", "data:", f"blob:{empty_site}/"))]
    assert not [one for one in tab.events if one["method"] in {"Runtime.exceptionThrown", "Log.entryAdded"}]
    shoot(tab, f"api{path.replace('/', '-')}")


def test_examples_have_one_template() -> None:
    templates = [*EXAMPLES.glob("*/templates/documents.html")]
    assert len(templates) == 3
    assert len({template.read_bytes() for template in templates}) == 1
