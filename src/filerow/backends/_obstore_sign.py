"""Signed URLs: natively where obstore binds enough, else with the cloud's own library, which comes with an extra.

obstore signs method, path and expiry. What the store must answer with (disposition, type) or demand (the type of an upload) is
bound by botocore (``filerow[s3]``) or azure-storage-blob (``filerow[azure]``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, TypeAlias
from urllib.parse import quote

import obstore

from filerow.backends._headers import check_header
from filerow.backends._obstore_steps import Call, Steps
from filerow.backends._obstore_store import endpoint_of
from filerow.backends._streams import in_thread
from filerow.backends._types import SignRequest
from filerow.exceptions import InvalidOptionError, UnsupportedOperationError

__all__ = ("Signer",)

_WEEK = 7 * 24 * 3600

_Sign: TypeAlias = Callable[[str, SignRequest], str]
"""Signs one path."""


class Signer:
    """Signs URLs for one store.

    Args:
        store: An obstore store.
        backend: Key of the backend, for errors.
        protocol: The store's kind.
    """

    def __init__(self, store: Any, backend: str, protocol: str) -> None:
        self._store = store
        self._backend = backend
        self._protocol = protocol
        self._cloud: _Sign | None = None

    def steps(self, paths: Sequence[str], request: SignRequest) -> Steps[Sequence[str]]:
        """Return a URL per path, in order; many cost one native call.

        Raises:
            UnsupportedOperationError: The store cannot sign, or cannot bind what is asked, or an extra is missing.
            InvalidOptionError: The expiry is none the store takes, or a header is none.
        """
        self._check(request)
        if request.content_disposition is None and request.content_type is None:
            lifetime = timedelta(seconds=request.expires_in)
            arguments = (self._store, request.method, list(paths), lifetime)
            urls: Sequence[str] = yield Call(obstore.sign, obstore.sign_async, arguments, {})
        else:
            # in_thread: the library may ask the network for credentials, and is slow to import the first time
            urls = yield Call(self._sign_all, _in_thread(self._sign_all), (paths, request), {})
        return urls

    def _check(self, request: SignRequest) -> None:
        if self._protocol not in {"s3", "gs", "az"}:
            raise self._unsupported(
                f"a {self._protocol} store has no signed URLs; serve its files through the application, or use LocalBackend, "
                "which signs its own"
            )
        if self._protocol == "gs" and "bearer_token" in self._store.config:
            raise self._unsupported("a bearer token cannot sign URLs; give service_account_key= or application_credentials=")
        longest = _WEEK if self._protocol != "az" else 10 * 365 * 24 * 3600
        if not 1 <= request.expires_in <= longest:
            msg = f"expires_in must be 1 to {longest} seconds here, not {request.expires_in}"
            raise InvalidOptionError(msg, operation="sign", backend=self._backend)
        for name, value in (
            ("Content-Disposition", request.content_disposition),
            ("Content-Type", request.content_type),
        ):
            if value is not None:
                check_header(name, value, operation="sign", backend=self._backend)

    def _sign_all(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        if request.method == "PUT" and request.content_disposition is not None:
            raise self._unsupported("a signed upload cannot set Content-Disposition; the store keeps what the client sends")
        if self._cloud is None:
            self._cloud = self._build()
        return [self._cloud(path, request) for path in paths]

    def _build(self) -> _Sign:
        if self._protocol == "s3":
            return _s3_signer(self._store, self._library("botocore.session", "s3"), self._library("botocore.config", "s3").Config)
        if self._protocol == "az":
            return _azure_signer(self._store, self._library("azure.storage.blob", "azure"), self._unsupported)
        raise self._unsupported(
            "obstore's signed URLs for Google Cloud Storage carry no disposition and no type; store them with the object, or "
            "sign through FSSpecBackend('gs://…') of the extra 'filerow[gcs]'"
        )

    def _library(self, module: str, extra: str) -> Any:
        try:
            return import_module(module)
        except ImportError as error:
            msg = f"binding a disposition or a type into a signed URL needs the extra 'filerow[{extra}]'"
            raise self._unsupported(msg) from error

    def _unsupported(self, message: str) -> UnsupportedOperationError:
        return UnsupportedOperationError(message, operation="sign", backend=self._backend)


def _in_thread(call: Callable[..., Any]) -> Callable[..., Any]:
    async def later(*args: Any) -> Any:
        return await in_thread(call, *args)

    return later


def _s3_signer(store: Any, session_module: Any, config_class: Any) -> _Sign:
    """Sign as botocore does, with the store's own endpoint, credentials and addressing."""
    config = dict(store.config)
    virtual = str(config.get("virtual_hosted_style_request", "false")).lower() == "true"
    endpoint = endpoint_of(store) or None
    if endpoint and virtual:  # obstore wants the bucket in such an endpoint, botocore adds it
        endpoint = endpoint.replace(f"//{config['bucket']}.", "//", 1)
    region = str(config.get("region") or config.get("default_region") or "us-east-1")
    style = "virtual" if virtual else "path"

    def client() -> Any:
        key, secret, token = _s3_credentials(store, config)
        return session_module.Session().create_client(
            "s3",
            region_name=region,
            endpoint_url=endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=config_class(signature_version="s3v4", s3={"addressing_style": style}),
        )

    # A credential provider hands out new credentials as old ones expire; botocore's own ones renew themselves.
    fixed = None if store.credential_provider else client()
    folder = f"{store.prefix}/" if store.prefix else ""

    def sign(path: str, request: SignRequest) -> str:
        parameters = {"Bucket": config["bucket"], "Key": folder + path}
        answer = "Response" if request.method == "GET" else ""
        if request.content_type is not None:
            parameters[f"{answer}ContentType"] = request.content_type
        if request.content_disposition is not None:
            parameters["ResponseContentDisposition"] = request.content_disposition
        url = (fixed or client()).generate_presigned_url(
            f"{request.method.lower()}_object", Params=parameters, ExpiresIn=request.expires_in
        )
        return str(url)

    return sign


def _s3_credentials(store: Any, config: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    if store.credential_provider:
        found = store.credential_provider()
        return found["access_key_id"], found["secret_access_key"], found.get("token")
    return config.get("access_key_id"), config.get("secret_access_key"), config.get("session_token") or config.get("token")


def _azure_signer(store: Any, blob: Any, unsupported: Callable[[str], UnsupportedOperationError]) -> _Sign:
    """Sign as Azure's own library does, with the store's account key."""
    config = dict(store.config)
    account, key = config.get("account_name"), config.get("account_key") or config.get("access_key")
    container = config.get("container_name")
    if not key:
        msg = "binding a disposition or a type into a signed URL needs account_name= and account_key= on Azure"
        raise unsupported(msg)
    root = str(config.get("endpoint") or f"https://{account}.blob.core.windows.net").rstrip("/")
    folder = f"{store.prefix}/" if store.prefix else ""

    def sign(path: str, request: SignRequest) -> str:
        if request.method != "GET":
            msg = "Azure signs uploads of any type; check the type when the client has finished"
            raise unsupported(msg)
        signature = blob.generate_blob_sas(
            account_name=account,
            container_name=container,
            blob_name=folder + path,
            account_key=key,
            permission=blob.BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(seconds=request.expires_in),
            content_disposition=request.content_disposition,
            content_type=request.content_type,
        )
        return f"{root}/{quote(str(container))}/{quote(folder + path)}?{signature}"

    return sign
