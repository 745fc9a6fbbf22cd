"""The forms of admin tools, filled in in a real browser that runs no inline script."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from filerow import FileObject
from tests.ext.admin_apps import PNG, UNCLOSED, Admin, serving, without_inline_scripts
from tests.servers.chromium import Chromium, Page

pytestmark = UNCLOSED


@pytest.fixture(params=["sqladmin-async", "starlette-admin", "flask-admin"])
def admin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Admin]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with serving(request.param, tmp_path, without_inline_scripts) as running:
        yield running


def choose(page: Page, field: str, *files: tuple[str, bytes]) -> None:
    """Choose files in an input, as a user does."""
    made = ",".join(
        f"new File([Uint8Array.from(atob('{base64.b64encode(data).decode()}'), c => c.charCodeAt(0))], '{name}')"
        for name, data in files
    )
    page.evaluate(f"""(() => {{
        const chosen = new DataTransfer();
        [{made}].forEach(file => chosen.items.add(file));
        document.getElementById('{field}').files = chosen.files;
    }})()""")


def submit(page: Page) -> None:
    page.events.clear()
    page.evaluate(
        "setTimeout(() => document.querySelector('form[method=POST i] [type=submit].btn-primary, [name=save]').click())"
    )
    page.wait_for("Page.loadEventFired")


def asked(page: Page, script: str) -> Any:
    return page.evaluate(script)


def test_a_browser_uploads_reorders_and_clears(chromium: Chromium, admin: Admin) -> None:
    with chromium.page() as page:
        page.open(admin.url + admin.places.create)
        asked(page, "document.getElementById('name').value = 'Emma', 0")
        choose(page, "cover", ("cover.png", PNG))
        choose(page, "file", ("a.txt", b"all"))
        choose(page, "pages", ("1.txt", b"1"), ("2.txt", b"2"), ("3.txt", b"3"))
        submit(page)
        book = admin.newest()
        assert [each.get_content() for each in book.pages] == [b"1", b"2", b"3"]

        page.open(admin.url + admin.places.list)
        shown = "[...document.images].find(image => image.alt == 'cover.png')"
        assert asked(page, f"{shown}.decode().then(() => {shown}.naturalWidth)") == 1

        page.open(admin.url + admin.places.edit.format(book.id))
        asked(page, "document.querySelector('[title=\"Position of 3.txt\"]').value = 1, 0")
        asked(page, "document.getElementById('pages-remove-1').click()")  # 2.txt
        asked(page, "document.getElementById('file-clear').click()")
        submit(page)
        book = admin.book(book.id)
        assert ([each.filename for each in book.pages], book.file) == (["3.txt", "1.txt"], None)
        assert book.cover.get_content() == PNG


@pytest.mark.thorough
def test_a_refused_file_is_explained_at_its_field(chromium: Chromium, admin: Admin) -> None:
    number = admin.add(pages=[FileObject(filename="1.txt", content=b"1")])
    with chromium.page() as page:
        page.open(admin.url + admin.places.edit.format(number))
        choose(page, "pages", ("long.txt", bytes(2000)))
        submit(page)
        seen = asked(
            page, "[...document.querySelectorAll('.invalid-feedback')].filter(e => e.offsetHeight).map(e => e.innerText)"
        )
        assert len(seen) == 1
        assert "more than the 1,000 bytes allowed" in seen[0]
    assert [each.filename for each in admin.book(number).pages] == ["1.txt"]
