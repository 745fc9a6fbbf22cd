"""Shows the repository's files that pages link to, and draws drawings into their pages."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

from docutils import nodes

from tools.site._root import DOCS, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

SCHEME = "source:"
BREAK, WBR = re.compile(r"(?<=[/_])"), "<wbr>"


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Point links to files at the pages that show them, and put drawings into the page, where its colours reach them."""
    for link in doctree.findall(nodes.reference):
        if (uri := link.get("refuri", "")).startswith(SCHEME):
            link["refuri"] = app.builder.get_relative_uri(docname, _page(uri))
            _wanted(app).add(uri)
    for image in list(doctree.findall(nodes.image)):
        if image["uri"].startswith(("drawings/", "docs/drawings/")):
            image.replace_self(nodes.raw("", _drawn(image["uri"], image.get("alt", "")), format="html"))


def collect(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each file that a page links to.

    Raises:
        LookupError: There is no such file.
    """
    for uri in sorted(_wanted(app)):
        path = ROOT / uri.removeprefix(SCHEME)
        if not path.exists():
            raise LookupError(f"a page links to {uri.removeprefix(SCHEME)}, which does not exist")
        title = html.escape(str(path.relative_to(ROOT)))
        head = f"<h1><code>{BREAK.sub(WBR, title)}</code></h1>"
        yield _page(uri), {"title": title, "body": head + _shown(app, uri)}, "page.html"


def _wanted(app: Sphinx) -> set[str]:
    wanted: set[str] = app.env.__dict__.setdefault("site_files", set())
    return wanted


def _page(uri: str) -> str:
    return "_files/" + uri.removeprefix(SCHEME).rstrip("/")


def _shown(app: Sphinx, uri: str) -> str:
    path = ROOT / uri.removeprefix(SCHEME)
    if path.is_dir():
        names = sorted(
            f"{entry.name}/" if entry.is_dir() else entry.name for entry in path.iterdir() if entry.name[0] not in "._"
        )
        return "<ul>" + "".join(f"<li><code>{html.escape(name)}</code></li>" for name in names) + "</ul>"
    language = {".py": "python", ".md": "markdown", ".toml": "toml", ".yml": "yaml", ".sh": "bash"}.get(path.suffix, "text")
    highlighter = app.builder.highlighter  # type: ignore[attr-defined]  # the builder is the HTML one
    return str(highlighter.highlight_block(path.read_text(), language, force=True))


def _drawn(uri: str, alt: str) -> str:
    """Return the drawing without its own colours; the style sheet of the site has them for light and dark."""
    svg = (DOCS / uri.removeprefix("docs/")).read_text()
    svg = re.sub(r"<\?xml.*?\?>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL).strip()
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt, quote=True)}" ', 1)
    return f'<figure class="drawing">{svg}</figure>'
