"""An event loop goes on while images are made: 16 photos of 12 megapixels at once, by requests and by commits."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.http import answer_async
from filerow.variants import Resize, Thumbnail, VariantWorkers, configure, configure_urls

pytestmark = pytest.mark.thorough

MOST = 0.020
AT_ONCE = 16


class Base(DeclarativeBase):
    pass


class Photo(Base):
    __tablename__ = "photo"

    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(
        StoredObject("photos", variants={"thumb": Thumbnail(200, 200)}, make_variants="commit")
    )


@pytest.fixture(autouse=True)
def workers() -> Iterator[VariantWorkers]:
    storages.register_backend(MemoryBackend("photos"))
    configure_urls(development=True)
    with configure(queue_seconds=120) as made:
        yield made
    configure()
    configure_urls()
    storages.clear_backends()


@pytest.fixture(scope="module")
def photo() -> bytes:
    target = io.BytesIO()
    Image.effect_noise((400, 300), 60).convert("RGB").resize((4000, 3000)).save(target, "JPEG", quality=88)
    return target.getvalue()


async def p99(work: Coroutine[Any, Any, object]) -> float:
    """Return how late the loop runs while something is awaited, in seconds: the 99th percentile."""
    late: list[float] = []

    async def look() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.002)
            late.append(time.perf_counter() - before - 0.002)

    looking = asyncio.ensure_future(look())
    try:
        await work
    finally:
        looking.cancel()
    return sorted(late)[len(late) * 99 // 100]


async def lags(work: Coroutine[Any, Any, object]) -> tuple[float, float]:
    """Return the lag of some work, and that of nothing, which others on the machine are to blame for."""
    before = await p99(asyncio.sleep(2))
    during = await p99(work)
    return during, max(before, await p99(asyncio.sleep(2)))


@pytest.mark.parametrize(
    "recipe", [Resize(width=400), Thumbnail(300, 200, crop="attention", format="jpeg")], ids=["webp", "jpeg"]
)
async def test_requests_for_many_variants_do_not_hold_up_the_loop(photo: bytes, recipe: Resize | Thumbnail) -> None:
    async def view(file: FileObject) -> int:
        url = urlsplit(file.variant(recipe).sign())
        _, _, key, path = unquote(url.path).split("/", 3)
        return (await answer_async("GET", key, path, url.query)).status

    files = [await FileObject(backend="photos", filename="a.jpg", content=photo).save_async() for _ in range(AT_ONCE + 1)]
    assert await view(files.pop()) == 200  # starts a worker
    statuses: list[int] = []

    async def view_all() -> None:
        statuses.extend(await asyncio.gather(*map(view, files)))

    during, idle = await lags(view_all())
    assert statuses == [200] * AT_ONCE
    assert during <= MOST + idle


@asynccontextmanager
async def session_of(folder: Path) -> AsyncGenerator[AsyncSession]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'rows.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session
    await engine.dispose()


async def test_a_commit_that_makes_many_does_not_hold_up_the_loop(photo: bytes, tmp_path: Path) -> None:
    async with session_of(tmp_path) as session:
        rows = [Photo(file=FileObject(filename="a.jpg", content=photo)) for _ in range(AT_ONCE)]
        session.add_all(rows)
        during, idle = await lags(session.commit())
    assert all(row.file is not None and row.file.to_dict()["variants"] for row in rows)
    assert during <= MOST + idle
