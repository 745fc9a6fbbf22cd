"""``python -m benchmarks [--quick] [--only WORD]``: print every line of the speed budget that concerns the core."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import obstore
import sqlalchemy

import filerow
from benchmarks import frameworks, inserts, limits, pressure, reads, variants
from benchmarks._harness import Row, table
from benchmarks._world import World, speeds, temporary
from tests.servers import seaweedfs
from tests.servers.counting import CountingProxy
from tests.servers.latency import LatencyProxy

Measurement = Callable[[], Iterable[Row]]


def plan(folder: Path, s3: dict[str, str]) -> Iterator[tuple[str, Measurement]]:
    """Yield every measurement by name; each makes the world it needs, which ends before the next one is asked for."""
    made: list[World] = []

    def keep(world: World) -> World:
        made.append(world)
        return world

    def local() -> World:
        return keep(World("local", folder))

    def remote(**changed: str) -> World:
        return keep(World("S3", folder, {**s3, **changed}))

    for name, measure in _measurements(folder, s3, local, remote):
        yield name, measure
        while made:
            made.pop().close()


def _measurements(
    folder: Path, s3: dict[str, str], local: Callable[[], World], remote: Callable[..., World]
) -> Iterator[tuple[str, Measurement]]:
    def far() -> list[Row]:
        proxy = LatencyProxy(s3["endpoint"], round_trip=0.020)
        try:
            world = remote(endpoint=proxy.endpoint)
            world.name = "S3 behind 20 ms"
            return [inserts.against_one_by_one(world)]
        finally:
            proxy.stop()

    def wire() -> list[Row]:
        proxy = CountingProxy(s3["endpoint"])
        try:
            return list(limits.requests(remote(endpoint=proxy.endpoint), proxy))
        finally:
            proxy.stop()

    for where in (local, remote):
        yield "each", partial(_each, where)
        yield "one", partial(_one, where)
        yield "big", partial(_big, where)
        yield "delete", partial(_delete, where)
        yield "download", partial(_download, where)
        yield "variants", partial(_variants, where)
    yield "far", far
    yield "load", lambda: [reads.load_rows(world := local()), reads.look_at_rows(world)]
    yield "sign", lambda: reads.sign(remote())
    yield "requests", wire
    yield "import", lambda: [limits.import_time()]
    yield "memory", lambda: pressure.memory(s3, folder)
    yield "lag", lambda: [pressure.lag(s3, folder)]
    yield "frameworks", lambda: frameworks.transfers(s3)


def _each(where: Callable[[], World]) -> Iterable[Row]:
    return inserts.one_commit_each(where())


def _one(where: Callable[[], World]) -> Iterable[Row]:
    return inserts.one_commit(where(), 200, inserts.SMALL, "insert 200 x 10 KB, one commit", 1.10, 21)


def _big(where: Callable[[], World]) -> Iterable[Row]:
    world = where()
    with temporary(in_memory=True) as folder:  # a disk takes its time for what was written before, whoever wrote it
        hashing, copying = speeds(folder)
        if not world.remote:
            world = World("local", folder)
        world.hashes = hashing < copying  # the budget includes the checksum only where hashing is faster
        who = "both" if world.hashes else "only ours"
        what = f"insert 20 x 8 MB, one commit, {who} hashed ({hashing:.1f} GB/s; copies {copying:.1f})"
        for row in inserts.one_commit(world, 20, inserts.LARGE, what, 1.05, 15 if world.remote else 61, world.empty):
            yield row if world.remote else replace(row, where=row.where.replace("local", "local, in memory"))
        if not world.remote:
            world.close()


def _delete(where: Callable[[], World]) -> Iterable[Row]:
    return reads.delete_rows(where())


def _download(where: Callable[[], World]) -> Iterable[Row]:
    return reads.download(where())


def _variants(where: Callable[[], World]) -> Iterable[Row]:
    return variants.serving(where())


def main() -> int:
    """Run the measurements and print the table; exit with 1 when a line is over its budget."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--only", default="", help="run only measurements whose name contains this word")
    arguments = parser.parse_args()
    rows: list[Row] = []
    with temporary() as folder, seaweedfs.start() as server:
        s3 = {
            "endpoint": server.endpoint,
            "access_key": server.access_key,
            "secret_key": server.secret_key,
            "bucket": server.make_bucket(),
        }
        for name, measure in plan(folder, s3):
            if arguments.only in name:
                for row in measure():
                    rows.append(row)
                    print(f"{row.what} ({row.where}): {row.ours} {row.ratio or ''} [{row.budget}]", file=sys.stderr, flush=True)
    versions = f"Filerow {filerow.__version__}, SQLAlchemy {sqlalchemy.__version__}, obstore {obstore.__version__}"
    print(f"{versions}, Python {platform.python_version()}\n\n{table(rows)}")
    return 0 if all(row.within for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
