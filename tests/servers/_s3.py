"""What tests need to know of an S3 server, whichever it is."""

from __future__ import annotations

import functools
import uuid
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tests.servers._process import ServerProcess

REGION = "us-east-1"


class S3Server:
    """An S3 endpoint with credentials.

    Args:
        endpoint: ``http://host:port``.
        access_key: Of an identity that may do everything.
        secret_key: Belongs to ``access_key``.
        region: For signatures.
        process: The process to end with it, none for a server that we did not start.
        shared_bucket: The name of a bucket that exists already, for `shared_bucket`.
    """

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        region: str = REGION,
        *,
        process: ServerProcess | None = None,
        shared_bucket: str | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.access_key = access_key
        self.secret_key = secret_key
        self.region = region
        self._process = process
        self._client: Any = None
        self._made: list[str] = []
        self._shared_bucket = shared_bucket

    @property
    def client(self) -> Any:
        """A botocore client, the view of the store that Filerow has no part in."""
        if self._client is None:
            self._client = s3_client(self.endpoint, self.access_key, self.secret_key, self.region)
        return self._client

    @property
    def shared_bucket(self) -> str:
        """One bucket for tests that are content with a prefix of their own, see `make_prefix`."""
        if self._shared_bucket is None:
            self._shared_bucket = self.make_bucket()
        return self._shared_bucket

    def make_prefix(self) -> str:
        """Return a prefix, ending in a slash, that nothing in `shared_bucket` has.

        Prefer it to `make_bucket`: SeaweedFS takes a fifth of a second over the first object in a bucket.
        """
        return f"{uuid.uuid4().hex[:20]}/"

    def make_bucket(self, name: str | None = None) -> str:
        """Create a bucket, under a fresh name unless given one, and return its name."""
        name = name or f"test-{uuid.uuid4().hex[:20]}"
        self.client.create_bucket(Bucket=name)
        self._made.append(name)
        return name

    def keys(self, bucket: str, prefix: str = "") -> set[str]:
        """Return the keys of all objects in ``bucket``, asked from the server itself."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {entry["Key"] for page in pages for entry in page.get("Contents", ())}

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with all that is in it."""
        for key in self.keys(name):
            self.client.delete_object(Bucket=name, Key=key)
        self.client.delete_bucket(Bucket=name)
        self._made.remove(name)

    def stop(self) -> None:
        """End the server; on one that we did not start, remove the buckets that we made."""
        if self._process is None:
            for name in list(self._made):
                self.remove_bucket(name)
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is not None:
            self._process.stop()

    def __enter__(self) -> Self:
        """Return the running server."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self.stop()


@functools.cache
def _session() -> Any:
    """Share one session: reading its description of S3 takes it a third of a second."""
    from botocore.session import Session

    return Session()


def s3_client(endpoint: str, access_key: str, secret_key: str, region: str = REGION) -> Any:
    """Build a botocore client that asks nobody for credentials and does not repeat failed requests."""
    from botocore.config import Config

    return _session().create_client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            proxies={},
            connect_timeout=5,
            read_timeout=60,
        ),
    )
