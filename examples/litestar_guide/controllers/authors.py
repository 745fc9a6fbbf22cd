"""``/authors``, through a service."""

from uuid import UUID

from advanced_alchemy.extensions.litestar.providers import create_service_dependencies
from advanced_alchemy.service import OffsetPagination
from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from litestar_guide.filters import Filters, filters_for
from litestar_guide.schemas import AuthorIn, AuthorOut, AuthorPatch
from litestar_guide.services import AuthorService

Authors = NamedDependency[AuthorService]
AuthorId = FromPath[UUID]


class AuthorController(Controller):
    """Authors."""

    path = "/authors"
    tags = ("authors",)
    dependencies = {**create_service_dependencies(AuthorService, "authors"), **filters_for(search="name", order="name")}

    @get()
    async def list_authors(self, authors: Authors, filters: Filters) -> OffsetPagination[AuthorOut]:
        """List authors, by name."""
        rows, total = await authors.get_many_and_count(*filters)
        return authors.to_schema(rows, total, filters=filters, schema_type=AuthorOut)

    @post()
    async def create_author(self, authors: Authors, data: JSONBody[AuthorIn]) -> AuthorOut:
        """Add an author."""
        return authors.to_schema(await authors.create(data), schema_type=AuthorOut)

    @get("/{author_id:uuid}")
    async def get_author(self, authors: Authors, author_id: AuthorId) -> AuthorOut:
        """Return one author with the books."""
        return authors.to_schema(await authors.get(author_id), schema_type=AuthorOut)

    @patch("/{author_id:uuid}")
    async def update_author(self, authors: Authors, author_id: AuthorId, data: JSONBody[AuthorPatch]) -> AuthorOut:
        """Change an author."""
        return authors.to_schema(await authors.update(data, item_id=author_id), schema_type=AuthorOut)

    @delete("/{author_id:uuid}")
    async def delete_author(self, authors: Authors, author_id: AuthorId) -> None:
        """Remove an author and the author's books."""
        await authors.delete(author_id)
