"""Azure's connection strings, which obstore does not read.

They look like ``AccountName=…;AccountKey=…;EndpointSuffix=…``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_EMULATOR = {
    "accountname": "devstoreaccount1",
    "accountkey": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "blobendpoint": "http://127.0.0.1:10000/devstoreaccount1",
}
"""What ``UseDevelopmentStorage=true`` stands for: the same account on every emulator (Azurite)."""

_PUBLIC_CLOUD = "core.windows.net"


def with_connection_string(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with ``connection_string=`` split into obstore's own.

    Options given besides it win.

    Raises:
        ValueError: It is not a connection string, or names no account.
    """
    given = dict(options)
    text = given.pop("connection_string", None)
    if text is None:
        return given
    pairs = [part.partition("=") for part in str(text).split(";") if part.strip()]
    parts = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        parts = {**_EMULATOR, **parts}
    account, endpoint = parts.get("accountname"), parts.get("blobendpoint")
    if not account and endpoint:
        account = endpoint.partition("://")[2].partition(".")[0]
    if not account:
        names = ", ".join(sorted(parts)) or "nothing"
        msg = f"connection_string= names no AccountName and no BlobEndpoint (it has {names}); copy it whole from the portal"
        raise ValueError(msg)
    if not endpoint and parts.get("endpointsuffix", _PUBLIC_CLOUD) != _PUBLIC_CLOUD:
        endpoint = f"{parts.get('defaultendpointsprotocol', 'https')}://{account}.blob.{parts['endpointsuffix']}"
    found = {
        "account_name": account,
        "account_key": parts.get("accountkey"),
        "sas_key": parts.get("sharedaccesssignature"),
        "endpoint": endpoint,
    }
    return {name: value for name, value in found.items() if value} | given
