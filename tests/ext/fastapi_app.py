"""The application on FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Form, Header, HTTPException, Response, UploadFile
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from filerow import FileObject, FileObjectList
from filerow.direct import DirectUploads
from filerow.ext.fastapi import StoredFileResponse, Uploaded, install, routes
from tests.ext.world import SECRET, TOKEN, Document, chunks_of, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.ext.world import World


class DocumentOut(BaseModel):
    id: int
    name: str
    file: FileObject | None
    pages: FileObjectList
    url: str | None


def make(world: World) -> FastAPI:  # noqa: C901 - a list of routes
    app = FastAPI()

    def session() -> AsyncSession:
        return AsyncSession(world.async_engine, expire_on_commit=False)

    async def transaction() -> AsyncIterator[AsyncSession]:
        async with session() as db, db.begin():
            yield db

    def guard(authorization: Annotated[str, Header()] = "") -> None:
        if authorization != TOKEN:
            raise HTTPException(401)

    @app.post("/documents", status_code=201)
    async def create(
        name: Annotated[str, Form()],
        file: Annotated[FileObject, Uploaded(Document.file)],
        pages: Annotated[FileObjectList, Uploaded(Document.pages, optional=True)],
    ) -> DocumentOut:
        async with session() as db:
            document = Document(name=name, file=file, pages=pages)
            db.add(document)
            await db.commit()
        return DocumentOut(**shown(document))

    @app.post("/failing")
    async def fail(file: Annotated[FileObject, Uploaded(Document.file)]) -> None:
        async with session() as db:
            db.add(Document(name="failing", file=file))
            await db.flush()
            assert world.paths()
            raise HTTPException(500, "on purpose")

    # "function": the transaction ends before the response is sent, and not after it
    in_transaction = Depends(transaction, scope="function")

    async def late(file: UploadFile, db: Any = in_transaction) -> None:
        db.add(Document(name="late", file=FileObject(filename="late.txt", content=chunks_of(file.file))))

    app.add_api_route("/late", late, methods=["POST"], status_code=201)

    async def found(document: int) -> Document:
        async with session() as db:
            return await db.get_one(Document, document)

    @app.get("/documents/{document}")
    async def show(document: int) -> DocumentOut:
        return DocumentOut(**shown(await found(document)))

    @app.get("/documents/{document}/{way}", response_class=StoredFileResponse)
    @app.head("/documents/{document}/{way}", response_class=StoredFileResponse)
    async def download(document: int, way: str) -> Response:
        row = await found(document)
        file = row.big or row.file
        assert file
        return {
            "file": StoredFileResponse(file),
            "saved": StoredFileResponse(file, download_as="named \u20ac\r\n.txt"),
            "redirect": StoredFileResponse.redirect(file),
            "stable": StoredFileResponse.redirect(file, round_expiry=3600),
            "accelerate": StoredFileResponse.accelerate(file),
        }[way]

    direct = {"documents": DirectUploads(Document.file, secret=SECRET)}
    app.include_router(routes("/files", uploads=direct, authorize=guard))
    install(app)
    return app
