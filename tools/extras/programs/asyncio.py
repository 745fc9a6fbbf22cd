"""Extra ``asyncio``: an ``AsyncSession``; the driver is the application's."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from filerow import FileObject
from tools.extras.programs.model import CONTENT, Base, Document, directory


async def main() -> None:
    """Store and read."""
    directory()
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(document := Document(file=FileObject(filename="a.txt", content=CONTENT)))
        await session.commit()
        assert document.file is not None
        assert await document.file.get_content_async() == CONTENT
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
