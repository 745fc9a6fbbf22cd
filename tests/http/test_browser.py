"""A real browser is given what somebody uploaded, by its URL, from the application's own origin: no script of it runs.

Each script asks for ``/beacon``. The same bytes from the same server without our headers do run, which proves that the test could
fail.
"""

from __future__ import annotations

import io
import struct
import wave
import zlib

import pytest

from filerow import FileObject
from filerow.backends.local import LocalBackend
from filerow.http import safe_headers
from tests.http.site import Site
from tests.servers.chromium import Chromium, Page

HTML_NS = "http://www.w3.org/1999/xhtml"


def script(name: str) -> str:
    return f"document.title = 'ran'; fetch('/beacon?{name}')"


def hostile(name: str) -> bytes:
    """Return a file whose script, if it runs, asks for a beacon of this name."""
    code = script(name)
    return {
        "html": f"<!doctype html><title>quiet</title><script>{code}</script>",
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>{code}</script></svg>',
        "xhtml": f'<html xmlns="{HTML_NS}"><head><title>quiet</title><script>{code}</script></head></html>',
        "xml": f'<?xml version="1.0"?><r><x:script xmlns:x="{HTML_NS}">{code}</x:script></r>',
        "js": code,
        "txt": code,
    }[name.partition("_")[0]].encode()


TYPES = {
    "html": "text/html", "svg": "image/svg+xml", "xhtml": "application/xhtml+xml", "xml": "application/xml",
    "js": "text/javascript", "txt": "text/plain",
}  # fmt: skip


@pytest.fixture(params=["app", "link"])
def addresses(request: pytest.FixtureRequest, site: Site, folder: LocalBackend) -> dict[str, str]:
    """Where a browser finds each hostile file, as our route or an application serves it."""
    found: dict[str, str] = {}
    for name, content_type in TYPES.items():
        file = FileObject("folder", f"a.{name}", content_type=content_type, content=hostile(name)).save()
        if request.param == "app":
            site.files[name] = file
            found[name] = f"{site.origin}/app/{name}"
        else:
            found[name] = site.origin + file.sign(inline=True)
    return found


def unsafe(site: Site, *headers: tuple[str, str]) -> dict[str, str]:
    """Serve the same files as they are."""
    found: dict[str, str] = {}
    for name, content_type in TYPES.items():
        site.pages[f"/raw/{name}"] = (content_type, hostile(f"{name}_raw"), headers)
        found[name] = f"{site.origin}/raw/{name}"
    return found


def embedding(addresses: dict[str, str]) -> bytes:
    """Return a page of the application that uses each file in each way that a page can."""
    parts = ["<!doctype html><title>page</title>"]
    for url in addresses.values():
        source = url.replace("&", "&amp;")
        parts += [f'<iframe src="{source}"></iframe><object data="{source}"></object><embed src="{source}">']
        parts += [f'<img src="{source}"><script src="{source}"></script><link rel="stylesheet" href="{source}">']
    return "".join(parts).encode()


def settle(page: Page) -> None:
    """Wait until what the page asked for before has been asked for: requests of one page are sent in order."""
    page.evaluate("new Promise(done => setTimeout(done, 100)).then(() => fetch('/beacon?end'))")


@pytest.mark.one_in(2)
def test_no_uploaded_file_runs_a_script_when_it_is_opened(chromium: Chromium, site: Site, addresses: dict[str, str]) -> None:
    raw = unsafe(site)
    site.pages["/"] = ("text/html", b"<title>page</title>", ())
    with chromium.page() as page:
        page.open(f"{site.origin}/")
        for name, url in addresses.items():
            outcome = page.open(url)
            assert outcome == (None if name == "txt" else "net::ERR_ABORTED"), name  # a download
            assert page.evaluate("document.title") != "ran"
        page.open(f"{site.origin}/")  # where scripts may run again
        settle(page)
        assert site.beacons == ["end"]
        for name in ("html", "svg", "xhtml", "xml"):
            page.open(raw[name])
            site.wait_for(f"{name}_raw")


@pytest.mark.one_in(2)
def test_no_page_of_the_application_is_tricked_into_running_one(
    chromium: Chromium, site: Site, addresses: dict[str, str]
) -> None:
    site.pages["/page"] = ("text/html", embedding(addresses), ())
    site.pages["/raw"] = ("text/html", embedding(unsafe(site)), ())
    with chromium.page() as page:
        page.open(f"{site.origin}/page")
        settle(page)
        assert page.evaluate("document.title") == "page"
        assert site.beacons == ["end"]
        page.open(f"{site.origin}/raw")
        site.wait_for("html_raw", "svg_raw", "js_raw", "txt_raw")


def test_the_policy_alone_would_keep_scripts_off(chromium: Chromium, site: Site) -> None:
    policy = dict(safe_headers("text/html", "a"))["content-security-policy"]
    player = dict(safe_headers("video/mp4", "a"))["content-security-policy"]
    viewer = dict(safe_headers("application/pdf", "a"))["content-security-policy"]
    with chromium.page() as page:
        for number, value in enumerate((policy, player, viewer)):
            raw = unsafe(site, ("content-security-policy", value))
            for name in ("html", "svg", "xhtml"):
                assert page.open(f"{raw[name]}?{number}") is None
                assert page.evaluate("document.contentType") == TYPES[name]
                assert page.evaluate("document.title") != "ran"
        site.pages["/"] = ("text/html", b"<title>page</title>", ())
        page.open(f"{site.origin}/")
        settle(page)
    assert site.beacons == ["end"]


def picture() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50, 40, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff\0\0" * 50) * 40)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def sound() -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    return written.getvalue()


WIDTH = "document.images[0].naturalWidth"
PLAYS = """new Promise((done, fail) => {
    const player = document.querySelector('video, audio')
    const check = () => player.readyState >= 2 ? done(player.duration) : player.error ? fail(player.error) : setTimeout(check, 20)
    check()
})"""


@pytest.mark.thorough
@pytest.mark.one_in(2)
@pytest.mark.parametrize("how", ["app", "link"])
def test_pictures_sounds_and_texts_are_shown(chromium: Chromium, site: Site, folder: LocalBackend, how: str) -> None:
    files = {
        "picture": (FileObject("folder", "a.png", content=picture()).save(), WIDTH, 50),
        "sound": (FileObject("folder", "a.wav", content=sound()).save(), PLAYS, 1),
        "text": (FileObject("folder", "a.txt", content="grün".encode()).save(), "document.body.innerText", "grün"),
    }
    with chromium.page() as page:
        for name, (file, question, expected) in files.items():
            site.files[name] = file
            assert page.open(f"{site.origin}/app/{name}" if how == "app" else site.origin + file.sign()) is None
            assert page.evaluate(question) == expected


@pytest.mark.one_in(2)
def test_an_svg_is_a_picture_in_a_page(chromium: Chromium, site: Site, addresses: dict[str, str]) -> None:
    site.pages["/"] = ("text/html", f'<title>page</title><img src="{addresses["svg"]}">'.replace("&", "&amp;").encode(), ())
    with chromium.page() as page:
        page.open(f"{site.origin}/")
        assert page.evaluate(WIDTH) == 9
        settle(page)
    assert site.beacons == ["end"]
