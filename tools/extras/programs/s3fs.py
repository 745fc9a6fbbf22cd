"""Extra ``s3fs``: files on fsspec's filesystem for S3, against a server."""

import os
from uuid import uuid4

from filerow.backends.base import SignRequest
from filerow.backends.fsspec import FSSpecBackend
from tools.extras.programs.filesystem import live
from tools.extras.programs.model import CONTENT
from tools.extras.programs.web import fetch


def main() -> None:
    """Live there, and sign."""
    backend = FSSpecBackend(
        "docs",
        f"s3://{os.environ['S3_BUCKET']}/s3fs",
        storage_options={"key": os.environ["S3_KEY"], "secret": os.environ["S3_SECRET"]},
        endpoint_url=os.environ["S3_ENDPOINT"],
        client_kwargs={"region_name": "us-east-1"},
    )
    live(backend)
    name = f"{uuid4().hex}.txt"
    backend.put(name, CONTENT)
    assert fetch(backend.sign(name, SignRequest("GET", 60, content_disposition="attachment"))) == CONTENT


if __name__ == "__main__":
    main()
