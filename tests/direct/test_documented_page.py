"""The page of docs/direct-upload.md, as it stands, in a real browser."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from filerow import storages
from tests.direct.conftest import PNG, make_store
from tests.direct.site import Site
from tests.servers._process import ROOT
from tests.servers.chromium import Chromium, Page

STATE = "({save: document.querySelector('form button').disabled, claim: claim.value, problem: problem.value})"


@pytest.fixture
def tab(request: pytest.FixtureRequest, chromium: Chromium, site: Site, tmp_path: Path) -> Iterator[Page]:
    store = make_store(request, site, tmp_path, "local")
    storages.register_backend(store.backend)
    site.uploads = {"documents": store.uploads()}
    [block] = re.findall(r"```html\n(.*?)```", (ROOT / "docs" / "direct-upload.md").read_text(), re.DOTALL)
    shown = block.replace("/files/filerow.js", "/filerow.js").replace('"…"', '"a token"')
    with chromium.page() as page:
        page.open(f"{site.url}/")
        page.evaluate(f"(document.open(), document.write({json.dumps(shown)}), document.close())")
        yield page
    storages.clear_backends()


def choose(page: Page, data: bytes, name: str, kind: str) -> None:
    content = base64.b64encode(data).decode()
    page.evaluate(f"""new Promise((resolve) => setTimeout(() => {{
        const bytes = Uint8Array.from(atob('{content}'), c => c.charCodeAt(0));
        const chosen = new DataTransfer();
        chosen.items.add(new File([bytes], '{name}', {{type: '{kind}'}}));
        const input = document.getElementById('file');
        input.files = chosen.files;
        input.dispatchEvent(new Event('change'));
        resolve(0);
    }}, 300))""")


def wait(page: Page, condition: str) -> None:
    page.evaluate(f"""new Promise((resolve, reject) => {{
        const begin = Date.now();
        const look = () => {{
            const state = {STATE};
            if ({condition}) resolve(0);
            else if (Date.now() - begin > 15000) reject(new Error(JSON.stringify(state)));
            else setTimeout(look, 20);
        }};
        look();
    }})""")


def test_save_waits_for_the_claim(tab: Page, site: Site) -> None:
    assert tab.evaluate(STATE) == {"save": True, "claim": "", "problem": ""}
    site.pause = 0.5
    choose(tab, PNG, "cat.png", "image/png")
    assert tab.evaluate(STATE) == {"save": True, "claim": "", "problem": ""}
    wait(tab, "!state.save")
    assert tab.evaluate(STATE)["claim"]


def test_page_shows_why_an_upload_failed(tab: Page, site: Site) -> None:
    choose(tab, b"plain words", "notes.txt", "text/plain")
    wait(tab, "state.problem")
    state = tab.evaluate(STATE)
    assert state["save"]
    assert not state["claim"]
    choose(tab, PNG, "cat.png", "image/png")
    wait(tab, "!state.save && state.claim && !state.problem")


def test_another_file_takes_the_place_of_the_first(tab: Page, site: Site) -> None:
    site.pause = 0.5
    choose(tab, PNG, "cat.png", "image/png")
    choose(tab, PNG, "dog.png", "image/png")
    wait(tab, "!state.save")
    assert tab.evaluate(STATE)["problem"] == ""
