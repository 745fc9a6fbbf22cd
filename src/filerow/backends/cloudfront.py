"""Signed URLs and cookies of Amazon CloudFront, for a backend behind it.

::

    cdn = CloudFront("https://d111111abcdef8.cloudfront.net", key_id="K2JCJMDEHXQW5F", private_key="/run/secrets/cloudfront.pem")
    storages.register_backend(ObstoreBackend("docs", "s3://static-files", cdn=cdn))

    document.file.sign()  # a URL of the distribution
    cdn.cookies("document/file")  # lets a browser read that folder

Needs the extra ``filerow[cloudfront]``: botocore writes the policies, ``cryptography`` signs them.
"""

from __future__ import annotations

import base64
import ipaddress
import math
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

from filerow._requirements import needs
from filerow.backends._paths import check_known_path, check_prefix
from filerow.backends._public import checked_base
from filerow.backends._sign_request import answer_parameters, whole_seconds
from filerow.backends._types import SignRequest
from filerow.exceptions import UnsupportedOperationError

__all__ = ("CloudFront",)

with needs("cloudfront", "filerow.backends.cloudfront"):
    from botocore.signers import CloudFrontSigner
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

_KEY_ID = re.compile(r"[A-Za-z0-9]{1,64}\Z")
_LEAST_BITS = 2048
_WEB_SAFE = bytes.maketrans(b"+=/", b"-_~")


class CloudFront:
    """Signs for one distribution, as a backend's ``cdn=``, without requests.

    Args:
        base_url: The URL of the backend's root at the distribution. Where the origin is a whole bucket and the backend has a
            prefix, the prefix belongs to it: ``https://d111111abcdef8.cloudfront.net/docs``.
        key_id: The ID of the public key in the distribution's key group.
        private_key: The RSA key that belongs to it: PEM as text or bytes, or the path of a file of PEM.

    Raises:
        ValueError: An argument is not what it should be; the message shows nothing of the key.
        TypeError: ``private_key`` is neither text nor bytes nor a path.
    """

    def __init__(self, base_url: str, *, key_id: str, private_key: str | bytes | os.PathLike[str]) -> None:
        self._base = checked_base(base_url, "base_url of CloudFront", "", relative=False)
        if "*" in self._base:
            raise ValueError("base_url of CloudFront has a '*', which would be a wildcard in a policy")
        if not isinstance(key_id, str) or not _KEY_ID.match(key_id):
            raise ValueError("key_id of CloudFront is the ID of a public key, such as 'K2JCJMDEHXQW5F'")
        self._key_id = key_id
        self._key = _loaded(private_key)
        self._signer: Any = CloudFrontSigner(key_id, self._signature)

    def __repr__(self) -> str:
        return f"<CloudFront {self._base} key_id={self._key_id!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} is not pickled, for it holds a private key; make it where it is needed")

    def sign(self, path: str, request: SignRequest) -> str:
        """Return a URL by a canned policy: this URL, with its query, until it expires.

        What the answer must say (``download_as=``, ``inline=``) goes along as ``response-content-disposition``, which the
        distribution must forward to S3.

        Args:
            path: The path inside the backend.
            request: The lifetime, and what the answer must say.

        Raises:
            UnsupportedOperationError: The request is not to read.
            InvalidPathError: The path could leave the backend.
        """
        if request.method != "GET":
            msg = f"CloudFront signs URLs to read, not to {request.method}"
            raise UnsupportedOperationError(msg, operation="sign", path=path)
        query = urlencode(answer_parameters(request), quote_via=quote, safe="")
        begin = time.time() if request.signed_at is None else request.signed_at
        until = datetime.fromtimestamp(math.ceil(begin) + request.expires_in, UTC)
        url = self._at(path) + (f"?{query}" if query else "")
        return str(self._signer.generate_presigned_url(url, date_less_than=until))

    def custom_url(
        self, path: str, *, expires_in: float = 3600, not_before: float | None = None, ip_address: str | None = None
    ) -> str:
        """Return a URL by a custom policy: with a beginning, or for some addresses.

        Args:
            path: The path inside the backend.
            expires_in: Seconds from now until CloudFront refuses it; 3600 by default.
            not_before: Seconds since the Unix epoch from which it works; at once when left out.
            ip_address: The IPv4 address that may use it, or a range, such as ``192.0.2.0/24``; all when left out.

        Raises:
            InvalidPathError: The path could leave the backend.
            TypeError: ``expires_in`` is not a number.
            ValueError: A time is out of range, or the address is not one.
        """
        url = self._at(path)
        policy = self._policy(url, expires_in, not_before, ip_address)
        return str(self._signer.generate_presigned_url(url, policy=policy))

    def cookies(
        self, folder: str = "", *, expires_in: float = 3600, not_before: float | None = None, ip_address: str | None = None
    ) -> dict[str, str]:
        """Return the cookies to read a folder of the backend, or all of it.

        Set each with ``Secure``, ``HttpOnly``, and the distribution's ``Domain`` and the folder's ``Path``. A browser that has
        them may add any query to a URL: a behaviour that takes cookies must not forward ``response-content-*`` to S3.

        Args:
            folder: As in paths: ``document/file`` is for ``document/file/x.png`` and not for ``document/files/x.png``.
            expires_in: As of :meth:`custom_url`.
            not_before: As of :meth:`custom_url`.
            ip_address: As of :meth:`custom_url`.

        Returns:
            Values by name: ``CloudFront-Policy``, ``CloudFront-Signature``, ``CloudFront-Key-Pair-Id``.

        Raises:
            InvalidPathError: The folder is not one.
            TypeError: ``expires_in`` is not a number.
            ValueError: A time is out of range, or the address is not one.
        """
        check_prefix(folder, "")
        resource = f"{self._base}/{quote(folder)}/*" if folder else f"{self._base}/*"
        policy = self._policy(resource, expires_in, not_before, ip_address).encode()
        return {
            "CloudFront-Policy": _encoded(policy),
            "CloudFront-Signature": _encoded(self._signature(policy)),
            "CloudFront-Key-Pair-Id": self._key_id,
        }

    def _at(self, path: str) -> str:
        return f"{self._base}/{quote(check_known_path(path, '', 'sign'))}"

    def _policy(self, resource: str, expires_in: float, not_before: float | None, ip_address: str | None) -> str:
        until = math.ceil(time.time()) + whole_seconds(expires_in)
        if not_before is not None and not 0 < not_before < until:
            msg = f"not_before is in seconds since the Unix epoch, and before the URL expires ({until}), not {not_before}"
            raise ValueError(msg)
        begin = None if not_before is None else datetime.fromtimestamp(not_before, UTC)
        network = None if ip_address is None else _network(ip_address)
        policy: str = self._signer.build_policy(resource, datetime.fromtimestamp(until, UTC), begin, network)
        return policy

    def _signature(self, message: bytes) -> bytes:
        return self._key.sign(message, PKCS1v15(), SHA1())  # noqa: S303 - what CloudFront checks


def _encoded(data: bytes) -> str:
    """Return CloudFront's Base64, which is safe in URLs and cookies."""
    return base64.b64encode(data).translate(_WEB_SAFE).decode()


def _network(given: str) -> str:
    try:
        return str(ipaddress.IPv4Network(given, strict=False))
    except ValueError:
        msg = f"ip_address is an IPv4 address or range such as '192.0.2.0/24', which is all CloudFront compares, not {given!r}"
        raise ValueError(msg) from None


def _loaded(given: str | bytes | os.PathLike[str]) -> RSAPrivateKey:
    """Return a private key; no error shows what was given, which may be the key.

    Raises:
        ValueError: It is not an RSA key of 2,048 bits or more.
    """
    pem = _pem(given)
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:  # for want of a password
        raise ValueError("private_key of CloudFront is encrypted; decrypt it first: openssl pkey -in … -out …") from None
    except (ValueError, UnsupportedAlgorithm):
        msg = "private_key of CloudFront is not the PEM of a private key ('-----BEGIN PRIVATE KEY-----' …), or its file is not"
        raise ValueError(msg) from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < _LEAST_BITS:
        msg = f"private_key of CloudFront must be an RSA key of {_LEAST_BITS} bits: openssl genrsa -out … {_LEAST_BITS}"
        raise ValueError(msg)
    return key


def _pem(given: object) -> bytes:
    if isinstance(given, bytes):
        return given
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"private_key of CloudFront is PEM as text or bytes, or a path, not {type(given).__name__}")
    if isinstance(given, str) and "-----BEGIN" in given:
        return given.replace("\\n", "\n").encode()  # as environment variables often have it
    try:
        return Path(given).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not a path"
        shown = f" {os.fspath(given)!r}" if isinstance(given, os.PathLike) else ""
        raise ValueError(f"private_key of CloudFront: the file{shown} cannot be read: {why}") from None
