"""Extra ``gcsfs``: files on fsspec's filesystem for Google Cloud Storage, against a server."""

import os
from typing import Any

from filerow.backends.fsspec import FSSpecBackend
from tools.extras.programs.filesystem import live


def main() -> None:
    """Live there."""
    place: dict[str, Any] = {"project": "p", "token": "anon", "endpoint_url": os.environ["GCS_ENDPOINT"]}
    live(FSSpecBackend("docs", f"gs://{os.environ['GCS_BUCKET']}/docs", **place))


if __name__ == "__main__":
    main()
