"""The application: ``flask --app flask_documents.app run``."""

import os
from http import HTTPStatus
from pathlib import Path
from typing import Any

from filerow import storages
from filerow.backends.local import LocalBackend
from filerow.ext import html
from filerow.ext.flask import Uploaded, install, routes
from filerow.variants import configure_urls
from flask import Flask, abort, request
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import sessionmaker

from flask_documents.database import Sessions, find
from flask_documents.models import Base, Document
from flask_documents.pages import add_pages

DATA = Path(__file__).parent / "data"
MAX_BODY = 26 * 1024 * 1024


def view(document: Document) -> dict[str, Any]:
    """Return what clients see of a document: facts about the file, and for an hour a URL of its bytes."""
    return {
        "id": document.id,
        "name": document.name,
        "file": document.file,  # the application's JSON provider shows its public view
        "file_url": document.file.sign(expires_in=3600),
    }


def name_in_form() -> str | None:
    """Return the name that was sent, if one was; or answer 400."""
    name = request.form.get("name")
    if name is not None and not 1 <= len(name) <= Document.name.type.length:
        abort(400, "a name has 1 to 200 characters")
    return name


def number(name: str, default: int, most: int) -> int:
    """Return a number of the query string; or answer 400."""
    value = request.args.get(name, str(default))
    if not value.isascii() or not value.isdecimal() or int(value) > most:
        abort(400, f"{name} is a number from 0 to {most}")
    return int(value)


def add_routes(app: Flask, sessions: Sessions) -> None:
    """Add the five routes. What a handler has not committed is rolled back, files included."""

    @app.post("/documents")
    def create_document() -> tuple[dict[str, Any], int]:
        """Store a file under a name."""
        name, file = name_in_form(), Uploaded(Document.file)
        if name is None:
            abort(400, "send a name")
        with sessions() as session:
            document = Document(name=name, file=file)
            session.add(document)
            session.commit()
            return view(document), HTTPStatus.CREATED

    @app.get("/documents")
    def list_documents() -> dict[str, Any]:
        """List documents, the oldest first."""
        limit, offset = number("limit", 20, 100), number("offset", 0, 2**31)
        with sessions() as session:
            rows = session.scalars(select(Document).order_by(Document.id).limit(limit).offset(offset))
            total = session.scalar(select(func.count()).select_from(Document))
            return {"items": [view(row) for row in rows], "limit": limit, "offset": offset, "total": total}

    @app.get("/documents/<int:document_id>")
    def get_document(document_id: int) -> dict[str, Any]:
        """Return one document."""
        with sessions() as session:
            return view(find(session, document_id))

    @app.patch("/documents/<int:document_id>")
    def update_document(document_id: int) -> dict[str, Any]:
        """Change the name, the file, or both. The old bytes go when the change is committed."""
        name, file = name_in_form(), Uploaded(Document.file, optional=True)
        if name is None and file is None:
            abort(400, "send a name, a file, or both")
        with sessions() as session:
            document = find(session, document_id)
            if name is not None:
                document.name = name
            if file is not None:
                document.file = file
            session.commit()
            return view(document)

    @app.delete("/documents/<int:document_id>")
    def delete_document(document_id: int) -> tuple[str, int]:
        """Remove a document and its bytes."""
        with sessions() as session:
            session.delete(find(session, document_id))
            session.commit()
        return "", HTTPStatus.NO_CONTENT


def register_storage(files: Path | None) -> None:
    """Register the backend that ``Document.file`` names: a directory, or the store that ``STORAGE_URL`` names."""
    # Without FILEROW_SECRET, development=True signs with a secret that ends with the process.
    configure_urls(url="/files", development=True)
    url = os.environ.get("STORAGE_URL") if files is None else None
    if url:  # s3://bucket/prefix; AWS_ENDPOINT_URL and its like say the rest
        storages.register_backend(url, key="documents", public_endpoint=os.environ.get("STORAGE_PUBLIC_ENDPOINT"))
        return
    storages.register_backend(LocalBackend("documents", files or DATA / "files", base_url="/files", development=True))


def create_app(database_url: str | None = None, files: Path | None = None) -> Flask:
    """Return the application.

    Args:
        database_url: Where rows go; ``DATABASE_URL`` or SQLite when left out.
        files: The directory for bytes; ``data/files`` when left out.
    """
    if database_url is None or files is None:
        DATA.mkdir(exist_ok=True)
    engine = create_engine(database_url or os.environ.get("DATABASE_URL", f"sqlite:///{DATA}/documents.sqlite"))
    Base.metadata.create_all(engine)
    register_storage(files)
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.extensions["engine"] = engine
    app.register_blueprint(routes("/files"))
    install(app)
    html.install(app.jinja_env)
    sessions = sessionmaker(engine, expire_on_commit=False)
    add_pages(app, sessions)
    add_routes(app, sessions)
    return app
