"""Where a store of obstore on S3 is, in botocore's terms."""

from __future__ import annotations

from typing import Any, NamedTuple

from filerow.backends.obstore.store import endpoint_of

__all__ = ("S3Place", "place_of")


class S3Place(NamedTuple):
    """What a client of botocore has to be told.

    Attributes:
        region: Also of what is signed.
        endpoint: Without the bucket; ``None`` for Amazon's own.
        style: How a bucket is addressed: ``virtual`` (in the host) or ``path``.
    """

    region: str
    endpoint: str | None
    style: str


def place_of(store: Any) -> S3Place:
    """Return where a store is.

    Args:
        store: An ``obstore.store.S3Store``.
    """
    config = dict(store.config)
    virtual = str(config.get("virtual_hosted_style_request", "false")).lower() == "true"
    endpoint = endpoint_of(store) or None
    if endpoint and virtual:  # obstore wants the bucket in such an endpoint, botocore adds it
        endpoint = endpoint.replace(f"//{config['bucket']}.", "//", 1)
    region = str(config.get("region") or config.get("default_region") or "us-east-1")
    return S3Place(region, endpoint, "virtual" if virtual else "path")
