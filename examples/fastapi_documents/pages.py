"""``/``: pages for people: HTML forms that need no script."""

from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from filerow.exceptions import FileValidationError
from filerow.ext.fastapi import StoredFileResponse
from filerow.ext.html import install
from filerow.ext.starlette import Uploaded
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_documents.database import find, get_session
from fastapi_documents.models import CONTENT_TYPES, Document

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, enable_async=True
)
install(TEMPLATES)

ACCEPTED = "A picture, a PDF or a text of up to 25 MiB."
NAME_NEEDED = "Give it a name of 1 to 200 characters."
WORDS = {  # by the stable code of an error: docs/problems.md has them all
    "file-missing": "Choose a file first.",
    "file-too-large": "This file is too large. Choose one of up to 25 MiB.",
    "type-not-allowed": "This is not a picture, a PDF or a text. Choose another file.",
}

Session = Annotated[AsyncSession, Depends(get_session)]
pages = APIRouter(include_in_schema=False)


def words_for(error: FileValidationError) -> str:
    """Return what is wrong with a file, for the person who chose it."""
    return WORDS.get(error.code, f"This file was refused: {error.message}.")


async def render(session: AsyncSession, errors: dict[str, str] | None = None, name: str = "") -> Response:
    """Return the page: the latest documents, and what was refused at its field."""
    rows = await session.scalars(select(Document).order_by(Document.id.desc()).limit(100))
    values: dict[str, Any] = {"documents": rows.all(), "errors": errors or {}, "name": name, "may_change": True}
    page = await TEMPLATES.get_template("documents.html").render_async(
        **values, accepted=ACCEPTED, accept=",".join(CONTENT_TYPES)
    )
    return HTMLResponse(page, 422 if errors else 200)


@pages.get("/")
async def show_documents(session: Session) -> Response:
    """Show the page."""
    return await render(session)


@pages.post("/")
async def add_document(request: Request, session: Session) -> Response:
    """Store a file under a name, or show the form again and say why not."""
    errors: dict[str, str] = {}
    async with request.form() as form:  # until the commit has read the upload
        name = str(form.get("name", "")).strip()
        if not 1 <= len(name) <= Document.name.type.length:
            errors["name"] = NAME_NEEDED
        try:
            file = await Uploaded(request, Document.file)
            if not errors:
                session.add(Document(name=name, file=file))
                await session.commit()
        except FileValidationError as error:
            await session.rollback()
            errors["file"] = words_for(error)
    return await render(session, errors, name) if errors else RedirectResponse("/", 303)


@pages.post("/documents/{document_id}/replace")
async def replace_file(request: Request, session: Session, document_id: int) -> Response:
    """Store another file in a document. The old bytes go when this is committed."""
    document = await find(session, document_id)
    async with request.form():
        try:
            document.file = await Uploaded(request, Document.file)
            await session.commit()
        except FileValidationError as error:
            await session.rollback()
            return await render(session, {f"file-{document_id}": words_for(error)})
    return RedirectResponse("/", 303)


@pages.post("/documents/{document_id}/delete")
async def remove_document(session: Session, document_id: int) -> Response:
    """Remove a document and its bytes."""
    await session.delete(await find(session, document_id))
    await session.commit()
    return RedirectResponse("/", 303)


@pages.get("/documents/{document_id}/file")
async def send_file(session: Session, document_id: int) -> StoredFileResponse:
    """Send a document's bytes, or 404."""
    return StoredFileResponse((await find(session, document_id)).file)
