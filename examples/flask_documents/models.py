"""The table."""

from filerow import FileObject, StoredObject
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The base of all models."""


class Document(Base):
    """A file with a name of ours. The bytes are in the storage backend, and go when the row goes."""

    __tablename__ = "document"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    file: Mapped[FileObject] = mapped_column(StoredObject("documents", max_size="25 MiB"))
