"""Three ways to send a file: stream, redirect, or let the web server send it.

::

    reply = serve(document.file, request.method, request.headers)
    reply.status, reply.headers, reply.body

None of them opens the file before the body is read, and none knows a framework: ``filerow.ext`` has a response for each.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

from filerow._document import Facts
from filerow._execution.steps import run, run_async
from filerow._file.object import FileObject, cache_control_of, facts_of
from filerow._file.variant import LargeVariant, Variant, to_send
from filerow._presentation import safe_headers
from filerow.backends._types import ObjectInfo
from filerow.backends.local import LocalBackend
from filerow.exceptions import FileStateError, UnsupportedOperationError
from filerow.hooks import subscriptions
from filerow.http._reply import Headers, Reply, RequestHeaders, plain
from filerow.http._respond import READS, Representation, answers, not_allowed, respond, respond_with_variant, validators, whole

__all__ = ("accelerate", "redirect", "redirect_async", "serve", "serve_async")

_REVALIDATE = "private, no-cache"
_RESOURCE_POLICY = ("cross-origin-resource-policy", "same-site")


def serve(
    file: FileObject | Variant,
    method: str = "GET",
    headers: RequestHeaders = (),
    *,
    download_as: str | None = None,
    inline: bool | None = None,
    cache_control: str | None = None,
) -> Reply:
    """Respond to a request with a file, through the application.

    Everything except the bytes comes from the row. Only for another library's document without a size is the store asked
    (``serve_async`` awaits that).

    A variant is made at first use, and sent as a whole: ranges of it are not.

    Args:
        file: A stored file, or a variant of one.
        method: The request's method.
        headers: The request's headers.
        download_as: Send this filename, to save the file under.
        inline: Show the file in the browser if its type is safe to show; ``False`` always saves it. By default, a file is
            shown if it is safe and ``download_as`` is not given.
        cache_control: ``Cache-Control``. Default: that of the file's column (``StoredWith``), else ``private, no-cache``: the
            browser then asks each time, and gets 304 if it has this version.

    Raises:
        TypeError: ``file`` is ``None``, or not one file.
        FileStateError: The file is not stored.
        VariantError: The variant cannot be made.
    """
    if isinstance(file, Variant):
        identity = _identity(file, method, headers, cache_control)
        if isinstance(identity, Reply):
            return identity
        return _shown(file, run(to_send(file)), method, identity, download_as, inline)
    facts = _stored(file)
    info = file.backend.head(facts.path) if facts.size is None else None
    return respond(_represent(file, facts, info, download_as, inline, cache_control), method, headers)


async def serve_async(
    file: FileObject | Variant,
    method: str = "GET",
    headers: RequestHeaders = (),
    *,
    download_as: str | None = None,
    inline: bool | None = None,
    cache_control: str | None = None,
) -> Reply:
    """Respond to a request with a file; see :func:`serve`."""
    if isinstance(file, Variant):
        identity = _identity(file, method, headers, cache_control)
        if isinstance(identity, Reply):
            return identity
        return _shown(file, await run_async(to_send(file)), method, identity, download_as, inline)
    facts = _stored(file)
    info = await file.backend.head_async(facts.path) if facts.size is None else None
    return respond(_represent(file, facts, info, download_as, inline, cache_control), method, headers)


def redirect(
    file: FileObject | Variant,
    method: str = "GET",
    *,
    expires_in: float = 3600,
    round_expiry: float | None = None,
    download_as: str | None = None,
    inline: bool = False,
    cache_control: str | None = None,
) -> Reply:
    """Redirect to a signed URL: 302, or 303 after another method than GET and HEAD.

    Args:
        file: A stored file, or a variant of one.
        method: The request's method.
        expires_in: Seconds for which the URL works.
        round_expiry: Length in seconds of a window in which all redirects lead to the same URL, for caches.
        download_as: Make the store send this filename, to save the file under.
        inline: Make the store say that the file may be shown, if its type is safe to show.
        cache_control: ``Cache-Control`` of the redirect. Default: ``private, no-cache``, since the row may have another file, or
            none, when the browser asks again.

    Raises:
        UnsupportedOperationError: The backend cannot sign URLs.
    """
    if not answers(method):
        return not_allowed(*READS)
    if isinstance(file, Variant):
        url = file.sign(expires_in=expires_in, round_expiry=round_expiry, download_as=download_as)
    else:
        url = _one(file).sign(expires_in=expires_in, round_expiry=round_expiry, download_as=download_as, inline=inline)
    return _redirected(url, method, cache_control)


async def redirect_async(
    file: FileObject | Variant,
    method: str = "GET",
    *,
    expires_in: float = 3600,
    round_expiry: float | None = None,
    download_as: str | None = None,
    inline: bool = False,
    cache_control: str | None = None,
) -> Reply:
    """Redirect to a signed URL of the file's store; see :func:`redirect`."""
    if not answers(method):
        return not_allowed(*READS)
    if isinstance(file, Variant):
        url = await file.sign_async(expires_in=expires_in, round_expiry=round_expiry, download_as=download_as)
    else:
        url = await _one(file).sign_async(
            expires_in=expires_in, round_expiry=round_expiry, download_as=download_as, inline=inline
        )
    return _redirected(url, method, cache_control)


def accelerate(
    file: FileObject | Variant,
    method: str = "GET",
    *,
    header: Literal["X-Accel-Redirect", "X-Sendfile"] = "X-Accel-Redirect",
    prefix: str = "/protected/",
    download_as: str | None = None,
    inline: bool | None = None,
    cache_control: str | None = None,
) -> Reply:
    """Let the web server in front of the application send a local file.

    Args:
        file: A stored file.
        method: The request's method.
        header: ``X-Accel-Redirect`` for nginx, ``X-Sendfile`` for Apache (mod_xsendfile) and lighttpd. The value is
            percent-encoded, as all three expect.
        prefix: The internal location that nginx maps to the backend's root; not used for ``X-Sendfile``.
        download_as: See :func:`serve`.
        inline: See :func:`serve`.
        cache_control: See :func:`serve`.

    Raises:
        UnsupportedOperationError: The file is on another kind of backend, or a variant.
        ObjectNotFoundError: There is no such file below the backend's root.
        InvalidPathError: The path escapes the root, or goes through a symbolic link.
    """
    if isinstance(file, Variant):
        msg = f"{header} sends files that are there, and a variant may have to be made; use redirect(variant) or serve(variant)"
        raise UnsupportedOperationError(msg, operation="accelerate")
    facts = _stored(file)
    backend = file.backend
    if not isinstance(backend, LocalBackend):
        msg = (
            f"{header} sends local files, which only a LocalBackend has; use redirect(file) or serve(file) for "
            f"a {type(backend).__name__}"
        )
        raise UnsupportedOperationError(msg, operation="accelerate", backend=backend.key, path=facts.path)
    if not answers(method):
        return not_allowed(*READS)
    backend.head(facts.path)  # the web server would follow a link, or an absolute path or '..' out of the root
    place = f"{prefix.rstrip('/')}/{facts.path}" if header == "X-Accel-Redirect" else str(backend.root / facts.path)
    safe = _safe(facts.content_type, facts.filename, download_as, inline)
    cached = ("cache-control", cache_control or cache_control_of(file) or _REVALIDATE)
    return plain(200, *safe, _RESOURCE_POLICY, cached, (header.lower(), quote(place)))


def _identity(variant: Variant, method: str, headers: RequestHeaders, cache_control: str | None) -> Headers | Reply:
    """Return what identifies a variant, or the response that needs none of its bytes."""
    if not answers(method):
        return not_allowed(*READS)
    return respond_with_variant(variant.id, method, headers, cache_control or variant.cache_control or _REVALIDATE)


def _shown(
    variant: Variant,
    content: bytes | LargeVariant,
    method: str,
    identity: Headers,
    download_as: str | None,
    inline: bool | None,  # noqa: FBT001 - passed on
) -> Reply:
    safe = _safe(variant.content_type, variant.filename, download_as, inline)
    return whole(content, method, (*safe, _RESOURCE_POLICY, *identity))


def _one(file: object) -> FileObject:
    """Refuse what is not a file, such as the value of a column without one."""
    if isinstance(file, FileObject):
        return file
    if file is None:
        raise TypeError("the row has no file to send; answer 404 if row.file is None")
    raise TypeError(f"one stored file can be sent, not {type(file).__name__}")


def _stored(file: FileObject) -> Facts:
    facts = facts_of(_one(file))
    if file.has_pending_data or not facts.path:
        raise FileStateError(f"{file!r} cannot be served before it is stored; commit its row's session, or call save()")
    return facts


def _safe(
    content_type: str | None,
    filename: str,
    download_as: str | None,
    inline: bool | None,  # noqa: FBT001 - passed on
) -> tuple[tuple[str, str], ...]:
    shown = download_as is None if inline is None else inline
    return safe_headers(content_type, download_as or filename, inline=shown)


def _represent(
    file: FileObject,
    facts: Facts,
    info: ObjectInfo | None,
    download_as: str | None,
    inline: bool | None,  # noqa: FBT001 - passed on
    cache_control: str | None,
) -> Representation:
    size, etag, modified, kind = facts.size, facts.etag, facts.last_modified, facts.content_type
    if info is not None:
        size, etag, modified = info.size, etag or info.etag, modified or info.last_modified
        kind = kind or info.content_type or ""
    return Representation(
        backend=file.backend,
        path=facts.path,
        size=size or 0,
        known=validators(facts.checksum, etag, modified),
        headers=(*_safe(kind, facts.filename, download_as, inline), _RESOURCE_POLICY),
        cache_control=cache_control or cache_control_of(file) or _REVALIDATE,
        file=file.public_view() if subscriptions else None,
    )


def _redirected(url: str, method: str, cache_control: str | None) -> Reply:
    return plain(
        302 if method in READS else 303,  # a client that takes 302 literally would send its POST to the store
        ("location", url),
        ("cache-control", cache_control or _REVALIDATE),
        # The page behind the URL, if it is one, must not pass it on.
        ("referrer-policy", "no-referrer"),
    )
