"""How clients see and send a file, for all libraries that describe JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

REFUSED = (
    "a file cannot be set by sending its document, which could name any object of any backend. Upload the bytes and make the "
    'file with FileObject.from_upload(upload); code that trusts the document validates with context={"filerow": "document"}'
)


def json_schema_for(mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    """Return the JSON Schema of a file.

    Out, it is the public view, all of it always present. In, no JSON value is accepted at all. The exact schema for that is
    ``{"not": {}}``, but client generators fail on it or emit ``never``, and it says nothing to a reader. JSON Schema and OpenAPI
    have a word for what only the server may set: ``readOnly`` ("attempts by an application to modify the value are expected to be
    ignored or rejected"), which FastAPI users know from computed fields. So a model that is used in both directions shows one
    shape, marked ``readOnly`` on the way in, and its description says how to send a file instead.
    """
    schema: dict[str, Any] = {
        "title": "FileObject",
        "description": "A stored file.",
        "type": "object",
        "properties": {
            "filename": {"type": "string", "description": "Name to show; not a path."},
            "content_type": {"type": "string", "description": "Media type."},
            "size": _nullable("integer", description="Length in bytes.", minimum=0),
            "last_modified": _nullable("string", description="When the file was stored.", format="date-time"),
            "metadata": {"type": "object", "additionalProperties": True},
        },
        "required": ["filename", "content_type", "size", "last_modified", "metadata"],
    }
    if mode == "validation":
        schema["readOnly"] = True
        schema["description"] = "A stored file. It cannot be sent as JSON: upload the bytes as multipart/form-data."
    return schema


def json_schema_with(shown: dict[str, Any], variants: Iterable[str], *, url: bool) -> dict[str, Any]:
    """Return the JSON Schema of a public view with URLs of the file and its variants."""
    shown["title"] = "SignedFileObject"
    if url:
        shown["properties"]["url"] = _url("Where to read the file, for a limited time.")
        shown["required"].append("url")
    names = list(variants)
    if names:
        shown["properties"]["variants"] = {
            "type": "object",
            "description": "The image in other sizes.",
            "properties": {name: {"anyOf": [_variant(), {"type": "null"}]} for name in names},
            "required": names,
        }
        shown["required"].append("variants")
    return shown


def _variant() -> dict[str, Any]:
    side = {"minimum": 1}
    return {
        "type": "object",
        "properties": {
            "url": _url("Where to read it, for a limited time."),
            "content_type": {"type": "string", "description": "Media type."},
            "width": _nullable("integer", description="In pixels, if known.", **side),
            "height": _nullable("integer", description="In pixels, if known.", **side),
        },
        "required": ["url", "content_type", "width", "height"],
    }


def _url(description: str) -> dict[str, Any]:
    return {"type": "string", "format": "uri-reference", "description": description}


def _nullable(kind: str, *, description: str, **more: object) -> dict[str, Any]:
    return {"anyOf": [{"type": kind, **more}, {"type": "null"}], "description": description}
