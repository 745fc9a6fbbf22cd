"""Signed URLs of Azure that bind answers and the time, by Azure's own library."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import quote

from filerow._requirements import needs
from filerow.backends._sign_request import moment_of
from filerow.backends._types import SignRequest
from filerow.exceptions import UnsupportedOperationError


class AzurePlace(NamedTuple):
    """What Azure's own library needs to know of a store.

    Attributes:
        account: Its name.
        container: The container's.
        key: The account's; ``None`` where there is another credential.
        root: The URL that containers are below.
    """

    account: str | None
    container: str
    key: str | None
    root: str


def azure_place(store: Any) -> AzurePlace:
    """Return where an ``obstore.store.AzureStore`` is."""
    config = dict(store.config)
    account, container = config.get("account_name"), str(config.get("container_name"))
    root = str(config.get("endpoint") or f"https://{account}.blob.core.windows.net").rstrip("/")
    return AzurePlace(account, container, config.get("account_key") or config.get("access_key"), root)


class AzureSigner:
    """Signs for one store of obstore, with the account's key that it was given.

    Args:
        store: An ``obstore.store.AzureStore``.

    Raises:
        ImportError: azure-storage-blob is not installed (``filerow[azure]``).
        UnsupportedOperationError: The store has no account key.
    """

    def __init__(self, store: Any) -> None:
        with needs("azure", "signing for Azure"):
            self._blob = import_module("azure.storage.blob")
        self._place = azure_place(store)
        if not self._place.key:
            msg = (
                "binding a disposition, a type or a time into a URL of Azure, or signing a path that is not plain ASCII, needs "
                "account_name= and account_key="
            )
            raise UnsupportedOperationError(msg, operation="sign")
        self._folder = f"{store.prefix}/" if store.prefix else ""

    def sign(self, path: str, request: SignRequest) -> str:
        """Return the URL for one path."""
        name, place = self._folder + path, self._place
        signature = self._blob.generate_blob_sas(
            account_name=place.account,
            container_name=place.container,
            blob_name=name,
            account_key=place.key,
            # without a start, which clocks disagree about and which would make every URL another
            permission=self._permissions(request),
            expiry=moment_of(request) + timedelta(seconds=request.expires_in),
            content_disposition=request.content_disposition,
            content_type=request.content_type,
        )
        return f"{place.root}/{quote(place.container)}/{quote(name)}?{signature}"

    def _permissions(self, request: SignRequest) -> Any:
        if request.method == "GET":
            return self._blob.BlobSasPermissions(read=True)
        # to write is to overwrite, too, and to take leases and write pages
        return self._blob.BlobSasPermissions(create=request.create_only, write=not request.create_only)
