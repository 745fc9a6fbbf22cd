"""What big files do to memory and to the event loop; each measured in a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from benchmarks._harness import Row
from benchmarks._world import Ours, World
from filerow import FileObject
from filerow.backends.obstore import ObstoreBackend

GIB = 1 << 30
MIB = 1 << 20
KINDS = ("path", "file", "iterator", "async iterator", "download")


def memory(s3: dict[str, str], folder: Path) -> Iterator[Row]:
    """Move 1 GiB up from each kind of content, and down, and look at the process's peak memory."""
    big = folder / "big.bin"
    with big.open("wb") as file:
        file.truncate(GIB)
    for kind in KINDS:
        peak, took = _child("memory", kind, s3, folder)
        what = "1 GiB down, streamed" if kind == "download" else f"1 GiB up from {'an' if kind[0] in 'ai' else 'a'} {kind}"
        yield Row(what, "S3, peak above baseline", "", f"{peak:.0f} MiB in {took:.1f} s", None, "<= 64 MiB", peak <= 64)


def lag(s3: dict[str, str], folder: Path) -> Row:
    """Upload 16 x 64 MB at once and measure how late a timer of 1 ms comes."""
    p99, _ = _child("lag", "", s3, folder)
    return Row("16 concurrent 64 MB uploads", "S3, async, loop lag p99", "", f"{p99:.1f} ms", None, "<= 20 ms", p99 <= 20)


def _child(what: str, kind: str, s3: dict[str, str], folder: Path) -> tuple[float, float]:
    arguments = json.dumps([what, kind, s3, str(folder)])
    command = [sys.executable, "-m", "benchmarks.pressure", arguments]
    first, second = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return first, second


def _content(kind: str, big: Path) -> Any:
    if kind == "path":
        return big
    if kind == "file":
        return big.open("rb")

    def sync_chunks() -> Iterator[bytes]:  # new memory each, for a store may hold on to what it was given
        return (bytes([number % 251]) * MIB for number in range(GIB // MIB))

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in sync_chunks():
            yield chunk

    return chunks() if kind == "async iterator" else sync_chunks()


async def _measure_memory(world: World, kind: str, folder: Path) -> tuple[float, float]:
    async with world.async_session() as session:  # one small file first, so that clients and connections are counted in
        session.add(Ours(file=FileObject(content=b"warm")))
        await session.commit()
        if kind == "download":
            session.add(Ours(id=99, file=FileObject(content=folder / "big.bin")))
            await session.commit()
            return await asyncio.to_thread(_in_fresh_process, world, folder)
        baseline = _baseline()
        start = time.perf_counter()
        session.add(Ours(file=FileObject(content=_content(kind, folder / "big.bin"))))
        await session.commit()
    return _peak() - baseline, time.perf_counter() - start


def _in_fresh_process(world: World, folder: Path) -> tuple[float, float]:
    """The upload has raised this process's peak already, so the download is measured in another."""
    with world.session() as session:
        row = session.get(Ours, 99)
        assert row
        assert row.file
        path = row.file.path
    assert isinstance(world.backend, ObstoreBackend)
    store = world.backend.store
    arguments = json.dumps(["stream", path, {**store.config, "prefix": str(store.prefix)}, str(folder)])
    out = subprocess.run([sys.executable, "-m", "benchmarks.pressure", arguments], check=True, capture_output=True)
    peak, took = json.loads(out.stdout)
    return peak, took


def _measure_stream(world: World, path: str) -> tuple[float, float]:
    world.backend.put("warm", b"warm")
    world.backend.read("warm")
    baseline = _baseline()
    start = time.perf_counter()
    assert sum(len(chunk) for chunk in world.backend.stream(path)) == GIB
    return _peak() - baseline, time.perf_counter() - start


async def _measure_lag(world: World) -> tuple[float, float]:
    late: list[float] = []
    running = True

    async def tick() -> None:
        while running:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - due) * 1000)

    contents = [bytes([number]) * (64 * 1000 * 1000) for number in range(16)]
    async with world.async_session() as session:
        session.add(Ours(file=FileObject(content=b"warm")))
        await session.commit()
        ticking = asyncio.create_task(tick())
        start = time.perf_counter()
        session.add_all(Ours(file=FileObject(content=content)) for content in contents)
        await session.commit()
        took = time.perf_counter() - start
        running = False
        await ticking
    late.sort()
    return late[int(len(late) * 0.99)], took


def _baseline() -> float:
    """Return this process's memory in MiB, and let the kernel's mark of its peak start from there."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> float:
    """Return this process's peak memory in MiB since the baseline; ``ru_maxrss`` would start with the parent's."""
    return _status("VmHWM")


def _status(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) / 1024


def main() -> None:
    """Run one measurement as a child and print its two figures."""
    what, kind, s3, folder = json.loads(sys.argv[1])
    if what == "stream":
        keys = {"access_key": s3["access_key_id"], "secret_key": s3["secret_access_key"]}
        world = World("S3", Path(folder), {"endpoint": s3["endpoint"], "bucket": s3["bucket"], **keys})
        result = _measure_stream(world, kind)
    else:
        world = World("S3", Path(folder), s3)
        result = asyncio.run(_measure_lag(world) if what == "lag" else _measure_memory(world, kind, Path(folder)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
