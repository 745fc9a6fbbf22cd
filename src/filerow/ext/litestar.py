"""Litestar: one plugin, and a response for stored files.

::

    @dataclass
    class CreateDocument:
        name: str
        file: FileObject


    @post("/documents")
    async def create(
        data: Annotated[CreateDocument, Body(media_type=RequestEncodingType.MULTI_PART)], db_session: AsyncSession
    ) -> Document:
        document = Document(name=data.name, file=data.file)
        db_session.add(document)
        await db_session.commit()
        return document


    @get("/documents/{document_id:int}/file")
    async def download(document_id: int, db_session: AsyncSession) -> StoredFileResponse:
        document = await db_session.get_one(Document, document_id)
        return StoredFileResponse(document.file)


    app = Litestar([create, download], plugins=[FilerowPlugin(base_url="/files")])

Litestar refuses bodies of more than 10 MB by default: set ``request_max_body_size`` on handlers that take larger files, and
``max_size`` on their columns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeAlias

from filerow._file.object import FileObject
from filerow._media_types import OCTET_STREAM
from filerow._requirements import needs
from filerow.ext._asgi import (
    Answer,
    OtherAnswers,
    Receive,
    Scope,
    Send,
    decoded,
    fixed,
    headers_of,
    reply_of_route,
    send_reply,
    streamed,
)
from filerow.ext._static import SCRIPT, script
from filerow.ext._uploads import bounded, payload_of, uploads_called
from filerow.http._problem import ANSWERED, gate_refusal, problem
from filerow.http._reply import Headers, own_headers

with needs("litestar", "filerow.ext.litestar"):
    from litestar import Request, Response, Router, post, route
    from litestar.di import Provide
    from litestar.enums import HttpMethod
    from litestar.exceptions import ImproperlyConfiguredException, PermissionDeniedException
    from litestar.openapi.datastructures import ResponseSpec
    from litestar.plugins import InitPlugin, ReceiveRoutePlugin
    from litestar.routes import HTTPRoute

    from filerow.ext._litestar_forms import see_to_files
    from filerow.ext._litestar_types import DECODERS, ENCODERS, FileDTO, FileDTOPlugin, FileSchemaPlugin

if TYPE_CHECKING:
    from litestar.config.app import AppConfig
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler
    from litestar.routes import BaseRoute

    from filerow.direct import DirectUploads

__all__ = ("FileDTO", "FilerowPlugin", "StoredFileResponse")

_BYTES = ResponseSpec(bytes, generate_examples=False, description="The file.", media_type=OCTET_STREAM)

Guard: TypeAlias = "Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None] | None]"


class StoredFileResponse(Response[None], OtherAnswers):
    """A response with a stored file, streamed with ranges, conditional requests and safe headers.

    See :func:`filerow.http.serving.serve` for the arguments; :meth:`redirect` and :meth:`accelerate` are the other ways.
    ``headers=`` adds the application's own headers, which replace ours except those that describe the bytes.
    """

    def __init__(
        self,
        file: FileObject,
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


class FilerowPlugin(InitPlugin, ReceiveRoutePlugin):
    """Everything Filerow does for a Litestar application.

    Files in models and results show their public view; files in multipart bodies become pending files; our errors become
    problem documents (RFC 9457); signed URLs of local and memory backends work.

    Args:
        base_url: Where the file route is mounted; the same as the backends' ``base_url``. ``None`` mounts none.
        uploads: Direct uploads by name, each mounted under ``{uploads_url}/{name}``. Default: none. A handler's dependency named
            ``direct_uploads`` gets this mapping.
        uploads_url: Where direct uploads are mounted.
        guards: Litestar's guards, which decide who may upload directly: they raise if the user may not; one that returns
            anything but ``None`` refuses too. Required with ``uploads``; an empty list allows everybody.
        include_in_schema: Show the routes in OpenAPI.

    Raises:
        ImproperlyConfiguredException: ``uploads`` was given without ``guards``.
    """

    def __init__(
        self,
        base_url: str | None = "/files",
        *,
        uploads: Mapping[str, DirectUploads] | None = None,
        uploads_url: str = "/uploads",
        guards: Sequence[Guard] | None = None,
        include_in_schema: bool = False,
    ) -> None:
        if uploads and guards is None:
            raise ImproperlyConfiguredException(
                "whoever may call direct uploads can store files: decide who may with guards=[...] (guards=[] allows everybody)"
            )
        self._base_url = base_url
        self._uploads = dict(uploads or {})
        self._uploads_url = uploads_url
        self._guards = list(guards or [])
        self._include_in_schema = include_in_schema

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add to the application's configuration; the application's own settings take precedence."""
        if any(isinstance(plugin, FileDTOPlugin) for plugin in app_config.plugins):
            return app_config  # Litestar walks the list of plugins, and comes here again for the one inserted before this
        app_config.plugins.insert(0, FileDTOPlugin(app_config.plugins))
        app_config.plugins.append(FileSchemaPlugin())
        app_config.type_encoders = {**ENCODERS, **(app_config.type_encoders or {})}
        app_config.type_decoders = [*(app_config.type_decoders or []), *DECODERS]
        app_config.exception_handlers = {**dict.fromkeys(ANSWERED, _answer_error), **app_config.exception_handlers}
        if self._base_url is not None:
            app_config.route_handlers.append(self._file_router(self._base_url))
        if self._uploads:
            app_config.route_handlers.append(self._upload_router())
            app_config.dependencies.setdefault("direct_uploads", Provide(lambda: self._uploads, sync_to_thread=False))
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Show bytes in OpenAPI for handlers that respond with a stored file, and handle empty file inputs."""
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            see_to_files(handler)
            if handler.parsed_fn_signature.return_type.is_subclass_of(StoredFileResponse):
                handler.responses = {handler.status_code: _BYTES, **(handler.responses or {})}

    def _file_router(self, base_url: str) -> Router:
        return Router(base_url, route_handlers=[_file, _script], include_in_schema=self._include_in_schema)

    def _upload_router(self) -> Router:
        uploads = self._uploads

        @post("/{name:str}/{action:str}", status_code=200, request_max_body_size=None)  # refused here, as in all frameworks
        async def upload(request: Request[Any, Any, Any]) -> dict[str, Any]:
            found = uploads_called(request.path_params["name"], uploads)
            payload = payload_of(request.headers.get("content-type"), await bounded(request.stream()))
            return await found.handle_async(request.path_params["action"], payload)

        guards = [_refusing(guard) for guard in self._guards]
        return Router(
            self._uploads_url,
            route_handlers=[upload],
            guards=guards,
            exception_handlers={_GateError: _answer_gate},
            include_in_schema=self._include_in_schema,
        )


class _GateError(PermissionDeniedException):
    """A guard does not let a client upload."""


def _answer_gate(_: Request[Any, Any, Any], error: _GateError) -> StoredFileResponse:
    return StoredFileResponse.of(fixed(gate_refusal(error.status_code)))


def _refusing(guard: Guard) -> Guard:
    """Return a guard that also refuses if the application's returns something: Litestar looks only at exceptions."""

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
    return StoredFileResponse.of(fixed(reply), problems=True, unread=unread)


@route(f"/{SCRIPT}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def _script(request: Request[Any, Any, Any]) -> StoredFileResponse:
    """Send the browser's side of direct upload."""
    return StoredFileResponse.of(fixed(script(request.method, headers_of(request.scope))))


def _answer_error(_: Request[Any, Any, Any], error: Exception) -> StoredFileResponse:
    return StoredFileResponse.of(fixed(problem(error)))
