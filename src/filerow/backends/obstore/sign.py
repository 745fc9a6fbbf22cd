"""Signed URLs: by obstore where it binds enough, else by the cloud's own library.

obstore signs method, path and expiry, counted from now. What the store must answer with (disposition, type), what it must
demand of an upload (type, length) and another time to count from are bound with botocore (``filerow[s3]``), google-auth
(``filerow[gcs]``) or azure-storage-blob (``filerow[azure]``). That an upload only creates is bound on Azure, where whoever may
write may overwrite, lease and write pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import obstore

from filerow._execution.steps import Call, Steps
from filerow._execution.threads import in_thread
from filerow.backends._sign_request import Bound, check_bound, length_range
from filerow.backends._types import SignRequest
from filerow.backends.obstore.credentials import AccessKeys, S3Credentials
from filerow.backends.obstore.sign_azure import AzureSigner
from filerow.backends.obstore.sign_gcs import GOOGLE, GCSSigner
from filerow.backends.obstore.sign_s3 import S3Signer
from filerow.backends.obstore.store import demands_of, endpoint_of, has_static_key, with_keys
from filerow.exceptions import InvalidOptionError, StorageError, UnsupportedOperationError

_WEEK = 7 * 24 * 3600
_TEN_YEARS = 10 * 365 * 24 * 3600
_NOTHING = (None,) * 5
_QUICKLY_SIGNED = 100
"""Signing this many URLs takes about a millisecond, which the event loop may wait."""

_ANSWER = frozenset({"content_disposition", "content_type", "signed_at"})


class _Cloud(NamedTuple):
    """What sets the signed URLs of one cloud apart.

    Attributes:
        name: For messages.
        extra: Comes with the library that signs what obstore does not.
        signer: Makes who signs with that library.
        bound: What it binds.
        longest: Seconds a URL may last.
        hint: What helps where an upload cannot be held to a limit.
        misread: Paths that obstore signs in a way the store refuses.
        creates: The library can let an upload create an object and replace none, which obstore cannot.
    """

    name: str
    extra: str
    signer: Callable[..., _SignsOne]
    bound: Bound
    longest: int
    hint: str = ""
    misread: re.Pattern[str] | None = None
    creates: bool = False


class _SignsOne(Protocol):
    def sign(self, path: str, request: SignRequest) -> str: ...


_CLOUDS: Mapping[str, _Cloud] = {
    "s3": _Cloud(
        "S3",
        "s3",
        S3Signer,  # which takes the keys besides
        {"GET": _ANSWER, "PUT": frozenset({"content_type", "content_length", "signed_at"})},
        _WEEK,
        "it binds an exact content_length=, and a maximum only in a form (direct upload)",
    ),
    "gs": _Cloud(
        "Google Cloud Storage",
        "gcs",
        GCSSigner,
        {"GET": _ANSWER, "PUT": frozenset({"content_type", "content_length", "max_length", "signed_at"})},
        _WEEK,
    ),
    "az": _Cloud(
        "Azure",
        "azure",
        AzureSigner,
        {"GET": _ANSWER, "PUT": frozenset({"signed_at"})},
        _TEN_YEARS,
        "it takes uploads of any type and length, so check both when the client has finished",
        re.compile(r"[^A-Za-z0-9/._~-]"),  # obstore signs the path as it is encoded, Azure checks it as it is meant
        creates=True,
    ),
}


class Signer:
    """Signs URLs for one store."""

    def __init__(self, store: Any, backend: str, protocol: str) -> None:
        self._store = store
        self._backend = backend
        self._protocol = protocol
        self._cloud = _CLOUDS.get(protocol)
        self._signer: _SignsOne | None = None
        self._misnamed = protocol == "gs" and endpoint_of(store) not in {"", GOOGLE}
        """obstore always signs for Google's own host."""
        self._demanded = demands_of(store).headers if protocol == "s3" else {}
        """What an upload must bring, as this process' own writes do; obstore binds none of it."""
        self._misread = self._cloud.misread if self._cloud else None
        self._folder = f"{store.prefix}/" if getattr(store, "prefix", None) else ""
        self._longest = cloud.longest if (cloud := self._cloud) and self._has_key() and not self._misnamed else 0
        self._offline = has_static_key(store, protocol)
        self._keys = S3Credentials(store, backend) if protocol == "s3" else None
        self._renewed = self._keys if self._keys is not None and self._keys.provider is not None else None
        self._pinned: tuple[AccessKeys, Any] | None = None

    def steps(self, paths: Sequence[str], request: SignRequest) -> Steps[Sequence[str]]:
        """Return a URL per path, in order; many cost one native call.

        Raises:
            UnsupportedOperationError: The store cannot sign, or cannot bind what is asked, or an extra is missing.
            InvalidOptionError: The store takes no such expiry.
        """
        cloud = self._able(request.expires_in)
        plain = request[2:7] == _NOTHING
        if not plain:
            check_bound(request, cloud.bound, cloud.name, self._backend, cloud.hint if request.method == "PUT" else "")
        plain = plain and not (self._demanded and request.method == "PUT")
        native = plain and not self._misnamed and not any(map(self._is_misread, paths))
        if not native or (request.create_only and cloud.creates):
            try:
                # in_thread: the library may ask the network for credentials, and is slow to import the first time
                signed: Sequence[str] = yield Call(self._sign_all, _in_thread(self._sign_all), (cloud, paths, request), {})
            except UnsupportedOperationError:
                if not native:
                    raise
            else:
                return signed
        store, offline = self._store, self._offline
        if renewed := self._renewed:
            keys = yield Call(renewed.get, _in_thread(renewed.get), (request.expires_in,), {})
            store, offline, request = self._pin(keys), True, renewed.within(request, keys)
        sign_async = _at_once if offline and len(paths) <= _QUICKLY_SIGNED else obstore.sign_async
        asked = store, request.method, list(paths), _lifetime(request.expires_in)
        urls: Sequence[str] = yield Call(obstore.sign, sign_async, asked, {})
        return urls

    def plainly(self, path: str, expires_in: int, *, offline: bool) -> str | None:
        """Return a URL to read that binds path and expiry only; ``None`` if unable.

        Args:
            path: A harmless one.
            expires_in: Seconds.
            offline: Ask nobody, for credentials say.
        """
        store, renewed = self._store, self._renewed
        if expires_in > self._longest or (offline and not self._offline and renewed is None):
            return None
        if self._misread is not None and self._is_misread(path):
            return None
        if renewed is not None:
            keys = renewed.at_hand(expires_in) if offline else renewed.get(expires_in)
            if keys is None:
                return None
            store, expires_in = self._pin(keys), renewed.within(SignRequest("GET", expires_in), keys).expires_in
        return obstore.sign(store, "GET", path, _lifetime(expires_in))

    def _pin(self, keys: AccessKeys) -> Any:
        """Return the store with a provider's keys, whose end is known."""
        if self._pinned is None or self._pinned[0] != keys:
            self._pinned = keys, with_keys(self._store, keys)
        return self._pinned[1]

    def upload_headers(self, request: SignRequest) -> dict[str, str]:
        """Return what an upload must come with beyond the type it is bound to."""
        if self._protocol == "az":
            return {"x-ms-blob-type": "BlockBlob"}
        if self._protocol == "s3":
            return dict(self._demanded)
        return length_range(request) if self._protocol == "gs" else {}

    def _able(self, expires_in: int) -> _Cloud:
        cloud = self._cloud
        if cloud is None:
            raise self._unsupported(
                f"a {self._protocol} store has no signed URLs; serve its files through the application, or use LocalBackend, "
                "which signs its own"
            )
        if not self._has_key():
            raise self._unsupported("a bearer token cannot sign URLs; give service_account_key= or application_credentials=")
        if expires_in > cloud.longest:
            msg = f"expires_in (and round_expiry with it) must be 1 to {cloud.longest} seconds here, not {expires_in}"
            raise InvalidOptionError(msg, operation="sign", backend=self._backend)
        return cloud

    def _has_key(self) -> bool:
        return self._protocol != "gs" or "bearer_token" not in self._store.config

    def _is_misread(self, path: str) -> bool:
        return self._misread is not None and self._misread.search(self._folder + path) is not None

    def _sign_all(self, cloud: _Cloud, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        try:
            return self._sign_each(cloud, paths, request)
        except StorageError as error:
            error.backend = self._backend  # which those who sign do not know
            raise

    def _sign_each(self, cloud: _Cloud, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        if self._signer is None:
            try:
                self._signer = cloud.signer(self._store) if self._keys is None else S3Signer(self._store, self._keys)
            except ImportError as error:
                raise self._unsupported(
                    "binding a disposition, a type, a length or a time into a URL, on Azure signing a path that is not plain "
                    f"ASCII, and on Google signing for another host than Google's, needs the extra 'filerow[{cloud.extra}]': "
                    f"{error}"
                ) from error
        return [self._signer.sign(path, request) for path in paths]

    def _unsupported(self, message: str) -> UnsupportedOperationError:
        return UnsupportedOperationError(message, operation="sign", backend=self._backend)


async def _at_once(*asked: Any) -> Any:
    """Sign in the event loop's thread, which takes less time than a thread hop."""
    return obstore.sign(*asked)


@lru_cache(maxsize=64)
def _lifetime(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)


def _in_thread(call: Callable[..., Any]) -> Callable[..., Any]:
    async def later(*args: Any) -> Any:
        return await in_thread(call, *args)

    return later
