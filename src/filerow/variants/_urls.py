"""URLs of variants on our own route, whatever the backend.

They look like ``{url}/{backend}/{path}?v={id}&name=…&type=…&expires=…&signature=…``. The path is the original's, and what is
signed names one variant of it, so nobody can ask for another size. A purpose of its own keeps such a URL from reading anything
else.
"""

from __future__ import annotations

import json
import math
import re
import time
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from filerow._document import Facts
from filerow._paths import is_generated
from filerow._tokens import Keys, Purpose, Secret, check_expiry, resolve_keys
from filerow.backends._own_urls import OwnUrls, mount_of
from filerow.backends._sign_request import whole_seconds
from filerow.backends._types import SignRequest
from filerow.backends.base import StorageBackend
from filerow.exceptions import InvalidTokenError, UnsupportedOperationError

_NAMES = ("v", "expires", "name", "recipe", "original", "type", "disposition", "cache")
_ID = re.compile(r"[0-9a-f]{32}\Z")
_DIGITS = re.compile(r"[0-9]{1,15}\Z")
_LONGEST = 100 * 365 * 86400
_IDENTITY = ("size", "checksum", "etag", "last_modified")


class VariantLink(NamedTuple):
    """What the URL of a variant says.

    Attributes:
        id: The variant's.
        expires: Unix time from which it is refused.
        name: ``table.column:name`` of a declared recipe.
        recipe: Another one as text; see :func:`filerow._recipes.recipe_text`.
        original: What is known of an original whose path may be used again, as JSON.
        content_type: The variant's media type.
        disposition: ``Content-Disposition`` to answer with.
        cache_control: ``Cache-Control`` to answer with; empty for that of the route.
    """

    id: str
    expires: int
    name: str
    recipe: str
    original: str
    content_type: str
    disposition: str
    cache_control: str = ""

    def facts(self, backend: str, path: str) -> Facts:
        """Return what is known of the original."""
        return Facts(backend, path, **(json.loads(self.original) if self.original else {}))


def identity_of(facts: Facts) -> str:
    """Return what tells an original from others at its path, as JSON.

    It is empty if no other will ever be there.
    """
    if is_generated(facts.path):
        return ""
    known = {name: getattr(facts, name) for name in _IDENTITY}
    return json.dumps({name: value for name, value in known.items() if value is not None}, separators=(",", ":"))


def expiry(expires_in: float, round_expiry: float | None) -> int:
    """Return the Unix time at which a URL expires that is signed now.

    Raises:
        ValueError: A number is out of range.
    """
    seconds, begin = whole_seconds(expires_in), math.ceil(time.time())
    if not 1 <= seconds <= _LONGEST:
        raise ValueError(f"expires_in must be 1 to {_LONGEST} seconds (100 years), not {seconds}")
    if round_expiry is None:
        return begin + seconds
    rounded = SignRequest("GET", seconds).rounded(round_expiry, begin)
    return int(rounded.signed_at or begin) + rounded.expires_in


class VariantUrls:
    """Makes and checks the URLs of all backends' variants.

    Args:
        url: Where the application has mounted Filerow's route. Backends that sign URLs of their own have theirs.
        secret: See :func:`filerow._tokens.resolve_keys`.
        development: See :func:`filerow._tokens.resolve_keys`.
    """

    def __init__(self, url: str = "/files", secret: Secret | None = None, *, development: bool = False) -> None:
        self._url = mount_of(url, "url of variants")
        self._development = development
        self._given = None if secret is None else Keys(secret)
        self._found: dict[bool, Keys] = {}

    def sign(self, backend: StorageBackend, path: str, link: VariantLink) -> str:
        """Return the URL of a variant of the object at a path."""
        if "/" in backend.key:
            msg = f"URLs of variants are {{url}}/{{key}}/{{path}}, so their backend has no '/' in its key ({backend.key!r})"
            raise UnsupportedOperationError(msg, operation="sign", backend=backend.key, path=path)
        return f"{self._base_of(backend.own_urls)}/{_signed_url(self._keys_of(backend.own_urls), backend.key, path, link)}"

    def verify(self, backend: StorageBackend, path: str, query: str) -> VariantLink:
        """Return what a URL of ours says.

        Raises:
            InvalidTokenError: We did not sign this.
            ExpiredTokenError: We did, and its time is over.
        """
        link = _signed_link(self._keys_of(backend.own_urls), backend.key, path, query)
        check_expiry(link.expires)
        return link

    def _base_of(self, own: OwnUrls | None) -> str:
        return (own and own.base_url) or self._url

    def _keys_of(self, own: OwnUrls | None) -> Keys:
        """Return the keys of a backend, the application or the environment."""
        if own is not None and own.has_secret:
            return own.keys()
        if self._given is not None:
            return self._given
        development = self._development or (own is not None and own.development)
        if development not in self._found:
            self._found[development] = resolve_keys(None, development=development, user="signing URLs of variants")
        return self._found[development]


_urls = VariantUrls()


def configure_urls(*, url: str = "/files", secret: Secret | None = None, development: bool = False) -> None:
    """Set where the URLs of variants lead, and what signs them.

    This is for stores. A backend that signs its own URLs, in a directory or in memory, signs those of its variants too, with its
    own ``base_url`` and secret.

    Args:
        url: Where the application has mounted ``routes()``: a path, or with scheme and host.
        secret: Signs the URLs; of several the first signs, and all are accepted. Default: ``FILEROW_SECRET``.
        development: Without any secret, use one that only this process knows.

    Raises:
        SecretError: The secret is too short, or can be guessed.
        ValueError: ``url`` begins with neither ``/`` nor a scheme, or has a query.
    """
    global _urls  # noqa: PLW0603 - one per process, as its secret
    _urls = VariantUrls(url, secret, development=development)


def variant_urls() -> VariantUrls:
    """Return how this process signs and checks URLs of variants."""
    return _urls


@lru_cache(maxsize=1024)  # for a while all pages show an image by the same URL
def _signed_url(keys: Keys, backend: str, path: str, link: VariantLink) -> str:
    values = {name: str(value) for name, value in zip(_NAMES, link, strict=True) if value}
    signature = keys.sign(Purpose.VARIANT, _message(backend, path, values))
    return f"{quote(backend, safe='')}/{quote(path)}?{urlencode({**values, 'signature': signature}, quote_via=quote)}"


@lru_cache(maxsize=1024)  # many clients bring the same URL; what raises is not kept
def _signed_link(keys: Keys, backend: str, path: str, query: str) -> VariantLink:
    values = _parsed(query)
    signature = values.pop("signature", "")
    if not keys.is_signature(Purpose.VARIANT, _message(backend, path, values), signature):
        raise _refused()
    return VariantLink(values["v"], int(values["expires"]), *(values.get(name, "") for name in _NAMES[2:]))


def _parsed(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=len(_NAMES) + 1)
    except ValueError:
        raise _refused() from None
    values = dict(pairs)
    known = len(values) == len(pairs) and {*_NAMES, "signature"}.issuperset(values)
    if not known or not _ID.match(values.get("v", "")) or not _DIGITS.match(values.get("expires", "")):
        raise _refused()
    return values


def _message(backend: str, path: str, values: dict[str, str]) -> str:
    return urlencode([("backend", backend), ("path", path), *sorted(values.items())], errors="surrogatepass")


def _refused() -> InvalidTokenError:
    return InvalidTokenError("this link was not made by this application, or was changed")
