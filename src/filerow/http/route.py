"""Our own route: serves the signed URLs of backends without a server.

Mount it at the backends' ``base_url`` and pass it every request: the URL itself is the permission. A URL to read returns the file
with the type and disposition that it binds; a URL to upload stores one new object of the type and size that it binds, or
nothing. A URL of a variant, of any backend, returns that image, which is made if it is not stored yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from mimetypes import guess_type

from filerow._execution.steps import Call, Steps, run, run_async
from filerow._log import extras, logger
from filerow._presentation import is_shown, safe_headers
from filerow._registry import storages
from filerow.backends._types import ObjectInfo, PutOptions, SignRequest
from filerow.backends.base import StorageBackend
from filerow.exceptions import BackendNotFoundError, FilerowError, InvalidTokenError, ObjectExistsError, SecretError
from filerow.http._capacity import Admitted, uploads
from filerow.http._problem import problem, refusal, upload_refusal
from filerow.http._reply import Reply, RequestHeaders, lowered, plain
from filerow.http._respond import READS, Representation, not_allowed, respond, validators
from filerow.http._upload import UploadLimits, UploadRefusedError, limits_of

__all__ = ("answer", "answer_async", "problem", "receive", "receive_async")


def answer(
    method: str, key: str, path: str, query: str, headers: RequestHeaders = (), *, cache_control: str | None = None
) -> Reply:
    """Respond to a request for a signed URL to read.

    Args:
        method: The request's method.
        key: The backend's key, from the URL, decoded.
        path: The rest of the URL's path, decoded.
        query: The URL's query string, undecoded.
        headers: The request's headers.
        cache_control: ``Cache-Control``. By default the browser may keep the file for as long as the URL works.

    Returns:
        The file, or the error: 403 for a URL that was not made by this application, was changed or has expired, 404 for an
        object that is gone.
    """
    return run(_answer_steps(method, key, path, query, headers, cache_control))


async def answer_async(
    method: str, key: str, path: str, query: str, headers: RequestHeaders = (), *, cache_control: str | None = None
) -> Reply:
    """Respond to a request for a signed URL to read; see :func:`answer`."""
    return await run_async(_answer_steps(method, key, path, query, headers, cache_control))


def _answer_steps(
    method: str, key: str, path: str, query: str, headers: RequestHeaders, cache_control: str | None
) -> Steps[Reply]:
    if method not in READS:
        return not_allowed(*READS)
    if "&v=" in f"&{query}":  # a proxy may have sorted it
        return (yield from _variant_steps(method, key, path, query, headers, cache_control))
    try:
        backend, request = _permitted(method, key, path, query)
        info: ObjectInfo = yield Call(backend.head, backend.head_async, (path,))
    except FilerowError as error:
        return problem(error)
    return _answered(backend, request, info, method, headers, cache_control)


def _variant_steps(
    method: str, key: str, path: str, query: str, headers: RequestHeaders, cache_control: str | None
) -> Steps[Reply]:
    """Respond to a request for a variant, which needs the extra ``images``."""
    try:
        from filerow.http._variant import variant_steps
    except ImportError as error:
        message = "a request for the URL of a variant on backend %r was refused, since nothing makes variants here: %s"
        logger.error(message, key, error, extra=extras("serve", key, error=type(error).__name__))
        return problem(InvalidTokenError("this link was not made by this application, or was changed"))
    return (yield from variant_steps(method, key, path, query, headers, cache_control))


def receive(method: str, key: str, path: str, query: str, headers: RequestHeaders, body: Iterable[bytes]) -> Reply:
    """Store the body of a signed upload, once: objects are never overwritten.

    The URL is checked before any byte of the body is read, and reading stops at the first byte too many. A body that is cut off
    or has the wrong size leaves nothing behind.

    Args:
        method: The request's method.
        key: The backend's key, from the URL, decoded.
        path: The rest of the URL's path, decoded.
        query: The URL's query string, undecoded.
        headers: The request's headers.
        body: The request's body in chunks. Its own exceptions are raised unchanged.

    Returns:
        201 with the object's ``ETag``; or 400, 403, 408, 409, 411, 412, 413, 415 or 503, and the reason.
    """

    def checked(upload: Admitted, limits: UploadLimits) -> Iterator[bytes]:
        return upload.paced(limits.counted(body))

    return run(_receive_steps(method, key, path, query, headers, checked))


async def receive_async(
    method: str, key: str, path: str, query: str, headers: RequestHeaders, body: AsyncIterable[bytes]
) -> Reply:
    """Store the body of a request to a signed URL to upload; see :func:`receive`."""

    def checked(upload: Admitted, limits: UploadLimits) -> AsyncIterator[bytes]:
        return upload.paced_async(limits.counted_async(body))

    return await run_async(_receive_steps(method, key, path, query, headers, checked))


def _receive_steps(
    method: str, key: str, path: str, query: str, headers: RequestHeaders, checked: Callable[[Admitted, UploadLimits], object]
) -> Steps[Reply]:
    """Store a body that ``checked`` passes on while it is allowed."""
    if method != "PUT":
        return not_allowed("PUT")
    try:
        backend, request = _permitted(method, key, path, query)
        limits = limits_of(request, lowered(headers))
        with uploads.admit(key, path, limits) as upload:
            if (yield Call(backend.exists, backend.exists_async, (path,))):
                return _taken(headers)
            options = PutOptions(content_type=request.content_type, create_only=True)
            info: ObjectInfo = yield Call(backend.put, backend.put_async, (path, checked(upload, limits), options))
    except ObjectExistsError:
        return _taken(headers)
    except UploadRefusedError as refused:
        return upload_refusal(refused)
    except FilerowError as error:
        return problem(error)
    tag = validators(None, info.etag, None).etag
    return plain(201, *((("etag", tag),) if tag else ()), ("cache-control", "no-store"))


def _permitted(method: str, key: str, path: str, query: str) -> tuple[StorageBackend, SignRequest]:
    """Return the backend and what its URL allows."""
    try:
        backend = storages.get_backend(key)
    except BackendNotFoundError:
        backend = None
    try:
        if backend is not None and backend.own_urls is not None:
            return backend, backend.own_urls.verify(method, path, query)
    except SecretError as error:
        message = "a signed URL of backend %r was refused, since there is no secret to check it with: %s"
        logger.error(message, key, error, extra=extras("serve", key, error=type(error).__name__))
    raise InvalidTokenError("this link was not made by this application, or was changed")


def _answered(
    backend: StorageBackend,
    request: SignRequest,
    info: ObjectInfo,
    method: str,
    headers: RequestHeaders,
    cache_control: str | None,
) -> Reply:
    content_type = request.content_type or info.content_type or guess_type(info.path)[0]
    safe = dict(safe_headers(content_type, info.path.rpartition("/")[2]))
    bound = request.content_disposition
    if bound is not None:
        # The signer may have asked for more than is safe.
        safe["content-disposition"] = bound if is_shown(content_type) else _as_attachment(bound)
    what = Representation(
        backend=backend,
        path=info.path,
        size=info.size or 0,
        known=validators(None, info.etag, info.last_modified, settled=True),  # a path is never written twice
        headers=(
            *safe.items(),
            # The URL is the permission, so it works on pages of other sites like a store's URL; but it must not leak.
            ("cross-origin-resource-policy", "cross-origin"),
            ("referrer-policy", "no-referrer"),
        ),
        cache_control=cache_control or request.cache_control or f"private, max-age={request.expires_in}, immutable",
    )
    return respond(what, method, headers)


def _as_attachment(disposition: str) -> str:
    _, semicolon, parameters = disposition.partition(";")
    return f"attachment{semicolon}{parameters}"


def _taken(headers: RequestHeaders) -> Reply:
    """Refuse to overwrite: by the client's precondition (RFC 9110, 13.1.2), or ours."""
    status = 412 if lowered(headers).get("if-none-match", "").strip() == "*" else 409
    return refusal(status, "file-exists", "The file already exists, and files are never overwritten.")
