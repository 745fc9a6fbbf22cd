"""How a file of the corpus reaches a column: in a form, or straight to the store."""

from __future__ import annotations

import io
from urllib.parse import unquote, urlsplit

from filerow import FileObject, storages
from filerow.direct import DirectUploads
from tests.corpus import Sample

__all__ = ("BACKEND", "PREFIX", "SECRET", "direct_upload", "form_upload")

BACKEND = "corpus"
PREFIX = "/files"
SECRET = "a secret of this corpus, and no other"


def form_upload(sample: Sample) -> FileObject:
    """Return what a handler makes of a form's file."""
    return FileObject(filename=sample.name, content_type=sample.announced, content=io.BytesIO(sample.content))


def direct_upload(sample: Sample, column: object) -> FileObject:
    """Return what a handler makes of a claim: announced as a browser calls it, and put where the ticket says."""
    uploads = DirectUploads(column, secret=SECRET)
    ticket = uploads.begin(filename=sample.name, size=len(sample.content), content_type=sample.announced or None)
    path = unquote(urlsplit(ticket.url).path).removeprefix(f"{PREFIX}/{BACKEND}/")
    storages.get_backend(BACKEND).put(path, sample.content)
    return uploads.claim(ticket.claim)
