"""The smallest application of each framework that takes and gives a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import fastapi
import flask
import litestar
import litestar.enums
import litestar.params
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import filerow.ext.fastapi
import filerow.ext.flask
import filerow.ext.litestar
import filerow.ext.starlette
from filerow import FileObject
from tests.ext.world import Document

if TYPE_CHECKING:
    from tests.ext.world import World

MULTIPART = litestar.params.Body(media_type=litestar.enums.RequestEncodingType.MULTI_PART)


async def store(world: World, file: FileObject) -> None:
    async with AsyncSession(world.async_engine) as session:
        session.add(Document(name="big", big=file))
        await session.commit()


async def stored(world: World, number: int) -> FileObject:
    async with AsyncSession(world.async_engine) as session:
        file = (await session.get_one(Document, number)).big
    assert file
    return file


def litestar_app(world: World) -> Any:
    @litestar.post("/", request_max_body_size=None)
    async def up(data: Annotated[FileObject, MULTIPART]) -> None:
        await store(world, data)

    @litestar.get("/{number:int}")
    async def down(number: litestar.params.FromPath[int]) -> filerow.ext.litestar.StoredFileResponse:
        return filerow.ext.litestar.StoredFileResponse(await stored(world, number))

    return litestar.Litestar([up, down], plugins=[filerow.ext.litestar.install()])


def fastapi_app(world: World) -> Any:
    app = fastapi.FastAPI()

    @app.post("/")
    async def up(file: Annotated[FileObject, filerow.ext.fastapi.Uploaded(Document.big, field="file")]) -> None:
        await store(world, file)

    @app.get("/{number}", response_class=filerow.ext.fastapi.StoredFileResponse)
    async def down(number: int) -> fastapi.Response:
        return filerow.ext.fastapi.StoredFileResponse(await stored(world, number))

    return app


def starlette_app(world: World) -> Any:
    async def up(request: Request) -> Response:
        async with request.form():
            await store(world, await filerow.ext.starlette.Uploaded(request, Document.big, field="file"))
        return Response()

    async def down(request: Request) -> Response:
        return filerow.ext.starlette.StoredFileResponse(await stored(world, request.path_params["number"]))

    return Starlette(routes=[Route("/", up, methods=["POST"]), Route("/{number:int}", down)])


def flask_app(world: World) -> Any:
    app = flask.Flask(__name__)

    @app.post("/")
    def up() -> str:
        with Session(world.engine) as session:
            session.add(Document(name="big", big=filerow.ext.flask.Uploaded(Document.big, field="file")))
            session.commit()
        return ""

    @app.get("/<int:number>")
    def down(number: int) -> flask.Response:
        with Session(world.engine) as session:
            file = session.get_one(Document, number).big
        assert file
        return filerow.ext.flask.StoredFileResponse(file)

    return app
