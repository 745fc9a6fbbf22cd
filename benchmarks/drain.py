"""``python -m benchmarks.drain [--objects 10000] [--million]``: how fast workers drain an outbox, and how much memory it takes.

Real files in a directory, a real PostgreSQL, each worker a process of its own. ``--million`` adds one process that drains a
million due tombstones whose objects are gone already, and prints its memory as it goes.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

from sqlalchemy import Column, Integer, MetaData, Table, create_engine, insert, select, text

from filerow import StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.outbox import Outbox
from tests.places import RECORD, know_places
from tests.servers import postgres

WORKERS = (1, 2, 4, 8)
MILLION = 1_000_000


def outbox_of_one_table() -> Outbox:
    """Return an outbox without retention, of one table with a file column."""
    metadata = MetaData()
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    return Outbox(metadata, retention=timedelta(0))


_start: Barrier


def join(start: Barrier) -> None:
    """Give a worker what it needs to begin together with the others."""
    global _start  # noqa: PLW0603 - a process has no other place for what its pool hands it
    _start = start


def drain(url: str, folder: str, batch: int) -> tuple[int, float]:
    """Drain in a process of its own; return how many objects it deleted, and when it was done."""
    storages.register_backend(LocalBackend("docs", Path(folder), fsync=False))
    outbox, engine = outbox_of_one_table(), create_engine(url)
    with engine.connect():
        _start.wait()
    began = time.time()
    drained = outbox.drain(engine, batch=batch)
    engine.dispose()
    return drained.deleted, time.time() - began


def paths(count: int) -> list[str]:
    """Return paths in folders of a thousand."""
    return [f"paper/file/{number // 1000:04}/{number:08}.txt" for number in range(count)]


def measure(url: str, folder: Path, count: int, workers: int, batch: int) -> tuple[float, list[int]]:
    """Return how long some workers take for a number of objects, and how many each of them deleted."""
    outbox, engine = outbox_of_one_table(), create_engine(url)
    names = paths(count)
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"content")
    with engine.begin() as connection:
        # as triggers write them: of an unknown column, each object would be asked for variants
        known = {"backend": "docs", "dropped_at": 1.0, "table_name": "paper", "column_name": "file"}
        rows = [{**known, "path": name} for name in names]
        connection.execute(insert(outbox.table), rows)
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, join, (context.Barrier(workers),)) as pool:
        outcomes = list(pool.map(drain, [url] * workers, [str(folder)] * workers, [batch] * workers))
    with engine.connect() as connection:
        assert not connection.execute(select(outbox.table)).all(), "a tombstone was left"
    assert not [file for file in folder.rglob("*") if file.is_file() and not file.match(RECORD)], "an object was left"
    assert sum(deleted for deleted, _ in outcomes) == count
    engine.dispose()
    return max(seconds for _, seconds in outcomes), [deleted for deleted, _ in outcomes]


def million(url: str, folder: Path) -> Iterator[tuple[int, float, float]]:
    """Drain a million in this process; yield how many are done, after how many seconds, and the peak of its memory in MiB."""
    storages.register_backend(LocalBackend("docs", folder, fsync=False))
    outbox, engine = outbox_of_one_table(), create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO {outbox.table.name} (backend, path, dropped_at, table_name, column_name) "  # noqa: S608 - our own name
                "SELECT 'docs', 'paper/file/' || number || '.txt', number / 1e6, 'paper', 'file' "
                "FROM generate_series(1, :count) AS number"
            ),
            {"count": MILLION},
        )
        connection.execute(text("INSERT INTO paper SELECT number FROM generate_series(1, 1000) AS number"))
    began = time.perf_counter()
    for steps, drained in enumerate(outbox.drain_steps(engine, batch=1_000), 1):
        if steps % 100 == 0:
            yield drained.deleted, time.perf_counter() - began, _peak()
    engine.dispose()


def _peak() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--million", action="store_true")
    options = parser.parse_args()
    with postgres.start() as server, tempfile.TemporaryDirectory(prefix="filerow-bench-") as folder:
        url = server.make_database().url("psycopg")
        engine = create_engine(url)
        metadata = outbox_of_one_table().metadata
        metadata.create_all(engine)
        storages.register_backend(LocalBackend("docs", Path(folder), fsync=False))
        know_places(metadata, engine)
        storages.clear_backends()
        engine.dispose()
        print(f"{options.objects:,} objects, batches of {options.batch:,}, {os.cpu_count()} cores\n")
        print("| workers | seconds | objects a second | share of each |\n|--:|--:|--:|---|")
        for workers in WORKERS:
            seconds, shares = measure(url, Path(folder), options.objects, workers, options.batch)
            print(f"| {workers} | {seconds:.2f} | {options.objects / seconds:,.0f} | {', '.join(map(str, sorted(shares)))} |")
        if options.million:
            print("\n| of a million | seconds | peak memory |\n|--:|--:|--:|")
            for done, seconds, peak in million(url, Path(folder)):
                print(f"| {done:,} | {seconds:.0f} | {peak:.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
