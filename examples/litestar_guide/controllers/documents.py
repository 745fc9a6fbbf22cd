"""``/documents``: files that come and go with their rows."""

from uuid import UUID

from advanced_alchemy.extensions.litestar.providers import create_service_dependencies
from advanced_alchemy.filters import OrderBy
from advanced_alchemy.service import OffsetPagination
from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import ValidationException
from litestar.params import FromPath, MultipartBody

from litestar_guide.filters import Page, provide_page
from litestar_guide.models import MAX_SIZE, Document
from litestar_guide.schemas import DocumentIn, DocumentOut, DocumentPatch
from litestar_guide.security import requires_login
from litestar_guide.services import DocumentService

Documents = NamedDependency[DocumentService]
DocumentId = FromPath[UUID]


class DocumentController(Controller):
    """Documents."""

    path = "/documents"
    tags = ("documents",)
    request_max_body_size = MAX_SIZE + 1024 * 1024  # Litestar's 10 MB would refuse what the column takes
    dependencies = {
        **create_service_dependencies(DocumentService, "documents"),
        "page": Provide(provide_page, sync_to_thread=False),
    }

    @get()
    async def list_documents(self, documents: Documents, page: Page) -> OffsetPagination[DocumentOut]:
        """List documents, the oldest first."""
        rows, total = await documents.get_many_and_count(page, OrderBy("created_at", "asc"), OrderBy("id", "asc"))
        return documents.to_schema(rows, total, filters=[page], schema_type=DocumentOut)

    @post(guards=[requires_login])
    async def create_document(self, documents: Documents, data: MultipartBody[DocumentIn]) -> DocumentOut:
        """Store a file under a name."""
        document = Document(name=data.name, file=data.file)
        return documents.to_schema(await documents.create(document), schema_type=DocumentOut)

    @get("/{document_id:uuid}")
    async def get_document(self, documents: Documents, document_id: DocumentId) -> DocumentOut:
        """Return one document."""
        return documents.to_schema(await documents.get(document_id), schema_type=DocumentOut)

    @patch("/{document_id:uuid}", guards=[requires_login])
    async def update_document(
        self, documents: Documents, document_id: DocumentId, data: MultipartBody[DocumentPatch]
    ) -> DocumentOut:
        """Change the name, the file, or both. The old bytes go when the change is committed."""
        changes: dict[str, object] = {}
        if data.name is not None:
            changes["name"] = data.name
        if data.file is not None:
            changes["file"] = data.file
        if not changes:
            raise ValidationException("send a name, a file, or both")
        return documents.to_schema(await documents.update(changes, item_id=document_id), schema_type=DocumentOut)

    @delete("/{document_id:uuid}", guards=[requires_login])
    async def delete_document(self, documents: Documents, document_id: DocumentId) -> None:
        """Remove a document; its bytes go when this is committed."""
        await documents.delete(document_id)
