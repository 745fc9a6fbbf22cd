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

Litestar by itself refuses bodies of more than 10 MB: give handlers that take larger files a ``request_max_body_size`` of their
own, and their columns a ``max_size``.
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
from filerow.http._problem import ANSWERED, problem
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
    """A stored file as the answer, streamed with ranges, conditional requests and safe headers.

    See :func:`filerow.http.serving.serve` for the arguments; :meth:`redirect` and :meth:`accelerate` are the other ways out.
    ``headers=`` adds headers of the application's own, which replace ours but for those that describe the bytes.
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

        # Litestar's compression waits for the first bytes of an answer that it sees, and drops what it does not know.
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
        uploads: Direct uploads by name, each mounted under ``{uploads_url}/{name}``; none by default. Handlers that ask for a
            dependency of the name ``direct_uploads`` get this mapping.
        uploads_url: Where direct uploads are mounted.
        guards: Litestar's guards, which say who may upload directly: they raise for whoever may not, and one that returns
            anything but ``None`` refuses, too. Needed with ``uploads``; an empty list lets everybody.
        include_in_schema: Show the routes in OpenAPI.

    Raises:
        ImproperlyConfiguredException: There are direct uploads, and nobody has said who may use them.
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
                "direct uploads let whoever may call them store files: say who may with guards=[...] (guards=[] for everybody)"
            )
        self._base_url = base_url
        self._uploads = dict(uploads or {})
        self._uploads_url = uploads_url
        self._guards = list(guards or [])
        self._include_in_schema = include_in_schema

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add to the application's configuration; what the application says itself goes first."""
        if any(isinstance(plugin, FileDTOPlugin) for plugin in app_config.plugins):
            return app_config  # Litestar walks the list of plugins, and came here again for the one put before this
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
        """Let OpenAPI say of handlers that answer with a stored file that they answer with bytes; see to empty file inputs."""
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            see_to_files(handler)
            if handler.parsed_fn_signature.return_type.is_subclass_of(StoredFileResponse):
                handler.responses = {handler.status_code: _BYTES, **(handler.responses or {})}

    def _file_router(self, base_url: str) -> Router:
        return Router(base_url, route_handlers=[_file, _script], include_in_schema=self._include_in_schema)

    def _upload_router(self) -> Router:
        uploads = self._uploads

        @post("/{name:str}/{action:str}", status_code=200, request_max_body_size=None)  # which is refused here, as everywhere
        async def upload(request: Request[Any, Any, Any]) -> dict[str, Any]:
            found = uploads_called(request.path_params["name"], uploads)
            payload = payload_of(request.headers.get("content-type"), await bounded(request.stream()))
            return await found.handle_async(request.path_params["action"], payload)

        guards = [_refusing(guard) for guard in self._guards]
        return Router(self._uploads_url, route_handlers=[upload], guards=guards, include_in_schema=self._include_in_schema)


def _refusing(guard: Guard) -> Guard:
    """Return a guard that refuses, too, where the application's only returns something: Litestar looks at exceptions alone."""

    async def refuse(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        found: object = guard(connection, handler)
        if isawaitable(found):
            found = await found
        if found is not None:
            raise PermissionDeniedException

    return refuse


@route("/{key:str}/{path:path}", http_method=[HttpMethod.GET, HttpMethod.HEAD, HttpMethod.PUT], request_max_body_size=None)
async def _file(request: Request[Any, Any, Any]) -> StoredFileResponse:
    """Send or take the file of a signed URL."""
    path = str(request.path_params["path"]).removeprefix("/")
    reply, unread = await reply_of_route(request.scope, request.receive, request.path_params["key"], path)
    return StoredFileResponse.of(fixed(reply), problems=True, unread=unread)


@route(f"/{SCRIPT}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def _script(request: Request[Any, Any, Any]) -> StoredFileResponse:
    """Send the browser's side of direct upload."""
    return StoredFileResponse.of(fixed(script(request.method, headers_of(request.scope))))


def _answer_error(_: Request[Any, Any, Any], error: Exception) -> StoredFileResponse:
    return StoredFileResponse.of(fixed(problem(error)))
