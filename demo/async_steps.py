"""The same through ``AsyncSession``: what the application would do inside a web framework."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import select

from demo.files import draw_png, endless_stream
from demo.models import Author, Document
from demo.steps import cover, cover_of, expect
from filerow import FileObject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncSession

    from demo.app import Library


async def _author(session: AsyncSession, name: str) -> Author:
    return (await session.scalars(select(Author).where(Author.name == name))).one()


async def _document(session: AsyncSession, slug: str) -> Document:
    return (await session.scalars(select(Document).where(Document.slug == slug))).one()


async def _arriving(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


async def _counted(blocks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    number = 0
    async for block in blocks:
        yield number, block
        number += 1


def insert(library: Library) -> None:
    """Insert files, one of them from an asynchronous iterator."""
    asyncio.run(_insert(library))


async def _insert(library: Library) -> None:
    async with library.async_sessions() as sessions, sessions(expire_on_commit=False) as session:
        ada = await _author(session, "Ada")
        pages = [FileObject(filename="a.txt", content=_arriving(b"over ", b"time")), FileObject(content=b"at once")]
        cloud = Document(slug="cloud", author=ada, cover=cover("cloud"), pages=pages)
        session.add(cloud)
        await session.commit()
        read = [await page.get_content_async() for page in cloud.pages]
        expect(read == [b"over time", b"at once"], f"the pages read {read}")


def change(library: Library) -> None:
    """Replace a file and append one; a savepoint that would undo both is rolled back."""
    asyncio.run(_change(library))


async def _change(library: Library) -> None:
    async with library.async_sessions() as sessions, sessions(expire_on_commit=False) as session:
        cloud = await _document(session, "cloud")
        cloud.cover = cover("rain")
        cloud.pages.append(FileObject(filename="b.txt", content=b"more"))
        savepoint = await session.begin_nested()
        cloud.cover = None
        cloud.pages.clear()
        await session.flush()
        await savepoint.rollback()
        await session.commit()
        await session.refresh(cloud)
        expect(len(cloud.pages) == 3, f"there are {len(cloud.pages)} pages")  # noqa: PLR2004 - two and one
        expect(await cover_of(cloud).get_content_async() == draw_png("rain"), "the cover reads differently")


def tasks(library: Library) -> None:
    """Insert from eight tasks at once, each with sessions of its own."""
    asyncio.run(_tasks(library))


async def _tasks(library: Library) -> None:
    async with library.async_sessions() as sessions:

        async def work(worker: int) -> None:
            for number in range(3):
                async with sessions() as session:
                    slug = f"task-{worker}-{number}"
                    ben = await _author(session, "Ben")
                    session.add(Document(slug=slug, author=ben, cover=cover(slug)))
                    await session.commit()

        await asyncio.gather(*map(work, range(8)))


def cancelled(library: Library) -> None:
    """Cancel a commit while one of its files is still arriving, as a server does whose client has gone."""
    asyncio.run(_cancelled(library))


async def _cancelled(library: Library) -> None:
    arriving = asyncio.Event()

    async def upload() -> AsyncIterator[bytes]:
        async for number, block in _counted(endless_stream()):
            yield block
            if number == 12:  # noqa: PLR2004 - megabytes: by now parts are on their way
                arriving.set()

    async def commit() -> None:
        async with library.async_sessions() as sessions, sessions() as session:
            cloud = await _document(session, "cloud")
            cloud.cover = cover("storm")
            cloud.pages.append(FileObject(filename="endless.txt", content=upload()))
            await session.commit()

    task = asyncio.create_task(commit())
    await arriving.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    expect(task.cancelled(), "the commit was cancelled and went on")


def delete(library: Library) -> None:
    """Delete one document with all its files."""
    asyncio.run(_delete(library))


async def _delete(library: Library) -> None:
    async with library.async_sessions() as sessions, sessions() as session:
        await session.delete(await _document(session, "cloud"))
        await session.commit()
