"""Signed URLs of Google Cloud Storage that bind headers, answers and the time.

Google's own library takes the time from the clock, so that its URLs are never the same twice. What is to be signed takes a few
lines (Google Cloud documentation, "V4 signing process with your own program"); its package ``google-auth`` signs it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from filerow._requirements import needs
from filerow.backends._sign_request import answer_parameters, length_range, moment_of
from filerow.backends._types import SignRequest
from filerow.backends.obstore.store import endpoint_of
from filerow.exceptions import UnsupportedOperationError

_ALGORITHM = "GOOG4-RSA-SHA256"
GOOGLE = "https://storage.googleapis.com"


class GCSSigner:
    """Signs for one store with its service account's key; sends no requests.

    Args:
        store: An ``obstore.store.GCSStore``.

    Raises:
        ImportError: google-auth is not installed (``filerow[gcs]``).
        UnsupportedOperationError: The store has no key of a service account.
    """

    def __init__(self, store: Any) -> None:
        with needs("gcs", "signing for Google Cloud Storage"):
            service_account = import_module("google.oauth2.service_account")
        config = dict(store.config)
        key = gcs_key(config)
        self._credentials = service_account.Credentials.from_service_account_info({"token_uri": "", **key})
        self._base = gcs_base(store, key)
        self._folder = f"/{config['bucket']}/{f'{store.prefix}/' if store.prefix else ''}"

    def sign(self, path: str, request: SignRequest) -> str:
        """Return the URL for one path."""
        bound = {"host": urlsplit(self._base).netloc}
        if request.method == "PUT":
            bound |= length_range(request) | ({} if request.content_type is None else {"content-type": request.content_type})
        lines = sorted((name, " ".join(value.split())) for name, value in bound.items())
        names = ";".join(name for name, _ in lines)
        moment = moment_of(request).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{moment[:8]}/auto/storage/goog4_request"
        signed = {
            **answer_parameters(request),
            "X-Goog-Algorithm": _ALGORITHM,
            "X-Goog-Credential": f"{self._credentials.signer_email}/{scope}",
            "X-Goog-Date": moment,
            "X-Goog-Expires": str(request.expires_in),
            "X-Goog-SignedHeaders": names,
        }
        where = quote(self._folder + path, safe="/~")
        asked = urlencode(sorted(signed.items()), quote_via=quote, safe="")
        block = "".join(f"{name}:{value}\n" for name, value in lines)
        canonical = f"{request.method}\n{where}\n{asked}\n{block}\n{names}\nUNSIGNED-PAYLOAD"
        text = f"{_ALGORITHM}\n{moment}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature: bytes = self._credentials.sign_bytes(text.encode())
        return f"{self._base}{where}?{asked}&X-Goog-Signature={signature.hex()}"


def gcs_base(store: Any, key: Mapping[str, Any]) -> str:
    """Return the URL of the service: the store's, the key's, or Google's own."""
    return (endpoint_of(store) or str(key.get("gcs_base_url") or GOOGLE)).rstrip("/")


def gcs_key(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the service account's key: JSON, a file, or the environment's file.

    Raises:
        UnsupportedOperationError: There is none.
    """
    text = config.get("service_account_key")
    file = (
        config.get("service_account") or config.get("application_credentials") or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    )
    if not text and file:
        try:
            text = Path(str(file)).read_text("utf-8")
        except OSError:
            text = None
    try:
        key = json.loads(text) if text else {}
    except ValueError:
        key = {}
    if not isinstance(key, dict) or not key.get("private_key") or not key.get("client_email"):
        msg = (
            "binding a disposition, a type, a length or a time into a URL of Google Cloud Storage needs the key of a service "
            "account: give service_account_key= or application_credentials="
        )
        raise UnsupportedOperationError(msg, operation="sign")
    return key
