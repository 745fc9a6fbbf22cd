"""The site: ``make site`` builds it, offline. What is ours in it is in tools/site."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import filerow
from tools.site.api import public

MODULES = list(public())

project = "Filerow"
author = "The Filerow contributors"
project_copyright = author
version = release = filerow.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "tools.site",
]
exclude_patterns = ["_static", "inventories", "drawings"]
nitpicky = True
default_role = "py:obj"

site_navigation: dict[str, dict[str, list[str]]] = {
    "index": {
        "Start": ["why", "start", "tutorial", "concepts", "guide"],
        "How to": ["howto", "backends/index", "frameworks", "admin", "queues", "moving"],
        "Look up": ["reference/index", "configuration", "errors", "troubleshooting"],
        "Trust": ["guarantees", "security", "speed", "comparison", "databases", "ecosystem"],
        "Project": ["upgrading", "changelog", "contributing", "design"],
    },
    "howto": {
        "": [
            "uploads", "lists", "variants", "serving", "signing", "cdn", "direct-upload", "testing", "recipes",
            "permissions", "stores", "migrations", "renames", "moving-storage", "outbox", "maintenance", "cli",
            "recovery", "production", "cost", "scale", "faults", "observability",
        ],
    },
    "backends/index": {"": ["directory", "memory", "s3", "gcs", "azure", "compatible", "fsspec", "../shown/minio"]},
    "frameworks": {"": [
            *(f"frameworks/{name}" for name in ("fastapi", "litestar", "starlette", "flask")),
            *(f"shown/{name}" for name in ("fastapi-documents", "litestar-guide", "flask-documents")),
        ]},
    "admin": {"": [f"admin/{name}" for name in ("sqladmin", "starlette-admin", "flask-admin")]},
    "queues": {"": [f"queues/{name}" for name in ("celery", "dramatiq", "taskiq", "rq")]},
    "moving": {
        "": [
            "from-advanced-alchemy", "from-sqlalchemy-file", "from-filedepot", "from-fastapi-storages", "from-django",
            "from-paths", "leaving",
        ],
    },
    "reference/index": {"": ["commands", "../conformance", *(f"{module}" for module in MODULES)]},
    "errors": {"": ["problems"]},
    "comparison": {"": ["shown/compare"]},
    "contributing": {"": ["shown/tests", "shown/sqlalchemy-suite"]},
    "security": {"": ["reporting"]},
}  # fmt: skip

myst_heading_anchors = 4
myst_enable_extensions = ["fieldlist"]
myst_url_schemes = {"http": None, "https": None, "mailto": None, "source": None}
suppress_warnings = ["myst.strikethrough"]
smartquotes_action = "qe"  # not dashes: --delete is an option

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 78
python_use_unqualified_type_names = True
add_module_names = False
intersphinx_mapping: dict[str, Any] = {}  # tools.site.inventories

pygments_dark_style = "github-dark"
html_theme = "furo"
html_title = "Filerow"
html_static_path = ["_static"]
html_css_files = ["filerow.css"]
html_favicon = "_static/favicon.svg"
templates_path = ["_templates"]
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "sidebar_hide_name": False,
    "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#0b5c6b", "color-brand-content": "#0b6577"},
    "dark_css_variables": {"color-brand-primary": "#5fc9dc", "color-brand-content": "#5fc9dc"},
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/versions.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
html_context = {"versions_address": os.environ.get("FILEROW_SITE_VERSIONS", "")}
