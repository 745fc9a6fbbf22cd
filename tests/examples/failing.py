"""Routes that fail after they have changed something; no lazy annotations here, for Litestar reads them."""

from collections.abc import Callable
from typing import Any

from litestar import Litestar, Response, delete, patch, post
from litestar.di import NamedDependency
from litestar.exceptions import ClientException, InternalServerException
from litestar.params import FromQuery, MultipartBody
from litestar.response import Redirect
from litestar_guide.models import Document
from litestar_guide.schemas import DocumentIn
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

Session = NamedDependency[AsyncSession]


class FailingError(Exception):
    """What a handler dies of."""


def fail(how: str) -> Any:
    """Return or raise what makes a request fail."""
    if how == "an exception":
        raise FailingError
    if how == "an answer of 404":
        raise ClientException(status_code=404)
    if how == "an answer of 503":
        raise InternalServerException(status_code=503)
    if how == "a response of 409":
        return Response({"detail": "no"}, status_code=409)
    if how == "a response of 500":
        return Response({"detail": "no"}, status_code=500)
    assert how == "a redirect"
    return Redirect("/documents", status_code=303)


def add_routes(app: Litestar, look: Callable[[], object]) -> None:
    """Add ``/failing``, which calls ``look`` in the moment of each failure.

    Args:
        app: The application.
        look: Called after the change, and after the flush if the query asks for one.
    """

    async def end(session: AsyncSession, how: str, *, flush: bool) -> Any:
        if flush:
            await session.flush()
        look()
        return fail(how)

    @post("/failing", status_code=200)
    async def create(db_session: Session, data: MultipartBody[DocumentIn], how: FromQuery[str], flush: FromQuery[bool]) -> Any:
        db_session.add(Document(name=data.name, file=data.file))
        return await end(db_session, how, flush=flush)

    @patch("/failing")
    async def replace(db_session: Session, data: MultipartBody[DocumentIn], how: FromQuery[str], flush: FromQuery[bool]) -> Any:
        document = (await db_session.scalars(select(Document))).one()
        document.name, document.file = data.name, data.file
        return await end(db_session, how, flush=flush)

    @delete("/failing", status_code=200)
    async def remove(db_session: Session, how: FromQuery[str], flush: FromQuery[bool]) -> Any:
        await db_session.delete((await db_session.scalars(select(Document))).one())
        return await end(db_session, how, flush=flush)

    for route in (create, replace, remove):
        app.register(route)
