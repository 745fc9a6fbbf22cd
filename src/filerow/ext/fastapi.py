"""FastAPI: files in routes, responses and uploads, and problem documents.

::

    @app.post("/documents")
    async def create(name: Annotated[str, Form()], file: Annotated[FileObject, Uploaded(Document.file)]) -> DocumentOut:
        async with sessions() as session:
            document = Document(name=name, file=file)
            session.add(document)
            await session.commit()
        return DocumentOut.model_validate(document)


    @app.get("/documents/{id}/file", response_class=StoredFileResponse)
    async def download(id: int) -> StoredFileResponse:
        async with sessions() as session:
            document = await session.get(Document, id)
        if document is None:
            raise HTTPException(404)
        return StoredFileResponse(document.file)


    app.include_router(routes("/files"))
    install(app)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from inspect import Parameter, Signature, isawaitable
from typing import TYPE_CHECKING, Annotated, Any

from filerow._file.list import FileObjectList
from filerow._file.object import FileObject
from filerow._requirements import needs
from filerow.ext._static import SCRIPT
from filerow.ext._uploads import carries_files, checked_async, is_upload, refuse_texts, required, target_of, uploads_to_mount
from filerow.http._problem import gate_refusal

with needs("fastapi", "filerow.ext.fastapi"):
    from fastapi import APIRouter, Depends, File, HTTPException, Request, Response, UploadFile
    from fastapi.encoders import ENCODERS_BY_TYPE
    from fastapi.params import Depends as Dependency
    from fastapi.routing import APIRoute
    from starlette.exceptions import HTTPException as StarletteHTTPException

    from filerow.ext._asgi import fixed, response_of
    from filerow.ext.starlette import StoredFileResponse, direct, install, send_script, signed

if TYPE_CHECKING:
    from filerow.direct import DirectUploads

__all__ = ("StoredFileResponse", "Uploaded", "install", "routes")

_SIGNED = "/{key}/{path:path}"

# What jsonable_encoder() asks, for handlers without a response model, too.
ENCODERS_BY_TYPE[FileObject] = FileObject.public_view


def Uploaded(column: object, *, field: str | None = None, optional: bool = False) -> Any:  # noqa: N802 - reads as a type
    """Return a dependency for an uploaded file, checked by its column's rules.

    It is checked before the handler runs.

    ``file: Annotated[FileObject, Uploaded(Document.file)]`` is a file field of a multipart body. For a list column the
    parameter is a ``FileObjectList``. The upload is read when a session stores the file; FastAPI closes it after the response.

    Args:
        column: The column, such as ``Document.file``.
        field: The form field's name. Default: the column's.
        optional: Allow the field to be missing or empty; the parameter is then ``None``, or an empty list.
    """
    target = target_of(column)
    name = field or target.field

    # FastAPI takes the field and its OpenAPI text from the signature, and distinguishes fields by this name.
    own = re.sub(r"\W", "_", f"upload_{name}")

    async def one(**given: Any) -> FileObject | None:
        upload = given[own]
        if not is_upload(upload):
            if optional:
                return None
            raise required(name)
        return await checked_async(upload, target, name)

    async def many(**given: Any) -> FileObjectList:
        uploads = [upload for upload in given[own] or () if is_upload(upload)]
        if not uploads and not optional:
            raise required(name)
        return FileObjectList([await checked_async(upload, target, name) for upload in uploads])

    async def sent(request: Request) -> None:
        """Refuse a form without files.

        FastAPI would report each field as missing, or as a string.
        """
        form = await request.form()  # already read by FastAPI
        refuse_texts(name, form.getlist(name))
        is_needed = not optional or (target.type.multiple and name in form)  # FastAPI rejects an empty string in a list
        if is_needed and not carries_files(request.headers.get("content-type")):
            raise required(name, "")

    dependency: Any = many if target.type.multiple else one
    kind: Any = list[UploadFile] if target.type.multiple else UploadFile
    hint = Annotated[kind | None if optional else kind, File(alias=name)]  # type: ignore[valid-type]
    default = None if optional else Parameter.empty
    first = Parameter("sent", Parameter.KEYWORD_ONLY, default=Depends(sent))
    dependency.__signature__ = Signature([Parameter(own, Parameter.KEYWORD_ONLY, annotation=hint, default=default), first])
    return Depends(dependency)


def routes(
    base_url: str | None = "/files",
    *,
    uploads: Mapping[str, DirectUploads] | None = None,
    uploads_url: str = "/uploads",
    authorize: Callable[..., Any] | Dependency | None = None,
    include_in_schema: bool = False,
) -> APIRouter:
    """Return the router of signed URLs, ``filerow.js`` and direct uploads.

    The signed URLs are those of local and memory backends, and of the variants of all backends.

    Args:
        base_url: The same as the backends' ``base_url``, and as the ``url`` of ``filerow.variants.configure_urls()``, without
            scheme and host. ``None`` leaves these routes out.
        uploads: Direct uploads by name, each at ``{uploads_url}/{name}``. Default: none.
        uploads_url: Where direct uploads are mounted.
        authorize: A dependency, as a function or as ``Depends(...)``, for each direct upload: it raises if the user may not
            upload, or returns a false value, a response or an exception. Required with ``uploads``.
        include_in_schema: Show the routes in OpenAPI.

    Raises:
        ValueError: ``uploads`` was given without ``authorize``.
    """
    mounted = uploads_to_mount(uploads, authorize)
    router = APIRouter()
    if base_url is not None:
        router.include_router(_files(base_url, include_in_schema=include_in_schema))
    if mounted:
        router.include_router(_direct(mounted, uploads_url, authorize, include_in_schema=include_in_schema))
    return router


def _files(base_url: str, *, include_in_schema: bool) -> APIRouter:
    router = APIRouter(prefix=base_url)
    for path, endpoint, methods in ((f"/{SCRIPT}", send_script, ["GET", "HEAD"]), (_SIGNED, signed, ["GET", "HEAD", "PUT"])):
        # One route serves all methods, so that it can list them. OpenAPI shows others, one for each method, since FastAPI
        # names an operation after its route.
        router.add_api_route(path, endpoint, methods=methods, response_class=Response, include_in_schema=False)
        for method in methods if include_in_schema else ():
            router.add_api_route(path, endpoint, methods=[method], response_class=Response)
    return router


def _direct(uploads: Mapping[str, DirectUploads], prefix: str, authorize: object, *, include_in_schema: bool) -> APIRouter:
    async def upload(request: Request) -> Response:
        return await direct(request, uploads)

    gate: Any = authorize if isinstance(authorize, Dependency) else Depends(authorize)  # type: ignore[arg-type]
    guards = [Depends(_refusing(gate))]
    router = APIRouter(prefix=prefix, dependencies=guards, route_class=_GatedRoute, include_in_schema=include_in_schema)
    router.add_api_route("/{name}/{action}", upload, methods=["POST"], response_class=Response)
    return router


class _GateError(HTTPException):
    """A dependency does not let a client upload."""


class _GatedRoute(APIRoute):
    """A route that answers what its dependencies refuse by a problem document."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with an answer for refusals."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except _GateError as error:
                return response_of(StoredFileResponse, fixed(gate_refusal(error.status_code)))

        return answer


def _refusing(dependency: Dependency) -> Callable[..., Any]:
    """Return a dependency that also refuses if the application's returns a refusal.

    FastAPI ignores what a dependency returns.

    Dependencies that allow the request return nothing, or a user, for example. A false value, a response, an exception, or an
    awaitable of one of these refuses it.
    """

    async def refuse(found: Any = dependency) -> None:
        while isawaitable(found):  # FastAPI does not await what a plain function returns
            found = await found
        if isinstance(found, Response | StarletteHTTPException):  # FastAPI's own is one of these
            raise _GateError(found.status_code if found.status_code >= 400 else 403)  # noqa: PLR2004 - errors begin there
        if isinstance(found, BaseException):  # returned, where it was to be raised
            raise _GateError(403)
        verdict = found[0] if isinstance(found, tuple) and found else found  # for example (False, "why")
        if verdict is not None and not verdict:
            raise _GateError(403)

    return refuse
