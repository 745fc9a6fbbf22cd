"""``/books``, through a service."""

from uuid import UUID

from advanced_alchemy.extensions.litestar.providers import create_service_dependencies
from advanced_alchemy.service import OffsetPagination
from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from litestar_guide.filters import Filters, filters_for
from litestar_guide.schemas import BookIn, BookOut, BookPatch
from litestar_guide.services import BookService

Books = NamedDependency[BookService]
BookId = FromPath[UUID]


class BookController(Controller):
    """Books."""

    path = "/books"
    tags = ("books",)
    dependencies = {**create_service_dependencies(BookService, "books"), **filters_for(search="title", order="title")}

    @get()
    async def list_books(self, books: Books, filters: Filters) -> OffsetPagination[BookOut]:
        """List books, by title."""
        rows, total = await books.get_many_and_count(*filters)
        return books.to_schema(rows, total, filters=filters, schema_type=BookOut)

    @post()
    async def create_book(self, books: Books, data: JSONBody[BookIn]) -> BookOut:
        """Add a book."""
        return books.to_schema(await books.create(data), schema_type=BookOut)

    @get("/{book_id:uuid}")
    async def get_book(self, books: Books, book_id: BookId) -> BookOut:
        """Return one book with its author."""
        return books.to_schema(await books.get(book_id), schema_type=BookOut)

    @patch("/{book_id:uuid}")
    async def update_book(self, books: Books, book_id: BookId, data: JSONBody[BookPatch]) -> BookOut:
        """Change a book."""
        return books.to_schema(await books.update(data, item_id=book_id), schema_type=BookOut)

    @delete("/{book_id:uuid}")
    async def delete_book(self, books: Books, book_id: BookId) -> None:
        """Remove a book."""
        await books.delete(book_id)
