"""The application on Litestar."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Litestar, get, post, route
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency, Provide
from litestar.enums import HttpMethod, RequestEncodingType
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.params import Body, FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from filerow import FileObject, FileObjectList
from filerow.direct import DirectUploads
from filerow.ext.litestar import StoredFileResponse, Uploaded, install, routes
from tests.ext.world import SECRET, TOKEN, Document, chunks_of, shown

if TYPE_CHECKING:
    from tests.ext.world import World

MULTIPART = Body(media_type=RequestEncodingType.MULTI_PART)


@dataclass
class CreateDocument:
    name: str
    file: Annotated[FileObject, Uploaded(Document.file)]
    pages: Annotated[FileObjectList, Uploaded(Document.pages)] = field(default_factory=FileObjectList)


@dataclass
class DocumentOut:
    id: int
    name: str
    file: FileObject | None
    pages: FileObjectList
    url: str | None


def guard(connection: Any, _: Any) -> None:
    if connection.headers.get("authorization") != TOKEN:
        raise NotAuthorizedException


def make(world: World) -> Litestar:
    def session() -> AsyncSession:
        return AsyncSession(world.async_engine, expire_on_commit=False)

    async def transaction() -> AsyncIterator[AsyncSession]:
        async with session() as db, db.begin():
            yield db

    @post("/documents")
    async def create(data: Annotated[CreateDocument, MULTIPART]) -> DocumentOut:
        async with session() as db:
            document = Document(name=data.name, file=data.file, pages=data.pages)
            db.add(document)
            await db.commit()
        return DocumentOut(**shown(document))

    @post("/failing")
    async def fail(data: Annotated[FileObject, MULTIPART]) -> None:
        async with session() as db:
            db.add(Document(name="failing", file=data))
            await db.flush()
            assert world.paths()
            raise HTTPException("on purpose", status_code=500)

    @post("/late", dependencies={"db": Provide(transaction)})
    async def late(data: Annotated[UploadFile, MULTIPART], db: NamedDependency[AsyncSession]) -> None:
        db.add(Document(name="late", file=FileObject(filename="late.txt", content=chunks_of(data.file))))

    async def found(document: int) -> Document:
        async with session() as db:
            return await db.get_one(Document, document)

    @get("/documents/{document:int}")
    async def show(document: FromPath[int]) -> DocumentOut:
        return DocumentOut(**shown(await found(document)))

    @route("/documents/{document:int}/{way:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
    async def download(document: FromPath[int], way: FromPath[str]) -> StoredFileResponse:
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
    mounted = routes("/files", uploads=direct, authorize=guard)
    return Litestar([create, fail, late, show, download, mounted], plugins=[install()])
