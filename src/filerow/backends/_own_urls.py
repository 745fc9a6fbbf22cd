"""Signed URLs of our own route, for stores without a server.

They look like ``{base_url}/{backend}/{path}?expires=…&signature=…``.

The signature binds the method, backend, path, expiry and every header that the answer must have or the upload must bring, so
nothing of a URL can be changed, left out or added. ``filerow.http`` answers the URLs that are made here.
"""

from __future__ import annotations

import math
import re
import time
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, quote, urlencode

from filerow._tokens import Keys, Purpose, Secret, check_expiry, resolve_keys
from filerow.backends._types import SignRequest
from filerow.backends._url_options import revealed
from filerow.exceptions import InvalidOptionError, InvalidTokenError, UnsupportedOperationError

_DIGITS = re.compile(r"[0-9]{1,15}\Z")
_MOUNT = re.compile(r"(?:https?://[^/?#\s]+)?(?:/[^?#\s]*)?", re.IGNORECASE)
_LONGEST = 100 * 365 * 86400
_METHODS = frozenset({"GET", "PUT"})
# How the parts of a request are called in a URL.
_TEXTS = {"content_disposition": "disposition", "content_type": "type", "cache_control": "cache"}
_NUMBERS = {"content_length": "length", "max_length": "max"}
_NAMES = frozenset({"method", "expires", "signature", *_TEXTS.values(), *_NUMBERS.values()})


def mount_of(url: str, what: str) -> str:
    """Return where a route is mounted, without a slash at the end.

    Raises:
        ValueError: URLs that begin with it would lead elsewhere on each page, or not to the route.
    """
    if _MOUNT.fullmatch(url) is None:
        raise ValueError(f"{what}: {url!r} is not where a route can be mounted; write '/files', or 'https://example.org/files'")
    return url.rstrip("/")


class OwnUrls:
    """Makes and checks the URLs of one backend.

    Args:
        backend: The backend's key.
        base_url: Where the application has mounted Filerow's file route: ``/files``, or with scheme and host.
        secret: See :func:`filerow._tokens.resolve_keys`; asked for when the first URL is signed or checked.
        development: See :func:`filerow._tokens.resolve_keys`.

    Raises:
        SecretError: The secret given is too short.
        ValueError: The key or the base URL cannot be part of a URL that says where what begins, or the base URL is relative.
    """

    def __init__(self, backend: str, base_url: str | None, secret: Secret | None = None, *, development: bool = False) -> None:
        if base_url is not None and "/" in backend:
            msg = f"URLs are {{base_url}}/{{key}}/{{path}}, so a backend that signs its own has no '/' in its key ({backend!r})"
            raise ValueError(msg)
        self._backend = backend
        self._base_url = None if base_url is None else mount_of(base_url, f"base_url of backend {backend!r}")
        self._development = development
        secret = revealed(secret)
        self._given = secret is not None
        self._keys = Keys(secret) if secret is not None else None  # a secret that is too short is refused at startup

    def __repr__(self) -> str:
        return f"<OwnUrls of {self._backend!r} at {self._base_url!r}>"

    def __getstate__(self) -> dict[str, Any]:
        # Keys refuse to be pickled. Those of the environment, or of a developer's process, are found again by the copy.
        return self.__dict__ if self._given else {**self.__dict__, "_keys": None}

    @property
    def has_secret(self) -> bool:
        """Return True if the backend was given a secret of its own."""
        return self._given

    @property
    def development(self) -> bool:
        """Return True if it may use a secret of this process."""
        return self._development

    @property
    def base_url(self) -> str | None:
        """The URL of the route without a slash at the end; ``None`` if not set."""
        return self._base_url

    def sign(self, path: str, request: SignRequest) -> str:
        """Return the URL that allows what the request says.

        Raises:
            UnsupportedOperationError: ``base_url`` is missing, so the route is unknown.
            SecretError: No secret is set.
            InvalidOptionError: The expiry is not positive, or longer than 100 years.
        """
        if self._base_url is None:
            msg = (
                f"backend {self._backend!r} does not know where its files are served: give it base_url='/files', and mount "
                "Filerow's file route there (filerow.ext.litestar, .fastapi, .starlette or .flask)"
            )
            raise UnsupportedOperationError(msg, operation="sign", backend=self._backend, path=path)
        if request.method not in _METHODS:
            msg = f"our own URLs are for GET (and HEAD) or PUT, not {request.method}"
            raise UnsupportedOperationError(msg, operation="sign", backend=self._backend, path=path)
        if not 1 <= request.expires_in <= _LONGEST:
            msg = f"expires_in must be 1 to {_LONGEST} seconds (100 years), not {request.expires_in}"
            raise InvalidOptionError(msg, operation="sign", backend=self._backend, path=path)
        begin = time.time() if request.signed_at is None else request.signed_at
        expires = math.ceil(begin) + request.expires_in  # whole seconds, and none less than was asked for
        query: dict[str, str] = {"method": request.method} if request.method != "GET" else {}
        query["expires"] = str(expires)
        for attribute, name in (_TEXTS | _NUMBERS).items():
            value = getattr(request, attribute)
            if value is not None:
                query[name] = str(value)
        query["signature"] = self.keys().sign(Purpose.URL, self._message(path, query))
        return f"{self._base_url}/{quote(self._backend, safe='')}/{quote(path)}?{urlencode(query, quote_via=quote)}"

    def verify(self, method: str, path: str, query: str, *, now: float | None = None) -> SignRequest:
        """Return what the holder of a URL may do; ``GET`` includes ``HEAD`` (RFC 9110).

        Args:
            method: The request's method.
            path: The path inside the backend, decoded.
            query: The request's query string, undecoded.
            now: Seconds since the Unix epoch; the clock's when left out.

        Raises:
            InvalidTokenError: We did not sign this, or for another method, path or answer.
            ExpiredTokenError: We did, and its time is over.
        """
        values = self._parsed(query)
        signature = values.pop("signature", "")
        if not self.keys().is_signature(Purpose.URL, self._message(path, values), signature):
            raise _refused()
        signed = values.get("method", "GET")
        if method not in ({"GET", "HEAD"} if signed == "GET" else {signed}):
            raise InvalidTokenError(f"this link was signed for {signed}, not for {method}")
        expires, begin = int(values["expires"]), time.time() if now is None else now
        check_expiry(expires, begin)
        facts: dict[str, Any] = {attribute: values.get(name) for attribute, name in _TEXTS.items()}
        facts |= {attribute: int(values[name]) for attribute, name in _NUMBERS.items() if name in values}
        return SignRequest(cast("Literal['GET', 'PUT']", signed), expires - int(begin), **facts)

    def _parsed(self, query: str) -> dict[str, str]:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=len(_NAMES))
        except ValueError:  # UnicodeDecodeError is one
            raise _refused() from None
        values = dict(pairs)
        numbers = [values.get("expires", ""), *(values[name] for name in _NUMBERS.values() if name in values)]
        if len(values) != len(pairs) or not _NAMES.issuperset(values) or not all(map(_DIGITS.match, numbers)):
            raise _refused()
        return values

    def _message(self, path: str, values: dict[str, str]) -> str:
        """Return what is signed: the URL's parts, encoded so that none can run together."""
        everything = [("backend", self._backend), ("path", path), *sorted(values.items())]
        return urlencode(everything, errors="surrogatepass")  # a request may bring anything, and then no signature fits

    def keys(self) -> Keys:
        """Return what signs and checks the URLs.

        Raises:
            SecretError: No secret is set.
        """
        if self._keys is None:
            self._keys = resolve_keys(None, development=self._development, user=f"signing URLs of backend {self._backend!r}")
        return self._keys


def _refused() -> InvalidTokenError:
    return InvalidTokenError("this link was not made by this application, or was changed")
