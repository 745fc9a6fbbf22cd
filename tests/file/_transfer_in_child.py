"""Run in a process of its own: stores bytes, and what came from a path is fetched again; says how much memory each took.

Arguments: a kind of content, the number of bytes, a file of that length, the backend's URL, its options as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filerow import FileObject, storages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

CHUNK = b"\7" * (1 << 20)


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // len(CHUNK)):
        yield bytes(memoryview(CHUNK))  # memory of its own, as what comes from a network has


async def achunks(size: int) -> AsyncIterator[bytes]:
    for chunk in chunks(size):
        yield chunk


def peak() -> int:
    """Return the most memory this process has had resident, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def stored(kind: str, content: Any) -> FileObject:
    file = FileObject("big", "zeros.bin", content=content)
    return asyncio.run(file.save_async()) if kind.startswith("async") else file.save()


async def drained(file: FileObject) -> int:
    return sum([len(chunk) async for chunk in file.stream_async()])


def measured(work: Callable[[], object]) -> dict[str, int]:
    """Run something and return the most memory that was in use before and during it, in bytes."""
    reset_peak()
    before = peak()
    work()
    return {"before": before, "peak": peak()}


def main(kind: str, size: int, source: Path, url: str, options: dict[str, Any]) -> None:
    storages.register_backend(url, key="big", **options)
    stored(kind, CHUNK).delete()  # connections, threads and modules are the baseline
    files: list[FileObject] = []

    def up() -> None:
        with source.open("rb") as opened:
            content = {
                "path": source, "file": opened, "iterator": chunks(size), "async iterator": achunks(size), "async path": source,
            }[kind]  # fmt: skip
            files.append(stored(kind, content))

    def down() -> None:
        if kind.startswith("async"):
            assert asyncio.run(drained(files[0])) == size
        else:
            assert sum(map(len, files[0].stream())) == size

    report = {"up": measured(up)}
    assert files[0].size == size
    if kind.endswith("path"):
        report["down"] = measured(down)
    files[0].delete()
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], json.loads(sys.argv[5]))
