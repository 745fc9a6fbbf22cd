"""Reads documents of other libraries as ours, with nothing lost. Pure.

Advanced Alchemy's documents and ours say the same. sqlalchemy-file's and filedepot's hold more: user metadata in ``extra``, what
processors and filters add (``thumbnail``, ``thumb_path``), and the names of all objects that belong to a file (``files``). That
goes to ``metadata``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from filerow._document import VERSION, Facts, facts_from
from filerow.exceptions import DocumentError

_SAID_ELSEWHERE = frozenset(
    {
        "_public_url", "_thumb_public_url", "content_path", "content_type", "depot_name", "file_id", "filename", "files",
        "headers", "metadata", "original_content", "path", "saved", "size", "upload_storage", "uploaded_at", "url",
    }
)  # fmt: skip
"""Keys of sqlalchemy-file and filedepot whose meaning is in the document, or that mean nothing once a file is stored."""


class Legacy(NamedTuple):
    """A document as ours.

    Attributes:
        facts: What it says of its file.
        others: Further objects that belong to it and to no row: a thumbnail's, as ``storage/name``.
    """

    facts: Facts
    others: tuple[str, ...] = ()


def is_legacy(document: Mapping[str, Any]) -> bool:
    """Return True if another library has written a document."""
    return document.get("v") != VERSION


def members_of(value: Any) -> list[Any]:
    """Return the members of a column's JSON: none, one, or those of its list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def read_document(document: Any, suffix: str = "") -> Legacy:
    """Read a document of any of the libraries.

    Args:
        document: The document.
        suffix: What another library's store appends to the names in its documents.

    Raises:
        DocumentError: It is of none of them, or names no backend or path.
    """
    if not isinstance(document, Mapping):
        raise DocumentError(f"a file document is a JSON object, not {document!r:.80}")
    facts = facts_from(document)
    if not is_legacy(document):
        return Legacy(facts)
    facts = facts._replace(path=facts.path + suffix)
    if not ("upload_storage" in document or "file_id" in document):
        return Legacy(facts)
    others = tuple(f"{name}{suffix}" for name in document.get("files") or () if name != document.get("path"))
    metadata = {**facts.metadata, **_user_metadata(document)}
    if others:
        metadata["files"] = list(others)
    return Legacy(facts._replace(metadata=MappingProxyType(metadata)), others)


def _user_metadata(document: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in document.items() if key not in _SAID_ELSEWHERE and value is not None}
    extra = found.pop("extra", None)
    if isinstance(extra, Mapping):
        given = extra.get("meta_data")
        options = {key: value for key, value in extra.items() if key not in {"meta_data", "content_type"} and value is not None}
        found.update(_without_repetition(given) if isinstance(given, Mapping) else {})
        found.update({"extra": options} if options else {})
    return found


def _without_repetition(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what sqlalchemy-file puts into a file's metadata by itself."""
    return {key: value for key, value in metadata.items() if key not in {"filename", "content_type"}}
