"""Adds to a page's Markdown what only the site can show."""

from __future__ import annotations

import functools
import posixpath
import re
from typing import TYPE_CHECKING, Any

from tools.site import api, commands, tables
from tools.site._root import DOCS, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from sphinx.application import Sphinx

MARKER = re.compile(r"^<!-- (include|api|commands)(?:: (\S+))? -->$", re.MULTILINE)
ITSELF = re.compile(r"(?:^| )This is \[[^\]]*\]\([^)]*\)\.$(?=\n\n<!-- include: )", re.MULTILINE)
"""On GitHub the link to the file that the site includes."""
CODE = re.compile(r"^( *)(`{3,}|~{3,})[^\n]*\n.*?^\1\2`* *$|(`+)(?!`).+?(?<!`)\3(?!`)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\(\s*<?|^ {0,3}\[[^\]^]+\]:\s*<?)([^\s)>]+)", re.MULTILINE)
REPAIRED = {
    "<pre>": '<pre tabindex="0">',  # what scrolls must be reached by the keyboard
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    ">Variables<": ">Attributes<",
}
OPTION = re.compile(r'<span class="pre">(--?[a-z][\w-]*[.,]?)</span>')
DASH = re.compile(r"(</(?:strong|em|a|code)>|\)) -- ")
MODULE = re.compile(r"(?<=>)filerow(?:\.\w+)+(?=<)")
SIGNATURE = re.compile(r'<dt class="sig.*?</dt>', re.DOTALL)
OUTSIDE_OF_SITE = re.compile(r"[a-z][a-z+.-]*:|#", re.IGNORECASE)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Expand the markers of a page, redirect the links that lead out of docs/, and add its part of the navigation."""
    folder = posixpath.dirname(f"docs/{docname}")
    text = _outside_code(ITSELF.sub("", source[0]), lambda part: redirected(part, folder, folder))
    text = MARKER.sub(lambda found: _expanded(found, folder), text)
    source[0] = text + _navigation(app.config.site_navigation, docname)


def context(_app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: object) -> None:
    """Give the page the description that search engines show, and make it usable by keyboard and screen reader."""
    body = context.get("body", "")
    plain = " ".join(re.sub(r"<[^>]+>", "", body.partition("<p>")[2].partition("</p>")[0]).split())
    context["metatags"] = context.get("metatags", "") + f'<meta name="description" content="{plain[:300]}">'.replace(
        "&quot;", "'"
    )
    for old, new in REPAIRED.items():
        body = body.replace(old, new)
    body = SIGNATURE.sub(_without_list, tables.marked(body))
    body = OPTION.sub(r'<span class="pre option">\1</span>', body)  # browsers break lines between its hyphens
    body = DASH.sub("\\1 \N{EN DASH} ", body)  # Sphinx's own, between a parameter and what it is
    head, end, rest = body.partition("</h1>")
    body = MODULE.sub(_breakable, head) + end + rest
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = MODULE.sub(_breakable, tree.replace('role="heading"', 'role="heading" aria-level="2"'))
    context["body"] = f'<div class="landing">{body}</div>' if pagename == "index" else body


def _breakable(module: re.Match[str]) -> str:
    """Return the name of a module that may break behind its dots."""
    return module[0].replace(".", ".<wbr>").replace("_", "_<wbr>")


def _without_list(signature: re.Match[str]) -> str:
    """Return a signature whose parameters are lines: a list without terms is not a list."""
    text = signature[0].replace("<dl>", '<span class="sig-lines">').replace("<dd>", '<span class="sig-line">')
    return text.replace("</dl>", "</span>").replace("</dd>", "</span>")


@functools.cache
def homes() -> dict[str, str]:
    """Return which page shows which file outside docs/, from the pages' own markers."""
    found = {}
    for page in sorted(DOCS.rglob("*.md")):
        for marker in MARKER.finditer(page.read_text()):
            if marker[1] == "include":
                found[str((page.parent / marker[2]).resolve().relative_to(ROOT))] = str(page.relative_to(ROOT))
    return found


def redirected(text: str, written_in: str, shown_in: str) -> str:
    """Let the links of a text lead to pages of the site.

    Args:
        text: Markdown without code.
        written_in: The folder, from the root of the repository, that the links are relative to.
        shown_in: The folder of the page that shows the text.
    """
    known = homes()

    def replaced(found: re.Match[str]) -> str:
        if OUTSIDE_OF_SITE.match(found[2]):
            return found[0]
        path, hash_sign, anchor = found[2].partition("#")
        target = posixpath.normpath(posixpath.join(written_in, path))
        target = known.get(target, target)
        if not target.startswith("docs/"):
            return f"{found[1]}source:{target}"
        return f"{found[1]}{posixpath.relpath(target, shown_in)}{hash_sign}{anchor}"

    return LINK.sub(replaced, text)


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Change the parts of a Markdown text that are not code."""
    parts, end = [], 0
    for code in CODE.finditer(text):
        parts += [change(text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(text[end:])])


def _expanded(marker: re.Match[str], folder: str) -> str:
    if marker[1] == "api":
        return api.markdown(marker[2])
    if marker[1] == "commands":
        return commands.markdown()
    file = (ROOT / folder / marker[2]).resolve()
    written_in = posixpath.dirname(str(file.relative_to(ROOT))) or "."
    text = _outside_code(file.read_text(), lambda part: redirected(part, written_in, folder))
    return re.sub(r"\A# .*\n", "", text)  # the page has a title of its own


def _navigation(navigation: dict[str, dict[str, list[str]]], docname: str) -> str:
    trees = ""
    for caption, entries in navigation.get(docname, {}).items():
        lines = ["```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), "", *entries, "```"]
        trees += "\n\n" + "\n".join(lines) + "\n"
    return trees
