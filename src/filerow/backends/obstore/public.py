"""A second store on the host by which clients reach the first one; it only signs.

Signature Version 4 covers the host, so a URL that was signed for one host is refused on another. The second store has the
credentials, the region and the prefix of the first. Azure's signatures do not cover the host; there the second store saves
that each way to a URL must think of exchanging it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from obstore.store import GCSStore, S3Store

from filerow.backends._public import checked_endpoint, with_bucket
from filerow.backends.obstore.store import endpoint_of, is_on, place_of, rebuilt
from filerow.exceptions import UnsupportedOperationError

_BUCKET = "{bucket}."


def public_endpoint_of(store: Any, protocol: str, given: str, backend: str) -> str:
    """Return the origin by which clients reach a store.

    Args:
        store: An obstore store.
        protocol: The store's kind.
        given: What the application says; see :func:`checked_endpoint`. On S3 ``https://{bucket}.files.example.org`` addresses
            the bucket by the host.
        backend: The backend's key, for errors.

    Raises:
        ValueError: It is not a scheme and a host.
        UnsupportedOperationError: The store signs no URLs, or it is Azure's emulator by its own option.
    """
    if protocol not in {"s3", "gs", "az"}:
        msg = f"public_endpoint= is for URLs that a store signs, and a {protocol} store signs none"
        raise UnsupportedOperationError(msg, operation="sign", backend=backend)
    if protocol == "az" and is_on(store.config, "use_emulator", "AZURE_STORAGE_USE_EMULATOR"):
        msg = (
            "public_endpoint= must know where the emulator is: give endpoint=, account_name= and account_key=, not use_emulator="
        )
        raise UnsupportedOperationError(msg, operation="sign", backend=backend)
    if protocol == "s3" and isinstance(given, str) and f"://{_BUCKET}" in given:
        given = with_bucket(given, store.config["bucket"], backend)
    elif protocol == "s3" and isinstance(given, str) and _names_bucket(store, given.lower()):
        with_bucket(given, store.config["bucket"], backend)
    return checked_endpoint(given, backend)


def public_store(store: Any, given: str, origin: str) -> Any:
    """Return a store on the public host, which signs.

    Args:
        store: An obstore store.
        given: What the application says.
        origin: The origin that it means.
    """
    client = {**(store.client_options or {}), **({"allow_http": True} if origin.startswith("http://") else {})}
    if isinstance(store, S3Store):
        virtual = f"://{_BUCKET}" in given or _names_bucket(store, origin)
        place = {"endpoint": origin, "virtual_hosted_style_request": str(virtual).lower()}
    elif isinstance(store, GCSStore):
        place = {"base_url": origin}
    else:
        place = {"endpoint": origin + urlsplit(endpoint_of(store)).path.rstrip("/")}  # Azurite's endpoint has a path
    return rebuilt(store, place, client_options=client or None)


def _names_bucket(store: Any, origin: str) -> bool:
    """Return True if the store's host and the public host begin with the bucket."""
    return place_of(store).style == "virtual" and origin.partition("://")[2].startswith(f"{store.config['bucket']}.")
