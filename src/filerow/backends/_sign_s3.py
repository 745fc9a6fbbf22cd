"""Signed URLs of S3 that bind headers, answers and the time: Signature Version 4 in the query, calculated by botocore.

botocore's own way to a signed URL takes the time from the clock. So its parts are put together here: the client says where an
object is, its signer calculates (Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters").
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from urllib.parse import quote, urlencode

from filerow.backends._obstore_store import endpoint_of
from filerow.backends._sign_request import response_query
from filerow.backends._types import SignRequest
from filerow.exceptions import StoragePermissionError

__all__ = ("S3Signer",)


class S3Signer:
    """Signs for one store of obstore, with its endpoint, credentials and addressing.

    Args:
        store: An ``obstore.store.S3Store``.

    Raises:
        ImportError: botocore is not installed (``filerow[s3]``).
    """

    def __init__(self, store: Any) -> None:
        self._auth = import_module("botocore.auth").S3SigV4QueryAuth
        self._request = import_module("botocore.awsrequest").AWSRequest
        self._credentials_type = import_module("botocore.credentials").Credentials
        self._session = import_module("botocore.session").Session()
        self._store = store
        self._config = dict(store.config)
        self._folder = f"{store.prefix}/" if store.prefix else ""
        self._region = str(self._config.get("region") or self._config.get("default_region") or "us-east-1")
        self._client = self._unsigned_client()
        self._found: Any = None

    def sign(self, path: str, request: SignRequest) -> str:
        """Return the URL for one path."""
        if request.method == "GET":
            return self.url("GET", path, request.expires_in, signed_at=request.signed_at, query=response_query(request))
        demanded = {"Content-Type": request.content_type, "Content-Length": request.content_length}
        headers = {name: str(value) for name, value in demanded.items() if value is not None}
        return self.url("PUT", path, request.expires_in, signed_at=request.signed_at, headers=headers)

    def url(
        self,
        method: str,
        path: str,
        expires_in: int,
        *,
        signed_at: float | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Return a URL for one request.

        Args:
            method: Of the request.
            path: The path inside the backend.
            expires_in: Seconds the URL works, 604,800 at most.
            signed_at: Seconds since the Unix epoch from which ``expires_in`` counts; now when left out.
            query: Parameters of the operation, bound: ``response-content-type``, ``uploadId``, …
            headers: What the request must come with, name and value.
        """
        credentials = self._credentials()
        auth = self._auth(credentials, "s3", self._region)
        where = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._config["bucket"], "Key": self._folder + path}
        )
        request = self._request(method=method, url=where, headers=dict(headers or {}))
        moment = datetime.fromtimestamp(time.time() if signed_at is None else signed_at, UTC)
        request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
        signed = {
            **(query or {}),
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": auth.scope(request),
            "X-Amz-Date": request.context["timestamp"],
            "X-Amz-Expires": str(expires_in),
            "X-Amz-SignedHeaders": auth.signed_headers(auth.headers_to_sign(request)),
            **({"X-Amz-Security-Token": credentials.token} if credentials.token else {}),
        }
        request.url = f"{where}?{urlencode(signed, quote_via=quote, safe='')}"
        text = auth.string_to_sign(request, auth.canonical_request(request))
        return f"{request.url}&X-Amz-Signature={auth.signature(text, request)}"

    def _unsigned_client(self) -> Any:
        """Return a client that knows where objects are and signs nothing."""
        virtual = str(self._config.get("virtual_hosted_style_request", "false")).lower() == "true"
        endpoint = endpoint_of(self._store) or None
        if endpoint and virtual:  # obstore wants the bucket in such an endpoint, botocore adds it
            endpoint = endpoint.replace(f"//{self._config['bucket']}.", "//", 1)
        style = {"addressing_style": "virtual" if virtual else "path"}
        config = import_module("botocore.config").Config(signature_version=import_module("botocore").UNSIGNED, s3=style)
        return self._session.create_client("s3", region_name=self._region, endpoint_url=endpoint, config=config)

    def _credentials(self) -> Any:
        if self._store.credential_provider:  # it hands out new credentials as old ones expire
            given = self._store.credential_provider()
            return self._credentials_type(given["access_key_id"], given["secret_access_key"], given.get("token"))
        if self._found is None:
            key, secret = self._config.get("access_key_id"), self._config.get("secret_access_key")
            token = self._config.get("session_token") or self._config.get("token")
            self._found = self._credentials_type(key, secret, token) if key and secret else self._session.get_credentials()
        if self._found is None:
            msg = "there are no credentials to sign with; give aws_access_key_id= and aws_secret_access_key="
            raise StoragePermissionError(msg, operation="sign")
        return self._found.get_frozen_credentials()  # botocore's own renew themselves
