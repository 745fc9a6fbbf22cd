"""``/``: pages for people: HTML forms that need no script.

A handler commits before it redirects: Advanced Alchemy's autocommit takes a redirect for a failure.
"""

from typing import Annotated, Any
from uuid import UUID

from filerow import FileObject
from filerow.exceptions import FileValidationError
from filerow.ext.litestar import StoredFileResponse
from litestar import Controller, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotAuthorizedException, NotFoundException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.params import Body, FromPath, FromQuery, MultipartBody
from litestar.response import Redirect
from litestar.status_codes import HTTP_200_OK
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from litestar_guide.models import MAX_SIZE, Document, User
from litestar_guide.pages import NAME_NEEDED, WORDS, WRONG_LOGIN, render, words_for
from litestar_guide.passwords import is_password_of
from litestar_guide.schemas import Credentials, DocumentForm, FileForm
from litestar_guide.security import USER_ID, requires_login, user_of

Session = NamedDependency[AsyncSession]
DocumentId = FromPath[UUID]
Asked = Request[User, Any, State]
Page = Response[str] | Redirect


async def find(session: AsyncSession, document_id: UUID) -> Document:
    """Return a document, or answer 404."""
    document = await session.get(Document, document_id)
    if document is None:
        raise NotFoundException("no such document")
    return document


def chosen(file: FileObject | None) -> FileObject:
    """Return the file of a form; none is an error like any other at its field."""
    if file is None:
        raise FileValidationError("no file was chosen", code="file-missing")
    return file


def to_sign_in(_: Request[Any, Any, Any], __: Exception) -> Redirect:
    """Lead somebody who is no longer logged in to the form for it."""
    return Redirect("/", status_code=303)


def to_field(request: Request[Any, Any, Any], _: Exception) -> Redirect:
    """Say at its field that a file is too large; Litestar has not read it."""
    document_id = request.path_params.get("document_id")
    return Redirect(f"/?too_large={'file' if document_id is None else f'file-{document_id}'}", status_code=303)


class PageController(Controller):
    """The page, and what its forms and links lead to."""

    include_in_schema = False
    media_type = MediaType.HTML
    request_max_body_size = MAX_SIZE + 1024 * 1024
    exception_handlers = {NotAuthorizedException: to_sign_in, RequestEntityTooLarge: to_field}

    @get("/")
    async def show_documents(self, request: Asked, db_session: Session, too_large: FromQuery[str | None] = None) -> Response[str]:
        """Show the page."""
        errors = {too_large: WORDS["file-too-large"]} if too_large else None
        return await render(db_session, await user_of(request), errors)

    @post("/", guards=[requires_login])
    async def add_document(self, request: Asked, db_session: Session, data: MultipartBody[DocumentForm]) -> Page:
        """Store a file under a name, or show the form again and say why not."""
        errors: dict[str, str] = {}
        name = data.name.strip()
        if not 1 <= len(name) <= Document.name.type.length:
            errors["name"] = NAME_NEEDED
        try:
            document = Document(name=name, file=chosen(data.file))
            if not errors:
                db_session.add(document)
                await db_session.commit()
        except FileValidationError as error:
            await db_session.rollback()
            errors["file"] = words_for(error)
        if errors:
            return await render(db_session, await user_of(request), errors, name=name)
        return Redirect("/", status_code=303)

    @post("/documents/{document_id:uuid}/replace", guards=[requires_login])
    async def replace_file(
        self, request: Asked, db_session: Session, document_id: DocumentId, data: MultipartBody[FileForm]
    ) -> Page:
        """Store another file in a document. The old bytes go when this is committed."""
        document = await find(db_session, document_id)
        try:
            document.file = chosen(data.file)
            await db_session.commit()
        except FileValidationError as error:
            await db_session.rollback()
            return await render(db_session, await user_of(request), {f"file-{document_id}": words_for(error)})
        return Redirect("/", status_code=303)

    @post("/documents/{document_id:uuid}/delete", guards=[requires_login])
    async def remove_document(self, db_session: Session, document_id: DocumentId) -> Redirect:
        """Remove a document and its bytes."""
        await db_session.delete(await find(db_session, document_id))
        await db_session.commit()
        return Redirect("/", status_code=303)

    @get("/documents/{document_id:uuid}/file")
    async def send_file(self, db_session: Session, document_id: DocumentId) -> StoredFileResponse:
        """Send a document's bytes, or 404."""
        return StoredFileResponse((await find(db_session, document_id)).file)

    @post("/sign-in", status_code=HTTP_200_OK)
    async def sign_in(
        self,
        request: Asked,
        db_session: Session,
        data: Annotated[Credentials, Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> Page:
        """Log in, or show the form again."""
        user = await db_session.scalar(select(User).where(User.email == data.email.lower()))
        if not await is_password_of(data.password, user.password_hash if user else None) or user is None:
            return await render(db_session, None, {"email": WRONG_LOGIN}, email=data.email)
        request.set_session({USER_ID: str(user.id)})
        return Redirect("/", status_code=303)

    @post("/sign-out")
    async def sign_out(self, request: Asked) -> Redirect:
        """Log out; the session is deleted from the database."""
        request.clear_session()
        return Redirect("/", status_code=303)
