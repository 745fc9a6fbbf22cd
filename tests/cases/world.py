"""``World``: everything a case needs, and the check that follows it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn

from filerow import FileObject, FileObjectList
from tests.cases.databases import PostgreSQL, SQLite
from tests.cases.models import UNMANAGED, Document
from tests.cases.stores import Store

FACTS = ("size", "etag", "checksum", "content_type", "last_modified")


class World:
    """One combination of session, database and store.

    Args:
        database: Where the rows are.
        store: Where the bytes are.
        engine: Of the kind the sessions need.
        runner: Runs asynchronous cases; all in one loop, so that connections can be kept.

    Attributes:
        session: The case's session.
        sharded: Its sessions use several databases.
    """

    session: Session
    sharded = False

    def __init__(self, database: SQLite | PostgreSQL, store: Store, engine: Engine | AsyncEngine, runner: asyncio.Runner) -> None:
        self.database = database
        self.store = store
        self.engine = engine
        self._runner = runner
        self._sessions: list[Session | AsyncSession] = []
        self._numbers = itertools.count(1)

    # -- what a case needs ---------------------------------------------------------------------------------------------

    @property
    def docs(self) -> Any:
        """The backend of most columns."""
        return self.store.backends["docs"]

    def open(self, **options: Any) -> Session:
        """Return another session."""
        if isinstance(self.engine, Engine):
            session = Session(self.engine, **options)
            self._sessions.append(session)
            return session
        async_session = AsyncSession(self.engine, **options)
        self._sessions.append(async_session)
        return async_session.sync_session

    def identity_token(self, table: str, number: int) -> str | None:
        """Return what a session over several databases recognises a row's database by."""
        return None

    def file(self, content: Any = None, filename: str = "cat.png", **options: Any) -> FileObject:
        """Return a pending file, with bytes of its own unless they are given."""
        return FileObject(filename=filename, content=b"file %d" % next(self._numbers) if content is None else content, **options)

    def files(self, count: int) -> list[FileObject]:
        """Return several pending files."""
        return [self.file() for _ in range(count)]

    def add(self, model: type[Any] = Document, **values: Any) -> Any:
        """Return a committed row."""
        row = model(**values)
        self.session.add(row)
        self.session.commit()
        return row

    def stored(self, file: FileObject | None) -> bytes:
        """Return the bytes of a stored file, read from outside."""
        assert file is not None
        return self.store.read(file.backend_key, file.path)

    def contents(self, files: FileObjectList) -> list[bytes]:
        """Return the bytes of each file of a list column, read from outside."""
        return [self.stored(file) for file in files]

    def sweep(self, key: str, path: str) -> None:
        """Delete an object that no row names, as a sweep would."""
        self.store.backends[key].delete([path])

    def count(self) -> int:
        """Return how many objects there are."""
        return len(self.store.objects())

    # -- running and checking ------------------------------------------------------------------------------------------

    def run(self, case: Callable[[], None]) -> None:
        """Run a case and check what it has left."""
        if isinstance(self.engine, Engine):
            self.session = self.open()
            try:
                case()
            finally:
                for session in self._sessions:
                    session.close()
        else:
            self._runner.run(self._run_async(case))
        self.check()

    async def _run_async(self, case: Callable[[], None]) -> None:
        self.session = self.open()
        try:
            await greenlet_spawn(case)
        finally:
            for session in self._sessions:
                await session.close()  # type: ignore[misc]

    def check(self, orphans: Collection[tuple[str, str]] = (), *, settled: bool = True) -> None:
        """Compare all objects with all committed rows.

        Args:
            orphans: The objects that no row owns.
            settled: No transaction is open; one that is may have stored more.
        """
        referenced: list[tuple[str, str]] = []
        unmanaged: set[tuple[str, str]] = set()
        for table, documents in self.database.rows():
            for document in documents:
                self._check_document(document)
                where = (document["backend"], document["path"])
                if table in UNMANAGED:
                    unmanaged.add(where)
                else:
                    referenced.append(where)
        assert len(referenced) == len(set(referenced)), "two rows share an object"
        objects = self.store.objects()
        paths = set(referenced) | unmanaged
        assert paths - objects == set(), "dangling: rows without their objects"
        assert paths.isdisjoint(orphans), "a row owns what was to be deleted"
        if settled:
            left, failed = objects - paths, set(orphans)
            assert left == failed, f"orphans: objects without a row: {left - failed}, deleted after all: {failed - left}"

    def _check_document(self, document: dict[str, Any]) -> None:
        missing = [fact for fact in FACTS if document[fact] in {None, ""}]
        assert not missing, f"facts missing from the row: {missing}"
        content = self.store.read(document["backend"], document["path"])
        assert len(content) == document["size"]
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == document["checksum"]
