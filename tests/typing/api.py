"""What type checkers must say of the public API; read by mypy and pyright, never run."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, assert_type

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, FileObjectList, FileState, StorageBackend, StoredObject, storages
from filerow.direct import DirectUploads, Ticket, TicketPart


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", max_size="25 MB", content_types=["image/*"]))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


def values(document: Document) -> None:
    assert_type(document.file, FileObject | None)
    assert_type(document.pages, FileObjectList)
    assert_type(document.pages[0], FileObject)
    document.pages = [FileObject(filename="1.png", content=b"one")]
    document.pages = FileObjectList([FileObject(filename="2.png", content=b"two")])
    document.pages.append(FileObject(filename="3.png", content=b"three"))
    Document(pages=[FileObject(filename="4.png", content=b"four")])
    file = FileObject(filename="cat.png", content=b"meow", metadata={"page": 1})
    assert_type(file.size, int | None)
    assert_type(file.metadata, Mapping[str, Any])
    assert_type(file.state, FileState)
    assert_type(file.get_content(), bytes)
    assert_type(file.stream(), Iterator[bytes])
    assert_type(file.stream_async(), AsyncIterator[bytes])
    assert_type(file.save(), FileObject)
    assert_type(file.copy(), FileObject)
    assert_type(file.sign(expires_in=60), str)
    assert_type(file.download("/tmp/file"), Path)
    assert_type(FileObject.from_dict(file.to_dict()), FileObject)


async def awaited(file: FileObject) -> None:
    assert_type(await file.get_content_async(), bytes)
    assert_type(await file.save_async(), FileObject)
    assert_type(await file.sign_async(), str)


def registry() -> None:
    assert_type(storages.register_backend("memory://", key="docs"), StorageBackend)
    assert_type(storages.get_backend("docs"), StorageBackend)
    assert_type(storages.registered_backends(), list[str])


def direct_upload(claim: str) -> None:
    uploads = DirectUploads(Document.file, s3_method="PUT")
    ticket = uploads.begin(filename="cat.png", size=3)
    assert_type(ticket, Ticket)
    assert_type(ticket.parts, tuple[TicketPart, ...])
    assert_type(ticket.to_dict(), dict[str, Any])
    assert_type(uploads.claim(claim), FileObject)
    assert_type(uploads.handle("begin", {}), dict[str, Any])
    assert_type(FileObject.from_claim(claim, Document.file), FileObject)


def references(file: FileObject) -> None:
    assert_type(file.to_reference(expires_in=60, audience="thumbs", secret=["a", b"b"]), str)
    assert_type(FileObject.from_reference("a.b", audience="thumbs"), FileObject)
    assert_type(file.public_view(), dict[str, Any])


async def direct_upload_awaited(uploads: DirectUploads, claim: str) -> None:
    assert_type(await uploads.resume_async(claim), Ticket)
    assert_type(await uploads.claim_async(claim), FileObject)
    assert_type(await FileObject.from_claim_async(claim), FileObject)
