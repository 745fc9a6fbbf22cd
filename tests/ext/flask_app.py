"""The application on Flask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask, Response, abort, request
from sqlalchemy.orm import Session

from filerow import FileObject
from filerow.direct import DirectUploads
from filerow.ext.flask import StoredFileResponse, Uploaded, install, routes
from tests.ext.world import SECRET, TOKEN, Document, chunks_of, shown

if TYPE_CHECKING:
    from tests.ext.world import World


def make(world: World) -> Flask:  # noqa: C901 - a list of routes
    app = Flask(__name__)

    def session() -> Session:
        return Session(world.engine, expire_on_commit=False)

    def guard() -> None:
        if request.headers.get("authorization") != TOKEN:
            abort(401)

    @app.post("/documents")
    def create() -> tuple[dict[str, Any], int]:
        with session() as db:
            document = Document(name=request.form["name"], file=Uploaded(Document.file))
            document.pages = Uploaded(Document.pages, optional=True)
            db.add(document)
            db.commit()
        return shown(document), 201

    @app.post("/failing")
    def fail() -> None:
        with session() as db:
            db.add(Document(name="failing", file=Uploaded(Document.file)))
            db.flush()
            assert world.paths()
            abort(500)

    @app.post("/late")
    def late() -> tuple[str, int]:
        with session() as db, db.begin():
            upload = request.files["file"]
            db.add(Document(name="late", file=FileObject(filename="late.txt", content=chunks_of(upload))))
        return "", 201

    def found(document: int) -> Document:
        with session() as db:
            return db.get_one(Document, document)

    @app.get("/documents/<int:document>")
    def show(document: int) -> dict[str, Any]:
        return shown(found(document))

    @app.get("/documents/<int:document>/<way>")
    def download(document: int, way: str) -> Response:
        row = found(document)
        file = row.big or row.file
        assert file
        if way == "saved":
            return StoredFileResponse(file, download_as="named \u20ac\r\n.txt")
        if way == "stable":
            return StoredFileResponse.redirect(file, round_expiry=3600)
        ways = {"redirect": StoredFileResponse.redirect, "accelerate": StoredFileResponse.accelerate}
        return ways.get(way, StoredFileResponse)(file)

    direct = {"documents": DirectUploads(Document.file, secret=SECRET)}
    app.register_blueprint(routes("/files", uploads=direct, authorize=guard))
    install(app)
    return app
