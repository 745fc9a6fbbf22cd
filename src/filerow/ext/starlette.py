"""Starlette: files in routes, responses and uploads, and problem documents.

::

    async def create(request: Request) -> Response:
        async with request.form() as form:
            document = Document(name=form["name"], file=await Uploaded(request, Document.file))
            async with sessions() as session:
                session.add(document)
                await session.commit()
        return JSONResponse({"id": document.id})


    async def download(request: Request) -> Response:
        async with sessions() as session:
            document = await session.get(Document, request.path_params["id"])
        if document is None:
            raise HTTPException(404)
        return StoredFileResponse(document.file)


    app = Starlette(
        routes=[Route("/documents", create, methods=["POST"]), Route("/documents/{id:int}/file", download), *routes("/files")]
    )
    install(app)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow._file.variant import Variant
from filerow._requirements import needs
from filerow.ext._static import SCRIPT, script
from filerow.ext._uploads import bounded, checked_async, payload_of, target_of, uploads_called, uploads_in, uploads_to_mount
from filerow.http._problem import ANSWERED, gate_refusal, problem
from filerow.http._reply import Headers, own_headers

with needs("starlette", "filerow.ext.starlette"):
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from filerow.ext._asgi import (
        Answer,
        ASGIAnswers,
        Receive,
        Scope,
        Send,
        decoded,
        fixed,
        headers_of,
        reply_of_route,
        response_of,
        send_reply,
        streamed,
    )

if TYPE_CHECKING:
    from starlette.background import BackgroundTask

    from filerow.direct import DirectUploads

__all__ = ("StoredFileResponse", "Uploaded", "install", "routes")

Authorize = Callable[[Request], Any]


class StoredFileResponse(Response, ASGIAnswers):
    """A streamed file, with ranges, conditional requests and safe headers.

    See :func:`filerow.http.serving.serve` for the arguments; :meth:`redirect` and :meth:`accelerate` are the other ways.
    ``headers=`` adds the application's own headers, which replace ours except those that describe the bytes.
    """

    media_type = "application/octet-stream"

    def __init__(
        self,
        file: FileObject | Variant,
        *,
        download_as: str | None = None,
        inline: bool | None = None,
        cache_control: str | None = None,
        headers: Mapping[str, str] | None = None,
        status_code: int = 200,
        background: BackgroundTask | None = None,
    ) -> None:
        # FastAPI's OpenAPI looks for the default of status_code; the status itself depends on the request.
        self.answer: Answer = streamed(file, download_as=download_as, inline=inline, cache_control=cache_control)
        self.problems = False
        self.added: Headers = own_headers(headers)
        self.background = background
        self.status_code: int = status_code
        self.body: bytes = b""
        self.raw_headers: list[tuple[bytes, bytes]] = []  # what set_cookie() and the framework add

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to the request in ``scope``."""
        reply = await self.answer(scope["method"], headers_of(scope))
        extra = [*self.added, *decoded(self.raw_headers)]
        await send_reply(reply, scope, receive, send, extra=extra, problems=self.problems, unread=self.unread)
        if self.background is not None:
            await self.background()


def routes(
    base_url: str | None = "/files",
    *,
    uploads: Mapping[str, DirectUploads] | None = None,
    uploads_url: str = "/uploads",
    authorize: Authorize | None = None,
    include_in_schema: bool = False,
) -> list[Route]:
    """Return the routes of signed URLs, ``filerow.js`` and direct uploads.

    The signed URLs are those of local and memory backends, and of the variants of all backends.

    Args:
        base_url: The same as the backends' ``base_url``, and as the ``url`` of ``filerow.variants.configure_urls()``, without
            scheme and host. ``None`` leaves these routes out.
        uploads: Direct uploads by name, each at ``{uploads_url}/{name}``. Default: none.
        uploads_url: Where direct uploads are mounted.
        authorize: Called with each request for a direct upload, and awaited if needed. It raises ``HTTPException`` if the user
            may not upload, or returns the response to send; any other result than ``None`` gives 403. Required with
            ``uploads``.
        include_in_schema: Show the routes in generated schemas.

    Raises:
        ValueError: ``uploads`` was given without ``authorize``.
    """
    mounted = uploads_to_mount(uploads, authorize)

    async def upload(request: Request) -> Response:
        refused = authorize(request) if authorize is not None else None
        if isawaitable(refused):
            refused = await refused
        if isinstance(refused, Response):
            return refused
        if refused is not None:  # such as False: only None allows the request
            return response_of(StoredFileResponse, fixed(gate_refusal()))
        return await direct(request, mounted)

    shown: dict[str, Any] = {"include_in_schema": include_in_schema}
    found: list[Route] = []
    if base_url is not None:
        found.append(Route(f"{base_url}/{SCRIPT}", send_script, methods=["GET"], **shown))
        found.append(Route(f"{base_url}/{{key}}/{{path:path}}", signed, methods=["GET", "PUT"], **shown))
    if mounted:
        found.append(Route(f"{uploads_url}/{{name}}/{{action}}", upload, methods=["POST"], **shown))
    return found


async def signed(request: Request) -> Response:
    """Send or store the file of a signed URL."""
    params = request.path_params
    reply, unread = await reply_of_route(request.scope, request.receive, params["key"], params["path"])
    return response_of(StoredFileResponse, fixed(reply), problems=True, unread=unread)


async def send_script(request: Request) -> Response:
    """Send the browser's side of direct upload."""
    return response_of(StoredFileResponse, fixed(script(request.method, headers_of(request.scope))))


async def direct(request: Request, uploads: Mapping[str, DirectUploads]) -> Response:
    """Answer one request of ``filerow.js``."""
    try:
        found = uploads_called(request.path_params["name"], uploads)
        payload = payload_of(request.headers.get("content-type"), await bounded(request.stream()))
        return JSONResponse(await found.handle_async(request.path_params["action"], payload))
    except ANSWERED as error:
        return response_of(StoredFileResponse, fixed(problem(error)))


async def Uploaded(  # noqa: N802 - as in the other frameworks, where it reads as a type
    request: Request, column: object, *, field: str | None = None, optional: bool = False
) -> Any:
    """Return an uploaded file as a pending file, checked by its column's rules.

    For a list column it is a ``FileObjectList``. The upload is read when a session stores the file, so close the form only after
    that: ``async with request.form():``.

    Args:
        request: The request, whose form is read unless that has been done.
        column: The column, such as ``Document.file``.
        field: The form field's name. Default: the column's.
        optional: Allow the field to be missing or empty; the result is then ``None``, or an empty list.

    Raises:
        FileValidationError: The field has no file, or a rule refuses it.
    """
    target = target_of(column)
    name, form = field or target.field, await request.form()
    uploads = uploads_in(name, form.getlist(name), request.headers.get("content-type"), optional=optional)
    if target.type.multiple:
        return FileObjectList([await checked_async(upload, target, name) for upload in uploads])
    return await checked_async(uploads[0], target, name) if uploads else None


def install(app: Starlette) -> None:
    """Turn our errors into problem documents (RFC 9457).

    A handler of the application's own takes precedence.
    """
    for kind in ANSWERED:
        app.exception_handlers.setdefault(kind, answer_error)


async def answer_error(_: Request, error: Exception) -> Response:
    """Respond to an error with its problem document."""
    return response_of(StoredFileResponse, fixed(problem(error)))
