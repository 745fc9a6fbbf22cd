"""Extra ``litestar``: an application that takes, shows, answers and signs a file."""

from dataclasses import dataclass
from typing import Annotated

from litestar import Litestar, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from sqlalchemy.orm import Session

from filerow import FileObject
from filerow.ext.litestar import StoredFileResponse, Uploaded, install, routes
from tools.extras.programs.model import CONTENT, Document, ask, database, directory, upload_and_read


@dataclass
class CreateDocument:
    """What clients send."""

    file: Annotated[FileObject, Uploaded(Document.file)]


@dataclass
class DocumentOut:
    """What clients see."""

    id: int
    file: FileObject
    pages: list[FileObject]


engine = database()


@post("/documents", sync_to_thread=True)
def create(data: Annotated[CreateDocument, Body(media_type=RequestEncodingType.MULTI_PART)]) -> DocumentOut:
    """Store a file."""
    with Session(engine) as session:
        session.add(document := Document(file=data.file))
        session.commit()
        assert document.file is not None
        return DocumentOut(document.id, document.file, list(document.pages))


@get("/documents/{number:int}/file", sync_to_thread=True)
def read(number: int) -> StoredFileResponse:
    """Answer with a file."""
    with Session(engine) as session:
        document = session.get_one(Document, number)
        assert document.file is not None
        return StoredFileResponse(document.file)


@get("/documents/{number:int}/url", sync_to_thread=True)
def url(number: int) -> str:
    """Sign a URL."""
    with Session(engine) as session:
        document = session.get_one(Document, number)
        assert document.file is not None
        return document.file.sign()


@get("/documents/{number:int}", sync_to_thread=True)
def show(number: int) -> DocumentOut:
    """Show a file."""
    with Session(engine) as session:
        document = session.get_one(Document, number)
        assert document.file is not None
        return DocumentOut(document.id, document.file, list(document.pages))


def main() -> None:
    """Run it."""
    directory()
    app = Litestar([create, read, url, show, routes("/files")], plugins=[install()])
    upload_and_read(app)
    shown = ask(app, "GET", "/documents/1")
    assert f'"size":{len(CONTENT)}'.encode() in shown.body, shown.body
    described = ask(app, "GET", "/schema/openapi.json")
    assert b'"binary"' in described.body, described.body


if __name__ == "__main__":
    main()
