"""Rows whose files are to move: one table, mapped as the application had it and as it has it now, without and with an outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from sqlalchemy import Engine, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, PathRequest, StoredObject, storages
from filerow.backends.base import ObjectInfo, PutOptions
from filerow.backends.memory import MemoryBackend
from filerow.maintenance import Finding, Progress
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase
from tests.generated import Located
from tests.places import RECORD, know_places

COLUMNS = ("paper.file", "paper.pages", "paper.chosen")


def chosen_path(request: PathRequest) -> str:
    return f"chosen/{request.token}"


class Earlier(DeclarativeBase):
    """The application before it changed its backend."""


class Plain(DeclarativeBase):
    """Without an outbox."""


class Kept(DeclarativeBase):
    """With one."""


class EarlierPaper(Earlier):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(20))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("old"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("old", multiple=True))
    chosen: Mapped[FileObject | None] = mapped_column(StoredObject("old", path=chosen_path))


PAPER: Any = EarlierPaper.__table__


class _Paper:
    __tablename__: ClassVar[Any] = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(String(20), onupdate="touched")
    file: Mapped[FileObject | None] = mapped_column(StoredObject("new"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("new", multiple=True))
    chosen: Mapped[FileObject | None] = mapped_column(StoredObject("new", path=chosen_path))


class PlainPaper(_Paper, Plain):
    """A row whose dropped files are deleted after its commit."""


class KeptPaper(_Paper, Kept):
    """A row whose dropped files are noted in the outbox."""


outbox = Outbox(Kept.metadata, retention=timedelta(0))


class HookedBackend(MemoryBackend):
    """A real backend that calls somebody before each of its writes, who may also make it fail."""

    before_put: Callable[[str], None] | None = None

    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        if self.before_put is not None:
            self.before_put(path)
        return super()._put(path, content, options)

    async def _put_async(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        if self.before_put is not None:
            self.before_put(path)
        return await super()._put_async(path, content, options)


class Papers:
    """A database with some papers, and both backends.

    Attributes:
        model: The mapped class as it is now.
        engine: Of the database.
        contents: What each row's files hold, by its number: the file, the pages, the file with a chosen path.
    """

    def __init__(self, database: EmptyDatabase, *, kept: bool = False, files: int = 4) -> None:
        self.model: Any = KeptPaper if kept else PlainPaper
        self.database = database
        self.engine: Engine = database.engine()
        self.metadata = self.model.metadata
        self.metadata.create_all(self.engine)
        know_places(self.metadata, self.engine)
        self.contents: dict[int, list[bytes]] = {}
        with Session(self.engine) as session:
            for number in range(1, files + 1):
                contents = [b"%d-%s" % (number, name) * 10 for name in (b"file", b"page 1", b"page 2", b"chosen")]
                made = [FileObject(filename=f"{number}.txt", content=content) for content in contents]
                session.add(EarlierPaper(id=number, file=made[0], pages=made[1:3], chosen=made[3]))
                self.contents[number] = contents
            session.add(EarlierPaper(id=files + 1, pages=[]))
            self.contents[files + 1] = []
            session.commit()

    def files(self) -> dict[int, list[FileObject]]:
        """Return the files of all rows, read afresh."""
        with Session(self.engine) as session:
            found = session.scalars(select(self.model))
            return {row.id: [file for file in (row.file, *row.pages, row.chosen) if file is not None] for row in found}

    def append(self, number: int, content: bytes) -> None:
        """Append a page, as the application does."""
        with Session(self.engine) as session:
            paper = session.get_one(self.model, number)
            paper.pages.append(FileObject(content=content))
            session.commit()

    def named(self) -> set[Located]:
        """Return the objects that rows name."""
        return {Located(file.backend_key, file.path) for files in self.files().values() for file in files}

    def check(self) -> None:
        """Every file can be read, and is what its row says."""
        files = self.files()
        assert {number: [file.get_content() for file in found] for number, found in files.items()} == self.contents
        for found in files.values():
            for file in found:
                file.verify()


def objects() -> set[Located]:
    """Return all objects of both backends."""
    found = {Located(key, info.path) for key in storages.registered_backends() for info in storages.get_backend(key).list()}
    return {one for one in found if one.path != RECORD}


def findings(progress: Sequence[Progress]) -> list[Finding]:
    return [finding for one in progress for finding in one.findings]


def codes(progress: Sequence[Progress]) -> list[str]:
    return [finding.code for finding in findings(progress)]


def collect(steps: Iterator[Progress]) -> list[Progress]:
    return list(steps)


def collect_async(database: EmptyDatabase, work: Callable[[Any], AsyncIterator[Progress]]) -> list[Progress]:
    """Run an asynchronous piece of maintenance to its end, in a loop and on an engine of its own."""

    async def run() -> list[Progress]:
        engine = database.async_engine()
        try:
            return [progress async for progress in work(engine)]
        finally:
            await engine.dispose()

    return asyncio.run(run())
