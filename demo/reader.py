"""A second process: opens the database and the store afresh and reads every file. Run by ``steps.read_elsewhere``.

It takes the settings and the expected contents as JSON on its standard input, so that no process list shows a secret.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING

from sqlalchemy import select

from demo.app import Library, Settings
from demo.models import Author, Document

if TYPE_CHECKING:
    from filerow import FileObject

__all__ = ("main",)


def main() -> int:
    """Read every file through Filerow and compare names and SHA-256 with what the first process meant to store."""
    order = json.load(sys.stdin)
    found: dict[str, str] = {}
    with Library(Settings(**order["settings"])) as library, library.session() as session:
        for author in session.scalars(select(Author)):
            found |= _read(author.name, author.portrait)
        for document in session.scalars(select(Document)):
            found |= _read(document.slug, document.cover, *document.pages)
    for name in sorted(found.items() ^ order["expected"].items()):
        print(f"{name[0]}: not what was stored (sha256 {name[1]})", file=sys.stderr)
    print(f"{len(found)} files")
    return int(found != order["expected"])


def _read(owner: str, *files: FileObject | None) -> dict[str, str]:
    found = {}
    for file in filter(None, files):
        digest = hashlib.sha256()
        for chunk in file.stream():
            digest.update(chunk)
        found[f"{owner}/{file.filename}"] = digest.hexdigest()
    return found


if __name__ == "__main__":
    sys.exit(main())
