"""The application: ``uvicorn --factory fastapi_documents.app:create_app``."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Form, HTTPException, Query
from fastapi_offline import FastAPIOffline
from filerow import FileObject, storages
from filerow.backends.local import LocalBackend
from filerow.ext.fastapi import Uploaded, install, routes
from filerow.variants import configure_urls
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from fastapi_documents.database import find, get_session
from fastapi_documents.models import Base, Document, DocumentOut, Page
from fastapi_documents.pages import pages

DATA = Path(__file__).parent / "data"

Session = Annotated[AsyncSession, Depends(get_session)]
Name = Annotated[str, Form(min_length=1, max_length=200)]
NewName = Annotated[str | None, Form(min_length=1, max_length=200)]
Upload = Annotated[FileObject, Uploaded(Document.file)]
NewUpload = Annotated[FileObject | None, Uploaded(Document.file, optional=True)]


async def create_document(session: Session, name: Name, file: Upload) -> DocumentOut:
    """Store a file under a name."""
    document = Document(name=name, file=file)
    session.add(document)
    await session.commit()
    return DocumentOut.model_validate(document)


async def list_documents(
    session: Session, limit: Annotated[int, Query(ge=1, le=100)] = 20, offset: Annotated[int, Query(ge=0, le=2**31)] = 0
) -> Page:
    """List documents, the oldest first."""
    rows = await session.scalars(select(Document).order_by(Document.id).limit(limit).offset(offset))
    total = await session.scalar(select(func.count()).select_from(Document))
    return Page(items=[DocumentOut.model_validate(row) for row in rows], limit=limit, offset=offset, total=total or 0)


async def get_document(session: Session, document_id: int) -> DocumentOut:
    """Return one document."""
    return DocumentOut.model_validate(await find(session, document_id))


async def update_document(session: Session, document_id: int, name: NewName = None, file: NewUpload = None) -> DocumentOut:
    """Change the name, the file, or both. The old bytes go when the change is committed."""
    if name is None and file is None:
        raise HTTPException(400, "send a name, a file, or both")
    document = await find(session, document_id)
    if name is not None:
        document.name = name
    if file is not None:
        document.file = file
    await session.commit()
    return DocumentOut.model_validate(document)


async def delete_document(session: Session, document_id: int) -> None:
    """Remove a document and its bytes."""
    await session.delete(await find(session, document_id))
    await session.commit()


def register_storage(files: Path | None) -> None:
    """Register the backend that ``Document.file`` names: a directory, or the store that ``STORAGE_URL`` names."""
    # Without FILEROW_SECRET, development=True signs with a secret that ends with the process.
    configure_urls(url="/files", development=True)
    url = os.environ.get("STORAGE_URL") if files is None else None
    if url:  # s3://bucket/prefix; AWS_ENDPOINT_URL and its like say the rest
        storages.register_backend(url, key="documents", public_endpoint=os.environ.get("STORAGE_PUBLIC_ENDPOINT"))
        return
    storages.register_backend(LocalBackend("documents", files or DATA / "files", base_url="/files", development=True))


def create_app(database_url: str | None = None, files: Path | None = None) -> FastAPI:
    """Return the application.

    Args:
        database_url: Where rows go; ``DATABASE_URL`` or SQLite when left out.
        files: The directory for bytes; ``data/files`` when left out.
    """
    if database_url is None or files is None:
        DATA.mkdir(exist_ok=True)
    engine = create_async_engine(database_url or os.environ.get("DATABASE_URL", f"sqlite+aiosqlite:///{DATA}/documents.sqlite"))
    register_storage(files)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield
        await engine.dispose()

    app: FastAPI = FastAPIOffline(title="Documents", lifespan=lifespan, redoc_url=None)  # /docs asks no CDN
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    app.include_router(pages)
    app.post("/documents", status_code=201)(create_document)
    app.get("/documents")(list_documents)
    app.get("/documents/{document_id}")(get_document)
    app.patch("/documents/{document_id}")(update_document)
    app.delete("/documents/{document_id}", status_code=204)(delete_document)
    app.include_router(routes("/files"))
    install(app)
    return app
