"""How obstore writes: encryption, checksums and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from filerow.backends._stored_with import encryption_of
from filerow.backends.obstore.store import s3_is_meant
from filerow.exceptions import UnsupportedOperationError

_ON_S3 = frozenset({"AES256", "aws:kms", "aws:kms:dsse"})
_DEFAULT_KEY = "give the bucket or container a default key (GCS: CMEK, Azure: encryption scope), which it uses for each write"


class Tagged(dict[str, str]):
    """Attributes of an object that has tags, too."""

    def __init__(self, attributes: Mapping[str, str], tags: Mapping[str, str]) -> None:
        super().__init__(attributes)
        self.tags: dict[str, str] = dict(tags)


def write_options(key: str, fs: object, encryption: object, checksum: object, acl: object) -> dict[str, Any]:
    """Return the options of obstore's store for its writes.

    Args:
        key: Key of the backend, for errors.
        fs: A URL or a store.
        encryption: See :class:`filerow.Encryption`.
        checksum: ``sha256``.
        acl: Refused.

    Raises:
        UnsupportedOperationError: The store does not take it.
        InvalidOptionError: The encryption makes no sense.
        TypeError: A store is built already.
        ValueError: The checksum is unknown.
    """
    if encryption is checksum is acl is None:
        return {}
    if not isinstance(fs, str):
        raise TypeError(
            "encryption=, checksum= and acl= need a URL; give a store its own options where it is built: "
            "S3Store(..., aws_server_side_encryption='AES256', aws_checksum_algorithm='SHA256')"
        )
    scheme, on_s3 = urlsplit(fs).scheme, s3_is_meant(fs)
    if acl is not None:
        hint = (
            "give it to FSSpecBackend, which sends it, or a bucket policy"
            if on_s3
            else "the bucket's own policy decides who may read"
        )
        msg = f"backend {key!r}: obstore sends no acl= with what it writes to {scheme}://; {hint}"
        raise UnsupportedOperationError(msg, backend=key)
    if checksum not in {None, "sha256"}:
        raise ValueError(f"backend {key!r}: checksum is 'sha256', not {checksum!r}")
    if checksum is not None and not on_s3:
        msg = f"backend {key!r}: {scheme}:// takes no checksum= with what is written; leave it out"
        raise UnsupportedOperationError(msg, backend=key)
    known = _ON_S3 if on_s3 else frozenset[str]()
    found = encryption_of(encryption, known, backend=key, store=f"obstore on {scheme}://", instead=_DEFAULT_KEY)
    options: dict[str, Any] = {"aws_checksum_algorithm": "SHA256"} if checksum else {}
    if found is None:
        return options
    options["aws_server_side_encryption"] = found.algorithm
    return (
        options
        | ({"aws_sse_kms_key_id": found.key} if found.key else {})
        | ({"aws_sse_bucket_key_enabled": True} if found.bucket_key else {})
    )
