"""The tables."""

from datetime import date
from uuid import UUID

from advanced_alchemy.base import UUIDv7AuditBase
from advanced_alchemy.extensions.litestar.session import SessionModelMixin
from filerow import FileObject, StoredObject
from filerow.variants import Resize
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

MAX_SIZE = 25 * 1024 * 1024
CONTENT_TYPES = ["image/*", "application/pdf", "text/plain"]
VARIANTS = {"w320": Resize(width=320), "w640": Resize(width=640), "w1280": Resize(width=1280)}
"""Made of images when somebody first looks at them."""


class Author(UUIDv7AuditBase):
    """Who writes books."""

    __tablename__ = "author"

    name: Mapped[str] = mapped_column(String(200))
    born: Mapped[date | None]
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan", lazy="selectin")


class Book(UUIDv7AuditBase):
    """What authors write."""

    __tablename__ = "book"

    title: Mapped[str] = mapped_column(String(200))
    author_id: Mapped[UUID] = mapped_column(ForeignKey("author.id", ondelete="CASCADE"), index=True)
    author: Mapped[Author] = relationship(back_populates="books", lazy="joined", innerjoin=True)


class Document(UUIDv7AuditBase):
    """A file with a name of ours. The bytes are in the storage backend, and go when the row goes."""

    __tablename__ = "document"

    name: Mapped[str] = mapped_column(String(200))
    file: Mapped[FileObject] = mapped_column(
        StoredObject("documents", max_size=MAX_SIZE, content_types=CONTENT_TYPES, variants=VARIANTS)
    )


class User(UUIDv7AuditBase):
    """Who may upload."""

    __tablename__ = "user_account"

    email: Mapped[str] = mapped_column(String(320), unique=True)
    password_hash: Mapped[str] = mapped_column(String(200))


class WebSession(SessionModelMixin):
    """Who is logged in, by the cookie's value."""

    __tablename__ = "web_session"
