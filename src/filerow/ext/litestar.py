"""Litestar: files in routes, responses and uploads, and problem documents.

::

    @dataclass
    class CreateDocument:
        name: str
        file: Annotated[FileObject, Uploaded(Document.file)]


    @post("/documents")
    async def create(
        data: Annotated[CreateDocument, Body(media_type=RequestEncodingType.MULTI_PART)],
        db_session: NamedDependency[AsyncSession],
    ) -> Document:
        document = Document(name=data.name, file=data.file)
        db_session.add(document)
        await db_session.commit()
        return document


    @get("/documents/{document_id:int}/file")
    async def download(document_id: FromPath[int], db_session: NamedDependency[AsyncSession]) -> StoredFileResponse:
        document = await db_session.get(Document, document_id)
        if document is None:
            raise NotFoundException
        return StoredFileResponse(document.file)


    app = Litestar([create, download, routes("/files")], plugins=[install()])

Litestar refuses bodies of more than 10 MB by default: set ``request_max_body_size`` on handlers that take larger files, and
``max_size`` on their columns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeAlias

from filerow._file.object import FileObject
from filerow._file.variant import Variant
from filerow._media_types import OCTET_STREAM
from filerow._requirements import needs
from filerow.ext._static import SCRIPT, script
from filerow.ext._uploads import bounded, payload_of, uploads_called, uploads_to_mount
from filerow.http._problem import ANSWERED, gate_refusal, problem
from filerow.http._reply import Headers, own_headers

with needs("litestar", "filerow.ext.litestar"):
    from litestar import Request, Response, Router, post, route
    from litestar.enums import HttpMethod
    from litestar.exceptions import PermissionDeniedException
    from litestar.openapi.datastructures import ResponseSpec
    from litestar.plugins import InitPlugin, ReceiveRoutePlugin
    from litestar.routes import HTTPRoute

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
    from filerow.ext._litestar_dtos import FileDTO, FileDTOPlugin, let_dtos_take_files
    from filerow.ext._litestar_forms import Uploaded, see_to_files
    from filerow.ext._litestar_types import DECODERS, ENCODERS, FileSchemaPlugin

if TYPE_CHECKING:
    from litestar.config.app import AppConfig
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler
    from litestar.routes import BaseRoute

    from filerow.direct import DirectUploads

__all__ = ("FileDTO", "StoredFileResponse", "Uploaded", "install", "routes")

_BYTES = ResponseSpec(bytes, generate_examples=False, description="The file.", media_type=OCTET_STREAM)

Guard: TypeAlias = "Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None] | None]"


class StoredFileResponse(Response[None], ASGIAnswers):
    """A streamed file, with ranges, conditional requests and safe headers.

    See :func:`filerow.http.serving.serve` for the arguments; :meth:`redirect` and :meth:`accelerate` are the other ways.
    ``headers=`` adds the application's own headers, which replace ours except those that describe the bytes.
    """

    def __init__(
        self,
        file: FileObject | Variant,
        *,
        download_as: str | None = None,
        inline: bool | None = None,
        cache_control: str | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(content=None, **options)
        self.added: Headers = own_headers(headers)
        self.answer: Answer = streamed(file, download_as=download_as, inline=inline, cache_control=cache_control)
        self.problems = False

    def to_asgi_response(self, app: Any, request: Any, **given: Any) -> Any:  # noqa: ARG002 - Litestar's signature
        """Return the ASGI application that sends this; see Litestar's ``Response``."""
        headers = {**(given.get("headers") or {}), **self.headers}
        pairs = [(name.lower(), value) for name, value in headers.items()]
        cookies = [cookie.to_encoded_header() for cookie in (*self.cookies, *(given.get("cookies") or ()))]
        background = self.background or given.get("background")

        # Litestar's compression waits for the first bytes of a response, and drops messages that it does not know.
        unseen = request.app.compression_config is None

        async def send_file(scope: Scope, receive: Receive, send: Send) -> None:
            reply = await self.answer(scope["method"], headers_of(scope))
            extra, scope = [*self.added, *pairs, *decoded(cookies)], scope if unseen else {**scope, "extensions": {}}
            await send_reply(reply, scope, receive, send, extra=extra, problems=self.problems, unread=self.unread)
            if background is not None:
                await background()

        return send_file


def install() -> InitPlugin:
    """Return the plugin for an application: ``Litestar(plugins=[install()])``.

    Files in models and results show their public view, files in multipart bodies become pending files, and our errors become
    problem documents (RFC 9457). The application's own settings take precedence.
    """
    return _Plugin()


class _Plugin(InitPlugin, ReceiveRoutePlugin):
    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add to the configuration; the application's own settings take precedence."""
        if any(isinstance(plugin, FileDTOPlugin) for plugin in app_config.plugins):
            return app_config  # Litestar walks the list of plugins, and comes here again for the one inserted before this
        app_config.plugins.insert(0, FileDTOPlugin(app_config.plugins))
        app_config.plugins.append(FileSchemaPlugin())
        let_dtos_take_files(app_config)
        app_config.type_encoders = {**ENCODERS, **(app_config.type_encoders or {})}
        app_config.type_decoders = [*(app_config.type_decoders or []), *DECODERS]
        app_config.exception_handlers = {**_ANSWERS, **app_config.exception_handlers}
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Show bytes in OpenAPI where a stored file is sent, and see to files of forms."""
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            see_to_files(handler)
            if handler.parsed_fn_signature.return_type.is_subclass_of(StoredFileResponse):
                handler.responses = {handler.status_code: _BYTES, **(handler.responses or {})}


def routes(
    base_url: str | None = "/files",
    *,
    uploads: Mapping[str, DirectUploads] | None = None,
    uploads_url: str = "/uploads",
    authorize: Guard | None = None,
    include_in_schema: bool = False,
) -> Router:
    """Return the router of signed URLs, ``filerow.js`` and direct uploads.

    The signed URLs are those of local and memory backends, and of the variants of all backends.

    Args:
        base_url: The same as the backends' ``base_url``, and as the ``url`` of ``filerow.variants.configure_urls()``, without
            scheme and host. ``None`` leaves these routes out.
        uploads: Direct uploads by name, each at ``{uploads_url}/{name}``. Default: none.
        uploads_url: Where direct uploads are mounted.
        authorize: A guard of Litestar's for each direct upload: it raises if the user may not upload; any other result than
            ``None`` gives 403. Required with ``uploads``.
        include_in_schema: Show the routes in OpenAPI.

    Raises:
        ValueError: ``uploads`` was given without ``authorize``.
    """
    mounted = uploads_to_mount(uploads, authorize)
    shown: dict[str, Any] = {"include_in_schema": include_in_schema}
    found = [] if base_url is None else [Router(base_url, route_handlers=[_file, _script], **shown)]
    if mounted and authorize is not None:
        found.append(_upload_router(mounted, uploads_url, authorize, **shown))
    return Router("/", route_handlers=found)


def _upload_router(uploads: Mapping[str, DirectUploads], path: str, authorize: Guard, **shown: Any) -> Router:
    @post("/{name:str}/{action:str}", status_code=200, request_max_body_size=None)  # refused here, as in all frameworks
    async def upload(request: Request[Any, Any, Any]) -> dict[str, Any]:
        found = uploads_called(request.path_params["name"], uploads)
        payload = payload_of(request.headers.get("content-type"), await bounded(request.stream()))
        return await found.handle_async(request.path_params["action"], payload)

    answers: dict[Any, Any] = {**_ANSWERS, _GateError: _answer_gate}
    return Router(path, route_handlers=[upload], guards=[_refusing(authorize)], exception_handlers=answers, **shown)


class _GateError(PermissionDeniedException):
    """A guard does not let a client upload."""


def _answer_gate(_: Request[Any, Any, Any], error: _GateError) -> StoredFileResponse:
    return response_of(StoredFileResponse, fixed(gate_refusal(error.status_code)))


def _refusing(guard: Guard) -> Guard:
    """Return a guard that also refuses if the application's returns something.

    Litestar looks only at exceptions.
    """

    async def refuse(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        found: object = guard(connection, handler)
        if isawaitable(found):
            found = await found
        if found is not None:
            raise _GateError

    return refuse


@route("/{key:str}/{path:path}", http_method=[HttpMethod.GET, HttpMethod.HEAD, HttpMethod.PUT], request_max_body_size=None)
async def _file(request: Request[Any, Any, Any]) -> StoredFileResponse:
    """Send or store the file of a signed URL."""
    path = str(request.path_params["path"]).removeprefix("/")
    reply, unread = await reply_of_route(request.scope, request.receive, request.path_params["key"], path)
    return response_of(StoredFileResponse, fixed(reply), problems=True, unread=unread)


@route(f"/{SCRIPT}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def _script(request: Request[Any, Any, Any]) -> StoredFileResponse:
    """Send the browser's side of direct upload."""
    return response_of(StoredFileResponse, fixed(script(request.method, headers_of(request.scope))))


def _answer_error(_: Request[Any, Any, Any], error: Exception) -> StoredFileResponse:
    return response_of(StoredFileResponse, fixed(problem(error)))


_ANSWERS: dict[Any, Any] = dict.fromkeys(ANSWERED, _answer_error)
