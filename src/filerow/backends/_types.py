"""The immutable values that backends exchange with the layers above them."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from filerow._buffers import Buffer

Body: TypeAlias = Buffer | Iterable[Buffer]
"""What a synchronous put takes: all the bytes at once, or chunks of them in order."""

AsyncBody: TypeAlias = Buffer | Iterable[Buffer] | AsyncIterable[Buffer]
"""What an asynchronous put takes; plain iterables are drained off the event loop."""

_NO_METADATA: Mapping[str, str] = MappingProxyType({})
_NOTHING: frozenset[str] = frozenset()


class ObjectInfo(NamedTuple):
    """The facts that a store reports of one object.

    Attributes:
        path: The path inside the backend.
        size: Length in bytes; ``None`` where a put does not return it.
        etag: The store's version tag, without the quotes of RFC 9110; ``None`` where the store has none.
        version_id: The version of a versioned bucket, else ``None``.
        last_modified: Seconds since the Unix epoch; ``None`` where a put does not return it.
        content_type: The stored media type; ``None`` where the store keeps none.
    """

    path: str
    size: int | None = None
    etag: str | None = None
    version_id: str | None = None
    last_modified: float | None = None
    content_type: str | None = None


class Rewritten(NamedTuple):
    """What a store says of its copy of a client's upload; see ``Content.rewrite``.

    Attributes:
        etag: Its tag.
        version: Its version, in a bucket that keeps them.
        checksum: ``sha256:<hex>``, if the store has computed one itself.
    """

    etag: str | None
    version: str | None
    checksum: str | None


class Unfinished(NamedTuple):
    """An upload that has not ended: no listing shows it, but it takes up space.

    Attributes:
        path: The path that the object will have; where only a temporary file is known, that file's.
        id: The store's own name for the upload.
        started: When it was begun, or last written to: seconds since the Unix epoch.
        temporary: The path is that of a temporary file, whose name only this backend gives.
    """

    path: str
    id: str
    started: float
    temporary: bool = False


class PutOptions(NamedTuple):
    """How to store one object.

    Attributes:
        content_type: Media type to store with the object, where the store keeps one.
        content_disposition: Value of the ``Content-Disposition`` header (RFC 6266) to store; ASCII, as RFC 8187 encodes it.
        cache_control: Value of the ``Cache-Control`` header (RFC 9111) to store.
        metadata: User metadata to store; drivers encode what their store cannot hold.
        create_only: Refuse with ``ObjectExistsError`` when the path is taken. Without it the object may be replaced; pass
            ``False`` only for paths that cannot exist.
        storage_class: Class of storage, by the store's name for it; asked only of a backend that keeps it, see
            ``Capabilities.stored_with``.
        tags: Tags to store, likewise.
    """

    content_type: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    metadata: Mapping[str, str] = _NO_METADATA
    create_only: bool = True
    storage_class: str | None = None
    tags: Mapping[str, str] = _NO_METADATA


class SignRequest(NamedTuple):
    """What a signed URL must allow, and nothing else.

    Attributes:
        method: ``GET`` to read, ``PUT`` to upload.
        expires_in: Seconds until the store refuses the URL.
        content_disposition: ``Content-Disposition`` the store must answer with (``GET`` only).
        content_type: ``Content-Type`` the store must answer with (``GET``) or demand (``PUT``).
        content_length: Bytes that an upload must have, exactly (``PUT`` only).
        max_length: Maximum size of an upload in bytes (``PUT`` only); few stores can bind that.
        signed_at: Seconds since the Unix epoch from which ``expires_in`` counts; now when left out. The same request with the
            same time gives the same URL, so that caches can work.
        create_only: Let the upload create an object, and neither replace nor change one (``PUT`` only). A store binds it where
            it can (Azure, with its account key), and nobody is refused where it cannot.
        cache_control: ``Cache-Control`` that a URL of our own answers with (``GET`` only); a store has it with the object.
    """

    method: Literal["GET", "PUT"]
    expires_in: int
    content_disposition: str | None = None
    content_type: str | None = None
    content_length: int | None = None
    max_length: int | None = None
    signed_at: float | None = None
    create_only: bool = False
    cache_control: str | None = None

    def rounded(self, window: float | None, now: float | None = None) -> SignRequest:
        """Return this request with the time of a window, whose URLs are all the same.

        The URL works at least ``expires_in`` seconds, and at most ``window`` more.

        Args:
            window: Its length in seconds; ``None`` leaves the request as it is.
            now: Seconds since the Unix epoch; the clock's when left out.

        Raises:
            TypeError: The window is not a number.
            ValueError: It is shorter than a second.
        """
        if window is None:
            return self
        if not isinstance(window, int | float) or isinstance(window, bool):
            raise TypeError(f"round_expiry is a number of seconds, not {type(window).__name__}")
        if not (math.isfinite(window) and window >= 1):
            raise ValueError(f"round_expiry is a number of seconds, at least 1, not {window}")
        window = math.ceil(window)
        begin = int(time.time() if now is None else now)
        return self._replace(signed_at=begin - begin % window, expires_in=self.expires_in + window)


class Capabilities(NamedTuple):
    """What a backend can do, declared by its class rather than found out by trying.

    Attributes:
        native_async: The ``*_async`` hooks await the store; without it they run the sync hooks in threads.
        ordered_list: ``list()`` yields paths in ascending order.
        keeps_content_type: The store keeps the media type with the object.
        sign_get: ``sign()`` works for reading.
        sign_put: ``sign()`` works for uploading.
        keeps_metadata: The store keeps ``Content-Disposition``, ``Cache-Control`` and user metadata with the object, and answers
            a signed URL with them.
        exclusive: Of several that create one path at the same moment, exactly one succeeds; without it each may look whether the
            path is free, and then write.
        stored_with: Which of ``StoredWith`` the store keeps: ``cache_control``, ``storage_class``, ``tags``, ``metadata``. The
            first and the last go without saying where ``keeps_metadata`` is set.
    """

    native_async: bool = False
    ordered_list: bool = False
    keeps_content_type: bool = False
    sign_get: bool = False
    sign_put: bool = False
    keeps_metadata: bool = False
    exclusive: bool = True
    stored_with: frozenset[str] = _NOTHING


CLOUD = Capabilities(ordered_list=True, keeps_content_type=True, sign_get=True, sign_put=True, keeps_metadata=True)
"""What the object stores of the clouds have in common."""
