"""Sessions, and how requests find a document."""

from flask import abort
from sqlalchemy.orm import Session, sessionmaker

from flask_documents.models import Document

Sessions = sessionmaker[Session]


def find(session: Session, document_id: int) -> Document:
    """Return a document, or answer 404."""
    return session.get(Document, document_id) or abort(404, "no such document")
