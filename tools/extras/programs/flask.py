"""Extra ``flask``: an application that takes, shows, answers and signs a file."""

import json

from flask import Flask
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from filerow.ext.flask import StoredFileResponse, Uploaded, install, routes
from tools.extras.programs.model import CONTENT, FORM, FORM_TYPE, Document, database, directory


def main() -> None:
    """Run it."""
    directory()
    engine = database()
    app = Flask(__name__)
    app.register_blueprint(routes("/files"))
    install(app)

    @app.post("/documents")
    def create() -> ResponseReturnValue:
        with Session(engine) as session:
            session.add(document := Document(file=Uploaded(Document.file)))
            session.commit()
            assert document.file is not None
            return {"id": document.id, "file": document.file, "url": document.file.sign()}, 201

    @app.get("/documents/<int:number>/file")
    def read(number: int) -> ResponseReturnValue:
        with Session(engine) as session:
            document = session.get_one(Document, number)
            assert document.file is not None
            return StoredFileResponse(document.file)

    client = app.test_client()
    made = client.post("/documents", data=FORM, content_type=FORM_TYPE)
    assert made.status_code == 201, made.data
    shown = json.loads(made.data)
    assert shown["file"]["size"] == len(CONTENT)
    assert client.get("/documents/1/file").data == CONTENT
    assert client.get("/documents/1/file", headers={"range": "bytes=0-4"}).status_code == 206
    assert client.get(shown["url"]).data == CONTENT
    assert client.get("/files/filerow.js").status_code == 200


if __name__ == "__main__":
    main()
