"""Checks the body of a signed upload: its type, its length, its end."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import NamedTuple

from filerow.backends._types import SignRequest
from filerow.exceptions import ContentTypeError, FilerowError, FileTooLargeError

DISCARD_BYTES = 64 << 20
"""How much of a refused upload is still read, so that its sender gets to read the response."""

DISCARD_SECONDS = 5
"""For how many seconds."""

_LONGEST_ACTUAL = 255
"""How much of a client's header is repeated in a response."""

_DIGITS = re.compile(r"[0-9]{1,18}\Z")


class UploadRefusedError(FilerowError):
    """A request to upload cannot be carried out.

    Args:
        status: The matching HTTP status.
        message: The reason.
        *headers: Other headers of the response.
        code: A stable word for the reason, for translations.
        limit: What was required of the upload.
        actual: What the upload is or has.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *headers: tuple[str, str],
        code: str = "upload-refused",
        limit: object = None,
        actual: object = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.code = code
        self.limit = limit
        self.actual = actual


class UploadLimits(NamedTuple):
    """The allowed length of a body.

    Attributes:
        most: Maximum size in bytes; ``None`` for any.
        exactly: Exact size in bytes; ``None`` if it is not known.
    """

    most: int | None
    exactly: int | None

    def counted(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """Iterate over a body, and stop at the first byte too many or when it ends early.

        Raises:
            FileTooLargeError: The body is too long.
            UploadRefusedError: The body is too short.
        """
        size = 0
        for chunk in body:
            size = self._more(size, chunk)
            yield chunk
        self._end(size)

    async def counted_async(self, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Iterate over a body; see :meth:`counted`."""
        size = 0
        async for chunk in body:
            size = self._more(size, chunk)
            yield chunk
        self._end(size)

    def _more(self, size: int, chunk: bytes) -> int:
        size += len(chunk)
        limits = [limit for limit in self if limit is not None]
        if limits and size > min(limits):
            raise too_large(min(limits), size)
        return size

    def _end(self, size: int) -> None:
        if self.exactly is not None and size < self.exactly:
            msg = f"The upload was cut off: {size} of {self.exactly} bytes arrived."
            raise UploadRefusedError(400, msg, code="upload-incomplete", limit=self.exactly, actual=size)


def limits_of(request: SignRequest, headers: Mapping[str, str]) -> UploadLimits:
    """Check the headers of an upload before its body is read.

    Raises:
        ContentTypeError: The type is not the one that the URL binds, or the body is compressed.
        FileTooLargeError: The announced length is more than the URL allows.
        UploadRefusedError: The length is missing or wrong, or the body is part of a file.
    """
    _check_kind(request, headers)
    most, exactly, announced = request.max_length, request.content_length, _announced(headers)
    limit = min((value for value in (most, exactly) if value is not None), default=None)
    if announced is not None and limit is not None and announced > limit:
        raise too_large(limit, announced)
    if announced is not None and exactly is not None and announced != exactly:
        msg = f"This link is for {exactly} bytes, not for {announced}."
        raise UploadRefusedError(400, msg, code="upload-differs", limit=exactly, actual=announced)
    return UploadLimits(most, exactly if announced is None else announced)


def too_large(limit: int, actual: int) -> FileTooLargeError:
    """Return the error that refuses this size."""
    return FileTooLargeError(f"This link is for at most {limit} bytes.", limit=limit, actual=actual)


def _check_kind(request: SignRequest, headers: Mapping[str, str]) -> None:
    wanted, actual = request.content_type, headers.get("content-type", "").strip()
    if wanted is not None and actual != wanted:
        raise ContentTypeError(f"This link is for {wanted}.", limit=wanted, actual=actual[:_LONGEST_ACTUAL])
    coding = headers.get("content-encoding", "identity").strip().lower()[:_LONGEST_ACTUAL]
    if coding != "identity":
        # It would be stored compressed, and no longer match its type.
        msg = "Upload a file as it is, without Content-Encoding."
        raise ContentTypeError(msg, limit="identity", actual=coding, rule="", code="encoding-not-allowed")
    if "content-range" in headers:  # RFC 9110, section 14.5
        raise UploadRefusedError(400, "Upload a file whole, not in ranges.")


def _announced(headers: Mapping[str, str]) -> int | None:
    """Return the announced length of a body, or ``None`` when it comes in chunks."""
    length = headers.get("content-length")
    if "transfer-encoding" in headers:  # overrides a length (RFC 9112, section 6.3)
        return None
    if length is None:
        raise UploadRefusedError(411, "An upload needs a Content-Length, or must come in chunks.", code="length-missing")
    if not _DIGITS.match(length.strip()):
        raise UploadRefusedError(400, "This Content-Length is not a number.")
    return int(length)
