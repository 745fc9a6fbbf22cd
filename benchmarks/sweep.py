"""Sweeps and checks a million objects: ``python -m benchmarks.sweep [--count 1000000] [--store local|s3] [--variants]``.

One in a hundred objects has no row. Measured are a full sweep, which lists them all, asks PostgreSQL for each and removes the
orphans; an incremental one after a thousand new uploads; and a check of every row. Each runs in a process of its own, so that its
memory is its own. With ``--variants`` each object has a variant, also the orphans, and all of these are gone through, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table, create_engine, text

from filerow import StoredObject, storages
from filerow.backends.base import StorageBackend
from filerow.maintenance import check, sweep
from filerow.outbox import Outbox
from tests.generated import generated

NEW = 1_000
ORPHANS = 100
"""One object in this many has no row."""

METADATA = MetaData()
DOCUMENT = Table("document", METADATA, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
Outbox(METADATA)


def main() -> None:
    """Make the objects and rows, sweep twice, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--store", choices=["local", "s3"], default="local")
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(measure(**json.loads(arguments.child))))
        return
    with ExitStack() as stack:
        lines = run(stack, arguments.count, arguments.store, variants=arguments.variants)
    print(*lines, sep="\n")


def run(stack: ExitStack, count: int, store: str, *, variants: bool = False) -> list[str]:
    """Return the table."""
    from tests.servers import postgres

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="filerow-sweep-")))
    url = stack.enter_context(postgres.start()).make_database().url("psycopg")
    options, proxy = _s3(stack) if store == "s3" else ({"root": str(folder)}, None)
    backend = make_backend(options)
    engine = create_engine(url)
    METADATA.create_all(engine)
    build(engine, backend, store, old_paths(count))
    if variants:
        for path in engine.connect().execution_options(stream_results=True).scalars(text("SELECT file ->> 'path' FROM document")):
            put(backend, store, f"_filerow/variants/{path}/{'0' * 32}.webp")
        for number in range(count // ORPHANS):
            put(backend, store, f"_filerow/variants/{generated('document', 'file', '.bin', age=number)}/{'0' * 32}.webp")
    lines = [
        "| work | objects | looked at | requests | orphans | seconds | a second | memory before | peak |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in ("full sweep", "incremental sweep", "check"):
        if name == "incremental sweep":
            build(engine, backend, store, (generated("document", "file", ".bin") for _ in range(NEW)))
        before = 0 if proxy is None else len(proxy.requests)
        command = [
            sys.executable,
            "-m",
            "benchmarks.sweep",
            "--child",
            json.dumps({"name": name, "url": url, "options": options}),
        ]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        requests = "-" if proxy is None else f"{len(proxy.requests) - before:,}"
        lines.append(
            f"| {name} | {count:,} | {done['listed']:,} | {requests} | {done['removed']:,} | {done['seconds']:.1f} | "
            f"{done['listed'] / done['seconds']:,.0f} | {done['before']:.0f} MB | {done['peak']:.0f} MB |"
        )
    engine.dispose()
    return lines


def _s3(stack: ExitStack) -> tuple[dict[str, Any], Any]:
    from tests.servers import seaweedfs
    from tests.servers.counting import CountingProxy

    server = stack.enter_context(seaweedfs.start())
    proxy = stack.enter_context(CountingProxy(server.endpoint))
    keys = {"aws_access_key_id": server.access_key, "aws_secret_access_key": server.secret_key}
    return {"fs": f"s3://{server.shared_bucket}/objects/", "aws_endpoint": proxy.endpoint, **keys}, proxy


def make_backend(options: dict[str, Any]) -> StorageBackend:
    """Return the backend, registered."""
    backend: StorageBackend
    if "root" in options:
        from filerow.backends.local import LocalBackend

        backend = LocalBackend("docs", options["root"], fsync=False)
    else:
        from filerow.backends.obstore import ObstoreBackend

        backend = ObstoreBackend("docs", **options)
    storages.register_backend(backend)
    return backend


def old_paths(count: int) -> Iterator[str]:
    """Yield paths as they were generated during the last year."""
    now = time.time()
    for number in range(count):
        age = 365 * 86_400 * (count - number) / count + 2 * 86_400
        yield generated("document", "file", ".bin", age=time.time() - now + age)


def build(engine: Any, backend: StorageBackend, store: str, paths: Iterator[str]) -> None:
    """Make objects, and a row for each but one in a hundred."""
    start = time.perf_counter()
    facts = {"v": 1, "backend": "docs", "filename": "a.bin", "size": 1 if store == "s3" else 0}
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE document DISABLE TRIGGER USER"))  # nothing is replaced here
        cursor = connection.connection.cursor()
        with cursor.copy("COPY document (file) FROM STDIN") as copy:
            for number, path in enumerate(paths):
                put(backend, store, path)
                if number % ORPHANS:
                    copy.write_row([json.dumps({**facts, "path": path})])
        cursor.close()
        connection.execute(text("ALTER TABLE document ENABLE TRIGGER USER"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE document"))
    print(f"built in {time.perf_counter() - start:.0f} s", file=sys.stderr)


def put(backend: StorageBackend, store: str, path: str) -> None:
    """Make one small object."""
    if store == "s3":
        backend.put(path, b"x")
        return
    target = f"{backend.root}/{path}"  # type: ignore[attr-defined]
    try:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target))  # noqa: PTH103, PTH120 - a million times
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))


def measure(name: str, url: str, options: dict[str, Any]) -> dict[str, float]:
    """Sweep or check in this process and say what it took."""
    make_backend(options)
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    before, start = _peak(), time.perf_counter()
    listed = removed = 0
    columns = ["document.file"]
    if name == "check":
        work = check(METADATA, engine, columns=columns)
    else:
        work = sweep(METADATA, engine, delete=True, grace=timedelta(0), columns=columns, take_over=True)
    steps: dict[str, tuple[int, int]] = {}
    for progress in work:
        steps[progress.step] = progress.done, progress.changed
        listed, removed = (sum(figures) for figures in zip(*steps.values(), strict=True))
        if name == "check" and progress.findings:
            raise AssertionError(progress.findings)
    took = time.perf_counter() - start
    engine.dispose()
    return {"listed": listed, "removed": removed, "seconds": took, "before": before, "peak": _peak()}


def _peak() -> float:
    """Return this process's largest resident memory so far, in MB; what was before exec() does not count."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
