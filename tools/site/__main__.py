"""``python -m tools.site`` builds the site into build/site/html; a warning is an error."""

from __future__ import annotations

import sys

from tools.site._root import ROOT
from tools.site.build import build

if __name__ == "__main__":
    status = build(ROOT / "build" / "site", *sys.argv[1:])
    if status == 0:
        print("The site is in build/site/html/index.html")
    raise SystemExit(status)
