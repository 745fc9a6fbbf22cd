"""What clients send and get."""

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from filerow import FileObject
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, computed_field

UNSET: Any = Field(default=None)
"""May be left out, but not be null."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Schema(BaseModel):
    """Can be made from a row."""

    model_config = ConfigDict(from_attributes=True)


class AuthorIn(Schema):
    """A new author."""

    name: Text
    born: date | None = None


class AuthorPatch(Schema):
    """What to change of an author; what is left out stays."""

    name: Text = UNSET
    born: date | None = None


class BookIn(Schema):
    """A new book."""

    title: Text
    author_id: UUID


class BookPatch(Schema):
    """What to change of a book; what is left out stays."""

    title: Text = UNSET
    author_id: UUID = UNSET


class BookOfAuthor(Schema):
    """A book, where its author is known already."""

    id: UUID
    title: str


class AuthorOut(Schema):
    """An author with the books."""

    id: UUID
    name: str
    born: date | None
    books: list[BookOfAuthor]


class AuthorOfBook(Schema):
    """An author, where the books are known already."""

    id: UUID
    name: str


class BookOut(Schema):
    """A book with its author."""

    id: UUID
    title: str
    author: AuthorOfBook


class DocumentOut(Schema):
    """A document: facts about the file, and for an hour a URL of its bytes."""

    id: UUID
    name: str
    file: FileObject

    @computed_field  # type: ignore[prop-decorator]
    @property
    def file_url(self) -> str:
        """Where the bytes are, for the next hour."""
        return self.file.sign(expires_in=3600)


class DocumentIn(Schema):
    """The form of a new document."""

    name: Text
    file: FileObject


class DocumentPatch(Schema):
    """The form that changes a document: the name, the file, or both."""

    name: Text | None = None
    file: FileObject | None = None


class FileForm(BaseModel):
    """The page's form of another file; the page says what is missing."""

    file: FileObject | None = None


class DocumentForm(FileForm):
    """The page's form of a new document."""

    name: str = ""


class Credentials(BaseModel):
    """What a login takes."""

    email: str
    password: str


class Account(Schema):
    """Who is logged in."""

    id: UUID
    email: str
