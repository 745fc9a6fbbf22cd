"""``python -m tools.site.stubs`` writes a page of docs/reference/ for each public module, after a name has come or gone."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from tools.site import api
from tools.site._root import DOCS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = DOCS / "reference"
_INDEX = """# Reference

Every public name, from the docstrings that `help()` shows, too. What is not here is private and may change.

| module | what it is for |
|---|---|
{rows}

Besides: [commands and options](commands.md), [configuration](../configuration.md), [errors](../errors.md),
[codes](../problems.md), and [the conformance kit](../conformance.md).
"""


def texts() -> dict[Path, str]:
    """Return the text of each page."""
    found, rows = {}, []
    for module, names in api.public().items():
        listed = ", ".join(f"`{name}`" for name in names)
        lead = f"Import from `{module}`: {listed}. [Source](../../{_source(module)})"
        wrapped = textwrap.fill(lead, 120, break_long_words=False, break_on_hyphens=False)
        found[REFERENCE / f"{module}.md"] = f"# {module}\n\n{wrapped}\n\n<!-- api: {module} -->\n"
        first = (ROOT / _source(module)).read_text().split('"""')[1].split("\n")[0].replace("``", "`")
        rows.append(f"| [`{module}`]({module}.md) | {first} |")
    found[REFERENCE / "index.md"] = _INDEX.format(rows="\n".join(rows))
    return found


def _source(module: str) -> str:
    path = f"src/{module.replace('.', '/')}"
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


if __name__ == "__main__":
    for page in REFERENCE.glob("filerow*.md"):
        page.unlink()
    for page, text in texts().items():
        page.write_text(text)
