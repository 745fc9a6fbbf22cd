"""The extension of Sphinx that builds the site from docs/: ``make site``.

GitHub and Sphinx read the same plain Markdown. What only the site can show stands in a comment of HTML, which GitHub hides:

``<!-- include: ../CHANGELOG.md -->``
    the text of a file outside docs/, whose page this becomes: links to the file lead here
``<!-- api: filerow.direct -->``
    the public names of a module, from their docstrings
``<!-- commands -->``
    every command of the program and its options, from the program itself

The navigation is ``site_navigation`` in docs/conf.py. A link to any other file of the repository leads to a page with its source.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tools.site import api, files, inventories, pages

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the parts to Sphinx's events."""
    app.add_config_value("site_navigation", {}, "env")
    app.connect("config-inited", inventories.write, priority=100)  # before intersphinx looks for them
    app.connect("source-read", pages.read)
    app.connect("doctree-resolved", files.resolve)
    app.connect("html-collect-pages", files.collect)
    app.connect("html-page-context", pages.context, priority=900)  # after furo has wrapped tables
    app.connect("autodoc-process-bases", api.public_bases)
    app.connect("autodoc-process-docstring", api.docstring)
    app.connect("autodoc-process-signature", api.signature)
    app.connect("missing-reference", api.public_reference)

    logging.getLogger("alembic").setLevel(logging.WARNING)  # it reports each plugin as it is imported
    return {"parallel_read_safe": False, "parallel_write_safe": False}
