"""``python -m benchmarks.migrate [FILES]``: move 10,000 files from a directory to S3 while an application changes rows.

Two threads write through the ORM, one reads random rows; the process that migrates is killed after a third of the way and
another goes on. Prints a table; fails when a read was wrong, a row is lost or an object is left.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import Engine, func, select

from filerow import storages
from filerow.maintenance import migrate
from tests.databases import make_engine
from tests.maintenance.live_migration import (
    Base,
    MigratingProcess,
    Place,
    Traffic,
    fill,
    left_behind,
    named,
    objects,
    outbox,
    settle,
)
from tests.servers import postgres, seaweedfs

SIZE = 10_000
BATCH = 100


def run(files: int, folder: Path) -> list[tuple[str, str]]:
    """Move, and return what to print."""
    with postgres.start() as database, seaweedfs.start() as s3:
        options = {"aws_endpoint": s3.endpoint, "aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key}
        url = database.make_database().url("psycopg")
        place = Place(url, str(folder), f"s3://{s3.shared_bucket}/moved/", options, size=SIZE, batch=BATCH)
        place.register()
        engine = make_engine(url, pool_size=8)
        try:
            with MigratingProcess(place) as process:
                fill(place, engine, files)
                traffic = Traffic(place, engine, dict.fromkeys(range(files), 0), pause=0.01)
                with traffic.running():
                    begun = time.perf_counter()
                    cursor = process.kill_after(files // BATCH // 3)
                    killed = time.perf_counter()
                    left = left_behind(engine)
                    steps = list(migrate(Base.metadata, engine, "document.file", batch=BATCH, resume=cursor))
                    steps += list(migrate(Base.metadata, engine, "document.file", batch=BATCH))
                    ended = time.perf_counter()
            if traffic.errors:
                raise traffic.errors[0]
            rest = left_behind(engine)
            drained, swept = settle(place, engine)
            whole = objects() == named(engine) and len(named(engine)) == len(traffic.expected) and rest == 0
            return [
                ("files to move", f"{files:,} of {SIZE:,} bytes, local directory to S3 (SeaweedFS), rows on PostgreSQL"),
                ("until SIGKILL", f"{files - left:,} no longer in the old backend in {killed - begun:.1f} s"),
                ("resumed", f"{left:,} left, moved in {ended - killed:.1f} s: {left / (ended - killed):,.0f} files/s"),
                ("meanwhile", f"{traffic.writes:,} rows written, {traffic.reads:,} files read, each right; 0 errors"),
                ("findings", str(sum(len(step.findings) for step in steps))),
                ("afterwards", f"{drained:,} objects drained, {swept} orphans of the killed batch swept"),
                ("objects equal rows", "yes" if whole else "NO"),
                ("tombstones left", str(_tombstones(engine))),
            ]
        finally:
            engine.dispose()
            storages.clear_backends()


def _tombstones(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(outbox.table)) or 0


def main() -> int:
    """Print the table, and return 1 when anything is not as it must be."""
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        lines = run(files, Path(folder))
    for name, value in lines:
        print(f"{name:20} {value}")
    return int(("objects equal rows", "yes") not in lines)


if __name__ == "__main__":
    sys.exit(main())
