"""Extra ``adlfs``: files on fsspec's filesystem for Azure, against Azurite; without it, only an account is opened."""

import os
from uuid import uuid4

from filerow.backends.base import SignRequest
from filerow.backends.fsspec import FSSpecBackend
from tools.extras.programs.filesystem import live
from tools.extras.programs.model import CONTENT
from tools.extras.programs.web import fetch

NOBODY = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/a;"


def main() -> None:
    """Live there, and sign."""
    place = f"az://{os.environ.get('AZURE_CONTAINER', 'c')}/adlfs"
    backend = FSSpecBackend("docs", place, connection_string=os.environ.get("AZURE_CONNECTION", NOBODY))
    if "AZURE_CONNECTION" not in os.environ:
        return
    live(backend)
    name = f"{uuid4().hex}.txt"
    backend.put(name, CONTENT)
    assert fetch(backend.sign(name, SignRequest("GET", 60, content_disposition="attachment"))) == CONTENT


if __name__ == "__main__":
    main()
