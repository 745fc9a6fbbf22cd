"""Where clients find what a backend stores: public host, permanent URLs, CDN.

None of this says where a backend is. Two backends that differ here only are one place.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable
from urllib.parse import SplitResult, quote, unquote, urlsplit

from filerow.backends._types import SignRequest
from filerow.exceptions import StorageError

_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")
_LONGEST_HOST = 253
_BUCKET_IN_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]\Z")
_HAS_PATH = "has a path, which a signature covers and a proxy would have to keep: give the store a host of its own"
_ODD = re.compile(r"[\x00-\x20\x7f-\uffff\U00010000-\U0010ffff\"<>\\^`|]")


@runtime_checkable
class CDN(Protocol):
    """An object for ``cdn=`` that signs URLs to read, such as ``CloudFront``."""

    def sign(self, path: str, request: SignRequest) -> str:
        """Return a URL by which the CDN lets its holder read one object.

        Args:
            path: The path inside the backend, not encoded; it has no ``..`` segments.
            request: When the URL expires, and what the answer must say; its method is ``GET``. Raise
                ``UnsupportedOperationError`` for what the CDN cannot bind.
        """
        ...


class PublicUrls:
    """The URLs of one backend that a store does not sign.

    Args:
        backend: The backend's key, for errors.
        public_url: The URL of the backend's root, for permanent URLs of what everybody may read.
        cdn: A template with ``{path}`` for permanent URLs, or a :class:`CDN` that signs URLs to read.

    Raises:
        ValueError: The URL or the template is not one, or both are given.
        TypeError: ``cdn`` is neither a template nor has a ``sign()``.
    """

    def __init__(self, backend: str, public_url: str | None = None, cdn: str | CDN | None = None) -> None:
        self._backend = backend
        self._before = self._after = ""
        self._permanent = public_url is not None or isinstance(cdn, str)
        self._cdn = None if cdn is None or isinstance(cdn, str) else _checked_signer(cdn, backend)
        if isinstance(cdn, str):
            if public_url is not None:
                msg = f"backend {backend!r}: a cdn= template says what permanent URLs are, and so does public_url=; give one"
                raise ValueError(msg)
            self._before, self._after = _parted(cdn, backend)
        elif public_url is not None:
            self._before = f"{checked_base(public_url, 'public_url', backend)}/"

    def __repr__(self) -> str:
        return f"<PublicUrls {_shown(self._before)}…>" if self._permanent else "<PublicUrls of a CDN that signs>"

    @property
    def permanent(self) -> bool:
        """Whether there are permanent URLs."""
        return self._permanent

    @property
    def signs(self) -> bool:
        """Whether a CDN signs URLs to read."""
        return self._cdn is not None

    def url(self, path: str) -> str:
        """Return the permanent URL of a path, which is encoded."""
        return f"{self._before}{quote(path)}{self._after}"

    def sign(self, paths: Sequence[str], request: SignRequest) -> list[str]:
        """Return the CDN's signed URL of each path.

        Raises:
            StorageError: What the CDN's ``sign()`` returned is not a URL.
        """
        assert self._cdn is not None  # noqa: S101 - callers look at `signs`
        urls = [self._cdn.sign(path, request) for path in paths]
        for path, url in zip(paths, urls, strict=True):
            if not isinstance(url, str) or _ODD.search(url):  # a path that was not encoded, in a header of a redirect
                msg = f"sign() of {type(self._cdn).__name__} returned no URL: encode the path by urllib.parse.quote()"
                raise StorageError(msg, operation="sign", backend=self._backend, path=path)
        return urls


def public_urls(backend: str, public_url: str | None, cdn: str | CDN | None = None) -> PublicUrls | None:
    """Return a backend's :class:`PublicUrls`; ``None`` if its store signs all URLs."""
    return None if public_url is None and cdn is None else PublicUrls(backend, public_url, cdn)


# -- the public host of a store -------------------------------------------------------------------------------------------


def checked_endpoint(given: object, backend: str) -> str:
    """Return the origin by which clients reach a store, as browsers write it.

    Args:
        given: What the application says: ``https://files.example.org``, ``http://localhost:9000``, ``http://[::1]:9000``.
        backend: The backend's key, for errors.

    Raises:
        ValueError: It is not a scheme and a host.
        TypeError: It is not text.
    """
    if not isinstance(given, str):
        raise TypeError(f"public_endpoint of backend {backend!r} is a URL, not {type(given).__name__}")
    try:
        parts, host = _read(given, path=False)
    except ValueError as error:
        raise ValueError(
            f"public_endpoint of backend {backend!r}: {_shown(given)!r} {error}; write the scheme and the host by which clients "
            "reach the store, such as 'https://files.example.org' or 'http://localhost:9000'"
        ) from None
    port = parts.port
    return f"{parts.scheme}://{host}" + ("" if port in {None, _PORTS[parts.scheme]} else f":{port}")


def with_bucket(given: str, bucket: str, backend: str) -> str:
    """Return an endpoint with ``{bucket}`` replaced, where a host may contain it.

    Raises:
        ValueError: A host cannot have that name, or no certificate of TLS for all buckets fits it.
    """
    why = ""
    if not _BUCKET_IN_HOST.match(bucket):
        why = "is none that a host can have"
    elif "." in bucket and given.lower().startswith("https://"):
        why = "has a dot, so no certificate for all buckets of a host fits it"
    if why:
        msg = f"public_endpoint of backend {backend!r}: the bucket's name {bucket!r} {why}; leave {{bucket}} out of the host"
        raise ValueError(msg)
    return given.replace("{bucket}.", f"{bucket}.", 1)


def moved(url: str, origin: str) -> str:
    """Return a URL with another scheme and host, if signatures cover neither."""
    begin = url.index("/", url.index("://") + 3)
    return origin + url[begin:]


def _read(given: str, *, path: bool = True) -> tuple[SplitResult, str]:
    """Split a URL without credentials, query and fragment; its host in lower case.

    Raises:
        ValueError: It is not such a URL; the message says why, as the end of a sentence.
    """
    if not given.lower().startswith(("http://", "https://")):
        raise ValueError("does not begin with http:// or https://")
    for mark, name in (("?", "a query"), ("#", "a fragment")):
        if mark in given:
            raise ValueError(f"has {name}")
    if "@" in re.split(r"[/\\]", given.partition("://")[2])[0]:
        raise ValueError("has a user or password")
    if _ODD.search(given):
        raise ValueError("has a character that no URL has (write a host of another script as 'xn--…')")
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    host = _canonical_host(re.sub(r":\d*\Z", "", parts.netloc.lower()))
    if not host or port == 0:
        raise ValueError("names no host")
    if not path and parts.path not in {"", "/"}:
        raise ValueError(_HAS_PATH)
    if _climbs(parts.path):
        raise ValueError("has a '.' or '..' in its path")
    return parts, host


def _climbs(path: str) -> bool:
    """Return True for a path that browsers shorten, which read ``%2e`` as a dot."""
    return not {".", ".."}.isdisjoint(map(unquote, path.split("/")))


def _canonical_host(host: str) -> str:
    """Return a host as browsers write it; empty if it is not a valid one.

    Browsers read ``127.1`` and ``0x7f.1`` as addresses, and shorten those of IPv6.
    """
    if host.startswith("["):
        try:
            address = ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return ""
        mapped = address.ipv4_mapped
        if mapped is not None:
            return f"[::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}]"
        return "" if address.scope_id else f"[{address.compressed}]"
    labels = host.removesuffix(".").split(".")
    if len(host) > _LONGEST_HOST or not all(map(_LABEL.match, labels)):
        return ""
    if _NUMBER.match(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            return ""
    return host


def _shown(given: str) -> str:
    """Return a URL without what it should not have shown anybody."""
    scheme, found, rest = given.partition("://")
    bare = re.split(r"[?#]", rest if found else given)[0].rpartition("@")[2]
    return (f"{scheme}://{bare}" if found else bare)[:200]


# -- permanent URLs -------------------------------------------------------------------------------------------------------


def checked_base(given: object, option: str, backend: str, *, relative: bool = True) -> str:
    """Return the URL that paths are appended to, without a slash at the end.

    Args:
        given: ``https://media.example.org/docs``, or ``/media``.
        option: What it was given as, for errors.
        backend: The backend's key, for errors.
        relative: ``/media`` will do.

    Raises:
        ValueError: It is not such a URL.
        TypeError: It is not text.
    """
    if not isinstance(given, str):
        raise TypeError(f"{option} of backend {backend!r} is a URL, not {type(given).__name__}")
    rooted = relative and given.startswith("/") and not given.startswith("//")
    try:
        parts, _ = _read(f"http://host{given}" if rooted else given)
    except ValueError as error:
        examples = "'https://media.example.org/docs'" + (" or '/media'" if relative else "")
        where = f"{option} of backend {backend!r}" if backend else option
        raise ValueError(f"{where}: {_shown(given)!r} {error}; write the URL of the backend's root, such as {examples}") from None
    path = parts.path.rstrip("/")
    return path if rooted else f"{parts.scheme}://{parts.netloc.lower()}{path}"


def _parted(template: str, backend: str) -> tuple[str, str]:
    """Return what comes before and after the path in a template of a CDN's URLs.

    Raises:
        ValueError: It is not a URL with ``{path}`` in its path or query, once.
    """
    try:
        return _read_template(template)
    except ValueError as error:
        msg = f"cdn of backend {backend!r}: {_shown(template)!r} {error}; write 'https://cdn.example.org/{{path}}'"
        raise ValueError(msg) from None


def _read_template(template: str) -> tuple[str, str]:
    before, found, after = template.partition("{path}")
    if not found or re.search(r"[{}]", before + after):
        raise ValueError("does not have {path}, once and nothing else in braces")
    _, _, rest = before.partition("://")
    host = re.split(r"[/?#]", rest)[0]
    if host == rest:
        raise ValueError("has {path} where its host should be")
    _read(before[: -len(rest)] + host)
    if _ODD.search(before + after):
        raise ValueError("has a character that no URL has")
    if "#" in before + after:
        raise ValueError("has a fragment, which no server sees")
    if _climbs(before.partition("?")[0]) or _climbs(after.partition("?")[0]):
        raise ValueError("has a '.' or '..' in its path")
    return before, after


def _checked_signer(cdn: CDN, backend: str) -> CDN:
    if isinstance(cdn, type) or not isinstance(cdn, CDN):
        name = cdn.__name__ if isinstance(cdn, type) else type(cdn).__name__
        raise TypeError(
            f"cdn of backend {backend!r} is a template such as 'https://cdn.example.org/{{path}}', or an object that signs, such "
            f"as a CloudFront, not {name}"
        )
    return cdn
