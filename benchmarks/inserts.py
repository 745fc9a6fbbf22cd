"""Inserting rows with files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from benchmarks._harness import Row, Work, at_most, compare
from benchmarks._world import Floor, Ours, World, some_bytes
from filerow import FileObject

SMALL = some_bytes(10 * 1024)
LARGE = some_bytes(8 << 20)


def _file(data: bytes) -> FileObject:
    return FileObject(filename="a.bin", content=data)


def one_commit_each(world: World, count: int = 200) -> Iterator[Row]:
    """Insert small files, committing each."""

    def floor() -> None:
        with world.session() as session:
            for _ in range(count):
                session.add(Floor(file=world.put(SMALL)))
                session.commit()

    def ours() -> None:
        with world.session() as session:
            for _ in range(count):
                session.add(Ours(file=_file(SMALL)))
                session.commit()

    async def floor_async() -> None:
        async with world.async_session() as session:
            for _ in range(count):
                session.add(Floor(file=await world.put_async(SMALL)))
                await session.commit()

    async def ours_async() -> None:
        async with world.async_session() as session:
            for _ in range(count):
                session.add(Ours(file=_file(SMALL)))
                await session.commit()

    what = f"insert {count} x 10 KB, one commit each"
    yield at_most(what, f"{world.name}, sync", floor, ours, 1.15, rounds=15)
    yield at_most(what, f"{world.name}, async", world.awaited(floor_async), world.awaited(ours_async), 1.15, rounds=15)


def one_commit(
    world: World, count: int, data: bytes, what: str, budget: float, rounds: int = 9, between: Work = lambda: None
) -> Iterator[Row]:
    """Insert files in one commit; the hand-written way gathers sixteen uploads at a time, in synchronous code too."""

    def floor() -> None:
        with world.session() as session:
            session.add_all(Floor(file=document) for document in asyncio.run(world.gather([data] * count)))
            session.commit()

    def ours() -> None:
        with world.session() as session:
            session.add_all(Ours(file=_file(data)) for _ in range(count))
            session.commit()

    async def floor_async() -> None:
        async with world.async_session() as session:
            session.add_all(Floor(file=document) for document in await world.gather([data] * count))
            await session.commit()

    async def ours_async() -> None:
        async with world.async_session() as session:
            session.add_all(Ours(file=_file(data)) for _ in range(count))
            await session.commit()

    yield at_most(what, f"{world.name}, sync", floor, ours, budget, rounds, between)
    yield at_most(what, f"{world.name}, async", world.awaited(floor_async), world.awaited(ours_async), budget, rounds, between)


def against_one_by_one(world: World, count: int = 200) -> Row:
    """Insert small files in one commit where each request takes a while; the hand-written way uploads one by one."""

    def floor() -> None:
        with world.session() as session:
            session.add_all([Floor(file=world.put(SMALL)) for _ in range(count)])
            session.commit()

    def ours() -> None:
        with world.session() as session:
            session.add_all(Ours(file=_file(SMALL)) for _ in range(count))
            session.commit()

    a, b, ratio = compare(floor, ours, 3)
    what = f"insert {count} x 10 KB, one commit"
    times = 1 / ratio
    return Row(what, f"{world.name}, sync", f"{a:.2f} s", f"{b:.2f} s", ratio, f">= 8x faster ({times:.1f}x)", times >= 8)
