"""Copies of clients' uploads on Google and Azure through the clouds' libraries.

obstore's own copies keep what a client has sent. Google's library is used with the key of a service account, by JSON web tokens
that the key itself signs; Azure's with the account's key.
These are what uploads are signed with. A store that has neither, or no library, copies nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any
from urllib.parse import quote

from filerow.backends._answers import code_in, meaning_of_answer
from filerow.backends._deadlines import ATTEMPTS, is_timeout
from filerow.backends._foreign import clean_message, secrets_of
from filerow.backends._rewrite import rewrite_on_azure, rewrite_on_gcs
from filerow.backends._types import ObjectInfo, PutOptions, Rewritten
from filerow.backends.obstore.errors import BUSY
from filerow.backends.obstore.sign_azure import azure_place
from filerow.backends.obstore.sign_gcs import gcs_base, gcs_key
from filerow.backends.obstore.store import name_in
from filerow.exceptions import StorageError, StoragePermissionError, StorageTimeoutError, UnsupportedOperationError

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_FORBIDDEN = frozenset({401, 403})
_GONE = frozenset({404, 412})


class OwnLibrary:
    """Copies inside one bucket of Google, or one container of Azure.

    Args:
        backend: Key of the backend, for errors.
        store: An ``obstore.store.GCSStore`` or ``AzureStore``.
        timeout: Seconds of silence after which a request is given up.
    """

    def __init__(self, backend: str, store: Any, timeout: float) -> None:
        self._backend = backend
        self._store = store
        self._timeout = timeout
        self._secrets = secrets_of(dict(store.config))

    def on_gcs(self, upload: ObjectInfo, target: str, options: PutOptions) -> Rewritten | None:
        """Copy an upload; ``None`` without the library, a key or the upload's generation."""
        config = dict(self._store.config)
        if upload.version_id is None:  # an etag of the XML API, which obstore speaks, is none of the JSON API's
            return None
        try:
            session, root = self._google(gcs_key(config))
        except (ImportError, UnsupportedOperationError):
            return None
        with session:

            def ask(method: str, path: str, *names: str, json: Any = None, **parameters: str) -> Any:
                url = f"{root}/{path.format(*(quote(name, safe='') for name in names))}"
                try:
                    answer = session.request(method, url, params=parameters, json=json, timeout=self._timeout)
                except Exception as error:
                    raise self._error(error, upload.path) from error
                return self._read(answer, upload.path)

            origin = config["bucket"], name_in(self._store, upload.path)
            return rewrite_on_gcs(ask, origin, name_in(self._store, target), upload, options)

    def on_azure(self, upload: ObjectInfo, target: str, options: PutOptions) -> Rewritten | None:
        """Copy an upload; ``None`` without the library or a key."""
        place = azure_place(self._store)
        try:
            library = import_module("azure.storage.blob")
        except ImportError:
            return None
        if not place.key:
            return None
        limits = {"connection_timeout": self._timeout, "read_timeout": self._timeout, "retry_total": ATTEMPTS - 1}
        known = {"account_name": place.account, "account_key": place.key}
        with library.BlobServiceClient(place.root, credential=known, **limits) as service:

            def ask(client: Any, method: str, *args: Any, **parameters: Any) -> Any:
                errors = import_module("azure.core.exceptions")
                try:
                    return getattr(client, method)(*args, **parameters)
                except (errors.ResourceNotFoundError, errors.ResourceModifiedError):
                    raise
                except errors.AzureError as error:
                    raise self._error(error, upload.path) from error

            source, copy = (
                service.get_blob_client(place.container, name_in(self._store, path)) for path in (upload.path, target)
            )
            return rewrite_on_azure(ask, source, copy, upload, options)

    def _google(self, key: Mapping[str, Any]) -> tuple[Any, str]:
        """Return an authorized session, and the root of the JSON API."""
        accounts, tokens = import_module("google.oauth2.service_account"), import_module("google.auth.jwt")
        adapters, retries = import_module("requests.adapters"), import_module("urllib3.util")
        held = accounts.Credentials.from_service_account_info({"token_uri": "", **key})
        token = tokens.Credentials.from_signing_credentials(held, None, additional_claims={"scope": _SCOPE})
        session = import_module("google.auth.transport.requests").AuthorizedSession(token)
        again = retries.Retry(
            ATTEMPTS - 1, status_forcelist=BUSY, allowed_methods=None, backoff_factor=0.5, raise_on_status=False
        )
        root = gcs_base(self._store, key)
        session.mount(root, adapters.HTTPAdapter(max_retries=again))
        return session, f"{root}/storage/v1"

    def _read(self, answer: Any, path: str) -> Any:
        """Return Google's answer; ``None`` if the object or generation is gone."""
        if answer.status_code in _GONE:
            return None
        if not answer.ok:
            text = clean_message(f"HTTP status {answer.status_code}: {answer.text}", self._secrets)
            raise self._meaning(code_in(answer.text), answer.status_code, text, path)
        return answer.json() if answer.content else {}

    def _error(self, error: Exception, path: str) -> StorageError:
        text = clean_message(f"{type(error).__name__}: {error}", self._secrets)
        if is_timeout(error) or "timed out" in text:
            text = f"the store did not answer in time, which is what timeout= of the backend allows: {text}"
            return StorageTimeoutError(text, operation="copy", backend=self._backend, path=path)
        return self._meaning(code_in(str(error)), getattr(error, "status_code", None), text, path)

    def _meaning(self, code: str, status: int | None, text: str, path: str) -> StorageError:
        known = meaning_of_answer(code, status)
        if known is not None:
            return known.kind(f"{known.advice}: {text}", operation="copy", backend=self._backend, path=path)
        kind = StoragePermissionError if status in _FORBIDDEN else StorageError
        return kind(text, operation="copy", backend=self._backend, path=path)
