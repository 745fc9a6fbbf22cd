"""Sessions of requests, and how they find a document."""

from collections.abc import AsyncIterator

from fastapi import HTTPException, Request
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_documents.models import Document

LARGEST_ID = 2**31 - 1
"""Of an INTEGER; databases and drivers refuse larger numbers by errors of their own."""


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """Give a handler its session. What the handler has not committed is rolled back, files included."""
    async with request.app.state.sessions() as session:
        yield session


async def find(session: AsyncSession, document_id: int) -> Document:
    """Return a document, or answer 404."""
    document = await session.get(Document, document_id) if document_id <= LARGEST_ID else None
    if document is None:
        raise HTTPException(404, "no such document")
    return document
