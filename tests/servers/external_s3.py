"""An S3 server that somebody else runs, named by environment variables; see ``docker/minio/README.md``."""

from __future__ import annotations

import os

from tests.servers._s3 import REGION, S3Server

ENDPOINT = "FILEROW_TEST_S3_ENDPOINT"
ACCESS_KEY = "FILEROW_TEST_S3_ACCESS_KEY"
SECRET_KEY = "FILEROW_TEST_S3_SECRET_KEY"
REGION_NAME = "FILEROW_TEST_S3_REGION"


def is_configured() -> bool:
    """Return True if the environment names a server."""
    return bool(os.environ.get(ENDPOINT))


def start() -> S3Server:
    """Return the server that the environment names; nothing is started.

    Its `stop` removes the buckets that were made through it, and no others.

    Raises:
        ValueError: The environment names a server but not its credentials.
    """
    endpoint, access_key, secret_key = (os.environ.get(name, "") for name in (ENDPOINT, ACCESS_KEY, SECRET_KEY))
    if not (access_key and secret_key):
        msg = f"{ENDPOINT} is set, so {ACCESS_KEY} and {SECRET_KEY} must be set too"
        raise ValueError(msg)
    return S3Server(endpoint, access_key, secret_key, os.environ.get(REGION_NAME) or REGION)
