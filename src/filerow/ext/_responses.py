"""Shared by all frameworks' responses: other ways to send than streaming."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from filerow._file.object import FileObject
from filerow._file.variant import Variant


class OtherAnswers:
    """Adds :meth:`redirect` and :meth:`accelerate` to a class of responses.

    The class says how it makes a response of either: ``_redirected()`` and ``_accelerated()`` take the file, the options of
    :mod:`filerow.http.serving`, and the application's own headers.
    """

    if TYPE_CHECKING:

        @classmethod
        def _redirected(
            cls, file: FileObject | Variant, options: Mapping[str, Any], headers: Mapping[str, str] | None
        ) -> Self: ...

        @classmethod
        def _accelerated(
            cls, file: FileObject | Variant, options: Mapping[str, Any], headers: Mapping[str, str] | None
        ) -> Self: ...

    @classmethod
    def redirect(
        cls,
        file: FileObject | Variant,
        *,
        expires_in: float = 3600,
        round_expiry: float | None = None,
        download_as: str | None = None,
        inline: bool = False,
        cache_control: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Redirect to a signed URL; see :func:`filerow.http.serving.redirect`."""
        url = {"expires_in": expires_in, "round_expiry": round_expiry, "download_as": download_as, "inline": inline}
        return cls._redirected(file, {**url, "cache_control": cache_control}, headers)

    @classmethod
    def accelerate(
        cls,
        file: FileObject | Variant,
        *,
        header: Literal["X-Accel-Redirect", "X-Sendfile"] = "X-Accel-Redirect",
        prefix: str = "/protected/",
        download_as: str | None = None,
        inline: bool | None = None,
        cache_control: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Let the web server send it; see :func:`filerow.http.serving.accelerate`."""
        options = {"download_as": download_as, "inline": inline, "cache_control": cache_control}
        return cls._accelerated(file, {"header": header, "prefix": prefix, **options}, headers)
