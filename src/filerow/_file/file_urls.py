"""Signed URLs of a file: what may be asked, and what each URL must bind."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from filerow._content import Content
from filerow._document import Facts
from filerow._registry import storages
from filerow.backends._sign_request import check_expiry
from filerow.backends._types import SignRequest
from filerow.exceptions import FileStateError

if TYPE_CHECKING:
    from filerow.backends.base import StorageBackend

__all__ = ("FileURLs",)

DEFAULT_EXPIRY = 3600

Limits: TypeAlias = tuple[str | None, int | None, int | None]
"""The type, the exact length and the greatest length that a signed upload is held to."""


class FileURLs:
    """The methods of :class:`filerow.FileObject` that sign URLs."""

    __slots__ = ()

    # What the value provides.
    _facts: Facts
    _content: Content | None

    def sign(
        self,
        *,
        expires_in: int | None = None,
        for_upload: bool = False,
        download_as: str | None = None,
        inline: bool = False,
        content_type: str | None = None,
        content_length: int | None = None,
        max_length: int | None = None,
        round_expiry: int | None = None,
    ) -> str:
        """Return a URL that lets its holder read (or replace) the bytes until it expires.

        Args:
            expires_in: Seconds the URL works; 3600 by default.
            for_upload: Sign a ``PUT`` instead of a ``GET``.
            download_as: Make the store answer with this filename as an attachment (RFC 6266).
            inline: Make the store answer with the filename, to be shown in the browser, if the type is one that can be shown
                safely; else as an attachment.
            content_type: The only ``Content-Type`` the upload may have (``for_upload``).
            content_length: Bytes the upload must have, exactly (``for_upload``).
            max_length: Most bytes the upload may have (``for_upload``); of the clouds, Google's alone binds that.
            round_expiry: URLs made in one window of so many seconds are the same, so that caches work; the URL may work that
                much longer than ``expires_in``.

        Raises:
            UnsupportedOperationError: The backend cannot sign this, or cannot hold an upload to a limit; the message says which.
            SecretError: The backend signs URLs of our own route and has no secret.
            ValueError: A number is out of range, or these arguments do not go together.
        """
        limits = (content_type, content_length, max_length)
        request = self._sign_request(expires_in, limits, for_upload=for_upload, download_as=download_as, inline=inline)
        return self._signed_by().sign(self._facts.path, request.rounded(round_expiry))

    async def sign_async(
        self,
        *,
        expires_in: int | None = None,
        for_upload: bool = False,
        download_as: str | None = None,
        inline: bool = False,
        content_type: str | None = None,
        content_length: int | None = None,
        max_length: int | None = None,
        round_expiry: int | None = None,
    ) -> str:
        """Return a signed URL; see :meth:`sign`."""
        limits = (content_type, content_length, max_length)
        request = self._sign_request(expires_in, limits, for_upload=for_upload, download_as=download_as, inline=inline)
        return await self._signed_by().sign_async(self._facts.path, request.rounded(round_expiry))

    def presented(self, request: SignRequest) -> SignRequest:
        """Return a request to read with the name and type that this file's URL must bind, where the store knows neither."""
        return SignRequest("GET", request.expires_in, *self._presentation(None, inline=False), signed_at=request.signed_at)

    def _sign_request(
        self, expires_in: int | None, limits: Limits, *, for_upload: bool, download_as: str | None, inline: bool
    ) -> SignRequest:
        seconds = DEFAULT_EXPIRY if expires_in is None else expires_in
        check_expiry(seconds)
        if for_upload and (download_as is not None or inline):
            raise ValueError("download_as= and inline= say how to answer a download; they make no sense with for_upload=True")
        if download_as is not None and inline:
            raise ValueError("choose one of download_as= (an attachment) and inline=True (shown in the browser)")
        if for_upload:
            if not self._facts.path:
                raise FileStateError(f"{self!r} has no path to upload to: choose one by to_filename=, or let DirectUploads do it")
            return SignRequest("PUT", seconds, None, *limits)
        if limits != (None, None, None):
            raise ValueError("content_type=, content_length= and max_length= limit an upload: give for_upload=True with them")
        return SignRequest("GET", seconds, *self._presentation(download_as, inline=inline))

    def _presentation(self, download_as: str | None, *, inline: bool) -> tuple[str | None, str | None]:
        """Return the disposition and the type to bind into a URL to read; ``None`` for what the store knows of the object."""
        facts = self._facts
        # A store with a server keeps both with the object. Our own route has the URL and the path, and not the row.
        own = bool(facts.content_type) and self._signed_by().own_urls is not None
        if not own and download_as is None and not inline:
            return None, None
        from filerow._presentation import present  # loaded with the first URL that needs it, not with the package

        shown = present(facts.content_type, download_as or facts.filename, inline=inline or (own and download_as is None))
        return shown.content_disposition, shown.content_type if own else None

    def _stored_in(self) -> StorageBackend:
        facts = self._facts
        if self._content is not None or not facts.path:
            raise FileStateError(f"{self!r} is not stored yet; commit the session that has its row, or call save()")
        return storages.resolve(facts.backend)

    def _signed_by(self) -> StorageBackend:
        if self._facts.path:  # a URL for an upload may be wanted before there is anything
            return storages.resolve(self._facts.backend)
        return self._stored_in()
