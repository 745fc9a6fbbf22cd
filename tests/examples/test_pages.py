"""The pages of the examples in a real browser: upright, without the place, in the size that the screen needs."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image, ImageDraw

from tests.examples.sites import signed_in

if TYPE_CHECKING:
    from tests.servers.chromium import Chromium, Page

_ORIENTATION, _GPS, _MAKE = 0x0112, 0x8825, 0x010F
_SHOWN = "Array.from(document.images, one => [one.currentSrc, one.naturalWidth, one.naturalHeight, one.complete, one.width])"


def portrait(width: int = 3000, height: int = 2000) -> bytes:
    """Return a photo as a phone stores it: on its side, with its place. Upright, the sky is above and a red sun to the right."""
    upright = Image.new("RGB", (height, width), "skyblue")
    draw = ImageDraw.Draw(upright)
    draw.rectangle((0, width * 2 // 3, height, width), fill="forestgreen")
    draw.ellipse((height * 6 // 10, width // 12, height * 9 // 10, width // 12 + height * 3 // 10), fill="red")
    exif = Image.Exif()
    exif[_ORIENTATION], exif[_MAKE] = 6, "A phone"
    exif.get_ifd(_GPS).update({1: "N", 2: (48.0, 51.0, 29.9), 3: "E", 4: (2.0, 17.0, 40.2)})
    target = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(target, "JPEG", exif=exif, quality=90)
    return target.getvalue()


@pytest.fixture
def site(empty_site: str) -> str:
    """The address of an example, with a photo, a text and a small picture."""
    small = io.BytesIO()
    Image.new("RGB", (100, 60), "orange").save(small, "PNG")
    uploads = {"Beach": ("beach.jpg", portrait()), "<b>Notes": ("a.txt", b"text"), "Small": ("a.png", small.getvalue())}
    with signed_in(empty_site) as client:
        for name, file in uploads.items():
            answer = client.post("/documents", data={"name": name}, files={"file": file})
            assert answer.status_code == 201, answer.text
    return empty_site


def shown_at(page: Page, site: str, width: int, scale: float) -> list[list[Any]]:
    """Return the images of the page on a screen, when all are loaded."""
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=2000, deviceScaleFactor=scale, mobile=width < 600)
    assert page.open(site + "/") is None
    page.evaluate("Promise.all(Array.from(document.images, one => one.decode()))")
    found: list[list[Any]] = page.evaluate(_SHOWN)
    return found


@pytest.mark.one_in(3)
def test_page_shows_each_screen_its_size(site: str, chromium: Chromium) -> None:
    for width, scale, expected in ((320, 1, 320), (1200, 1, 640), (375, 3, 1280), (1200, 2, 1280), (600, 1, 640)):
        with chromium.page() as page:  # a browser that has a larger one already shows that
            images = shown_at(page, site, width, scale)
            assert len(images) == 2
            by_shape = {high > wide: [address, wide, high] for address, wide, high, _, _ in images}
            with httpx.Client(trust_env=False) as client:
                answer = client.get(by_shape[True][0])
            assert answer.headers["content-type"] == "image/webp"
            made = Image.open(io.BytesIO(answer.content))
            assert made.size == (expected, expected * 3 // 2), (width, scale)
            assert not made.getexif()
            assert b"A phone" not in answer.content
            assert b"GPS" not in answer.content
            with httpx.Client(trust_env=False) as client:
                assert Image.open(io.BytesIO(client.get(by_shape[False][0]).content)).size == (100, 60)
            assert page.evaluate("document.querySelectorAll('b').length") == 0
            assert page.evaluate("document.body.innerText").count("<b>Notes") == 1


@pytest.mark.one_in(3)
def test_photo_of_a_phone_is_upright_in_the_browser(site: str, chromium: Chromium) -> None:
    with chromium.page() as page:
        shown_at(page, site, 1200, 1)
        photo = """(() => {
          const image = Array.from(document.images).find(one => one.naturalHeight > one.naturalWidth)
          const canvas = document.createElement('canvas')
          canvas.width = 20; canvas.height = 30
          const context = canvas.getContext('2d')
          context.drawImage(image, 0, 0, 20, 30)
          return [[2, 2], [15, 5], [10, 27]].map(([x, y]) => Array.from(context.getImageData(x, y, 1, 1).data).slice(0, 3))
        })()"""
        sky, sun, grass = page.evaluate(photo)
        assert sky[2] > 180
        assert sun[0] - sun[1] > 110
        assert grass[1] - grass[2] > 70
        layout = page.evaluate("Array.from(document.images, one => [one.width, one.height, one.getAttribute('loading')])")
        assert all(loading == "lazy" and height > 0 for _, height, loading in layout)
        picture = base64.b64decode(page.call("Page.captureScreenshot", format="png")["data"])
        if folder := os.environ.get("FILEROW_SCREENSHOTS"):
            name = re.sub(r"\W+", "-", os.environ["PYTEST_CURRENT_TEST"].rpartition("[")[2])
            Path(folder, f"page-{name}.png").write_bytes(picture)


@pytest.mark.one_in(3)
def test_second_look_asks_for_no_image_again(site: str, chromium: Chromium) -> None:
    with chromium.page() as page:
        shown_at(page, site, 1200, 1)
        page.call("Page.reload")
        page.wait_for("Page.loadEventFired")
        page.evaluate("Promise.all(Array.from(document.images, one => one.decode()))")
        sizes = page.evaluate("performance.getEntriesByType('resource').map(one => one.transferSize)")
        assert sizes == [0, 0]
