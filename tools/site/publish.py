"""``python -m tools.site.publish SITE PAGES VERSION`` adds a built site to the versions that are published.

Each version is a folder. The first page leads to the newest release, or before there is one to ``dev``; ``versions.html`` lists
all.
"""

from __future__ import annotations

import html
import re
import shutil
import sys
from pathlib import Path

VERSION = re.compile(r"\d+(\.\d+)*|dev")


def publish(site: Path, pages: Path, version: str) -> None:
    """Copy a site into its folder, in place of the one that was there, and write the pages that lead to the versions.

    Raises:
        ValueError: The version is neither ``dev`` nor numbers with dots, so it must not name a folder.
    """
    if not VERSION.fullmatch(version):
        raise ValueError(f"a version to publish is 'dev' or numbers with dots, not {version!r}")
    target = pages / version
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(site, target)
    versions = known(pages)
    (pages / ".nojekyll").touch()  # or folders that begin with an underscore are left out
    (pages / "index.html").write_text(_page("Filerow", f'<meta http-equiv="refresh" content="0; url={versions[0]}/">', versions))
    (pages / "versions.html").write_text(_page("Versions of Filerow", "", versions))


def known(pages: Path) -> list[str]:
    """Return the versions that are published, the newest release first and ``dev`` last."""
    names = [folder.name for folder in pages.iterdir() if folder.is_dir() and VERSION.fullmatch(folder.name)]
    releases = sorted((name for name in names if name != "dev"), key=lambda name: [int(n) for n in name.split(".")], reverse=True)
    return [*releases, *(name for name in names if name == "dev")]


def _page(title: str, head: str, versions: list[str]) -> str:
    items = "".join(f'<li><a href="{html.escape(version)}/">{html.escape(version)}</a></li>' for version in versions)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta name="color-scheme" content="light dark"><title>{title}</title>{head}</head>'
        f'<body style="font: 1rem/1.6 system-ui; margin: 2rem"><h1>{title}</h1><ul>{items}</ul></body></html>\n'
    )


if __name__ == "__main__":
    publish(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
