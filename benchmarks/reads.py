"""Loading rows, downloading, signing and deleting."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import obstore
from sqlalchemy import delete, select

from benchmarks._harness import Row, at_most
from benchmarks._world import Floor, Ours, World, some_bytes
from filerow import FileObject, storages

SMALL = some_bytes(10 * 1024)


def fill(world: World, count: int) -> None:
    """Put the same number of files into both tables."""
    with world.session() as session:
        session.execute(delete(Ours))
        session.execute(delete(Floor))
        session.add_all(Ours(file=FileObject(filename="a.bin", content=SMALL)) for _ in range(count))
        session.add_all([Floor(file=world.put(SMALL)) for _ in range(count)])
        session.commit()


def load_rows(world: World) -> Row:
    """Load rows without looking at their files."""
    fill(world, 1000)

    def floor() -> None:
        with world.session() as session:
            assert len(session.scalars(select(Floor)).all()) == 1000

    def ours() -> None:
        with world.session() as session:
            assert len(session.scalars(select(Ours)).all()) == 1000

    return at_most("load 1,000 rows", "plain JSON column", floor, ours, 1.10, rounds=31)


def look_at_rows(world: World) -> Row:
    """Load rows and look at one fact of each file."""

    def floor() -> None:
        with world.session() as session:
            assert all(row.file and row.file["size"] for row in session.scalars(select(Floor)))

    def ours() -> None:
        with world.session() as session:
            assert all(row.file and row.file.size for row in session.scalars(select(Ours)))

    return at_most("load 1,000 rows and read a fact of each", "plain JSON column", floor, ours, 1.50, rounds=31)


def download(world: World) -> Iterator[Row]:
    """Download small files one by one."""
    fill(world, 200)
    with world.session() as session:
        files = [row.file for row in session.scalars(select(Ours)) if row.file]
        paths = [row.file["path"] for row in session.scalars(select(Floor)) if row.file]

    def floor() -> None:
        for path in paths:
            assert len(obstore.get(world.raw, path).bytes()) == len(SMALL)

    def ours() -> None:
        for file in files:
            assert len(file.get_content()) == len(SMALL)

    async def floor_async() -> None:
        for path in paths:
            assert len(await (await obstore.get_async(world.raw, path)).bytes_async()) == len(SMALL)

    async def ours_async() -> None:
        for file in files:
            assert len(await file.get_content_async()) == len(SMALL)

    yield at_most("download 200 x 10 KB", f"{world.name}, sync", floor, ours, 1.10)
    yield at_most("download 200 x 10 KB", f"{world.name}, async", world.awaited(floor_async), world.awaited(ours_async), 1.10)


def sign(world: World) -> Iterator[Row]:
    """Sign URLs, one by one and all at once."""
    fill(world, 50)
    with world.session() as session:
        files = [row.file for row in session.scalars(select(Ours)) if row.file] * 20
    paths = [file.path for file in files]
    hour = timedelta(hours=1)

    def floor_each() -> None:
        for path in paths:
            obstore.sign(world.raw, "GET", path, hour)

    def ours_each() -> None:
        for file in files:
            file.sign(expires_in=3600)

    async def floor_async() -> None:
        for path in paths:
            await obstore.sign_async(world.raw, "GET", path, hour)

    async def ours_async() -> None:
        for file in files:
            await file.sign_async(expires_in=3600)

    what = "sign 1,000 URLs, one by one"
    yield at_most(what, f"{world.name}, sync", floor_each, ours_each, 1.20, rounds=101)
    yield at_most(what, f"{world.name}, async", world.awaited(floor_async), world.awaited(ours_async), 1.20, rounds=21)
    yield at_most(
        "sign 1,000 URLs at once",
        world.name,
        lambda: obstore.sign(world.raw, "GET", paths, hour),
        lambda: storages.sign_many(files),
        1.10,
        rounds=101,
    )


def delete_rows(world: World, count: int = 200, rounds: int = 41) -> Iterator[Row]:
    """Delete loaded rows in one commit; the hand-written way collects the paths and deletes in bulk after the commit."""
    ours_first, floor_first = select(Ours).order_by(Ours.id).limit(count), select(Floor).order_by(Floor.id).limit(count)

    def floor() -> None:
        with world.session() as session:
            rows = session.scalars(floor_first).all()
            paths = [row.file["path"] for row in rows if row.file]
            for row in rows:
                session.delete(row)
            session.commit()
            obstore.delete(world.raw, paths)

    def ours() -> None:
        with world.session() as session:
            for row in session.scalars(ours_first).all():
                session.delete(row)
            session.commit()

    async def floor_async() -> None:
        async with world.async_session() as session:
            rows = (await session.scalars(floor_first)).all()
            paths = [row.file["path"] for row in rows if row.file]
            for row in rows:
                await session.delete(row)
            await session.commit()
            await obstore.delete_async(world.raw, paths)

    async def ours_async() -> None:
        async with world.async_session() as session:
            for row in (await session.scalars(ours_first)).all():
                await session.delete(row)
            await session.commit()

    what = f"delete {count} rows"

    def enough(rounds: int) -> None:
        fill(world, count * (rounds + 1))

    yield at_most(what, f"{world.name}, sync", floor, ours, 1.10, rounds, before=enough)
    yield at_most(
        what, f"{world.name}, async", world.awaited(floor_async), world.awaited(ours_async), 1.10, rounds, before=enough
    )
