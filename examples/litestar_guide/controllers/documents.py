"""``/documents``: files that come and go with their rows."""

from typing import Annotated
from uuid import UUID

from advanced_alchemy.extensions.litestar.providers import create_service_dependencies
from advanced_alchemy.filters import LimitOffset, OrderBy
from advanced_alchemy.service import OffsetPagination
from filerow import FileObject
from litestar import Controller, delete, get, patch, post
from litestar.di import Provide
from litestar.enums import RequestEncodingType
from litestar.exceptions import ValidationException
from litestar.params import Body

from litestar_guide.filters import provide_page
from litestar_guide.models import MAX_SIZE, Document
from litestar_guide.schemas import DocumentIn, DocumentOut, DocumentPatch
from litestar_guide.security import requires_login
from litestar_guide.services import DocumentService

MULTIPART = Body(media_type=RequestEncodingType.MULTI_PART)


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
    async def list_documents(self, documents: DocumentService, page: LimitOffset) -> OffsetPagination[DocumentOut]:
        """List documents, the oldest first."""
        rows, total = await documents.list_and_count(page, OrderBy("created_at", "asc"), OrderBy("id", "asc"))
        return documents.to_schema(rows, total, filters=[page], schema_type=DocumentOut)

    @post(guards=[requires_login])
    async def create_document(self, documents: DocumentService, data: Annotated[DocumentIn, MULTIPART]) -> DocumentOut:
        """Store a file under a name."""
        document = Document(name=data.name, file=FileObject.from_upload(data.file))
        return documents.to_schema(await documents.create(document), schema_type=DocumentOut)

    @get("/{document_id:uuid}")
    async def get_document(self, documents: DocumentService, document_id: UUID) -> DocumentOut:
        """Return one document."""
        return documents.to_schema(await documents.get(document_id), schema_type=DocumentOut)

    @patch("/{document_id:uuid}", guards=[requires_login])
    async def update_document(
        self, documents: DocumentService, document_id: UUID, data: Annotated[DocumentPatch, MULTIPART]
    ) -> DocumentOut:
        """Change the name, the file, or both. The old bytes go when the change is committed."""
        changes: dict[str, object] = {}
        if data.name is not None:
            changes["name"] = data.name
        if data.file is not None:
            changes["file"] = FileObject.from_upload(data.file)
        if not changes:
            raise ValidationException("send a name, a file, or both")
        return documents.to_schema(await documents.update(changes, item_id=document_id), schema_type=DocumentOut)

    @delete("/{document_id:uuid}", guards=[requires_login])
    async def delete_document(self, documents: DocumentService, document_id: UUID) -> None:
        """Remove a document; its bytes go when this is committed."""
        await documents.delete(document_id)
