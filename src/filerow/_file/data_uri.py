"""Data URIs (RFC 2397) and base64: a small file inside a text."""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from filerow.exceptions import ContentError, FileTooLargeError

_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\Z", re.ASCII)
_BARE_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SPACE = re.compile(rb"[ \t\n\f\r]+")
_LONGEST_HEAD = 1000
_NAMES = ("name", "filename")


class DataUri(NamedTuple):
    """What a data URI holds.

    Attributes:
        content: The bytes.
        content_type: The media type without parameters.
        name: The file's name, which some programs add as a parameter; empty without one.
    """

    content: bytes
    content_type: str
    name: str


def read_data_uri(text: str, max_size: int) -> DataUri:
    """Return the file in a data URI.

    Raises:
        ContentError: It is not a data URI.
        FileTooLargeError: It holds more than ``max_size`` bytes.
    """
    if not isinstance(text, str) or text[:5].lower() != "data:":
        found = f"with {text[:20]!r}" if isinstance(text, str) else f"a {type(text).__name__}"
        raise ContentError(f"a data URI is text that begins with 'data:', as in data:text/plain;base64,aGk=, not {found}")
    head, comma, data = text[5 : 5 + _LONGEST_HEAD].partition(",")
    if not comma:
        raise ContentError(f"a data URI has a comma between the media type and the data; {text[:60]!r} has none")
    data = text[5 + len(head) + 1 :]
    media_type, *parameters = (part.strip() for part in head.split(";"))
    if media_type and not _TYPE.match(media_type):
        raise ContentError(f"the media type of a data URI is written type/subtype, not {media_type[:60]!r}")
    is_base64 = bool(parameters) and parameters[-1].lower() == "base64"
    content = decoded_base64(data, max_size) if is_base64 else _unquoted(data, max_size)
    if not is_base64 and len(content) > max_size:
        raise _too_large(len(content), max_size)
    return DataUri(content, media_type.lower() or "text/plain", _name(parameters))


def _name(parameters: list[str]) -> str:
    pairs = (one.partition("=") for one in parameters)
    named = (value for key, _, value in pairs if key.strip().lower() in _NAMES)
    return unquote_to_bytes(next(named, "").strip('"')).decode("utf-8", "replace")


def decoded_base64(text: str | bytes, max_size: int) -> bytes:
    """Return the bytes of base64; the URL-safe alphabet and missing ``=`` are fine.

    Raises:
        ContentError: It is not base64.
        FileTooLargeError: It holds more than ``max_size`` bytes.
    """
    if isinstance(text, str):
        if text[:5].lower() == "data:":
            raise ContentError("this is a data URI, which FileObject.from_data_uri() takes, and not base64 alone")
        data = _unquoted(text, max_size * 2)
    elif isinstance(text, bytes | bytearray | memoryview):
        if len(text) > 6 * max_size + _LONGEST_HEAD:  # as of text
            raise _too_large(len(text) * 3 // 4, max_size)
        data = bytes(text)
    else:  # a number that a client sends would be as many bytes
        raise ContentError(f"base64 is text or bytes, not {type(text).__name__}")
    data = _SPACE.sub(b"", data).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    if (size := len(data) * 3 // 4) > max_size:
        raise _too_large(size, max_size)
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise ContentError(f"these {len(data):,} characters are not base64: {error}") from None


def _unquoted(text: str, most: int) -> bytes:
    if len(text) > 3 * most + _LONGEST_HEAD:  # three characters for each byte, if all are percent-encoded
        raise _too_large(len(text) // 3, most)
    try:
        data = text.encode("ascii")
    except UnicodeEncodeError as error:
        raise ContentError(f"a data URI is ASCII; encode {text[error.start]!r} in percent or base64") from None
    if found := _BARE_PERCENT.search(data):
        raise ContentError(
            f"{data[found.start() : found.start() + 3]!r} is not a percent-encoded byte; write %25 for a percent sign"
        )
    return unquote_to_bytes(data)


def _too_large(size: int, max_size: int) -> FileTooLargeError:
    return FileTooLargeError(f"the text holds {size:,} bytes or more; max_size is {max_size:,}", limit=max_size, actual=size)
