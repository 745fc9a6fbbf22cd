"""The application on Starlette."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from filerow import FileObject
from filerow.direct import DirectUploads
from filerow.ext.starlette import StoredFileResponse, Uploaded, install, routes
from tests.ext.fastapi_app import DocumentOut
from tests.ext.world import SECRET, TOKEN, Document, chunks_of, shown

if TYPE_CHECKING:
    from starlette.requests import Request

    from tests.ext.world import World


def make(world: World) -> Starlette:  # noqa: C901 - a list of routes
    def session() -> AsyncSession:
        return AsyncSession(world.async_engine, expire_on_commit=False)

    def answer(document: Document, status: int = 200) -> Response:
        return JSONResponse(DocumentOut(**shown(document)).model_dump(mode="json"), status)

    async def create(request: Request) -> Response:
        async with request.form() as form, session() as db:
            document = Document(name=str(form.get("name")), file=await Uploaded(request, Document.file))
            document.pages = await Uploaded(request, Document.pages, optional=True)
            db.add(document)
            await db.commit()
        return answer(document, 201)

    async def fail(request: Request) -> Response:
        async with request.form(), session() as db:
            db.add(Document(name="failing", file=await Uploaded(request, Document.file)))
            await db.flush()
            assert world.paths()
            raise HTTPException(500, "on purpose")

    async def late(request: Request) -> Response:
        async with request.form() as form, session() as db, db.begin():
            upload: Any = form["file"]
            db.add(Document(name="late", file=FileObject(filename="late.txt", content=chunks_of(upload.file))))
        return Response(status_code=201)

    async def found(request: Request) -> Document:
        async with session() as db:
            return await db.get_one(Document, request.path_params["id"])

    async def show(request: Request) -> Response:
        return answer(await found(request))

    async def download(request: Request) -> Response:
        document = await found(request)
        file = document.big or document.file
        assert file
        way = request.path_params["way"]
        return {
            "file": StoredFileResponse(file),
            "saved": StoredFileResponse(file, download_as="named \u20ac\r\n.txt"),
            "redirect": StoredFileResponse.redirect(file),
            "stable": StoredFileResponse.redirect(file, round_expiry=3600),
            "accelerate": StoredFileResponse.accelerate(file),
        }[way]

    async def guard(request: Request) -> None:
        if request.headers.get("authorization") != TOKEN:
            raise HTTPException(401)

    direct = {"documents": DirectUploads(Document.file, secret=SECRET)}
    app = Starlette(
        routes=[
            Route("/documents", create, methods=["POST"]),
            Route("/failing", fail, methods=["POST"]),
            Route("/late", late, methods=["POST"]),
            Route("/documents/{id:int}", show),
            Route("/documents/{id:int}/{way}", download),
            *routes("/files", uploads=direct, authorize=guard),
        ]
    )
    install(app)
    return app
