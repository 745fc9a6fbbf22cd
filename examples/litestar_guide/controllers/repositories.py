"""``/repositories/authors`` and ``/repositories/books``: the same with repositories alone, for those who want no service."""

from uuid import UUID

from advanced_alchemy.service import OffsetPagination
from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from litestar_guide.filters import Filters, Page, filters_for
from litestar_guide.models import Author, Book
from litestar_guide.schemas import AuthorIn, AuthorOut, AuthorPatch, BookIn, BookOut, BookPatch
from litestar_guide.services import AuthorRepository, BookRepository

Session = NamedDependency[AsyncSession]
Authors = NamedDependency[AuthorRepository]
Books = NamedDependency[BookRepository]
Id = FromPath[UUID]


async def provide_authors(db_session: Session) -> AuthorRepository:
    """Return the authors, in the request's session."""
    return AuthorRepository(session=db_session)


async def provide_books(db_session: Session) -> BookRepository:
    """Return the books, in the request's session."""
    return BookRepository(session=db_session)


class AuthorRepositoryController(Controller):
    """Authors."""

    path = "/repositories/authors"
    tags = ("authors through repositories",)
    dependencies = {"authors": Provide(provide_authors), **filters_for(search="name", order="name")}

    @get()
    async def list_rows(self, authors: Authors, filters: Filters, limit_offset_filter: Page) -> OffsetPagination[AuthorOut]:
        """List authors, by name."""
        rows, total = await authors.get_many_and_count(*filters)
        items = [AuthorOut.model_validate(row) for row in rows]
        return OffsetPagination(items, limit_offset_filter.limit, limit_offset_filter.offset, total)

    @post()
    async def create_row(self, authors: Authors, data: JSONBody[AuthorIn]) -> AuthorOut:
        """Add an author."""
        return AuthorOut.model_validate(await authors.add(Author(**data.model_dump())))

    @get("/{author_id:uuid}")
    async def get_row(self, authors: Authors, author_id: Id) -> AuthorOut:
        """Return one author with the books."""
        return AuthorOut.model_validate(await authors.get(author_id))

    @patch("/{author_id:uuid}")
    async def update_row(self, authors: Authors, author_id: Id, data: JSONBody[AuthorPatch]) -> AuthorOut:
        """Change an author."""
        changed = Author(id=author_id, **data.model_dump(exclude_unset=True))
        return AuthorOut.model_validate(await authors.update(changed))

    @delete("/{author_id:uuid}")
    async def delete_row(self, authors: Authors, author_id: Id) -> None:
        """Remove an author and the author's books."""
        await authors.delete(author_id)


class BookRepositoryController(Controller):
    """Books."""

    path = "/repositories/books"
    tags = ("books through repositories",)
    dependencies = {"books": Provide(provide_books), **filters_for(search="title", order="title")}

    @get()
    async def list_rows(self, books: Books, filters: Filters, limit_offset_filter: Page) -> OffsetPagination[BookOut]:
        """List books, by title."""
        rows, total = await books.get_many_and_count(*filters)
        items = [BookOut.model_validate(row) for row in rows]
        return OffsetPagination(items, limit_offset_filter.limit, limit_offset_filter.offset, total)

    @post()
    async def create_row(self, books: Books, data: JSONBody[BookIn]) -> BookOut:
        """Add a book."""
        return BookOut.model_validate(await books.add(Book(**data.model_dump())))

    @get("/{book_id:uuid}")
    async def get_row(self, books: Books, book_id: Id) -> BookOut:
        """Return one book with its author."""
        return BookOut.model_validate(await books.get(book_id))

    @patch("/{book_id:uuid}")
    async def update_row(self, books: Books, book_id: Id, data: JSONBody[BookPatch]) -> BookOut:
        """Change a book."""
        return BookOut.model_validate(await books.update(Book(id=book_id, **data.model_dump(exclude_unset=True))))

    @delete("/{book_id:uuid}")
    async def delete_row(self, books: Books, book_id: Id) -> None:
        """Remove a book."""
        await books.delete(book_id)
