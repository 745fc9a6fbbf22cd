"""What objects are stored with: headers, storage class, tags, encryption.

A store keeps an option however the bytes get there. An option that it does not have is refused by name when the column and its
backend meet, and never dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import urlencode

from filerow.backends._headers import check_header, encode_metadata
from filerow.backends._types import PutOptions
from filerow.backends.base import StorageBackend
from filerow.exceptions import InvalidOptionError, UnsupportedOperationError

Algorithm: TypeAlias = Literal["AES256", "aws:kms", "aws:kms:dsse", "gcp:kms"]

_CLASS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_TAG = re.compile(r"[A-Za-z0-9 +\-./:=_]*\Z")  # what S3 and Azure both take
_MOST_TAGS, _LONGEST_KEY, _LONGEST_VALUE = 10, 128, 256
_UNREADABLE = frozenset({"glacier", "deep_archive", "archive"})
"""Classes whose objects S3 and Azure hand out only after somebody has had them restored; Google's ARCHIVE is read like any."""


@dataclass(frozen=True, slots=True)
class StoredWith:
    """What a column's objects are stored with besides type and disposition.

    It holds for every way bytes take: commits, copies, large uploads in parts, direct uploads, moves to another backend. The
    values are the application's, never a client's.

    Args:
        cache_control: ``Cache-Control`` (RFC 9111) that the store, and the application, answer with:
            ``"public, max-age=31536000, immutable"``.
        storage_class: Class of storage, by the store's own name: ``"STANDARD_IA"`` on S3, ``"NEARLINE"`` on Google Cloud
            Storage, ``"Cool"`` on Azure. One whose objects must be restored before they can be read is refused.
        tags: Object tags (S3) or blob index tags (Azure): at most 10, keys of 1 to 128 characters, values of at most 256, of
            ``A-Z a-z 0-9 + - . / : = _`` and space.
        metadata: User metadata of the object; other characters than printable ASCII are stored percent-encoded. A file's own
            ``metadata`` is in its row, and not here.

    Raises:
        InvalidOptionError: A value cannot be stored, on any store.
        TypeError: A value is of another type.
    """

    cache_control: str | None = None
    storage_class: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check each value."""
        if self.cache_control is not None:
            check_header("Cache-Control", self.cache_control, operation="", backend="")
        if self.storage_class is not None:
            _check_class(self.storage_class)
        for name in ("tags", "metadata"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        _check_tags(self.tags)
        encode_metadata(self.metadata, operation="", backend="", path="")

    def __hash__(self) -> int:
        """Hash by all values; equal ones are equal."""
        return hash((self.cache_control, self.storage_class, *map(frozenset, (self.tags.items(), self.metadata.items()))))

    def given(self) -> list[str]:
        """Return the names of what is set."""
        return [name for name in ("cache_control", "storage_class", "tags", "metadata") if getattr(self, name)]


class Encryption(NamedTuple):
    """How a store is to encrypt what a backend writes, with keys of the store's.

    Attributes:
        algorithm: ``AES256`` (SSE-S3), ``aws:kms`` or ``aws:kms:dsse`` (SSE-KMS) on S3; ``gcp:kms`` (CMEK) on Google.
        key: Id, ARN or full name of the key; the store's own for S3 when left out.
        bucket_key: Have S3 use a key of the bucket's, which asks KMS less often (``aws:kms``).
    """

    algorithm: Algorithm
    key: str | None = None
    bucket_key: bool = False


def encryption_of(given: object, known: frozenset[str], *, backend: str, store: str, instead: str) -> Encryption | None:
    """Return what ``encryption=`` of a backend says.

    Args:
        given: An :class:`Encryption`, or its algorithm.
        known: The algorithms that this kind of store takes with each write.
        backend: Key of the backend.
        store: What the store is called, for the message.
        instead: What to do where there are none.

    Raises:
        UnsupportedOperationError: This store does not take it.
        InvalidOptionError: The key is missing, or makes no sense.
        TypeError: It is neither.
    """
    if given is None:
        return None
    if isinstance(given, str):
        given = Encryption(given)  # type: ignore[arg-type] # looked at below
    if not isinstance(given, Encryption):
        raise TypeError(f"encryption is an Encryption or the name of an algorithm, not {type(given).__name__}")
    if given.algorithm not in known:
        known_here = f"it knows {', '.join(sorted(known))}" if known else instead
        msg = f"backend {backend!r}: {store} cannot be asked for encryption={given.algorithm!r}; {known_here}"
        raise UnsupportedOperationError(msg, backend=backend)
    if given.key is not None:
        check_header("the key of encryption=", given.key, operation="", backend=backend)
    if (given.algorithm == "gcp:kms" and not given.key) or (given.algorithm == "AES256" and (given.key or given.bucket_key)):
        msg = f"backend {backend!r}: AES256 takes neither key nor bucket_key, and gcp:kms needs a key, unlike {given!r}"
        raise InvalidOptionError(msg, backend=backend)
    return given


def checked_options(given: object) -> StoredWith | None:
    """Return what ``stored_with=`` of a column says; ``None`` where that is nothing.

    Raises:
        TypeError: It is something else.
    """
    if given is not None and not isinstance(given, StoredWith):
        raise TypeError(f"stored_with is a StoredWith, such as StoredWith(cache_control='no-store'), not {type(given).__name__}")
    return given if given is not None and given.given() else None


def check_kept(backend: StorageBackend, options: StoredWith, column: str) -> None:
    """Refuse what the objects of a column cannot be stored with on its backend.

    Raises:
        UnsupportedOperationError: The message names each option, and says what to do.
        InvalidOptionError: What is stored there could not be read; Google's ``ARCHIVE`` can.
    """
    if options.storage_class == "ARCHIVE" and backend.protocol not in {"gs", "gcs"}:
        raise _unreadable(f"{column}: storage_class='ARCHIVE'")
    missing = _not_kept(backend, options)
    if missing:
        names = " and ".join(f"{name}=" for name in missing)
        msg = (
            f"{column} is stored with {names}, which backend {backend.key!r} ({type(backend).__name__}, {backend.protocol}) does "
            "not keep; leave that out of StoredWith where the column is on this backend, or give the column another one"
        )
        raise UnsupportedOperationError(msg, backend=backend.key)


def kept_by(backend: StorageBackend, options: StoredWith | None) -> StoredWith | None:
    """Return options that a backend keeps; ``None`` if one of them it does not."""
    return options if options is not None and not _not_kept(backend, options) else None


def _not_kept(backend: StorageBackend, options: StoredWith) -> list[str]:
    """Return the names of options that a backend does not keep."""
    able = backend.capabilities
    kept = able.stored_with | (frozenset({"cache_control", "metadata"}) if able.keeps_metadata else frozenset())
    return [name for name in options.given() if name not in kept]


def with_options(options: PutOptions, stored_with: StoredWith | None) -> PutOptions:
    """Return options with what a column's objects are stored with besides."""
    if stored_with is None:
        return options
    return options._replace(
        cache_control=stored_with.cache_control,
        metadata=stored_with.metadata,
        storage_class=stored_with.storage_class,
        tags=stored_with.tags,
    )


def encoded_tags(tags: Mapping[str, str]) -> str:
    """Return tags as S3 and Azure take them in a header."""
    return urlencode(tags)


def _check_class(name: object) -> None:
    if not isinstance(name, str) or not _CLASS.match(name):
        raise InvalidOptionError(f"storage_class is the store's name for it, such as 'STANDARD_IA', not {name!r}")
    if name.lower() in _UNREADABLE and name != "ARCHIVE":
        raise _unreadable(f"storage_class={name!r}")


def _unreadable(what: str) -> InvalidOptionError:
    return InvalidOptionError(
        f"{what}: nothing can be read from that archive before it is restored, so no row's file could; let a lifecycle rule "
        "of the bucket move objects there, or choose a class that is read at once, such as 'GLACIER_IR'"
    )


def _texts(name: str, given: object) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} of StoredWith maps texts to texts, so it is not {type(given).__name__}")
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str) or not key:
            raise InvalidOptionError(f"{name} of StoredWith maps texts to texts, not {key!r} to {value!r}")
    return dict(given)


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > _MOST_TAGS:
        raise InvalidOptionError(f"an object has at most {_MOST_TAGS} tags, not {len(tags)}")
    for key, value in tags.items():
        if len(key) > _LONGEST_KEY or len(value) > _LONGEST_VALUE or not _TAG.match(key) or not _TAG.match(value):
            raise InvalidOptionError(
                f"the tag {key!r}: {value!r} is none that stores take: a key of at most {_LONGEST_KEY} and a value of at most "
                f"{_LONGEST_VALUE} characters, of letters and digits of ASCII, space and + - . / : = _"
            )
