"""Signed URLs of S3 that bind headers, answers and the time, by botocore.

botocore's own signed URLs take the time from the clock. So its parts are put together here: the client makes the URL of an
object, its signer calculates (Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters").
"""

from __future__ import annotations

from importlib import import_module
from typing import Any
from urllib.parse import quote, urlencode

from filerow.backends._sign_request import answer_parameters, moment_of
from filerow.backends._types import SignRequest
from filerow.backends.obstore.credentials import S3Credentials, make_client
from filerow.backends.obstore.store import demands_of, is_requester_paying, place_of


class S3Signer:
    """Signs for one store of obstore, with its endpoint, credentials and addressing.

    Args:
        store: An ``obstore.store.S3Store``.
        credentials: Its keys.

    Raises:
        ImportError: botocore is not installed (``filerow[s3]``).
    """

    def __init__(self, store: Any, credentials: S3Credentials) -> None:
        self._auth = import_module("botocore.auth").S3SigV4QueryAuth
        self._request = import_module("botocore.awsrequest").AWSRequest
        self._signs_with = import_module("botocore.credentials").Credentials
        self._store = store
        self._config = dict(store.config)
        self._folder = f"{store.prefix}/" if store.prefix else ""
        self._place = place_of(store)
        self._pays = is_requester_paying(store)
        self._demanded = demands_of(store).headers
        self._client = self._unsigned_client()
        self._credentials = credentials

    def sign(self, path: str, request: SignRequest) -> str:
        """Return the URL for one path."""
        demanded = {"Content-Type": request.content_type, "Content-Length": request.content_length}
        headers = {name: str(value) for name, value in demanded.items() if value is not None and request.method == "PUT"}
        headers |= self._demanded if request.method == "PUT" else {}
        keys = self._credentials.get(request.expires_in)
        request = self._credentials.within(request, keys)
        auth = self._auth(self._signs_with(*keys[:3]), "s3", self._place.region)
        where = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._config["bucket"], "Key": self._folder + path}
        )
        sent = self._request(method=request.method, url=where, headers=headers)
        sent.context["timestamp"] = moment_of(request).strftime("%Y%m%dT%H%M%SZ")
        signed = {
            **answer_parameters(request),
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": auth.scope(sent),
            "X-Amz-Date": sent.context["timestamp"],
            "X-Amz-Expires": str(request.expires_in),
            "X-Amz-SignedHeaders": auth.signed_headers(auth.headers_to_sign(sent)),
            **({"X-Amz-Security-Token": keys.token} if keys.token else {}),
            **({"x-amz-request-payer": "requester"} if self._pays else {}),
        }
        sent.url = f"{where}?{urlencode(signed, quote_via=quote, safe='')}"
        text = auth.string_to_sign(sent, auth.canonical_request(sent))
        return f"{sent.url}&X-Amz-Signature={auth.signature(text, sent)}"

    def _unsigned_client(self) -> Any:
        """Return a client that knows where objects are and signs nothing."""
        place, unsigned = self._place, import_module("botocore").UNSIGNED
        config = import_module("botocore.config").Config(signature_version=unsigned, s3={"addressing_style": place.style})
        return make_client(region_name=place.region, endpoint_url=place.endpoint, config=config)
