"""Signatures and claims as the library makes them, for tests that hold the secret, or believe that somebody else does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from itsdangerous import Signer
from itsdangerous.encoding import base64_decode, base64_encode


def signature(purpose: str, message: str, secret: str) -> str:
    """Return our signature of a message; a purpose is ``url`` or ``claim``."""
    signer = Signer(secret, salt=f"filerow.{purpose}", key_derivation="hmac", digest_method=sha256)
    return signer.get_signature(message).decode()


def url_signature(path: str, values: Mapping[str, str], secret: str, backend: str = "docs") -> str:
    """Return the signature of a URL of our own route with these values in its query."""
    parts = [("backend", backend), ("path", path), *sorted(values.items())]
    return signature("url", urlencode(parts, errors="surrogatepass"), secret)


def sealed(payload: Mapping[str, Any], secret: str, *, purpose: str = "claim", expires_in: float = 60) -> str:
    """Return a token of ours that carries a payload."""
    body = json.dumps({**payload, "exp": time.time() + expires_in}, separators=(",", ":"), sort_keys=True)
    text = base64_encode(body).decode()
    return f"{text}.{signature(purpose, text, secret)}"


def said_by(token: str) -> dict[str, Any]:
    """Return what a token says, which everybody can read."""
    payload: dict[str, Any] = json.loads(base64_decode(token.rpartition(".")[0]))
    return payload


def claim_of(size: int, **changed: Any) -> dict[str, Any]:
    """Return what a claim of ours says of an upload of a size, for the column ``document.file``."""
    whole = {"backend": "docs", "path": "upload", "target": "target", "column": "document.file", "filename": "a.txt"}
    return {**whole, "size": size, "content_type": "text/plain", **changed}
