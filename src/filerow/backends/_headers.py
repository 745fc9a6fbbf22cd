"""What of a file's options may travel as HTTP headers, and how.

A header that a store mangles is worse than none: a line break panics the native client, and a non-ASCII metadata value is
accepted by S3 but makes every later read of the object fail, forever. So everything is encoded or refused here, before it
leaves the process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from filerow.backends._types import PutOptions
from filerow.exceptions import InvalidOptionError

_PLAIN = re.compile(r"[\x20-\x7e]+\Z")
_NOT_A_KEY = re.compile(r"[^a-z0-9-]")
# Printable ASCII but '%', which starts an escape, and space, which signing collapses; unquote() gives the original back.
_SAFE = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
# The native client takes these metadata keys for the headers themselves: metadata must not choose a content type.
_RESERVED = frozenset(
    ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "storage-class")
)


def check_header(name: str, value: str, *, operation: str, backend: str, path: str = "") -> str:
    """Return ``value`` when it can be the value of the HTTP header ``name`` as it is.

    Raises:
        InvalidOptionError: It is empty or has control or non-ASCII characters.
    """
    if isinstance(value, str) and _PLAIN.match(value):
        return value
    hint = "; encode the file name as filename*=UTF-8''… (RFC 8187)" if name == "Content-Disposition" else ""
    msg = f"{name} must be printable ASCII without line breaks, not {value!r}{hint}"
    raise InvalidOptionError(msg, operation=operation, backend=backend, path=path)


def headers_of(options: PutOptions, *, backend: str, path: str) -> dict[str, str]:
    """Return the standard headers to store with an object.

    Raises:
        InvalidOptionError: One of them cannot be a header.
    """
    wanted = {
        "Content-Type": options.content_type,
        "Content-Disposition": options.content_disposition,
        "Cache-Control": options.cache_control,
        "Storage-Class": options.storage_class,
    }
    return {
        name: check_header(name, value, operation="put", backend=backend, path=path)
        for name, value in wanted.items()
        if value is not None
    }


def encode_metadata(
    metadata: Mapping[str, str], *, backend: str, path: str, identifiers: bool = False, operation: str = "put"
) -> dict[str, str]:
    """Return user metadata as every store keeps it: ASCII, percent-encoded.

    Args:
        metadata: Keys and values as the application gave them.
        backend: Key of the backend, for errors.
        path: Path of the object, for errors.
        identifiers: Keys must be identifiers (Azure), so ``_`` stands for ``-``.
        operation: What for, for errors.

    Raises:
        InvalidOptionError: Two keys become the same, or a key or value is not text.
    """
    encoded: dict[str, str] = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str) or not name:
            msg = f"metadata maps non-empty strings to strings, not {name!r} to {type(value).__name__}"
            raise InvalidOptionError(msg, operation=operation, backend=backend, path=path)
        key = _NOT_A_KEY.sub("-", name.lower())
        if key in _RESERVED:
            key = f"x-{key}"
        if identifiers:
            key = key.replace("-", "_")
            key = f"x_{key}" if key[0].isdigit() else key
        if key in encoded:
            msg = f"two metadata keys become {key!r}, for stores keep lower-case letters, digits and '-' only"
            raise InvalidOptionError(msg, operation=operation, backend=backend, path=path)
        encoded[key] = quote(value, safe=_SAFE, errors="surrogatepass")
    return encoded
