"""A file's facts and their JSON document. Pure: no I/O, no registry, no session.

Three kinds of documents are read: ours (``v: 1``), Advanced Alchemy's (no ``path``: its ``filename`` is the path) and
sqlalchemy-file's (``upload_storage`` and ``file_id``). Only ours is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from filerow._paths import clean_filename
from filerow.exceptions import DocumentError

VERSION = 1
NO_METADATA: Mapping[str, Any] = MappingProxyType({})

_KINDS: tuple[tuple[str, Any], ...] = (
    ("content_type", str),
    ("size", int),
    ("checksum", str),
    ("etag", str),
    ("version_id", str),
    ("last_modified", (int, float)),
    ("metadata", Mapping),
)
"""What the optional values of a document are, where they are not null."""


_FIRST, _LAST = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999, in seconds since the Unix epoch: what a date can be."""


class Facts(NamedTuple):
    """What is known of a file; ``path`` is mostly empty while it is pending.

    Attributes:
        backend: Key of the backend; empty until a column or the caller names one.
        path: Path inside the backend.
        filename: The client's name for it, cleaned for display.
        content_type: Media type (RFC 9110, section 8.3.1).
        size: Length in bytes.
        checksum: ``sha256:`` and 64 hex digits.
        etag: The store's tag, without quotes.
        version_id: The version of a versioned bucket.
        last_modified: Seconds since the Unix epoch.
        metadata: The application's own JSON values.
        extra: Fields of the document that this release does not know: a later one wrote them, and reads them again.
        width: Of an image, in pixels, as it is shown; ``None`` where nobody looked.
        height: Likewise.
        variants: Ids of the variants that were stored before the row was committed.
    """

    backend: str = ""
    path: str = ""
    filename: str = "file"
    content_type: str = "application/octet-stream"
    size: int | None = None
    checksum: str | None = None
    etag: str | None = None
    version_id: str | None = None
    last_modified: float | None = None
    metadata: Mapping[str, Any] = NO_METADATA
    extra: Mapping[str, Any] = NO_METADATA
    width: int | None = None
    height: int | None = None
    variants: tuple[str, ...] = ()


_OF_IMAGES = ("width", "height", "variants")
"""Fields that only documents of images have."""

_KNOWN = frozenset({"v", *Facts._fields}) - {"extra"}
_USUAL = _KNOWN - set(_OF_IMAGES)

_NOTHING_SAID = (None,) * 5

# How the text of our own documents begins: enough to know where the object is without parsing the rest.
_OURS = re.compile(rf'\{{"v": ?{VERSION}, ?"backend": ?"([^"\\]+)", ?"path": ?"([^"\\]+)"')


def to_document(facts: Facts) -> dict[str, Any]:
    """Return the JSON document of a stored file."""
    return {
        "v": VERSION,
        "backend": facts.backend,
        "path": facts.path,
        "filename": facts.filename,
        "content_type": facts.content_type,
        "size": facts.size,
        "checksum": facts.checksum,
        "etag": facts.etag,
        "version_id": facts.version_id,
        "last_modified": facts.last_modified,
        "metadata": dict(facts.metadata),
        **facts.extra,
        **(_of_image(facts) if facts.width is not None or facts.variants else NO_METADATA),
    }


def _of_image(facts: Facts) -> dict[str, Any]:
    sides = {} if facts.width is None else {"width": facts.width, "height": facts.height}
    return {**sides, "variants": list(facts.variants)} if facts.variants else sides


def public_view(facts: Facts, shown: Collection[str] = ()) -> dict[str, Any]:
    """Return what a client may see: no place, nothing that could claim the file.

    Args:
        facts: The file's.
        shown: The keys of its metadata that are for clients; the others are the application's own, or another library's.
    """
    return {
        "filename": facts.filename,
        "content_type": facts.content_type,
        "size": facts.size,
        "last_modified": _date_time(facts.last_modified),
        "metadata": {key: value for key, value in facts.metadata.items() if key in shown},
    }


def _date_time(seconds: float | None) -> str | None:
    """Return a moment in UTC as RFC 3339 writes it; ``None`` if no calendar has it."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None


def facts_from(document: str | bytes | Mapping[str, Any]) -> Facts:
    """Read a trusted document: ours, Advanced Alchemy's or sqlalchemy-file's.

    Raises:
        DocumentError: It is none of these, or names no backend or path.
    """
    value = _parse(document)
    version = value.get("v")
    if version == VERSION:
        facts = _facts(value, value.get("backend"), value.get("path"), value.get("filename"))
        is_usual = len(value) == len(_USUAL) and value.keys() <= _USUAL  # most have no more
        return facts if is_usual else _with_more(facts, value)
    if version is not None:
        msg = f"this document has version {version!r}; this release of filerow reads up to {VERSION}: upgrade filerow"
        raise DocumentError(msg)
    if "upload_storage" in value or "file_id" in value:
        return _from_sqlalchemy_file(value)
    return _from_advanced_alchemy(value)


def _with_more(facts: Facts, value: Mapping[str, Any]) -> Facts:
    """Return facts with what only images have, and what only later releases know."""
    width, height = _side(value, "width"), _side(value, "height")
    sides = (None, None) if width is None or height is None else (width, height)
    variants = value.get("variants")
    if variants is not None and not isinstance(variants, list | tuple):
        raise _wrong("variants", variants)
    extra = {key: value[key] for key in value if key not in _KNOWN}
    return facts._replace(
        width=sides[0],
        height=sides[1],
        variants=tuple(one for one in variants or () if isinstance(one, str)),
        extra=MappingProxyType(extra) if extra else NO_METADATA,
    )


def _side(value: Mapping[str, Any], name: str) -> int | None:
    found = value.get(name)
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 1):
        raise _wrong(name, found)
    return found


def located_in(document: str | bytes | Mapping[str, Any]) -> tuple[str, str]:
    """Return the backend and path in a trusted document, without decoding it all.

    Raises:
        DocumentError: As :func:`facts_from`.
    """
    if isinstance(document, str) and (ours := _OURS.match(document)) and _is_final(document[ours.end() :]):
        return ours[1], ours[2]
    value = _parse(document)
    backend, path = value.get("backend"), value.get("path")
    if value.get("v") == VERSION and isinstance(backend, str) and isinstance(path, str) and backend and path:
        return backend, path
    facts = facts_from(value)
    return facts.backend, facts.path


def _is_final(rest: str) -> bool:
    """Return True if a text has none of these keys again, in letters or escaped."""
    return (
        '"path"' not in rest
        and '"backend"' not in rest
        and '"v"' not in rest
        and ("\\" not in rest or ("\\u006" not in rest and "\\u007" not in rest))
    )


def _parse(document: str | bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(document, Mapping):
        return document
    try:
        value = json.loads(document)
    except (ValueError, TypeError, RecursionError) as error:  # the last: nested thousands deep
        raise DocumentError(f"a file document must be a JSON object; this is not JSON: {str(document)[:80]!r}") from error
    if not isinstance(value, Mapping):
        raise DocumentError(f"a file document must be a JSON object, not {type(value).__name__}")
    return value


def _from_advanced_alchemy(value: Mapping[str, Any]) -> Facts:
    path = value.get("path") or value.get("filename")
    return _facts(value, value.get("backend"), path, value.get("filename"))


def _from_sqlalchemy_file(value: Mapping[str, Any]) -> Facts:
    storage, _, rest = str(value.get("path") or "").partition("/")
    return _facts(
        {**value, "last_modified": _timestamp(value.get("uploaded_at"))},
        value.get("upload_storage") or storage,
        value.get("file_id") or rest,
        value.get("filename"),
    )


def _timestamp(uploaded_at: object) -> float | None:
    try:
        moment = datetime.fromisoformat(str(uploaded_at))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()  # it writes utcnow(), without a zone


def _facts(value: Mapping[str, Any], backend: object, path: object, filename: object) -> Facts:
    if not isinstance(backend, str) or not backend or not isinstance(path, str) or not path:
        raise DocumentError(f"a file document names its backend and its path; this one has only {sorted(map(str, value))}")
    check_values(value)
    return Facts(
        backend=backend,
        path=path,
        filename=clean_filename(filename) if isinstance(filename, str) else "file",
        content_type=value.get("content_type") or "application/octet-stream",
        size=value.get("size"),
        checksum=value.get("checksum"),
        etag=value.get("etag"),
        version_id=value.get("version_id"),
        last_modified=value.get("last_modified"),
        metadata=MappingProxyType(dict(value.get("metadata") or {})),
    )


def check_given(facts: Facts) -> None:
    """Refuse wrong facts of a new file as :func:`check_values` does; most have none."""
    if facts.content_type or facts[4:9] != _NOTHING_SAID:
        check_values(facts._asdict())


def check_values(value: Mapping[str, Any]) -> None:
    """Refuse impossible facts, before they are believed or written into a row.

    Raises:
        DocumentError: A value is of the wrong type, or a size or time is impossible.
    """
    for key, kind in _KINDS:
        found = value.get(key)
        if found is not None and not isinstance(found, kind):
            raise _wrong(key, found)
    size, modified = value.get("size"), value.get("last_modified")
    if size is not None and size < 0:
        raise _wrong("size", size)
    if modified is not None and not _FIRST <= modified <= _LAST:  # nor NaN
        raise _wrong("last_modified", modified)


def _wrong(key: str, found: object) -> DocumentError:
    return DocumentError(f"the {key} of a file cannot be {found!r}")


def check_metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return a read-only copy of the application's metadata.

    Raises:
        ValueError: JSON cannot hold it.
    """
    if not metadata:
        return NO_METADATA
    try:
        return MappingProxyType(json.loads(json.dumps(dict(metadata), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"a file's metadata is kept as JSON, which cannot hold this: {error}") from error
