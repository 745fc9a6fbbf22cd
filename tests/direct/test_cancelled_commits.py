"""A commit that redeems a claim, cancelled at any step of the loop: no row without its object, no file lost, none made twice.

COMMIT may have been sent and its answer lost. Then everything is kept, which is logged, and a claim that has made a row is spent.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.direct import DirectUploads
from filerow.exceptions import ClaimError
from filerow.outbox import Outbox
from tests.databases import empty_database
from tests.direct.conftest import PNG, SECRET
from tests.tokens import said_by

# A cancelled aiosqlite connection is thrown away by SQLAlchemy without being closed, of which Python 3.13 and aiosqlite warn.
pytestmark = [
    pytest.mark.servers,
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*was deleted before being closed:ResourceWarning"),
]


class World:
    """An application with one table, and its store.

    Attributes:
        model: The mapped class.
        backend: Where clients upload to.
        engine: The database.
    """

    def __init__(self, engine: AsyncEngine, *, with_outbox: bool) -> None:
        class Base(DeclarativeBase):
            pass

        class Document(Base):
            __tablename__ = "document"
            id: Mapped[int] = mapped_column(primary_key=True)
            image: Mapped[FileObject | None] = mapped_column(StoredObject("direct"))
            pages: Mapped[FileObjectList] = mapped_column(StoredObject("direct", multiple=True))

        if with_outbox:
            Outbox(Base.metadata)
        self.model = Document
        self.metadata = Base.metadata
        self.engine = engine
        self.backend = MemoryBackend("direct", base_url="/files", secret=SECRET)
        self._columns = [Document.image, Document.pages, Document.pages]

    def begin(self) -> list[str]:
        """Be a client that uploads an image and two pages; return the claims."""
        facts = {"filename": "cat.png", "content_type": "image/png", "size": len(PNG)}
        claims = [DirectUploads(column, secret=SECRET).begin(**facts).claim for column in self._columns]  # type: ignore[arg-type]
        for claim in claims:
            self.backend.put(said_by(claim)["path"], PNG)
        return claims

    async def redeem(self, claims: list[str]) -> None:
        """Make a row of the claims."""
        found = [
            await DirectUploads(column, secret=SECRET).claim_async(claim)
            for column, claim in zip(self._columns, claims, strict=True)
        ]
        async with AsyncSession(self.engine) as session:
            session.add(self.model(image=found[0], pages=found[1:]))
            await session.commit()

    async def named(self) -> list[str]:
        """Return the paths that rows name."""
        async with AsyncSession(self.engine) as session:
            rows = (await session.scalars(select(self.model))).all()
            return [file.path for row in rows for file in (row.image, *row.pages) if file]


@pytest.fixture(params=["sqlite", "postgresql"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    with empty_database(request.param, tmp_path, request) as database:
        made = database.async_engine()
        if request.param == "sqlite":
            event.listen(made.sync_engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 500"))
        yield made
        await made.dispose()
    gc.collect()


@pytest.fixture(params=[False, True], ids=["plain", "outbox"])
async def world(request: pytest.FixtureRequest, engine: AsyncEngine) -> AsyncIterator[World]:
    made = World(engine, with_outbox=request.param)
    storages.register_backend(made.backend)
    async with engine.begin() as connection:
        await connection.run_sync(made.metadata.create_all)
    yield made
    storages.clear_backends()


def steps() -> Iterator[int]:
    """Yield after how many steps of the loop to cancel: each of the first, then every few."""
    number = 1
    while number < 4000:
        yield number
        number += 1 + number // 8


async def cancelled_after(world: World, claims: list[str], number: int) -> bool:
    """Redeem the claims and cancel after a number of steps; return True if it was done before."""
    task = asyncio.create_task(world.redeem(claims))
    for _ in range(number):
        await asyncio.sleep(0)
    done = task.done()
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
    await world.engine.dispose()
    await asyncio.sleep(0.02)
    gc.collect()
    return done


async def judge(world: World, claims: list[str], before: list[str], *, in_doubt: bool) -> None:
    """Check rows and objects, and that each claim is good exactly if there is no row."""
    rows = set(await world.named())
    objects = {info.path for info in world.backend.list() if not info.path.startswith("staged/claims/")}
    uploads = {said_by(claim)["path"] for claim in claims}
    made = rows - set(before)
    assert rows <= objects, "a row without its object"
    assert len(made) in {0, 3}
    assert made or uploads <= objects, "an upload is lost"
    if not in_doubt:
        assert objects == rows | (set() if made else uploads)
    for claim in claims:  # the client's URL is still good
        if said_by(claim)["path"] not in objects:
            world.backend.put(said_by(claim)["path"], PNG)
    if made:
        with pytest.raises(ClaimError):
            await world.redeem(claims)
    elif not in_doubt:
        await world.redeem(claims)
    for path in {info.path for info in world.backend.list()} - set(await world.named()):
        world.backend.delete(path)


@pytest.mark.one_in(2)
async def test_a_cancelled_commit_uses_a_claim_once_or_not_at_all(world: World, caplog: pytest.LogCaptureFixture) -> None:
    ended = 0
    for number in steps():
        caplog.clear()
        before = await world.named()
        claims = world.begin()
        ended += await cancelled_after(world, claims, number)
        await judge(world, claims, before, in_doubt="did not say whether it committed" in caplog.text)
        if ended >= 2:
            return
    pytest.fail("no commit came to its end")
