"""Extra ``fastapi``: an application that takes, shows, answers and signs a file."""

from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from filerow import FileObject
from filerow.ext.fastapi import StoredFileResponse, Uploaded, install, routes
from tools.extras.programs.model import CONTENT, Document, ask, database, directory, upload_and_read


class DocumentOut(BaseModel):
    """What clients see."""

    model_config = ConfigDict(from_attributes=True)
    id: int
    file: FileObject
    pages: list[FileObject]


def main() -> None:
    """Run it."""
    directory()
    engine = database()
    app = FastAPI()

    @app.post("/documents", status_code=201)
    def create(file: Annotated[FileObject, Uploaded(Document.file)]) -> DocumentOut:
        with Session(engine) as session:
            session.add(document := Document(file=file))
            session.commit()
            return DocumentOut.model_validate(document)

    @app.get("/documents/{number}")
    def show(number: int) -> DocumentOut:
        with Session(engine) as session:
            return DocumentOut.model_validate(session.get_one(Document, number))

    @app.get("/documents/{number}/file", response_class=StoredFileResponse)
    def read(number: int) -> StoredFileResponse:
        with Session(engine) as session:
            document = session.get_one(Document, number)
            assert document.file is not None
            return StoredFileResponse(document.file)

    @app.get("/documents/{number}/url")
    def url(number: int) -> str:
        with Session(engine) as session:
            document = session.get_one(Document, number)
            assert document.file is not None
            return document.file.sign()

    app.include_router(routes("/files", include_in_schema=True))
    install(app)
    upload_and_read(app)
    shown = ask(app, "GET", "/documents/1")
    assert f'"size":{len(CONTENT)}'.encode() in shown.body, shown.body
    assert b'"FileObject"' in ask(app, "GET", "/openapi.json").body


if __name__ == "__main__":
    main()
