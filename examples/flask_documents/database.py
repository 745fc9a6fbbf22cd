"""Sessions, and how requests find a document."""

from flask import abort
from sqlalchemy.orm import Session, sessionmaker

from flask_documents.models import Document

Sessions = sessionmaker[Session]
LARGEST_ID = 2**31 - 1
"""Of an INTEGER; databases and drivers refuse larger numbers by errors of their own."""


def find(session: Session, document_id: int) -> Document:
    """Return a document, or answer 404."""
    document = session.get(Document, document_id) if document_id <= LARGEST_ID else None
    return document or abort(404, "no such document")
