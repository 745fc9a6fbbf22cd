"""The page of the documents, from its template."""

from pathlib import Path
from typing import Any

import jinja2
from filerow.exceptions import FileValidationError
from filerow.ext.html import install
from litestar import MediaType, Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from litestar_guide.models import CONTENT_TYPES, Document, User

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, enable_async=True
)
install(TEMPLATES)

ACCEPTED = "A picture, a PDF or a text of up to 25 MiB."
NAME_NEEDED = "Give it a name of 1 to 200 characters."
WRONG_LOGIN = "There is no account with this email and password."
WORDS = {  # by the stable code of an error: docs/problems.md has them all
    "file-missing": "Choose a file first.",
    "file-too-large": "This file is too large. Choose one of up to 25 MiB.",
    "type-not-allowed": "This is not a picture, a PDF or a text. Choose another file.",
}


def words_for(error: FileValidationError) -> str:
    """Return what is wrong with a file, for the person who chose it."""
    return WORDS.get(error.code, f"This file was refused: {error.message}.")


async def render(session: AsyncSession, user: User | None, errors: dict[str, str] | None = None, **values: Any) -> Response[str]:
    """Return the page: the latest documents, and what was refused at its field."""
    rows = await session.scalars(select(Document).order_by(Document.created_at.desc(), Document.id.desc()).limit(100))
    page = await TEMPLATES.get_template("guide.html").render_async(
        documents=rows.all(),
        user=user,
        may_change=user is not None,
        errors=errors or {},
        accepted=ACCEPTED,
        accept=",".join(CONTENT_TYPES),
        **values,
    )
    return Response(page, media_type=MediaType.HTML, status_code=422 if errors else 200)
