"""The table, and what clients see of it."""

from filerow import FileObject, StoredObject
from filerow.variants import Resize
from pydantic import BaseModel, ConfigDict, computed_field
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

CONTENT_TYPES = ["image/*", "application/pdf", "text/plain"]
VARIANTS = {"w320": Resize(width=320), "w640": Resize(width=640), "w1280": Resize(width=1280)}
"""Made of images when somebody first looks at them."""


class Base(DeclarativeBase):
    """The base of all models."""


class Document(Base):
    """A file with a name of ours. The bytes are in the storage backend, and go when the row goes."""

    __tablename__ = "document"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    file: Mapped[FileObject] = mapped_column(
        StoredObject("documents", max_size="25 MiB", content_types=CONTENT_TYPES, variants=VARIANTS)
    )


class DocumentOut(BaseModel):
    """A document: facts about the file, and for an hour a URL of its bytes."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    file: FileObject

    @computed_field  # type: ignore[prop-decorator]
    @property
    def file_url(self) -> str:
        """Where the bytes are, for the next hour."""
        return self.file.sign(expires_in=3600)


class Page(BaseModel):
    """Some documents of all."""

    items: list[DocumentOut]
    limit: int
    offset: int
    total: int
