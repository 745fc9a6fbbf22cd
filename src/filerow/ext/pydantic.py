"""pydantic: a field that shows a file with a signed URL.

::

    class DocumentOut(BaseModel):
        model_config = ConfigDict(from_attributes=True)
        file: Annotated[FileObject, SignedUrl(expires_in=600, inline=True)]
        preview: Annotated[FileObject, SignedUrl()] | None
        pages: list[Annotated[FileObject, SignedUrl()]]
        photo: Annotated[FileObject, SignedUrl(variants=("thumb", "w640"))]

A plain ``FileObject`` shows its public view without this module, which adds ``url`` to it. URLs are made when the model is
dumped, so they are as fresh as the response. Most backends make them without a request; one that fetches its credentials may
block: there, await ``file.sign_async()`` and pass the URL to the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filerow._file.object import FileObject
from filerow._file.pydantic import core_schema_for
from filerow._file.variant import EXPIRY, view_of
from filerow._file.view import json_schema_for, json_schema_with

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
        variants: Names of variants to show: ``variants`` then has of each its ``url``, ``content_type``, ``width`` and
            ``height``, or ``null`` if the file is not an image that can be decoded. Their URLs are rounded to an hour by
            default.
        original: ``False`` leaves ``url`` out, and shows only variants.

    Raises:
        TypeError: At the class that has the field: it annotates something other than a ``FileObject``.
        FileStateError: When the model is dumped, if the file is pending. pydantic raises its own error with this message.
    """

    expires_in: float = 3600
    inline: bool = False
    round_expiry: float | None = None
    variants: tuple[str, ...] = ()
    original: bool = True

    def __post_init__(self) -> None:
        """Make the names a tuple."""
        given: object = self.variants
        if isinstance(given, str):
            raise TypeError(f"variants= is a tuple of names, such as ({given!r},)")
        object.__setattr__(self, "variants", tuple(self.variants))

    def view_of(self, file: FileObject) -> dict[str, Any]:
        """Return what a client may see of a stored file, with the URL."""
        shown = file.public_view()
        if self.original:
            shown["url"] = file.sign(expires_in=self.expires_in, inline=self.inline, round_expiry=self.round_expiry)
        if self.variants:
            window = EXPIRY if self.round_expiry is None else self.round_expiry
            shown["variants"] = {name: view_of(file.variant(name), self.expires_in, window) for name in self.variants}
        return shown

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of a file shown with its URL."""
        if not isinstance(source, type) or not issubclass(source, FileObject):
            raise TypeError(
                "SignedUrl belongs to the file itself: Annotated[FileObject, SignedUrl()] | None, "
                f"list[Annotated[FileObject, SignedUrl()]]; not to {source!r}"
            )
        return core_schema_for(source, self.view_of)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON Schema of the public view with ``url`` and ``variants``."""
        return json_schema_with(json_schema_for(handler.mode), self.variants, url=self.original)
