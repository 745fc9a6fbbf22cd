"""Versions of the site beside each other."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin

import pytest

pytest.importorskip("sphinx", reason="not covered: Sphinx is not installed; to install it: make site")

from jinja2 import Environment, FileSystemLoader

from tests.servers._process import ROOT
from tools.site.publish import known, publish


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("new")
    return tmp_path / "site"


def test_versions_stand_beside_each_other(built: Path, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    for version in ("dev", "0.9", "0.10", "1.0.1"):
        publish(built, pages, version)
    assert known(pages) == ["1.0.1", "0.10", "0.9", "dev"]
    assert "url=1.0.1/" in (pages / "index.html").read_text()
    assert (pages / "versions.html").read_text().count("<li>") == 4


def test_a_version_is_replaced_whole(built: Path, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    (pages / "dev").mkdir(parents=True)
    (pages / "dev" / "gone.html").touch()
    publish(built, pages, "dev")
    assert [page.name for page in (pages / "dev").iterdir()] == ["index.html"]
    assert "url=dev/" in (pages / "index.html").read_text()


@pytest.mark.parametrize("version", ["../x", "", "1.0/..", "main"])
def test_other_names_are_refused(built: Path, tmp_path: Path, version: str) -> None:
    with pytest.raises(ValueError, match="a version to publish"):
        publish(built, tmp_path, version)


@pytest.mark.parametrize(("page", "root"), [("index.html", "./"), ("reference/filerow.html", "../")])
def test_each_page_leads_to_all_versions(page: str, root: str) -> None:
    template = Environment(loader=FileSystemLoader(ROOT / "docs" / "_templates")).get_template("sidebar/versions.html")
    shown = template.render(version="1.0", content_root=root, versions_address="../versions.html")
    [link] = re.findall(r'href="([^"]*)"', shown)
    assert urljoin(f"https://pages.example/filerow/1.0/{page}", link) == "https://pages.example/filerow/versions.html"
