"""msgspec: hooks that show files, and refuse files described by a client.

::

    class DocumentOut(msgspec.Struct):
        id: int
        file: FileObject | None
        pages: list[FileObject]


    shown = msgspec.convert(document, DocumentOut, from_attributes=True, dec_hook=dec_hook)  # from a row
    body = msgspec.json.encode(shown, enc_hook=enc_hook)  # the public view
    schema = msgspec.json.schema(DocumentOut, schema_hook=schema_hook)

``msgspec.json.decode(body, type=…, dec_hook=dec_hook)`` refuses a document, since it can name any object of any backend. Between
trusted places ``document_enc_hook`` and ``document_dec_hook`` transfer the full document. A hook of your own calls ours for types
that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from filerow._content import unwrap_upload
from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow._file.variant import EXPIRY, view_of
from filerow._file.view import REFUSED, json_schema_for, json_schema_with
from filerow._requirements import needs
from filerow.exceptions import UntrustedDocumentError

with needs("msgspec", "filerow.ext.msgspec"):
    import msgspec as _msgspec  # noqa: F401  # pyright: ignore[reportUnusedImport] - it calls these hooks

__all__ = ("VariantHooks", "dec_hook", "document_dec_hook", "document_enc_hook", "enc_hook", "schema_hook")


def enc_hook(value: Any) -> Any:
    """Return a file's public view: filename, type, size, time and metadata.

    Raises:
        NotImplementedError: The value is not a file; msgspec expects this of a hook.
    """
    return _file(value).public_view()


class VariantHooks:
    """Hooks that show variants of images in the public view.

    ``msgspec.json.encode(shown, enc_hook=VariantHooks("thumb", "w640").enc_hook)`` adds ``variants``, which has of each its
    ``url``, ``content_type``, ``width`` and ``height``, or ``null`` if the file is not an image that can be decoded.

    Args:
        *variants: Their names; all files that are encoded declare them.
        expires_in: Seconds for which the URLs work.
        round_expiry: Length in seconds of a window in which all URLs are the same, for caches; ``None`` for none.
    """

    def __init__(self, *variants: str, expires_in: float = EXPIRY, round_expiry: float | None = EXPIRY) -> None:
        self._variants = variants
        self._signed = expires_in, round_expiry

    def enc_hook(self, value: Any) -> Any:
        """Return a file's public view with variants; see :func:`enc_hook`.

        Raises:
            NotImplementedError: The value is not a file.
            FileStateError: The file is pending.
            RecipeError: Its column declares no variant of this name.
        """
        file = _file(value)
        found = {name: view_of(file.variant(name), *self._signed) for name in self._variants}
        return {**file.public_view(), "variants": found}

    def schema_hook(self, kind: type[Any]) -> dict[str, Any]:
        """Return the JSON Schema of that view; see :func:`schema_hook`.

        Raises:
            NotImplementedError: The type is not a file's.
        """
        found = schema_hook(kind)
        if "items" in found:
            return {**found, "items": json_schema_with(found["items"], self._variants, url=False)}
        return json_schema_with(found, self._variants, url=False)


def document_enc_hook(value: Any) -> Any:
    """Return a file's full document, which says where the bytes are stored.

    For trusted places only.

    Raises:
        NotImplementedError: The value is not a file.
        FileStateError: The file is pending.
    """
    return _file(value).to_dict()


def dec_hook(kind: type[Any], value: Any) -> Any:
    """Return a file that is one already, or that a framework parsed from a form.

    A list of files becomes a new list.

    Raises:
        NotImplementedError: The type is not a file's.
        UntrustedDocumentError: The value is a document; msgspec raises its ``ValidationError`` from it, with the place.
        TypeError: The value is something else; msgspec does the same.
    """
    return _decoded(kind, value, _from_client)


def document_dec_hook(kind: type[Any], value: Any) -> Any:
    """Return the file of a **trusted** document of ``document_enc_hook``.

    For other types see :func:`dec_hook`.

    Raises:
        NotImplementedError: The type is not a file's.
        DocumentError: The document is invalid; msgspec raises its ``ValidationError`` from it, with the place.
    """
    return _decoded(kind, value, _from_document)


def schema_hook(kind: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a file's public view, or of a list of them.

    Raises:
        NotImplementedError: The type is not a file's.
    """
    if _is(kind, FileObject):
        return json_schema_for("serialization")
    if _is(kind, FileObjectList):
        return {"type": "array", "items": json_schema_for("serialization")}
    raise NotImplementedError(_no_file(kind))


def _file(value: object) -> FileObject:
    if isinstance(value, FileObject):
        return value
    raise NotImplementedError(_no_file(type(value)))


def _decoded(kind: type[Any], value: Any, one: Callable[[type[FileObject], object], FileObject]) -> Any:
    if _is(kind, FileObject):
        return one(kind, value)
    if not _is(kind, FileObjectList):
        raise NotImplementedError(_no_file(kind))
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"Expected a list of files, got {type(value).__name__}")
    return kind(one(FileObject, member) for member in value)


def _from_client(kind: type[FileObject], value: object) -> FileObject:
    if isinstance(value, kind):
        return value
    if unwrap_upload(value) is not None:
        return kind.from_upload(value)
    if isinstance(value, Mapping | str | bytes):
        raise UntrustedDocumentError(REFUSED)
    raise TypeError(f"Expected a FileObject, got {type(value).__name__}")


def _from_document(kind: type[FileObject], value: object) -> FileObject:
    return kind.from_dict(value) if isinstance(value, Mapping) else _from_client(kind, value)


def _is(kind: object, wanted: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, wanted)  # msgspec asks about generic types too


def _no_file(kind: object) -> str:
    return f"filerow's hooks know FileObject and FileObjectList, not {kind!r}"
