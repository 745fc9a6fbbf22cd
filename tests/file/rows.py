"""What a column makes of a file on its way to the store and of a document on its way back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import create_engine, insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject


def stored_by(kind: StoredObject, file: FileObject) -> FileObject:
    """Commit a row whose column ``photo`` has this type, and return the file.

    No attribute is set, so the rules are applied only where the content is opened for the store.
    """

    class Base(DeclarativeBase):
        pass

    class Document(Base):
        __tablename__ = "document"
        id: Mapped[int] = mapped_column(primary_key=True)
        photo: Mapped[FileObject | None] = mapped_column(kind)

    engine = create_engine("sqlite://")
    try:
        with Session(engine) as session:
            Base.metadata.create_all(session.connection())
            session.execute(insert(Document), [{"photo": file}])
            session.commit()
    finally:
        engine.dispose()
    return file


def loaded(document: object) -> Any:
    """Return the file that a column makes of what a driver has read."""
    read = StoredObject().result_processor(sqlite.dialect(), None)
    assert read is not None
    return read(document)
