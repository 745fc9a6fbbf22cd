"""Lines without a floor: requests on the wire, memory, the event loop's lag, and the time to import."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial

from sqlalchemy import select

from benchmarks._harness import Row
from benchmarks._world import Ours, World, some_bytes
from filerow import FileObject
from tests.servers.counting import CountingProxy

IMPORT = """
import gc, time, sqlalchemy.orm
gc.collect()
start = time.perf_counter()
import filerow
print((time.perf_counter() - start) * 1000)
"""


def import_time() -> Row:
    """Import the package above SQLAlchemy's ORM, in new processes; the best of nine, as the others only add noise.

    All but the first find compiled code, as every program does that has run before.
    What SQLAlchemy has left to collect is collected before, as before all other lines: it is due at whatever is imported next.
    """
    with tempfile.TemporaryDirectory(prefix="filerow-bench-") as cache:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache
        run = partial(subprocess.run, [sys.executable, "-c", IMPORT], check=True, capture_output=True, env=environment)
        best = min(float(run().stdout) for _ in range(10))
    return Row("import filerow", "above sqlalchemy.orm", "", f"{best:.0f} ms", None, "<= 40 ms", best <= 40)


def requests(world: World, proxy: CountingProxy) -> Iterator[Row]:
    """Count the requests of each operation as a proxy sees them."""
    with world.session() as session:
        rows = [Ours(file=FileObject(content=some_bytes(1000))) for _ in range(5)]
        counts: list[tuple[str, int, int]] = []

        def counted(what: str, expected: int) -> None:
            counts.append((what, len(proxy.requests), expected))
            proxy.reset()

        proxy.reset()
        session.add(rows[0])
        session.commit()
        counted("insert a row", 1)
        assert rows[0].file
        rows[0].file.get_content()
        counted("read a file", 1)
        rows[0].file = FileObject(content=some_bytes(1000))
        session.commit()
        counted("replace a file", 2)
        session.add_all(rows[1:])
        session.commit()
        proxy.reset()
        for row in session.scalars(select(Ours)):
            session.delete(row)
        session.commit()
        counted("delete 5 rows", 1)
    for what, seen, expected in counts:
        yield Row(what, f"{world.name}, requests", str(expected), str(seen), None, f"{expected}", seen == expected)
