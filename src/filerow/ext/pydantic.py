"""pydantic: a field that shows a file with a signed URL.

::

    class DocumentOut(BaseModel):
        model_config = ConfigDict(from_attributes=True)
        file: Annotated[FileObject, SignedUrl(expires_in=600, inline=True)]
        preview: Annotated[FileObject, SignedUrl()] | None
        pages: list[Annotated[FileObject, SignedUrl()]]

A plain ``FileObject`` shows its public view without this module, which adds ``url`` to it. URLs are made when the model is
dumped, so they are as fresh as the response. Most backends make them without a request; one that fetches its credentials may
block: there, await ``file.sign_async()`` and pass the URL to the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filerow._file.object import FileObject
from filerow._file.pydantic import core_schema_for
from filerow._file.view import json_schema_for

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

__all__ = ("SignedUrl",)


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """Adds ``url`` to a file's public view: ``Annotated[FileObject, SignedUrl()]``.

    Args:
        expires_in: Seconds for which the URL works.
        inline: Show the file in the browser if its type is safe to show; otherwise as an attachment.
        round_expiry: Length in seconds of a window in which all URLs are the same, for caches.

    Raises:
        TypeError: At the class that has the field: it annotates something other than a ``FileObject``.
        FileStateError: When the model is dumped, if the file is pending. pydantic raises its own error with this message.
    """

    expires_in: float = 3600
    inline: bool = False
    round_expiry: float | None = None

    def view_of(self, file: FileObject) -> dict[str, Any]:
        """Return what a client may see of a stored file, with the URL."""
        url = file.sign(expires_in=self.expires_in, inline=self.inline, round_expiry=self.round_expiry)
        return {**file.public_view(), "url": url}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of a file shown with its URL."""
        if not isinstance(source, type) or not issubclass(source, FileObject):
            raise TypeError(
                "SignedUrl belongs to the file itself: Annotated[FileObject, SignedUrl()] | None, "
                f"list[Annotated[FileObject, SignedUrl()]]; not to {source!r}"
            )
        return core_schema_for(source, self.view_of)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON Schema of the public view with ``url``."""
        shown = json_schema_for(handler.mode)
        url = {"type": "string", "format": "uri-reference", "description": "Where to read the file, for a limited time."}
        shown["title"] = "SignedFileObject"
        shown["properties"]["url"] = url
        shown["required"].append("url")
        return shown
