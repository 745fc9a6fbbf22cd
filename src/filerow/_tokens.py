"""Signatures and sealed tokens, keyed by secret and purpose.

The work is itsdangerous's: HMAC-SHA256 with a key derived for each purpose, compared in constant time. A signature made for one
purpose is noise for every other, so a URL to read can never be taken for one to upload, nor either for a claim or a reference.
"""

from __future__ import annotations

import json
import os
import re
import secrets as randomness
import sys
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from hashlib import sha256
from itertools import pairwise
from math import log2
from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import compressobj

from filerow._log import extras, logger
from filerow.exceptions import ExpiredTokenError, InvalidTokenError, SecretError

if TYPE_CHECKING:
    from itsdangerous import Signer

ENVIRONMENT = "FILEROW_SECRET"
_SHORTEST = 16
_FEWEST = 8
"""Different bytes that a secret has at least; 16 random hexadecimal digits have 10 or so."""

LONGEST_TOKEN = 48 * 1024
"""Characters of a token that are looked at."""

_PLACEHOLDERS = re.compile(
    rb"change.?me|change.?this|your.?secret|secret.?key.?here|32 random characters|replace.?me|insecure|3q2-7wQ1nJ8vXh0y",
    re.IGNORECASE,
)
_EVERYDAY = re.compile(
    rb"pass(?:word|phrase|wd)?|secrets?|keys?|tokens?|sign(?:ing)?|filerow|django|flask|fastapi|litestar|starlette|kubernetes|docker"
    rb"|dev(?:elopment)?|prod(?:uction)?|staging|local(?:host)?|test(?:ing)?|example|default|sample|demo|super|my|your|the|bits?"
    rb"|admin|root|user|app(?:lication)?|web|site|api|random|string|long|very|hello|world|letmein|welcome"
    rb"|qwert[yz]u?i?o?p?|asdfg?h?j?k?l?|[yz]xcvb?n?m?|a?bcdefg?h?i?j?k?l?m?n?o?p?|0?123+4*5*6*7*8*9*0*|[^a-z0-9]+",
    re.IGNORECASE,
)
"""What people make secrets of, and what stands between such words."""

_LEAST_BITS = 48
"""Minimum entropy of a secret besides such words: too much to guess at a server's pace."""

_SPELLING = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]\Z")
"""32 bytes in base64url without padding (RFC 4648, section 5): the last character carries four bits."""

Secret: TypeAlias = str | bytes | Sequence[str | bytes]
"""One secret, or several: the first signs, all of them are accepted."""


class Purpose(StrEnum):
    """What a signature is for. Each has a key of its own."""

    URL = "filerow.url"
    CLAIM = "filerow.claim"
    REFERENCE = "filerow.reference"
    VARIANT = "filerow.variant"


class Keys:
    """The secrets of one signer.

    Args:
        secret: At least 16 characters or bytes each; the first signs, the others are what was used before (rotation).

    Attributes:
        is_of_process: The secret was made at random for this process.

    Raises:
        SecretError: A secret is missing, too short, or one that can be guessed.
    """

    def __init__(self, secret: Secret) -> None:
        found = [secret] if isinstance(secret, str | bytes) else list(secret)
        self._secrets = [value.encode() if isinstance(value, str) else bytes(value) for value in found]
        for value in self._secrets or [b""]:
            _check_strength(value)
        self._signers: dict[str, Signer] = {}
        self.is_of_process = False

    @property
    def least_bits(self) -> int:
        """Bits of entropy that the weakest of the secrets has, at most."""
        return min(map(_bits_of, self._secrets))

    def __repr__(self) -> str:
        return f"<Keys: {len(self._secrets)} secret{'s' if len(self._secrets) > 1 else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("signing secrets are not pickled; make the keys where they are needed")

    def sign(self, purpose: Purpose, message: str) -> str:
        """Return the signature of a message, URL-safe."""
        return self._signer(purpose).get_signature(message).decode()

    def is_signature(self, purpose: Purpose, message: str, signature: str) -> bool:
        """Return True if one of the secrets signed this message for this purpose."""
        # One signature has one spelling, or a token could be changed and stay good (base64 has spare bits, and skips what it
        # does not know).
        return _SPELLING.match(signature) is not None and self._signer(purpose).verify_signature(message, signature)

    def seal(self, purpose: Purpose, payload: Mapping[str, Any], *, expires_at: float) -> str:
        """Return a token with a payload of JSON values; anyone can read it.

        Args:
            purpose: What the token is good for.
            payload: JSON values.
            expires_at: Seconds since the Unix epoch from which it is refused.
        """
        from itsdangerous.encoding import base64_encode

        body = json.dumps({**payload, "exp": expires_at}, separators=(",", ":"), sort_keys=True)
        text = base64_encode(body).decode()
        return f"{text}.{self.sign(purpose, text)}"

    def unseal(self, purpose: Purpose, token: str, *, now: float | None = None) -> dict[str, Any]:
        """Return the payload of a token.

        Raises:
            InvalidTokenError: We made no such token for this purpose.
            ExpiredTokenError: It was ours and is too old.
        """
        from itsdangerous.encoding import base64_decode

        text, _, signature = token.rpartition(".") if isinstance(token, str) and len(token) <= LONGEST_TOKEN else ("", "", "")
        if not text or not text.isascii() or not self.is_signature(purpose, text, signature):
            raise InvalidTokenError("this token was not made by this application, was changed, or is for something else")
        payload: dict[str, Any] = json.loads(base64_decode(text))
        check_expiry(payload["exp"], now)
        return payload

    def _signer(self, purpose: Purpose) -> Signer:
        known = self._signers.get(purpose)
        if known is None:
            from itsdangerous import Signer

            # itsdangerous signs with the last key and accepts all
            known = Signer(self._secrets[::-1], salt=purpose.value, key_derivation="hmac", digest_method=sha256)
            self._signers[purpose] = known
        return known


ADVICE = 'make one by: python -c "import secrets; print(secrets.token_urlsafe(32))"'


WANTED_BITS = 112
"""Bits of entropy that a secret needs (NIST SP 800-131A)."""

_BITS_OF_WORD = 13
"""Of a word that is drawn from 8,000 or so."""

_WORD = re.compile(rb"([A-Za-z][a-z]{2,11}|[A-Z]{3,12})[0-9]{0,4}")
_BETWEEN = re.compile(rb"[^A-Za-z0-9]+")
_CLASSES = (
    (re.compile(rb"[0-9]"), 10),
    (re.compile(rb"[a-z]"), 26),
    (re.compile(rb"[A-Z]"), 26),
    (re.compile(rb"[!-/:-@_ ]"), 10),
)
_HEX = re.compile(rb"[0-9a-f]+|[0-9A-F]+")


def _bits_of(secret: bytes) -> int:
    """Estimate the entropy of a secret from its spelling; it may have less."""
    words = [part for part in _BETWEEN.split(secret) if _WORD.fullmatch(part)]
    spelled = sum(map(len, words))
    if 5 * spelled > 3 * len(secret):
        return _BITS_OF_WORD * len(words) + 2 * (len(secret) - spelled)
    size = 16 if _HEX.fullmatch(secret) else sum(size for kind, size in _CLASSES if kind.search(secret))
    if not secret.isascii() or not secret.decode().isprintable():
        size = 256
    deflated = compressobj(wbits=-15)
    length = len(deflated.compress(secret) + deflated.flush())
    return int((length if 4 * length < 3 * len(secret) else len(secret)) * log2(max(size, 2)))


def _without_everyday_words(secret: bytes) -> bytes:
    return _EVERYDAY.sub(b"", secret) if secret.isascii() and secret.decode().isprintable() else secret


def _check_strength(secret: bytes) -> None:
    """Refuse a secret that can be guessed."""
    steps = {(later - earlier) % 256 for earlier, later in pairwise(secret)}
    if len(secret) < _SHORTEST:
        flaw = f"a signing secret needs at least {_SHORTEST} characters"
    elif len(set(secret)) < _FEWEST:
        flaw = f"a signing secret has at least {_FEWEST} different characters"
    elif len(steps) < _FEWEST // 2:
        flaw = "a signing secret is not a row of letters or digits in order"
    elif _PLACEHOLDERS.search(secret):
        flaw = "this signing secret is a placeholder, which everybody knows"
    elif min(_bits_of(secret), _bits_of(_without_everyday_words(secret))) < _LEAST_BITS:
        flaw = "this signing secret is made of words or keys in a row, which can be guessed"
    else:
        return
    raise SecretError(f"{flaw}; {ADVICE}")


def check_expiry(expires_at: float, now: float | None = None) -> None:
    """Refuse what was good until ``expires_at`` (seconds since the Unix epoch).

    Raises:
        ExpiredTokenError: That time has come.
    """
    if (time.time() if now is None else now) >= expires_at:
        raise ExpiredTokenError("this link or token has expired; ask for a new one")


def resolve_keys(secret: Secret | None, *, development: bool = False, user: str = "") -> Keys:
    """Return the keys of a given secret, or of ``FILEROW_SECRET`` (one or several).

    Args:
        secret: The secret or secrets, the signing one first.
        development: Without any secret make a random one, which no other process knows and no restart survives.
        user: Who needs the keys, for the message.

    Raises:
        SecretError: No secret is set, or a secret is too short.
    """
    if secret is not None:
        return Keys(secret)
    if is_in_environment():
        return Keys(_of_environment())
    if development:
        return _random_keys()
    raise SecretError(
        f"{user or 'signing'} needs a secret: give secret=, or set the environment variable {ENVIRONMENT}. On a developer's "
        "machine, development=True makes a random one for this process"
    )


def is_in_environment() -> bool:
    """Return True if the environment has a secret, good or not."""
    return bool(_of_environment())


def _of_environment() -> list[str]:
    return [part for part in re.split(r"[,\s]+", os.environ.get(ENVIRONMENT, "")) if part]


@cache
def _random_keys() -> Keys:
    """Return the process's random keys, the same for all that ask."""
    if _is_one_of_several():
        logger.warning(
            "development=True has made a random signing secret for this process (%d), which seems to be one of several workers: "
            "they refuse each other's URLs and claims; set %s, the same for all of them",
            os.getpid(),
            ENVIRONMENT,
            extra=extras("sign"),
        )
    keys = Keys(randomness.token_bytes())
    keys.is_of_process = True
    return keys


_IMPORTED_IN = os.getpid()


def _is_one_of_several() -> bool:
    """Return True if this process is one of several of a server."""
    workers = os.environ.get("WEB_CONCURRENCY", "")
    several = workers.isdecimal() and int(workers) > 1
    spawned = sys.modules.get("multiprocessing.process")  # not imported for this: it takes a while
    is_child = spawned is not None and spawned.parent_process() is not None
    return several or os.getpid() != _IMPORTED_IN or (is_child and not _is_reloaded())


def _is_reloaded() -> bool:
    """Return True if a server starts this process again when code changes.

    It is one alone. A spawned child has the arguments of its parent: ``uvicorn app:app --reload``, ``fastapi dev``.
    """
    return "--reload" in sys.argv or sys.argv[1:2] == ["dev"]
