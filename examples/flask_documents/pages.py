"""``/``: pages for people: HTML forms that need no script."""

from filerow.exceptions import FileValidationError
from filerow.ext.flask import StoredFileResponse, Uploaded
from flask import Flask, redirect, render_template, request
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response

from flask_documents.database import Sessions, find
from flask_documents.models import CONTENT_TYPES, Document

ACCEPTED = "A picture, a PDF or a text of up to 25 MiB."
NAME_NEEDED = "Give it a name of 1 to 200 characters."
TOO_LARGE = "This file is too large. Choose one of up to 25 MiB."
WORDS: dict[object, str] = {  # by the stable code of an error: docs/problems.md has them all
    "file-missing": "Choose a file first.",
    "file-too-large": TOO_LARGE,
    413: TOO_LARGE,  # of Flask, for a body over MAX_CONTENT_LENGTH, which it does not read
    "type-not-allowed": "This is not a picture, a PDF or a text. Choose another file.",
}
REFUSED = (FileValidationError, RequestEntityTooLarge)
Page = tuple[str, int]


def words_for(error: Exception) -> str:
    """Return what is wrong with a file, for the person who chose it."""
    return WORDS.get(getattr(error, "code", None), f"This file was refused: {error}.")


def render(session: Session, errors: dict[str, str] | None = None, name: str = "") -> Page:
    """Return the page: the latest documents, and what was refused at its field."""
    rows = session.scalars(select(Document).order_by(Document.id.desc()).limit(100)).all()
    values = {"documents": rows, "errors": errors or {}, "name": name, "may_change": True}
    page = render_template("documents.html", **values, accepted=ACCEPTED, accept=",".join(CONTENT_TYPES))
    return page, 422 if errors else 200


def add_pages(app: Flask, sessions: Sessions) -> None:
    """Add the page, and what its forms and links lead to."""

    @app.get("/")
    def show_documents() -> Page:
        """Show the page."""
        with sessions() as session:
            return render(session)

    @app.post("/")
    def add_document() -> Page | Response:
        """Store a file under a name, or show the form again and say why not."""
        name, errors = "", dict[str, str]()
        with sessions() as session:
            try:
                name = request.form.get("name", "").strip()
                if not 1 <= len(name) <= Document.name.type.length:
                    errors["name"] = NAME_NEEDED
                file = Uploaded(Document.file)
                if not errors:
                    session.add(Document(name=name, file=file))
                    session.commit()
            except REFUSED as error:
                session.rollback()
                errors["file"] = words_for(error)
            return render(session, errors, name) if errors else redirect("/", 303)

    @app.post("/documents/<int:document_id>/replace")
    def replace_file(document_id: int) -> Page | Response:
        """Store another file in a document. The old bytes go when this is committed."""
        with sessions() as session:
            document = find(session, document_id)
            try:
                document.file = Uploaded(Document.file)
                session.commit()
            except REFUSED as error:
                session.rollback()
                return render(session, {f"file-{document_id}": words_for(error)})
        return redirect("/", 303)

    @app.post("/documents/<int:document_id>/delete")
    def remove_document(document_id: int) -> Response:
        """Remove a document and its bytes."""
        with sessions() as session:
            session.delete(find(session, document_id))
            session.commit()
        return redirect("/", 303)

    @app.get("/documents/<int:document_id>/file")
    def send_file(document_id: int) -> Response:
        """Send a document's bytes, or 404."""
        with sessions() as session:
            return StoredFileResponse(find(session, document_id).file)
