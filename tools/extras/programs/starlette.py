"""Extra ``starlette``: an application that takes, answers and signs a file."""

from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from filerow.ext.starlette import StoredFileResponse, Uploaded, install, routes
from tools.extras.programs.model import Document, database, directory, upload_and_read


def main() -> None:
    """Run it."""
    directory()
    engine = database()

    async def create(request: Request) -> Response:
        async with request.form():
            with Session(engine) as session:
                session.add(document := Document(file=await Uploaded(request, Document.file)))
                session.commit()
                return JSONResponse({"id": document.id}, 201)

    async def read(request: Request) -> Response:
        with Session(engine) as session:
            document = session.get_one(Document, request.path_params["id"])
            assert document.file is not None
            return StoredFileResponse(document.file)

    async def url(request: Request) -> Response:
        with Session(engine) as session:
            document = session.get_one(Document, request.path_params["id"])
            assert document.file is not None
            return JSONResponse(document.file.sign())

    own = [
        Route("/documents", create, methods=["POST"]),
        Route("/documents/{id:int}/file", read),
        Route("/documents/{id:int}/url", url),
    ]
    app = Starlette(routes=[*own, *routes("/files")])
    install(app)
    upload_and_read(app)


if __name__ == "__main__":
    main()
